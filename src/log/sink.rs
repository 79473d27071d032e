//! One place that lines go to: the file, or standard error.
//!
//! Invariant: a line is one `write(2)`, and no reader of the log can stop the
//! server. A pipe whose reader sleeps takes nothing; the line then waits for
//! room for at most [`PATIENCE`], and after that lines are dropped without
//! waiting until [`PAUSE`] is over. Any thread may write; nothing is locked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::{clock, socket};

/// How long a line waits for the reader of a full pipe, in milliseconds.
const PATIENCE: u16 = 500;

/// How long nobody waits after a wait was in vain, in milliseconds.
const PAUSE: u64 = 10_000;

/// A descriptor that takes lines.
#[derive(Debug)]
pub(super) struct Sink {
    way: Way,
    /// Clock time, in milliseconds, before which a full pipe is not waited for.
    hurried_until: AtomicU64,
}

#[derive(Debug)]
enum Way {
    /// `write(2)`, for files, terminals and pipes.
    Write(Target),
    /// `send(2)` without waiting, for a socket that others share.
    Send(Target),
}

#[derive(Debug)]
enum Target {
    /// Descriptor 2, wherever it leads.
    StandardError(io::Stderr),
    /// Descriptor 1, likewise.
    StandardOutput(io::Stdout),
    Own(OwnedFd),
}

impl Sink {
    /// Standard error, as it is now: ask again after it was redirected.
    ///
    /// A pipe is opened a second time, because "do not wait" belongs to the
    /// open file: on descriptor 2 it would befall every program that shares it.
    /// Where that is refused, lines wait for the reader.
    pub(super) fn standard_error() -> Self {
        Self::standard("/proc/self/fd/2", Target::StandardError(io::stderr()))
    }

    /// Standard output, as [`Self::standard_error`].
    pub(super) fn standard_output() -> Self {
        Self::standard("/proc/self/fd/1", Target::StandardOutput(io::stdout()))
    }

    fn standard(path: &str, shared: Target) -> Self {
        let path = Path::new(path);
        Self::new(match fs::metadata(path).map(|found| found.file_type()) {
            Ok(kind) if kind.is_socket() => Way::Send(shared),
            Ok(kind) if kind.is_fifo() => match open(path) {
                Ok(own) => Way::Write(Target::Own(own.into())),
                Err(_) => Way::Write(shared),
            },
            Ok(_) | Err(_) => Way::Write(shared),
        })
    }

    /// The same by a descriptor of its own, if it is descriptor 2, which is about to
    /// lead somewhere else.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub(super) fn kept(&self) -> io::Result<Option<Self>> {
        let kept = |target: &Target| match target {
            Target::StandardError(shared) => {
                let own = shared.as_fd().try_clone_to_owned()?;
                Ok::<_, io::Error>(Some(Target::Own(own)))
            }
            Target::StandardOutput(_) | Target::Own(_) => Ok(None),
        };
        let way = match &self.way {
            Way::Write(to) => kept(to)?.map(Way::Write),
            Way::Send(to) => kept(to)?.map(Way::Send),
        };
        Ok(way.map(Self::new))
    }

    /// The file at `path`, made when missing (mode 0640), appended to.
    ///
    /// # Errors
    ///
    /// What `open(2)` says, with the path. A named pipe needs a reader.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = open(path).map_err(|error| {
            let said = format!("log file {}: {error}", path.display());
            io::Error::new(error.kind(), said)
        })?;
        Ok(Self::adopted(file.into()))
    }

    /// A file that another process opened.
    pub(super) const fn adopted(fd: OwnedFd) -> Self {
        Self::new(Way::Write(Target::Own(fd)))
    }

    const fn new(way: Way) -> Self {
        Self {
            way,
            hurried_until: AtomicU64::new(0),
        }
    }

    /// Writes one whole line.
    ///
    /// # Errors
    ///
    /// The line is lost, or when the disk became full in the middle of it, its
    /// rest is. Count it and go on: the next one may succeed.
    pub(super) fn put(&self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.wait() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.way {
            Way::Write(to) => Ok(nix::unistd::write(to, bytes)?),
            Way::Send(to) => socket::send(to, bytes),
        }
    }

    /// Whether there is room now, or soon.
    fn wait(&self) -> bool {
        // Relaxed: it spares waiting, nothing depends on it.
        if clock::coarse_millis() < self.hurried_until.load(Ordering::Relaxed) {
            return false;
        }
        let mut room = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut room, PollTimeout::from(PATIENCE)) {
            Ok(0) | Err(_) => {
                let until = clock::coarse_millis() + PAUSE;
                self.hurried_until.store(until, Ordering::Relaxed);
                false
            }
            Ok(_) => true,
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Write(target) | Way::Send(target) => target.as_fd(),
        }
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::StandardError(stderr) => stderr.as_fd(),
            Self::StandardOutput(stdout) => stdout.as_fd(),
            Self::Own(fd) => fd.as_fd(),
        }
    }
}

/// Opens for appending. Without `O_NONBLOCK`, opening a named pipe that nobody
/// reads would never return; for a file the flag means nothing.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::io::Read;

    /// The two ends of a pipe, the writing one as a sink.
    fn pipe() -> (File, Sink) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        (reader.into(), Sink::adopted(writer))
    }

    #[test]
    fn lines_are_appended_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        Sink::file(&path).unwrap().put(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Sink::file(Path::new("/nowhere/at/all")).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("log file /nowhere/at/all: "), "{said}");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_named_pipe_without_a_reader_is_refused_instead_of_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Sink::file(&path).is_err());
    }

    #[test]
    fn a_full_disk_and_a_vanished_reader_are_errors() {
        let full = Sink::file(Path::new("/dev/full")).unwrap();
        let error = full.put(b"line\n").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));

        let (reader, sink) = pipe();
        drop(reader);
        let error = sink.put(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_sleeping_reader_is_waited_for_once_and_then_costs_lines_only() {
        let (mut reader, sink) = pipe();
        let line = [b'x'; 4096];
        let taken = (0..10_000).take_while(|_| sink.put(&line).is_ok()).count();
        let error = sink.put(&line).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_ne!(sink.hurried_until.load(Ordering::Relaxed), 0);

        reader.read_exact(&mut vec![0; taken * 4096]).unwrap();
        sink.put(&line).expect("there is room again");
    }
}
