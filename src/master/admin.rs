//! The admin listener and its process, as the master keeps them: the socket stays
//! here, so that clients wait in its queue while the process is replaced.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::cycle::socket_file::SocketFile;
use super::exit::{Ending, Exit};
use crate::admin::{Facts, Offer, Publisher, Terms};
use crate::config::{Config, Place};
use crate::log;
use crate::scoreboard::Scoreboard;
use crate::sys::channel::Channel;
use crate::sys::process::{self, Cause, Pid};
use crate::sys::socket::{self, Address};

/// Clients that wait for the process.
const BACKLOG: u16 = 64;

/// How long an address that was configured may be in use at the start, and the
/// default: by the process of a master that was killed.
const BIND: Duration = Duration::from_secs(1);
const BIND_DEFAULT: Duration = Duration::from_millis(200);

/// How often a bind is tried again meanwhile.
const AGAIN: Duration = Duration::from_millis(20);

/// How soon a process that was killed is replaced, and one that ended by itself: the
/// latter twice as late each time, up to 80 s.
const KILLED: Duration = Duration::from_millis(50);
const FAILED: Duration = Duration::from_secs(5);

/// How long one lives that was not started in vain, and how many that were killed before
/// are replaced without another pause.
const LIVED: Duration = Duration::from_secs(10);
const KILLS: u32 = 32;

/// Facts are written at most so often.
const PACE: Duration = Duration::from_millis(50);

/// Where clients come, or why they cannot.
pub(in crate::master) struct AdminListener {
    open: Option<Open>,
    /// Why there is none.
    problem: Option<String>,
}

struct Open {
    socket: OwnedFd,
    address: Address,
    file: Option<SocketFile>,
}

impl AdminListener {
    /// None, as where nobody asked for one.
    const fn none() -> Self {
        Self {
            open: None,
            problem: None,
        }
    }

    /// Binds what `config` says.
    ///
    /// # Errors
    ///
    /// [`Ending`]: an address that was configured cannot be had. Where the default
    /// cannot, the server does without.
    pub(in crate::master) fn bind(config: &Config) -> Result<Self, Ending> {
        let Some(address) = &config.admin.address else {
            return Ok(Self::none());
        };
        let is_default = *config.place("admin.address") == Place::Default;
        let patience = if is_default { BIND_DEFAULT } else { BIND };
        let mut listener = Self::none();
        match Open::bind(address, patience) {
            Ok(open) => listener.open = Some(open),
            Err(error) if is_default => listener.do_without(address, &error),
            Err(error) => {
                let is_denied = error.kind() == ErrorKind::PermissionDenied;
                let exit = if is_denied {
                    Exit::Permission
                } else {
                    Exit::Unavailable
                };
                let text = format!("admin listener {address}: {error}");
                return Err(Ending::new(exit, text));
            }
        }
        Ok(listener)
    }

    /// That of the program before this one, or one of its own where that had none.
    pub(in crate::master) fn inherit(config: &Config, before: Option<OwnedFd>) -> Self {
        let Some(address) = &config.admin.address else {
            return Self::none();
        };
        let mut listener = Self::none();
        let open = before.map_or_else(|| Open::bind(address, Duration::ZERO), Open::inherited);
        match open {
            Ok(open) => listener.open = Some(open),
            Err(error) => listener.do_without(address, &error),
        }
        listener
    }

    fn do_without(&mut self, address: &Address, error: &io::Error) {
        let text = format!("no admin listener: {address}: {error}");
        log::warn!("{text}; set admin.address to another one, or to nothing");
        self.problem = Some(text);
    }

    /// For the next program.
    pub(in crate::master) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.socket.as_fd())
    }

    /// Where it is, or why it is nowhere; `None`: nobody wants it.
    pub(in crate::master) fn place(&self) -> Option<String> {
        let open = self.open.as_ref();
        let place = open.map(|open| format!("figures on {}", open.address));
        place.or_else(|| self.problem.clone())
    }

    /// Where it is really bound.
    pub(in crate::master) fn address(&self) -> Option<&Address> {
        self.open.as_ref().map(|open| &open.address)
    }

    /// Nobody comes there any more. What another master may need stays.
    pub(in crate::master) fn remove(&self) {
        if let Some(file) = self.open.as_ref().and_then(|open| open.file.as_ref()) {
            file.remove();
        }
    }
}

impl Open {
    fn bind(address: &Address, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        let socket = loop {
            match socket::listen(address, BACKLOG, false) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                    std::thread::sleep(AGAIN);
                }
                result => break result?,
            }
        };
        Self::inherited(socket)
    }

    /// The file of the log for reading, where nobody from elsewhere reads it.
    fn tail(&self, log: Option<&Path>) -> Option<File> {
        let is_own = match &self.address {
            Address::Tcp(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        };
        log.filter(|_| is_own)?;
        let file = log::file_descriptor().ok()??;
        // The one that is written, whatever has its name now.
        let file = File::open(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())).ok()?;
        file.metadata().ok()?.is_file().then_some(file)
    }

    fn inherited(socket: OwnedFd) -> io::Result<Self> {
        let address = socket::local_address(&socket)?;
        let file = match &address {
            Address::Unix(path) => Some(SocketFile::at(path)?),
            Address::Tcp(_) => None,
        };
        Ok(Self {
            socket,
            address,
            file,
        })
    }
}

