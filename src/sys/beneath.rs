//! Files below a folder, and never outside of it: `openat2`.
//!
//! The kernel itself walks the path and refuses to leave the folder, by `..`, by
//! an absolute path or by a symbolic link, so nobody who changes the tree
//! meanwhile wins a race. Where there is no such call, before Linux 5.6 and in
//! containers whose filter is older, each name is opened below the one before it
//! and no symbolic link is followed: nobody gets out either. Any thread; may
//! block, as disks do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
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

/// Why the kernel does not walk paths for us, so that symbolic links are not
/// followed: `ENOSYS` before Linux 5.6, `EPERM` by the filter of a container.
/// `None`: it does. It is asked once in the life of a process and its children.
#[must_use]
pub fn without_openat2() -> Option<Errno> {
    static MISSING: OnceLock<Option<Errno>> = OnceLock::new();
    *MISSING.get_or_init(|| {
        // Whatever else it says of the working folder, it knows the call.
        let asked = openat2(AT_FDCWD, ".", how(OFlag::O_PATH)).err();
        asked.filter(|error| matches!(error, Errno::ENOSYS | Errno::EPERM))
    })
}

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// For reading, and never waiting for the other end of a pipe.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// Opens `below` the folder, for reading. Symbolic links are followed as long as
/// they stay below it, and not at all [without `openat2`](without_openat2). Never
/// waits for the other end of a pipe.
///
/// # Errors
///
/// `EXDEV` or `ELOOP` when the path leaves the folder, `ENXIO` for a socket;
/// otherwise as `open`.
pub fn open_beneath(folder: &impl AsFd, below: &OsStr) -> io::Result<File> {
    let below = match below.as_bytes() {
        b"" => b".",
        bytes => bytes,
    };
    if without_openat2().is_some() {
        return open_by_name(folder.as_fd(), below);
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(folder, below, how(READ)) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::EAGAIN | Errno::EINTR) if attempts < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As [`open_beneath`], name by name.
fn open_by_name(folder: BorrowedFd<'_>, below: &[u8]) -> io::Result<File> {
    if below.starts_with(b"/") {
        return Err(Errno::EXDEV.into());
    }
    let mut names = below.split(|&byte| byte == b'/').peekable();
    let mut parent: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::EXDEV.into());
        }
        let is_last = names.peek().is_none();
        let flags = if is_last {
            READ
        } else {
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
        };
        let name = if name.is_empty() { &b"."[..] } else { name };
        let within = parent.as_ref().map_or(folder, OwnedFd::as_fd);
        let opened = openat(within, name, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
        if is_last {
            return Ok(opened.into());
        }
        parent = Some(opened);
    }
    // A path has one name at least.
    Err(Errno::ENOENT.into())
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
        let by_name = |below: &str| open_by_name(root.as_fd(), below.as_bytes());
        for good in ["a/in", "a//in", "a", "a/", "."] {
            assert!(by_name(good).is_ok(), "{good}");
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
            assert!(by_name(bad).is_err(), "{bad}");
        }
        for link in ["link", "a/../a/in"] {
            assert!(by_name(link).is_err(), "{link}");
        }
        for (missing, expected) in [("a/none", Errno::ENOENT), ("a/in/x", Errno::ENOTDIR)] {
            let error = by_name(missing).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(expected as i32), "{missing}");
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
