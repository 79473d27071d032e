//! Files below a folder, and never outside of it: `openat2`.
//!
//! The kernel itself walks the path and refuses to leave the folder, by `..`, by
//! an absolute path or by a symbolic link, so nobody who changes the tree
//! meanwhile wins a race. Any thread; may block, as disks do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// How often the kernel may say that the tree changed while it looked.
const ATTEMPTS: usize = 8;

/// A folder, by its path, to look below it.
///
/// # Errors
///
/// `ENOENT`, `ENOTDIR` or `EACCES` when there is no such folder for us;
/// `EMFILE` at the limit of descriptors.
pub fn folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Opens `below` the folder, for reading. Symbolic links are followed as long as
/// they stay below it. Never waits for the other end of a pipe.
///
/// # Errors
///
/// `EXDEV` or `ELOOP` when the path leaves the folder, `ENXIO` for a socket;
/// otherwise as `open`. `ENOSYS` before Linux 5.6.
pub fn open_beneath(folder: &impl AsFd, below: &OsStr) -> io::Result<File> {
    let below = match below.as_bytes() {
        b"" => b".",
        bytes => bytes,
    };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(folder, below, how) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::EAGAIN | Errno::EINTR) if attempts < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The names in an open folder, but for `.` and `..`, in no order; at most
/// `max`.
///
/// # Errors
///
/// What the system says; `ENOTDIR` when it is no folder.
pub fn names(folder: File, max: usize) -> io::Result<Vec<OsString>> {
    let mut folder = Dir::from_fd(folder.into())?;
    let mut names = Vec::new();
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if names.len() == max {
            break;
        }
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_of_the_folder_is_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/in"), "inside").unwrap();
        symlink("a/in", root.join("link")).unwrap();
        symlink("../in", root.join("a/bad")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(outside.path(), root.join("up")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let root = folder(&root).unwrap();
        for good in ["a/in", "link", "a/../a/in", ""] {
            assert!(open_beneath(&root, good.as_ref()).is_ok(), "{good}");
        }
        for bad in [
            "../secret",
            "a/../../secret",
            "out",
            "up/secret",
            "magic/etc/passwd",
            "loop",
            "/etc/passwd",
            "a/bad",
        ] {
            assert!(open_beneath(&root, bad.as_ref()).is_err(), "{bad}");
        }
        let mut text = String::new();
        let mut link = open_beneath(&root, "link".as_ref()).unwrap();
        link.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
    }

    #[test]
    fn a_pipe_without_a_writer_is_opened_at_once() {
        let root = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe"), Mode::S_IRUSR).unwrap();
        let folder = folder(root.path()).unwrap();
        let pipe = open_beneath(&folder, "pipe".as_ref()).unwrap();
        assert!(!pipe.metadata().unwrap().is_file());
    }

    #[test]
    fn a_folder_is_listed_without_itself() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let folder = folder(root.path()).unwrap();
        let list = |max| names(open_beneath(&folder, "".as_ref()).unwrap(), max).unwrap();
        let mut all = list(10);
        all.sort();
        assert_eq!(all, ["a", "b", "c"]);
        assert_eq!(list(2).len(), 2);
    }
}
