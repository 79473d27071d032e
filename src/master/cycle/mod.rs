//! A cycle: one configuration, with everything that was made for it and can
//! fail, from which a generation of workers is started. Made before anything is
//! changed.

mod check;
pub(super) mod inherited;
mod settings;
pub(super) mod socket_file;

use std::io::ErrorKind::NotFound;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exit::Ending;
use super::supervisor::Policy;
use crate::config::{Accept, Affinity, Config, Workers};
use crate::listener::{self, Codecs, Spoken};
use crate::log::{self, Settings};
use crate::scoreboard::Scoreboard;
use crate::sys::cores;
use crate::sys::epoll::duplicate;
use crate::sys::privileges::Identity;
use crate::sys::process::Pid;
use crate::sys::socket::{self, Address};
use crate::worker::{self, BindError, Limits, Listening};
pub use check::check;
use check::{check_body_folder, check_rights, identity};
use inherited::Sockets;
pub(in crate::master) use settings::settings;
use socket_file::SocketFile;

/// How long a worker may take until it serves.
const READY: Duration = Duration::from_secs(30);

/// How often a bind is tried again while it may still succeed.
const AGAIN: Duration = Duration::from_millis(20);

/// A socket of worker `number`, which there is none of now.
struct Surplus {
    number: usize,
    /// Which listener of the configuration.
    n: usize,
    open: Listening,
}

/// Names a listening socket of a cycle: of which worker it was at first, and
/// which listener of the configuration it is.
pub(in crate::master) type SocketName = (usize, usize);

/// The worker of `count` that accepts from the sockets of worker `number`.
const fn keeper(number: usize, count: usize) -> usize {
    number % count
}

/// What each cycle is made of, beside its configuration.
#[derive(Clone, Copy)]
pub(in crate::master) struct Basis<'a> {
    /// The frame formats that the program brings along.
    pub(in crate::master) codecs: &'a Codecs,
    pub(in crate::master) is_daemon: bool,
}

/// A configuration and what belongs to it.
pub(in crate::master) struct Cycle {
    pub(in crate::master) config: Config,
    pub(in crate::master) limits: Limits,
    pub(in crate::master) workers: usize,
    /// By worker, or one set for all of them.
    listeners: Vec<Vec<Listening>>,
    /// Sockets of workers that earlier cycles had and this one has not. With
    /// `reuseport` clients wait in the queue of each: while the master lives it
    /// closes none, and the workers that there are accept from them.
    surplus: Vec<Surplus>,
    /// What the service manager bound for us.
    pub(in crate::master) sockets: Sockets,
    /// The paths among them.
    files: Vec<SocketFile>,
    pub(in crate::master) settings: Settings,
    /// Whom the workers become; `None`: they stay who the master is.
    pub(in crate::master) identity: Option<Identity>,
}

impl Cycle {
    /// Makes everything for `config`; takes listeners over from `before` and
    /// from `sockets`, and tries those that are in use again for `patience`.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Ending`]: what the operator has to mend.
    pub(in crate::master) fn prepare(
        config: Config,
        basis: Basis<'_>,
        before: Option<&Before<'_>>,
        sockets: Sockets,
        patience: Duration,
    ) -> Result<Self, Ending> {
        let settings = settings(&config, basis.is_daemon)?;
        let identity = identity(&config)?;
        check_rights(&config)?;
        check_body_folder(&config)?;
        sockets.check(&config)?;
        let mut files = Vec::new();
        let until = Instant::now() + patience;
        let protocols = listener::protocols(&config, basis.codecs)?;
        let spoken = (&config, &protocols[..]);
        let listeners =
            listeners(spoken, before, &sockets, until, &mut files).inspect_err(|_| {
                files.iter().for_each(SocketFile::remove);
            })?;
        let surplus = surplus(spoken, before, listeners.len())?;
        // Those that were taken over have the files that they had.
        let before = before.map_or(&[][..], |before| before.files);
        let kept = before.iter().filter(|file| {
            let is_it =
                |open: &Listening| matches!(&open.address, Address::Unix(at) if file.is_at(at));
            let is_made_anew = files.iter().any(|new: &SocketFile| new.is_at(file.path()));
            listeners[0].iter().any(is_it) && !is_made_anew
        });
        let kept: Vec<SocketFile> = kept.cloned().collect();
        files.extend(kept);
        Ok(Self {
            limits: Limits::from(&config),
            workers: workers(&config),
            listeners,
            surplus,
            sockets,
            files,
            settings,
            identity,
            config,
        })
    }

