//! From the listeners of the configuration to the sockets that workers accept
//! from.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{fmt, io};

use super::limits::admission::Entrance;
use super::setup::{Accept, Listening};
use crate::config::{self, Config};
use crate::dispatch::service::{Origin, UnknownId};
use crate::protocol::Protocol;
use crate::scoreboard::Scoreboard;
use crate::sys::epoll::duplicate;
use crate::sys::privileges;
use crate::sys::socket::{self, Address, Manner, Rights};

/// An address that cannot be listened on: it is in use, or not ours.
#[derive(Debug)]
pub struct BindError {
    /// The address of the configuration.
    pub address: Address,
    /// What the system said.
    pub error: io::Error,
}

impl BindError {
    fn new(listener: &config::Listener, error: io::Error) -> Self {
        Self {
            address: listener.address.clone(),
            error,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        write!(f, "listen on {address}: {error}")?;
        let hint = match error.raw_os_error() {
            Some(libc::EADDRINUSE) => "stop the program that has it, or choose another address",
            Some(libc::EADDRNOTAVAIL) => "no interface of this machine has that address",
            Some(libc::EPERM) => "only root gives a file to another user or group than its own",
            Some(libc::EACCES) if matches!(address, Address::Unix(_)) => {
                "its folder cannot be written to"
            }
            Some(libc::EACCES) => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
            _ => return Ok(()),
        };
        write!(f, "; {hint}")
    }
}

impl std::error::Error for BindError {}

/// A queue of fewer than this fills up before the one worker that accepts has run.
const SHORT_BACKLOG: u64 = 128;

impl Accept {
    /// With whom the workers of `config`, which count in `board`, share its listeners;
    /// `somaxconn` is the longest queue that the kernel allows.
    ///
    /// Where a queue is short, nobody is given the accept mutex and all accept: who
    /// finds a TCP queue full waits for a second, until its kernel asks again. One
    /// process beside busy others runs too seldom to prevent that; in a storm of short
    /// connections on a queue of 16, it let a tenth of those in that four do.
    #[must_use]
    pub fn new(config: &Config, board: &Scoreboard, somaxconn: Option<u64>) -> Self {
        let is_short = |listener: &config::Listener| {
            let queue = u64::from(listener.backlog).min(somaxconn.unwrap_or(u64::MAX));
            matches!(listener.address, Address::Tcp(_)) && queue < SHORT_BACKLOG
        };
        match config.accept {
            config::Accept::Mutex if !config.listener.iter().any(is_short) => {
                Self::Mutex(board.clone())
            }
            config::Accept::Mutex | config::Accept::Exclusive => Self::Exclusive,
            config::Accept::Reuseport => Self::ReusePort,
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mutex(_) => "mutex",
            Self::Exclusive => "exclusive",
            Self::ReusePort => "reuseport",
        }
    }
}

/// Binds every listener.
///
/// # Errors
///
/// [`BindError`] names the first that failed; those before it are closed again.
pub fn bind(
    config: &Config,
    protocols: Vec<Arc<dyn Protocol>>,
) -> Result<Vec<Listening>, BindError> {
    let bind = |(n, protocol): (usize, Arc<dyn Protocol>)| {
        let listener = &config.listener[n];
        let socket = open(config, n, &listener.address, false)?;
        Listening::new(config, n, protocol, socket)
    };
    protocols.into_iter().enumerate().map(bind).collect()
}

/// Binds listener `n` of `config` to `address`: its own, or that of a socket which was bound
/// for it before. `share` lets several be bound to one port.
///
/// # Errors
///
/// [`BindError`], with the address.
pub fn open(
    config: &Config,
    n: usize,
    address: &Address,
    share: bool,
) -> Result<OwnedFd, BindError> {
    let listener = &config.listener[n];
    let opened = rights(listener).and_then(|rights| {
        let manner = Manner {
            share,
            ipv6_only: config.is_ipv6_only(n),
            rights,
        };
        socket::listen_so(address, listener.backlog, &manner)
    });
    opened.map_err(|error| BindError::new(listener, error))
}

/// Those that the file of a Unix socket is to have.
///
/// # Errors
///
/// `NotFound`, naming the user or the group that there is not.
pub fn rights(listener: &config::Listener) -> io::Result<Rights> {
    let number = |name: &Option<String>, look_up: fn(&str) -> io::Result<u32>| {
        name.as_deref().map(look_up).transpose()
    };
    Ok(Rights {
        mode: listener.mode.map(|mode| mode.0),
        user: number(&listener.user, privileges::user_number)?,
        group: number(&listener.group, privileges::group_number)?,
    })
}

impl Listening {
    /// What `config` says about `socket` of listener `n`, which is bound already.
    ///
    /// # Errors
    ///
    /// [`BindError`] when it is no socket.
    pub fn new(
        config: &Config,
        n: usize,
        protocol: Arc<dyn Protocol>,
        socket: OwnedFd,
    ) -> Result<Self, BindError> {
        let listener = &config.listener[n];
        let address =
            socket::local_address(&socket).map_err(|error| BindError::new(listener, error))?;
        let unknown_id = match listener.unknown_id {
            config::UnknownId::Error => UnknownId::Error,
            config::UnknownId::Ignore => UnknownId::Ignore,
            config::UnknownId::Close => UnknownId::Close,
        };
        Ok(Self {
            socket,
            address,
            protocol,
            origin: Origin {
                listener: u16::try_from(n).unwrap_or(u16::MAX),
                unknown_id,
            },
            name: listener.name.as_deref().map(Arc::from),
            entrance: Arc::new(Entrance::new(listener, config.http.client_from)),
            is_lent: false,
        })
    }

