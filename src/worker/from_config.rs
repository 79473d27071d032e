//! From the configuration to what a worker is given.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{fmt, io};

use super::limits::admission::{Entrance, Proxy};
use super::limits::flood::{Action, Flood, Rule};
use super::limits::{Limits, Over, Proof, Trigger, Yield};
use super::setup::Listening;
use crate::config::{self, Config};
use crate::dispatch::service::UnknownId;
use crate::net::Access;
use crate::protocol::Protocol;
use crate::sys::epoll::duplicate;
use crate::sys::socket::{self, Address};

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let (worker, limits) = (&config.worker, &config.limits);
        let connections_max = worker.connections_max as usize;
        Self {
            connections_max,
            connections_initial: (worker.connections_initial as usize).min(connections_max),
            business_threads: usize::from(worker.business_threads),
            trigger: match worker.trigger {
                config::Trigger::Level => Trigger::Level,
                config::Trigger::Edge => Trigger::Edge,
            },
            yield_after_handover: match worker.yield_after_handover {
                config::Yield::Auto => Yield::Auto,
                config::Yield::Always => Yield::Always,
                config::Yield::Never => Yield::Never,
            },
            turn_messages: worker.turn_messages as usize,
            turn_time: worker.turn_time,
            mailbox_high: limits.mailbox_high,
            outbound_high: limits.outbound_high,
            outbound_max: limits.outbound_max,
            outbound_over: match limits.outbound_over {
                config::Overflow::Drop => Over::Drop,
                config::Overflow::Close => Over::Close,
            },
            buffered_max: limits.buffered_max,
            linger: limits.linger,
            connections_per_ip: limits.connections_per_ip,
            accept_rate_per_ip: limits.accept_rate_per_ip,
            accept_burst_per_ip: limits.accept_burst_per_ip,
            flood: flood(&limits.flood),
            drain_idle: worker.drain_idle,
            silence: config.heartbeat.timeout,
            proof: match config.heartbeat.counts {
                config::Proof::Any => Proof::Any,
                config::Proof::Ping => Proof::Heartbeat,
            },
            ping: match config.heartbeat.ping {
                config::Pinging::Client => None,
                config::Pinging::Server | config::Pinging::Both => {
                    Some(config.heartbeat.ping_interval)
                }
            },
            idle: limits.idle,
            receive_rate: limits.receive_rate,
            receive_grace: limits.receive_grace,
            send_stall: limits.send_stall,
            make_room: limits.make_room,
            first_message: config.heartbeat.first_message,
            proxy_header: config.heartbeat.proxy_header,
        }
    }
}

impl From<&config::Listener> for Entrance {
    fn from(listener: &config::Listener) -> Self {
        Self {
            access: Access::new(listener.allow.clone(), listener.deny.clone()),
            proxy: match listener.proxy_protocol {
                config::ProxyProtocol::Off => Proxy::Off,
                config::ProxyProtocol::Required => Proxy::Required,
                config::ProxyProtocol::Mixed => Proxy::Mixed,
            },
            trusted: listener.trusted.clone(),
        }
    }
}

fn flood(written: &config::Flood) -> Option<Flood> {
    let (rule, action) = match *written {
        config::Flood::Off => return None,
        config::Flood::Bucket {
            rate,
            burst,
            action,
        } => (Rule::Bucket { rate, burst }, action),
        config::Flood::Gaps {
            window,
            count,
            action,
        } => (Rule::Gaps { window, count }, action),
    };
    let action = match action {
        config::FloodAction::Close => Action::Close,
        config::FloodAction::Drop => Action::Drop,
        config::FloodAction::Delay => Action::Delay,
    };
    Some(Flood { rule, action })
}

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
            Some(libc::EACCES) => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
            _ => return Ok(()),
        };
        write!(f, "; {hint}")
    }
}

impl std::error::Error for BindError {}

/// Binds every listener.
///
/// # Errors
///
/// [`BindError`] names the first that failed; those before it are closed again.
pub fn bind(
    config: &Config,
    protocols: Vec<Arc<dyn Protocol>>,
) -> Result<Vec<Listening>, BindError> {
    let bind = |(listener, protocol): (&config::Listener, Arc<dyn Protocol>)| {
        let socket = open(listener, &listener.address, false)?;
        Listening::new(listener, protocol, socket)
    };
    config.listener.iter().zip(protocols).map(bind).collect()
}

/// Binds one listener to `address`: its own, or that of a socket which was bound
/// for it before. `share` lets several be bound to one port.
///
/// # Errors
///
/// [`BindError`], with the address.
pub fn open(
    listener: &config::Listener,
    address: &Address,
    share: bool,
) -> Result<OwnedFd, BindError> {
    socket::listen(address, listener.backlog, share)
        .map_err(|error| BindError::new(listener, error))
}

impl Listening {
    /// What `listener` says about `socket`, which is bound already.
    ///
    /// # Errors
    ///
    /// [`BindError`] when it is no socket.
    pub fn new(
        listener: &config::Listener,
        protocol: Arc<dyn Protocol>,
        socket: OwnedFd,
    ) -> Result<Self, BindError> {
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
            unknown_id,
            entrance: Arc::new(Entrance::from(listener)),
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
            unknown_id: self.unknown_id,
            entrance: Arc::clone(&self.entrance),
        }
    }
}