    pub(in crate::master) fn policy(&self, slots: usize) -> Policy {
        Policy {
            slots,
            shutdown_timeout: self.config.shutdown_timeout,
            ready_timeout: READY,
            generations_max: self.config.generations_max.into(),
            upgrade_timeout: self.config.upgrade_timeout,
            is_first_process: Pid::own().raw() == 1,
            seed: u64::from(std::process::id()),
        }
    }

    /// The core that worker `number` keeps to, if any.
    pub(in crate::master) fn core(&self, number: usize) -> Option<usize> {
        if self.config.worker.cpu_affinity == Affinity::Off {
            return None;
        }
        let allowed = cores::allowed_cores().ok()?;
        allowed.get(number % allowed.len().max(1)).copied()
    }
}

/// How many workers `config` asks for, on this machine.
fn workers(config: &Config) -> usize {
    match config.workers {
        Workers::Auto => cores::available_cores().min(64),
        Workers::Count(count) => count.into(),
    }
}

/// The sockets of every worker: one set for all, or one for each.
fn listeners(
    (config, protocols): (&Config, &[Spoken]),
    before: Option<&Before<'_>>,
    sockets: &Sockets,
    until: Instant,
    files: &mut Vec<SocketFile>,
) -> Result<Vec<Vec<Listening>>, Ending> {
    let share = config.accept == Accept::Reuseport;
    let count = if share { workers(config) } else { 1 };
    let mut sets: Vec<Vec<Listening>> = Vec::new();
    for number in 0..count {
        let mut set = Vec::new();
        for (n, protocol) in protocols.iter().enumerate() {
            let listener = &config.listener[n];
            let earlier = before.and_then(|before| before.earlier(config, n, number));
            // Nobody finds a socket whose file somebody has removed.
            let earlier = earlier.filter(|_| !is_gone(&listener.address));
            // A path cannot be bound twice.
            let is_path = matches!(listener.address, Address::Unix(_));
            let first = sets.first().map(|set: &Vec<Listening>| &set[n]);
            let first_path = first.filter(|_| is_path).map(|open| open.socket.as_fd());
            let open = first_path.or(earlier);
            let bound = || Some(sockets.at(&listener.address)?.as_fd());
            let socket = match open.or_else(bound) {
                Some(open) => {
                    let is_ours = sockets.at(&listener.address).is_none();
                    let is_so = |is_only| is_only == config.is_ipv6_only(n);
                    if is_ours && !socket::is_ipv6_only(open).is_none_or(is_so) {
                        let key = format!("listener.{n}.ipv6_only");
                        let why = "makes another socket of the address that is listened on: only \
                                   a restart can change it";
                        return Err(config.refuse(&key, why).into());
                    }
                    duplicate(open).map_err(|error| Ending::internal("keep a listener", &error))?
                }
                None => {
                    // The kernel chose the port for the first set.
                    let address = first.map_or(&listener.address, |first| &first.address);
                    let socket = patiently(until, || worker::open(config, n, address, share))?;
                    if let Address::Unix(path) = address {
                        files.extend(SocketFile::at(path));
                    }
                    socket
                }
            };
            let mut open = Listening::new(config, n, Arc::clone(protocol), socket)?;
            open.is_lent = sockets.at(&listener.address).is_some();
            set.push(open);
        }
        sets.push(set);
    }
    Ok(sets)
}

/// Whether nothing is at the path of a Unix socket.
fn is_gone(address: &Address) -> bool {
    let Address::Unix(path) = address else {
        return false;
    };
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == NotFound)
}