/// The listener, its process, and what that is told.
pub(in crate::master) struct Admin {
    pub(in crate::master) listener: AdminListener,
    publisher: Option<Publisher>,
    child: Option<(Pid, Channel)>,
    /// When the process is started, if there is none.
    start_at: Instant,
    /// When facts are written again, and whether there may be others.
    publish_at: Instant,
    is_stale: bool,
    /// How often it has ended soon after its start, one time behind the other.
    failures: u32,
    started_at: Instant,
}

impl Admin {
    pub(in crate::master) fn new(listener: AdminListener) -> io::Result<Self> {
        let now = Instant::now();
        let publisher = listener.open.is_some().then(Publisher::new);
        Ok(Self {
            listener,
            publisher: publisher.transpose()?,
            child: None,
            start_at: now,
            publish_at: now,
            is_stale: true,
            failures: 0,
            started_at: now,
        })
    }

    pub(in crate::master) fn is(&self, pid: Pid) -> bool {
        self.pid() == Some(pid)
    }

    pub(in crate::master) fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|(pid, _)| *pid)
    }

    /// When something is to be done; the process is wanted if `is_ruling`.
    pub(in crate::master) fn next_deadline(&self, is_ruling: bool) -> Option<Instant> {
        self.publisher.as_ref()?;
        let start = (self.child.is_none() && is_ruling).then_some(self.start_at);
        let publish = self.is_stale.then_some(self.publish_at);
        start.into_iter().chain(publish).min()
    }

    /// Something happened, of which there may be new facts.
    pub(in crate::master) fn has_news(&mut self) {
        self.is_stale = true;
    }

    /// Writes what is known, if it is time to.
    pub(in crate::master) fn publish(&mut self, now: Instant, facts: impl FnOnce() -> Facts) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        if self.is_stale && now >= self.publish_at {
            self.is_stale = false;
            self.publish_at = now + PACE;
            publisher.publish(facts());
        }
    }

    /// Starts the process if there is none and it is time to.
    pub(in crate::master) fn keep(
        &mut self,
        now: Instant,
        board: &Scoreboard,
        terms: &Terms,
        log: Option<&Path>,
    ) {
        if self.child.is_some() || now < self.start_at {
            return;
        }
        let Some((open, publisher)) = self.listener.open.as_ref().zip(self.publisher.as_ref())
        else {
            return;
        };
        match start((open, publisher), board, terms, log) {
            Ok(child) => {
                log::info!("figures are shown on {}, by pid {}", open.address, child.0);
                self.child = Some(child);
                self.started_at = now;
            }
            Err(error) => {
                log::error!("start the admin process: {error}");
                self.start_at = now + FAILED;
            }
        }
    }

    /// It was reaped.
    pub(in crate::master) fn ended(&mut self, cause: Cause) {
        let Some((pid, _)) = self.child.take() else {
            return;
        };
        // Whoever may kill it could do so for ever, and each start is a fork.
        let has_lived = self.started_at.elapsed() > LIVED;
        let was_killed = matches!(cause, Cause::Killed { .. });
        self.failures = if has_lived { 0 } else { self.failures + 1 };
        let patience = if was_killed { KILLS } else { 0 };
        let pause = match self.failures.saturating_sub(patience) {
            0 if was_killed => KILLED,
            0 => FAILED,
            more => FAILED * (1 << (more - 1).min(4)),
        };
        log::warn!("the admin process, pid {pid}, {cause}: another is started in {pause:?}");
        self.start_at = Instant::now() + pause;
    }

    /// Ends the process, and waits until it has.
    pub(in crate::master) fn end(&mut self) {
        if let Some((pid, _line)) = self.child.take() {
            process::end(pid);
        }
    }

    /// The log is another file now.
    pub(in crate::master) fn reopen(&self, log: Option<&Path>) {
        let Some((_, line)) = &self.child else { return };
        let tail = self.listener.open.as_ref().and_then(|open| open.tail(log));
        let Ok(Some(file)) = log::file_descriptor() else {
            return;
        };
        let files = [Some(file.as_fd()), tail.as_ref().map(AsFd::as_fd)];
        let files: Vec<BorrowedFd<'_>> = files.into_iter().flatten().collect();
        if let Err(error) = line.send(b"log", &files) {
            log::error!("tell the admin process to reopen its log: {error}");
        }
    }

    /// Another master has it.
    pub(in crate::master) fn give_up(&mut self) {
        self.end();
        self.listener = AdminListener::none();
        self.publisher = None;
    }
}

fn start(
    (open, publisher): (&Open, &Publisher),
    board: &Scoreboard,
    terms: &Terms,
    log: Option<&Path>,
) -> io::Result<(Pid, Channel)> {
    let tail = open.tail(log);
    let (counted, facts) = (board.read_only()?, publisher.read_only()?);
    let file = log::file_descriptor()?;
    let offer = Offer {
        terms: terms.clone(),
        listener: open.socket.as_fd(),
        counted: &counted,
        facts: facts.as_fd(),
        log: file.as_ref().map(AsFd::as_fd),
        tail: tail.as_ref().map(AsFd::as_fd),
    };
    offer.start()
}