    /// Another descriptor of the same listener.
    ///
    /// # Errors
    ///
    /// `EMFILE` at the limit of descriptors.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(self.with(duplicate(&self.socket)?))
    }

    /// Another socket at the same address, on which the same is spoken.
    pub(super) fn with(&self, socket: OwnedFd) -> Self {
        Self {
            socket,
            address: self.address.clone(),
            protocol: Arc::clone(&self.protocol),
            origin: self.origin,
            name: self.name.clone(),
            entrance: Arc::clone(&self.entrance),
            is_lent: self.is_lent,
        }
    }

    /// Has the kernel refuse whoever connects from now on, whichever process
    /// still has the socket.
    pub fn refuse(&self) {
        if !self.is_lent {
            socket::refuse(&self.socket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_mutex_is_for_queues_that_outlast_a_wait_for_it() {
        let board = Scoreboard::new(1).expect("memory");
        for (accept, address, backlog, somaxconn, expected) in [
            ("mutex", "127.0.0.1:1", 511, Some(4096), "mutex"),
            ("mutex", "127.0.0.1:1", 128, Some(4096), "mutex"),
            ("mutex", "127.0.0.1:1", 127, Some(4096), "exclusive"),
            ("mutex", "127.0.0.1:1", 511, Some(127), "exclusive"),
            ("mutex", "127.0.0.1:1", 511, None, "mutex"),
            // Who finds it full is told at once, or waits for room.
            ("mutex", "unix:a.sock", 16, Some(4096), "mutex"),
            ("exclusive", "127.0.0.1:1", 511, Some(4096), "exclusive"),
            ("reuseport", "127.0.0.1:1", 16, Some(4096), "reuseport"),
        ] {
            let keys = [
                ("accept", accept.to_owned()),
                ("listener.0.address", address.to_owned()),
                ("listener.0.backlog", backlog.to_string()),
            ];
            let keys = keys.map(|(key, value)| (key.to_owned(), value));
            let config = Config::parse(None, [], &keys).expect("good values");
            let found = Accept::new(&config, &board, somaxconn).name();
            let case = format!("{accept} at {address}, {backlog} of {somaxconn:?}");
            assert_eq!(found, expected, "{case}");
        }
    }
}
