//! Lines to the system's log daemon, as RFC 3164 datagrams.
//!
//! Each process has a socket of its own, made after the fork, so that its lines
//! carry its own pid and no process waits behind another one. The socket never
//! blocks: what a full daemon does not take is dropped, and the caller counts
//! it. A daemon that was restarted is connected to again, at once the first
//! time and then less and less often. Any thread may send; the lock guards the
//! choice of the socket and is not held while a datagram is sent.
//!
//! The time in a line is UTC; RFC 3164 leaves no room to say so.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::log::Level;
use syslog::{Facility, Formatter3164, LogFormat, Severity};

use crate::sys::clock;

/// Bytes of a datagram's text. With the header in front of it (priority, time,
/// program, pid: below 128 bytes) a datagram stays below 4,096 bytes.
pub(super) const TEXT_MAX: usize = super::line::MAX - 128;

/// Where the daemons of this world listen.
const PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Milliseconds between a failed attempt to connect and the next one: the
/// first time, and at most.
const RETRY_MS: (u64, u64) = (100, 30_000);

/// Which system log: `local0` and the other facilities for the usual socket,
/// `unix:PATH` for a socket of your own (facility `daemon`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    Facility(String),
    Socket(PathBuf),
}

/// The facility `daemon`.
impl Default for Target {
    fn default() -> Self {
        Self(Kind::Facility("daemon".into()))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err(format!("`{text}` names no path after `unix:`")),
            Some(path) => Ok(Self(Kind::Socket(path.into()))),
            None if Facility::from_str(text).is_ok() => Ok(Self(Kind::Facility(text.to_owned()))),
            None => Err(format!(
                "`{text}` is no syslog; expected a facility such as `local0`, or `unix:PATH`"
            )),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Facility(name) => f.write_str(name),
            Kind::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One process's way to the daemon.
#[derive(Debug)]
pub(super) struct Syslog {
    target: Target,
    formatter: Formatter3164,
    connection: Mutex<Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    socket: Option<Arc<UnixDatagram>>,
    /// Clock time, in milliseconds, before which nobody tries to connect.
    retry_at: u64,
    /// How long to wait after the next failure, in milliseconds.
    delay: u64,
}

impl Syslog {
    /// Connects with the first line, so that a daemon may come up later than
    /// we do. `program` is the tag of the lines.
    pub(super) fn new(target: Target, program: &str, pid: u32) -> Self {
        let facility = match &target.0 {
            Kind::Facility(name) => Facility::from_str(name).unwrap_or_default(),
            Kind::Socket(_) => Facility::LOG_DAEMON,
        };
        Self {
            target,
            formatter: Formatter3164 {
                facility,
                hostname: None, // The daemon knows it.
                process: program
                    .chars()
                    .filter(|c| c.is_ascii_graphic())
                    .take(32)
                    .collect(),
                pid,
            },
            connection: Mutex::default(),
        }
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Sends one line.
    ///
    /// # Errors
    ///
    /// The line is lost: the daemon is full or away. Count it and go on.
    pub(super) fn put(&self, level: Level, text: &[u8]) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(super::line::MAX);
        self.formatter
            .format(
                &mut datagram,
                severity(level),
                String::from_utf8_lossy(text),
            )
            .map_err(|error| io::Error::other(error.to_string()))?;
        let tried = self.lock().socket.clone();
        match tried.as_ref().map(|socket| socket.send(&datagram)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) if is_full(&error) => Err(error),
            Some(Err(_)) | None => {
                let socket = self.connect(tried.as_ref(), clock::coarse_millis())?;
                socket.send(&datagram).map(|_| ())
            }
        }
    }

    /// Another socket than `tried`, which failed.
    fn connect(
        &self,
        tried: Option<&Arc<UnixDatagram>>,
        now: u64,
    ) -> io::Result<Arc<UnixDatagram>> {
        let mut connection = self.lock();
        if let Some(socket) = &connection.socket
            && tried.is_none_or(|tried| !Arc::ptr_eq(tried, socket))
        {
            return Ok(Arc::clone(socket)); // Another thread was faster.
        }
        connection.socket = None;
        if now < connection.retry_at {
            return Err(io::ErrorKind::NotConnected.into());
        }
        match self.target.connect() {
            Ok(socket) => {
                let socket = Arc::new(socket);
                *connection = Connection {
                    socket: Some(Arc::clone(&socket)),
                    ..Connection::default()
                };
                Ok(socket)
            }
            Err(error) => {
                let (first, most) = RETRY_MS;
                connection.delay = (connection.delay * 2).clamp(first, most);
                connection.retry_at = now + connection.delay;
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // Valid after every statement, so a panic elsewhere has spoilt nothing.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn connect(&self) -> io::Result<UnixDatagram> {
        match &self.0 {
            Kind::Socket(path) => connect(path),
            Kind::Facility(_) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for path in PATHS {
                    match connect(Path::new(path)) {
                        Ok(socket) => return Ok(socket),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

const fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warn => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
        Level::Debug | Level::Trace => Severity::LOG_DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Daemon {
        folder: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Daemon {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = Self::listen(&folder);
            Self { folder, socket }
        }

        fn listen(folder: &tempfile::TempDir) -> UnixDatagram {
            let path = folder.path().join("log");
            let _first_time = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(path).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket
        }

        fn restart(&mut self) {
            self.socket = Self::listen(&self.folder);
        }

        fn client(&self) -> Syslog {
            let target = format!("unix:{}", self.folder.path().join("log").display());
            Syslog::new(target.parse().unwrap(), "purlin", 41873)
        }

        fn next(&self) -> String {
            let mut datagram = [0; 8192];
            let len = self.socket.recv(&mut datagram).unwrap();
            String::from_utf8(datagram[..len].to_vec()).unwrap()
        }
    }

    #[test]
    fn a_line_carries_priority_program_and_pid() {
        let daemon = Daemon::start();
        let client = daemon.client();
        // The facility is daemon (3), times 8, plus the severity.
        for (level, priority) in [
            (Level::Error, "<27>"),
            (Level::Warn, "<28>"),
            (Level::Info, "<30>"),
            (Level::Trace, "<31>"),
        ] {
            client.put(level, "worker-2/reactor: é".as_bytes()).unwrap();
            let got = daemon.next();
            assert!(got.starts_with(priority), "{got}");
            assert!(
                got.ends_with(" purlin[41873]: worker-2/reactor: é"),
                "{got}"
            );
        }
    }

    #[test]
    fn a_restarted_daemon_is_found_again_without_losing_a_line() {
        let mut daemon = Daemon::start();
        let client = daemon.client();
        for text in ["first", "second", "third"] {
            client.put(Level::Info, text.as_bytes()).unwrap();
            assert!(daemon.next().ends_with(text));
            daemon.restart();
        }
    }

    #[test]
    fn a_full_daemon_costs_lines_and_never_time() {
        let daemon = Daemon::start();
        let client = daemon.client();
        let taken = (0..100_000)
            .take_while(|_| client.put(Level::Info, b"text").is_ok())
            .count();
        let error = client.put(Level::Info, b"text").unwrap_err();
        assert!(is_full(&error), "{error}");
        for _ in 0..taken {
            daemon.next();
        }
        client.put(Level::Info, b"room again").unwrap();
        assert!(daemon.next().ends_with("room again"));
    }

    #[test]
    fn a_missing_daemon_is_tried_less_and_less_often() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let target: Target = format!("unix:{}", path.display()).parse().unwrap();
        let client = Syslog::new(target, "purlin", 1);
        let mut now = 1_000;
        for wait in [100, 200, 400, 800] {
            let refused = client.connect(None, now).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotFound);
            let early = client.connect(None, now + wait - 1).unwrap_err();
            assert_eq!(early.kind(), io::ErrorKind::NotConnected);
            now += wait;
        }
        let _daemon = UnixDatagram::bind(path).unwrap();
        assert!(client.connect(None, now).is_ok());
        assert_eq!(client.lock().delay, 0, "the next trouble begins anew");
    }

    #[test]
    fn targets_are_read_and_written_alike() {
        for text in ["local0", "daemon", "unix:run/log"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in ["", "local9", "unix:", "/dev/log"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