/// What listens already, for a cycle to take over.
pub(in crate::master) struct Before<'a> {
    /// By worker, or once for all: the address as it is configured, the socket.
    pub(in crate::master) listeners: Vec<Vec<(&'a Address, BorrowedFd<'a>)>>,
    /// The paths among them.
    pub(in crate::master) files: &'a [SocketFile],
}

impl Before<'_> {
    /// The socket that listens already where listener `n` of `config` is to.
    fn earlier(&self, config: &Config, n: usize, number: usize) -> Option<BorrowedFd<'_>> {
        let address = &config.listener[n].address;
        // Several may ask for port 0: the second of them is the second again.
        let earlier = config.listener[..n].iter();
        let nth = earlier.filter(|other| other.address == *address).count();
        let set = self.listeners.get(number)?.iter();
        let mut found = set.filter(|(other, _)| *other == address);
        found.nth(nth).map(|(_, socket)| *socket)
    }
}

impl Cycle {
    /// What the next cycle can take over from this one.
    pub(in crate::master) fn as_before(&self) -> Before<'_> {
        let mut listeners = Vec::new();
        for set in &self.listeners {
            let addresses = self.config.listener.iter().map(|one| &one.address);
            let sockets = set.iter().map(|open| open.socket.as_fd());
            listeners.push(addresses.zip(sockets).collect::<Vec<_>>());
        }
        for Surplus { number, n, open } in &self.surplus {
            if listeners.len() <= *number {
                listeners.resize_with(number + 1, Vec::new);
            }
            let address = &self.config.listener[*n].address;
            listeners[*number].push((address, open.socket.as_fd()));
        }
        Before {
            listeners,
            files: &self.files,
        }
    }

    /// The files of its Unix sockets.
    pub(in crate::master) fn files(&self) -> &[SocketFile] {
        &self.files
    }

    /// Where worker `number` of `count` accepts: its own listeners, in their
    /// order, then those of workers that there are not.
    ///
    /// # Errors
    ///
    /// `EMFILE` at the limit of descriptors.
    pub(in crate::master) fn listeners_of(
        &self,
        number: usize,
        count: usize,
    ) -> std::io::Result<(Vec<Listening>, Vec<SocketName>)> {
        // Who has none of its own shares those of another.
        let own = number % self.listeners.len();
        let mut all: Vec<Listening> = (self.listeners[own].iter())
            .map(Listening::duplicate)
            .collect::<std::io::Result<_>>()?;
        let mut names: Vec<SocketName> = (0..all.len()).map(|n| (own, n)).collect();
        for (name, open) in self.without_worker(count) {
            if keeper(name.0, count) == number {
                all.push(open.duplicate()?);
                names.push(name);
            }
        }
        Ok((all, names))
    }

    /// The sockets whose own worker is not among `count`; none unless each
    /// worker has its own.
    fn without_worker(&self, count: usize) -> impl Iterator<Item = (SocketName, &Listening)> {
        let sets = self.listeners.iter().enumerate().skip(count);
        let sets = sets.flat_map(|(number, set)| {
            let set = set.iter().enumerate();
            set.map(move |(n, open)| ((number, n), open))
        });
        let is_missing = move |one: &&Surplus| one.number >= count;
        let surplus = self.surplus.iter().filter(is_missing);
        let all = sets.chain(surplus.map(|one| ((one.number, one.n), &one.open)));
        let each_has_its_own = self.config.accept == Accept::Reuseport;
        let is_path = |open: &Listening| matches!(open.address, Address::Unix(_));
        all.filter(move |(_, open)| each_has_its_own && !is_path(open))
    }

    /// What the others have to accept from when only `count` workers are left:
    /// the worker, the socket's name, and the socket.
    pub(in crate::master) fn handed_on(
        &self,
        count: usize,
    ) -> impl Iterator<Item = (usize, SocketName, &Listening)> {
        let all = self.without_worker(count);
        all.map(move |(name, open)| (keeper(name.0, count), name, open))
    }

    /// Whom the listeners are shared with.
    pub(in crate::master) fn accept(&self, board: &Scoreboard) -> worker::Accept {
        match self.config.accept {
            Accept::Mutex => worker::Accept::Mutex(board.clone()),
            Accept::Exclusive => worker::Accept::Exclusive,
            Accept::Reuseport => worker::Accept::ReusePort,
        }
    }

    /// Has the kernel refuse whoever connects from now on, wherever the sockets
    /// are open.
    pub(in crate::master) fn refuse_clients(&self) {
        let surplus = self.surplus.iter().map(|one| &one.open);
        let all = self.listeners.iter().flatten().chain(surplus);
        all.for_each(Listening::refuse);
    }

    /// Gives sockets that were taken over the queues that they are to have now.
    pub(in crate::master) fn set_backlogs(&self) {
        for set in &self.listeners {
            for (open, listener) in set.iter().zip(&self.config.listener) {
                set_backlog(open, listener.backlog);
                set_rights(listener);
            }
        }
        for Surplus { n, open, .. } in &self.surplus {
            set_backlog(open, self.config.listener[*n].backlog);
        }
    }

    /// Removes the files of its Unix sockets, but for `kept`, which somebody
    /// else needs. The last thing that is done with a cycle.
    pub(in crate::master) fn unlink_but(&self, kept: &[SocketFile]) {
        let left = self.files.iter().filter(|file| !kept.contains(file));
        left.for_each(SocketFile::remove);
    }

    /// The addresses, as they are really bound.
    pub(in crate::master) fn addresses(&self) -> impl Iterator<Item = String> {
        self.listeners[0].iter().map(ToString::to_string)
    }
}

