//! Starting a program that goes on with some of our descriptors, and being such
//! a program.
//!
//! Every descriptor of ours is closed on exec. Those that a new program is to
//! have are left open for the moment of its start, so no other child can get
//! them. It learns their numbers from its environment, where they are looked up
//! once and then removed: no child of its own takes them for its own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::process::{self, Pid};

/// This program as it was started, for starting it again.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file; absolute. Another file may be there by now.
    pub path: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
}

/// The file that the kernel runs, even when it was replaced.
const RUNNING: &str = "/proc/self/exe";

impl Program {
    /// The one that calls. Ask before titles are set and before the working
    /// directory is changed.
    ///
    /// The path is the one under which it was called, where that leads to the
    /// running file: links on the way are followed anew at the next start, so
    /// that a link which was moved to a new version leads there.
    #[must_use]
    pub fn own() -> Self {
        let mut arguments = std::env::args_os();
        let called = arguments.next().unwrap_or_default();
        let folders = std::env::var_os("PATH").unwrap_or_default();
        Self {
            path: locate(&called, &folders),
            arguments: arguments.collect(),
        }
    }

    /// Starts it, or the program at `other`, beside this one, as the leader of a
    /// process group, which [`process::rejoin_group`] leaves; the descriptors of
    /// `keep` stay open in it, under the same numbers.
    ///
    /// # Errors
    ///
    /// There is no program, or it cannot be run: nothing was started.
    pub fn launch(
        &self,
        other: Option<&Path>,
        variables: &[(&str, OsString)],
        keep: &[BorrowedFd<'_>],
    ) -> io::Result<Pid> {
        let mut command = Command::new(other.unwrap_or(&self.path));
        command.args(&self.arguments).process_group(0);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let _closed_again = LeftOpen::new(keep)?;
        started(command)
    }
}

/// Starts the file that runs now once more, whatever is at its path by then, beside
/// this process: called `name`, without arguments, with `variable` for its only
/// environment. The descriptors of `keep` stay open in it, under the same numbers,
/// and standard error if `is_heard`; nothing else of this process goes along.
///
/// # Errors
///
/// There is no `/proc`, or no process can be started: nothing was.
pub fn start_again(
    name: &str,
    variable: (&str, &OsStr),
    keep: &[BorrowedFd<'_>],
    is_heard: bool,
) -> io::Result<Pid> {
    let mut command = Command::new(RUNNING);
    command.arg0(name).env_clear().env(variable.0, variable.1);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if !is_heard {
        command.stderr(Stdio::null());
    }
    let _closed_again = LeftOpen::new(keep)?;
    started(command)
}

fn started(mut command: Command) -> io::Result<Pid> {
    #[allow(
        clippy::zombie_processes,
        reason = "whoever starts it collects all of its children"
    )]
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::new);
    Ok(pid.expect("the kernel's process ids are positive"))
}

/// The path under which the running program was called; that of the running
/// file where it cannot be told.
fn locate(called: &OsStr, folders: &OsStr) -> PathBuf {
    let identity = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let running = identity(Path::new(RUNNING));
    let candidates: Vec<PathBuf> = if called.as_bytes().contains(&b'/') {
        path::absolute(called).into_iter().collect()
    } else {
        let folders = std::env::split_paths(folders).map(|folder| folder.join(called));
        folders.filter_map(|at| path::absolute(at).ok()).collect()
    };
    let mut same = candidates.into_iter();
    same.find(|path| running.is_some() && identity(path) == running)
        .unwrap_or_else(|| {
            let link = std::fs::read_link(RUNNING).unwrap_or_else(|_| called.into());
            let name = link.as_os_str().as_bytes();
            let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
            OsStr::from_bytes(name).into()
        })
}

/// Descriptors that a program started now inherits.
struct LeftOpen<'a>(&'a [BorrowedFd<'a>]);

impl<'a> LeftOpen<'a> {
    fn new(keep: &'a [BorrowedFd<'a>]) -> io::Result<Self> {
        // Made first: what was opened is closed again if one cannot be.
        let open = Self(keep);
        for descriptor in keep {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(open)
    }
}

impl Drop for LeftOpen<'_> {
    fn drop(&mut self) {
        for descriptor in self.0 {
            let _cannot_fail = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
}

/// What the environment says about `name`, which is gone from it afterwards.
///
/// # Errors
///
/// When `/proc` is not mounted.
///
/// # Panics
///
/// When this process has more than one thread: another one could read the
/// environment while it is changed.
pub fn take_variable(name: &str) -> io::Result<Option<OsString>> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    let threads = process::thread_count()?;
    assert_eq!(threads, 1, "the environment is changed before any thread");
    // SAFETY: no other thread exists to use the environment: asserted above.
    unsafe { std::env::remove_var(name) };
    Ok(Some(value))
}

/// Takes over the descriptor that was left open under this number; it is closed
/// on exec from now on.
///
/// Only for a number that whoever started this program named, and once for
/// each: a second owner would close it under the first one.
///
/// # Errors
///
/// Nothing is open under that number, or it is one of the three standard ones.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: asks the kernel about a number, whatever it is.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        // It was opened by this program: what is inherited cannot have it.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is open, and nobody here has it: whatever this program opens is
    // closed on exec, and an adopted one is as well, a line below.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn a_program_is_found_where_it_was_called() {
        let folder = tempfile::tempdir().unwrap();
        let running = std::env::current_exe().unwrap();
        let link = folder.path().join("current");
        std::os::unix::fs::symlink(&running, &link).unwrap();
        let foreign = folder.path().join("foreign");
        std::fs::write(&foreign, "").unwrap();
        let none = OsStr::new("");
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        for (called, folders, expected) in [
            (link.as_os_str(), none, &link),
            (OsStr::new("current"), &path, &link),
            // What is not the running file was not called.
            (foreign.as_os_str(), none, &running),
            (OsStr::new("foreign"), &path, &running),
            (none, none, &running),
        ] {
            assert_eq!(&locate(called, folders), expected, "{called:?}");
        }
    }

    #[test]
    fn descriptors_are_left_open_for_a_moment_and_adopted_once() {
        let (reader, _writer) = io::pipe().unwrap();
        let number = reader.as_raw_fd();
        let refused = |number| adopt(number).unwrap_err().kind();
        assert_eq!(
            refused(number),
            io::ErrorKind::InvalidInput,
            "not inherited"
        );
        assert_eq!(refused(1), io::ErrorKind::InvalidInput);
        assert!(adopt(1_000_000).is_err());
        {
            let keep = [reader.as_fd()];
            let _open = LeftOpen::new(&keep).unwrap();
            let flags = fcntl(&reader, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, 0);
        }
        assert_eq!(refused(number), io::ErrorKind::InvalidInput, "closed again");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_at_once() {
        let program = Program {
            path: "/nowhere/at/all".into(),
            arguments: Vec::new(),
        };
        let error = program.launch(None, &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
