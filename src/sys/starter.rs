//! What whoever started this program left with it: a session, a terminal, open
//! files. How to be rid of them.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// The first descriptor behind standard input, output and error.
const FIRST: RawFd = 3;

/// The working directory by the name under which the program was started there:
/// what `PWD` says, where that is it. A link on the way may lead to another
/// release later, and a folder may be replaced by one of the same name.
///
/// # Errors
///
/// `NotFound`: it has been removed.
pub fn folder() -> io::Result<PathBuf> {
    let here = fs::metadata(".")?;
    let named = std::env::var_os("PWD").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    let is_here = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (here.dev(), here.ino()))
    };
    named.filter(is_here).map_or_else(std::env::current_dir, Ok)
}

/// Leaves the session of whoever started the program: the calling process has
/// no terminal any more that it could type into, and none that signals it.
///
/// # Errors
///
/// `EPERM` for the leader of a process group, which no process is that was just
/// forked.
pub fn leave_session() -> io::Result<()> {
    setsid()?;
    Ok(())
}

/// From now on standard input is empty, and standard output and error, where they
/// are a terminal, can only be written to: whoever can read a terminal reads what
/// its operator types. Where that cannot be had they lead nowhere.
///
/// # Errors
///
/// There is no `/dev/null`, or no descriptor is free.
pub fn detach_terminal() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    if io::stdout().is_terminal() {
        dup2_stdout(write_only("/proc/self/fd/1").as_ref().unwrap_or(&null))?;
    }
    if io::stderr().is_terminal() {
        dup2_stderr(write_only("/proc/self/fd/2").as_ref().unwrap_or(&null))?;
    }
    Ok(())
}

/// Standard error leads to `place` from now on.
///
/// # Errors
///
/// Those of `dup2(2)`.
pub fn lead_standard_error(place: impl AsFd) -> io::Result<()> {
    Ok(dup2_stderr(place)?)
}

fn write_only(terminal: &str) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).custom_flags(libc::O_NOCTTY);
    options.open(terminal)
}

/// Closes what whoever started the program left open behind standard error:
/// everything that is not closed on exec, which everything of ours is. Call it
/// when what was handed over on purpose has been taken.
///
/// Gives how many that were.
///
/// # Errors
///
/// There is no `/proc`: nothing was closed.
pub fn close_inherited() -> io::Result<usize> {
    let numbers: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= FIRST)
        .collect();
    let inherited = numbers.into_iter().filter(|number| is_inherited(*number));
    Ok(inherited.map(adopt).map(drop).count())
}

/// Whether it is open, and was open before this program began.
fn is_inherited(number: RawFd) -> bool {
    // SAFETY: the number is not -1, and a closed one is only told to be closed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(descriptor.as_fd(), FcntlArg::F_GETFD);
    flags.is_ok_and(|flags| !FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC))
}

fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: it is open, and nobody here owns it: whatever this program opens
    // is closed on exec.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_this_program_opens_is_not_inherited() {
        let file = File::open("/dev/null").unwrap();
        assert!(!is_inherited(file.as_raw_fd()));
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert!(is_inherited(file.as_raw_fd()));
        assert!(!is_inherited(1 << 20), "it is not open");
    }
}