/// To the file of a Unix socket that was taken over.
fn set_rights(listener: &crate::config::Listener) {
    let Address::Unix(path) = &listener.address else {
        return;
    };
    let set = worker::rights(listener).and_then(|rights| socket::set_rights(path, rights));
    if let Err(error) = set {
        log::warn!("set the rights of {}: {error}", listener.address);
    }
}

fn set_backlog(open: &Listening, backlog: u16) {
    if let Err(error) = socket::set_backlog(&open.socket, backlog) {
        log::warn!("set the backlog of {open}: {error}");
    }
}

/// What the cycle before has listened on for workers from `count` on, where
/// this one still listens.
fn surplus(
    (config, protocols): (&Config, &[Spoken]),
    before: Option<&Before<'_>>,
    count: usize,
) -> Result<Vec<Surplus>, Ending> {
    let Some(before) = before.filter(|_| config.accept == Accept::Reuseport) else {
        return Ok(Vec::new());
    };
    let mut surplus = Vec::new();
    for (n, protocol) in protocols.iter().enumerate() {
        // A path has one socket, which every worker has.
        let is_path = matches!(config.listener[n].address, Address::Unix(_));
        for number in (count..before.listeners.len()).filter(|_| !is_path) {
            let Some(open) = before.earlier(config, n, number) else {
                continue;
            };
            let socket =
                duplicate(open).map_err(|error| Ending::internal("keep a listener", &error))?;
            let open = Listening::new(config, n, Arc::clone(protocol), socket)?;
            surplus.push(Surplus { number, n, open });
        }
    }
    Ok(surplus)
}

/// The instance before may be about to let go of the address.
fn patiently<T>(
    until: Instant,
    mut open: impl FnMut() -> Result<T, BindError>,
) -> Result<T, BindError> {
    loop {
        match open() {
            Err(error)
                if error.error.kind() == std::io::ErrorKind::AddrInUse
                    && Instant::now() < until =>
            {
                std::thread::sleep(AGAIN);
            }
            result => return result,
        }
    }
}

/// The name of the way in which workers share the listeners.
pub(in crate::master) const fn accept_name(accept: Accept) -> &'static str {
    match accept {
        Accept::Mutex => "mutex",
        Accept::Exclusive => "exclusive",
        Accept::Reuseport => "reuseport",
    }
}
