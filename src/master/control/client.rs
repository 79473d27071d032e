//! The operator's end: asks, waits, gives the answer. Blocks.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{Command, Response};
use crate::sys::local;

/// Longer answers are no answers.
const RESPONSE_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum ControlError {
    /// No master listens there: it does not run, or uses another path.
    NotRunning(PathBuf),
    /// The master belongs to somebody else.
    Permission(PathBuf),
    /// The master did not answer in time; it may still do what was asked.
    Timeout(Duration),
    /// The connection ended, or what came is no answer. After `stop` and `quit`
    /// look whether the master is gone.
    Broken(io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(path) => write!(f, "no master listens on {}", whole(path)),
            Self::Permission(path) => {
                write!(f, "no permission for control socket {}", whole(path))
            }
            Self::Timeout(limit) => write!(f, "the master did not answer within {limit:?}"),
            Self::Broken(error) => write!(f, "conversation with the master: {error}"),
        }
    }
}

/// With its folder: who asks from the wrong one is to see that.
fn whole(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    whole.display().to_string()
}

impl Error for ControlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::NotRunning(_) | Self::Permission(_) | Self::Timeout(_) => None,
        }
    }
}

/// Asks the master behind `path`, and waits at most `timeout` for its answer.
///
/// # Errors
///
/// As [`ControlError`] says; a command that failed is an answer, not an error.
pub fn request(path: &Path, command: Command, timeout: Duration) -> Result<Response, ControlError> {
    let start = Instant::now();
    let mut stream = local::connect(path, timeout).map_err(|error| {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused {
            ControlError::NotRunning(path.to_path_buf())
        } else if kind == io::ErrorKind::PermissionDenied {
            ControlError::Permission(path.to_path_buf())
        } else {
            broken_or_late(error, timeout)
        }
    })?;
    let late = |error| broken_or_late(error, timeout);
    stream.write_all(&command.line()).map_err(late)?;
    let deadline = start + timeout;
    let line = read_line(Patient { stream, deadline }).map_err(late)?;
    serde_json::from_slice(&line).map_err(|error| ControlError::Broken(error.into()))
}

fn broken_or_late(error: io::Error, timeout: Duration) -> ControlError {
    // A read that reached its limit says `WouldBlock`.
    if matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    ) {
        ControlError::Timeout(timeout)
    } else {
        ControlError::Broken(error)
    }
}

fn read_line(stream: Patient) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(RESPONSE_MAX)).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        return Ok(line);
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it ended before the answer was complete",
    ))
}

/// A stream with one deadline for all reads together: a limit for each read
/// would let a trickle last for ever.
struct Patient {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::control::{Client, ControlSocket, Progress};
    use crate::sys::epoll::{Epoll, Events, Interest};
    use std::thread::{self, JoinHandle};

    const LONG: Duration = Duration::from_secs(20);

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purlin.ctl");
        (folder, path)
    }

    fn ask(path: &Path, command: Command) -> JoinHandle<Result<Response, ControlError>> {
        let path = path.to_path_buf();
        thread::spawn(move || request(&path, command, LONG))
    }

    /// Serves one client the way the master does; `None` if it left.
    fn serve(control: &ControlSocket, answer: impl FnOnce(Command) -> Response) -> Option<Client> {
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let mut wait = || assert_eq!(epoll.wait(&mut events, Some(LONG)).unwrap().count(), 1);
        epoll.add(control, Interest::Read, 0).unwrap();
        wait();
        let mut client = control.accept(Instant::now()).unwrap().unwrap();
        epoll.delete(control).unwrap();
        epoll.add(&client, Interest::Read, 1).unwrap();
        let command = loop {
            wait();
            match client.read() {
                Progress::Read => {}
                Progress::Asked(command) => break command,
                Progress::Write | Progress::Done => return None,
            }
        };
        epoll.delete(&client).unwrap();
        assert_eq!(client.deadline(), None);
        let mut progress = client.answer(&answer(command), Instant::now());
        epoll.add(&client, Interest::WriteOnce, 1).unwrap();
        while progress == Progress::Write {
            wait();
            progress = client.write();
            epoll.rearm(&client, Interest::WriteOnce, 1).unwrap();
        }
        assert_eq!(progress, Progress::Done);
        Some(client)
    }

    #[test]
    fn a_request_gets_its_answer_however_long() {
        let (_folder, path) = folder();
        let control = ControlSocket::bind(&path).unwrap();
        for size in [0, 5_000_000] {
            let asking = ask(&path, Command::Status);
            let response = Response::new(3, "x".repeat(size));
            let kept_by_a_worker = serve(&control, |command| {
                assert_eq!(command, Command::Status);
                response.clone()
            });
            assert_eq!(asking.join().unwrap().unwrap(), response);
            drop(kept_by_a_worker);
        }
    }

    #[test]
    fn without_a_master_nobody_answers() {
        let (folder, path) = folder();
        let nobody = |path: &Path| {
            let error = request(path, Command::Stop, LONG).unwrap_err();
            assert!(matches!(error, ControlError::NotRunning(_)), "{error}");
        };
        nobody(&path);
        drop(ControlSocket::bind(&path).unwrap());
        assert!(path.exists(), "left behind, as by a crash");
        nobody(&path);
        ControlSocket::bind(&path).unwrap().remove();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn the_path_of_another_master_is_neither_taken_nor_unlinked() {
        let (_folder, path) = folder();
        let first = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        std::fs::remove_file(&path).unwrap();
        let _second = ControlSocket::bind(&path).unwrap();
        first.remove();
        assert!(path.exists());
    }

    #[test]
    fn a_master_that_does_not_answer_is_given_up() {
        let (_folder, path) = folder();
        let _control = ControlSocket::bind(&path).unwrap();
        let short = Duration::from_millis(50);
        let error = request(&path, Command::Reload, short).unwrap_err();
        assert!(matches!(error, ControlError::Timeout(_)), "{error}");
    }

    #[test]
    fn a_master_that_dies_meanwhile_is_told_from_a_slow_one() {
        let (_folder, path) = folder();
        let control = ControlSocket::bind(&path).unwrap();
        let asking = ask(&path, Command::Stop);
        let give_up = Instant::now() + LONG;
        let client = loop {
            assert!(Instant::now() < give_up);
            if let Some(client) = control.accept(Instant::now()).unwrap() {
                break client;
            }
        };
        drop(client);
        let error = asking.join().unwrap().unwrap_err();
        assert!(matches!(error, ControlError::Broken(_)), "{error}");
    }

    #[test]
    fn a_client_that_says_nothing_has_a_deadline() {
        let (_folder, path) = folder();
        let control = ControlSocket::bind(&path).unwrap();
        let silent = local::connect(&path, LONG).unwrap();
        let now = Instant::now();
        let mut client = control.accept(now).unwrap().unwrap();
        assert_eq!(client.read(), Progress::Read);
        assert_eq!(client.deadline(), Some(now + super::super::PATIENCE));
        drop(silent);
        assert_eq!(client.read(), Progress::Done);
    }
}
