//! From the configuration to what a worker is given.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::admission::{Entrance, Proxy};
use super::flood::{Action, Flood, Rule};
use super::limits::{Limits, Over, Proof, Trigger, Yield};
use super::setup::Listening;
use crate::config::{self, Config, ConfigError, FrameLayout, Framing};
use crate::dispatch::outlet::UnknownId;
use crate::net::Access;
use crate::protocol::frame::{Counts, Endian, Field, Frames, Layout, Length};
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

/// What is spoken on each listener.
///
/// # Errors
///
/// [`ConfigError`], with its place, when a custom layout cannot work.
pub fn protocols(config: &Config) -> Result<Vec<Frames>, ConfigError> {
    let layout = |(n, listener): (usize, &config::Listener)| {
        let layout = match &listener.frame {
            Framing::Preset(name) => Layout::preset(name)
                .ok_or_else(|| config.refuse(&format!("listener.{n}.frame"), "is no preset"))?,
            Framing::Custom(custom) => from_custom(custom),
        };
        let place = || format!("listener.{n}.frame");
        layout
            .check()
            .map_err(|error| config.refuse(&place(), &format!("cannot work: {error}")))?;
        if layout.heartbeat.is_none() {
            needs_no_heartbeat(config, n)?;
        }
        let frames = match config.heartbeat.ping {
            config::Pinging::Server => Frames::new(layout).without_echo(),
            config::Pinging::Client | config::Pinging::Both => Frames::new(layout),
        };
        let id = listener.going_away_id;
        if id == 0 {
            return Ok(frames);
        }
        frames.going_away(id).map_err(|error| {
            config.refuse(
                &format!("listener.{n}.going_away_id"),
                &format!("is {id}: {error}"),
            )
        })
    };
    config.listener.iter().enumerate().map(layout).collect()
}

/// Refuses rules about a message that the frames of listener `n` do not have.
fn needs_no_heartbeat(config: &Config, n: usize) -> Result<(), ConfigError> {
    let heartbeat = &config.heartbeat;
    let refuse = |key, value| {
        let why = format!("is {value}, but the frames of listener.{n} have no heartbeat message");
        Err(config.refuse(key, &why))
    };
    if heartbeat.counts == config::Proof::Ping {
        return refuse("heartbeat.counts", "ping");
    }
    match heartbeat.ping {
        config::Pinging::Client => Ok(()),
        config::Pinging::Server => refuse("heartbeat.ping", "server"),
        config::Pinging::Both => refuse("heartbeat.ping", "both"),
    }
}

/// Binds every listener.
///
/// # Errors
///
/// [`BindError`] names the first that failed; those before it are closed again.
pub fn bind(config: &Config, protocols: Vec<Frames>) -> Result<Vec<Listening>, BindError> {
    let bind = |(listener, protocol): (&config::Listener, Frames)| {
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
        protocol: Frames,
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
            protocol: Arc::new(protocol),
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
        Ok(Self {
            socket: duplicate(&self.socket)?,
            address: self.address.clone(),
            protocol: Arc::clone(&self.protocol),
            unknown_id: self.unknown_id,
            entrance: Arc::clone(&self.entrance),
        })
    }
}

/// Bytes of the largest frame where a custom layout does not say.
const CUSTOM_MAX: usize = 1 << 20;

fn from_custom(custom: &FrameLayout) -> Layout {
    let field = |offset: u16, bytes: u8, endian| Field {
        offset: usize::from(offset),
        bytes: usize::from(bytes),
        endian: match endian {
            config::Endian::Big => Endian::Big,
            config::Endian::Little => Endian::Little,
        },
    };
    let number = |one: &config::Field| field(one.offset, one.bytes, one.endian);
    let length = &custom.length;
    let length = Length {
        field: field(length.offset, length.bytes, length.endian),
        counts: match length.counts {
            config::Counts::All => Counts::All,
            config::Counts::Body => Counts::Body,
        },
        adjust: length.adjust,
    };
    let id = custom.id.as_ref().map(number);
    let sequence = custom.sequence.as_ref().map(number);
    let crc = custom
        .crc
        .as_ref()
        .map(|crc| field(crc.offset, 4, crc.endian));
    let fields = [Some(length.field), id, sequence, crc];
    let end = fields.iter().flatten().map(Field::end).max().unwrap_or(0);
    let mut layout = Layout {
        length,
        id,
        sequence,
        crc,
        header: custom.header.map_or(end, usize::from),
        max: 0,
        heartbeat: custom.heartbeat,
        error_id: custom.error_id,
    };
    layout.max = custom.max.unwrap_or_else(|| layout.largest(CUSTOM_MAX));
    layout
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn layout(text: &str) -> Result<Layout, String> {
        let text = format!("[[listener]]\nframe = {text}\n");
        let file = Some(("f.toml".as_ref(), text.as_bytes()));
        let config = Config::parse(file, [], &[]).map_err(|error| error.to_string())?;
        let Framing::Custom(custom) = &config.listener[0].frame else {
            panic!("a table")
        };
        protocols(&config).map_err(|error| error.to_string())?;
        Ok(from_custom(custom))
    }

    /// Every preset can be written as a layout of one's own.
    #[test]
    fn presets_are_custom_layouts_with_a_name() {
        let cases = [
            (
                "comm",
                r#"{ length = { offset = 0, bytes = 2, counts = "all" }, id = { offset = 2, bytes = 2 },
                    crc = { offset = 4 }, max = 29000, heartbeat = 0, error_id = 65535 }"#,
            ),
            (
                "zinx",
                r#"{ length = { offset = 4, bytes = 4 }, id = { offset = 0, bytes = 4 },
                    max = 1048584, heartbeat = 99999, error_id = 4294967295 }"#,
            ),
            (
                "zinx-ltv",
                r#"{ length = { offset = 0, bytes = 4, endian = "little" },
                    id = { offset = 4, bytes = 4, endian = "little" },
                    max = 1048584, heartbeat = 99999, error_id = 4294967295 }"#,
            ),
            (
                "rpc",
                r#"{ length = { offset = 0, bytes = 4 }, id = { offset = 4, bytes = 4 },
                    sequence = { offset = 8, bytes = 4 }, crc = { offset = 12 },
                    max = 16777232, heartbeat = 0, error_id = 4294967295 }"#,
            ),
            (
                "frame32",
                r#"{ length = { offset = 0, bytes = 4, counts = "all" }, max = "1MiB" }"#,
            ),
            ("len16", "{ length = { offset = 0, bytes = 2 } }"),
            (
                "len32",
                "{ length = { offset = 0, bytes = 4 }, max = 1048580 }",
            ),
        ];
        for (name, text) in cases {
            let text: String = text.lines().map(str::trim).collect();
            let text = sized(&text);
            assert_eq!(layout(&text), Ok(Layout::preset(name).unwrap()), "{name}");
        }
    }

    /// Sizes carry their unit.
    fn sized(text: &str) -> String {
        let Some((before, after)) = text.split_once("max = ") else {
            return text.to_owned();
        };
        if after.starts_with('"') {
            return text.to_owned();
        }
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        format!("{before}max = \"{}B\"{}", &after[..end], &after[end..])
    }

    #[test]
    fn a_heartbeat_rule_needs_a_heartbeat_message() {
        for (key, value) in [("counts", "ping"), ("ping", "server"), ("ping", "both")] {
            let refused = |frame: &str| {
                let text =
                    format!("[[listener]]\nframe = \"{frame}\"\n[heartbeat]\n{key} = \"{value}\"");
                let config = Config::parse(Some(("f.toml".as_ref(), text.as_bytes())), [], &[]);
                protocols(&config.unwrap())
                    .err()
                    .map(|error| error.to_string())
            };
            let error = refused("len32").unwrap();
            assert!(error.contains("f.toml:4:"), "{error}");
            assert!(error.contains("have no heartbeat message"), "{error}");
            assert_eq!(refused("comm"), None);
        }
    }

    #[test]
    fn a_layout_that_cannot_work_is_refused_with_its_place() {
        let error =
            layout("{ length = { offset = 0, bytes = 4 }, id = { offset = 2, bytes = 4 } }")
                .unwrap_err();
        assert!(error.contains("f.toml:2:"), "{error}");
        assert!(error.contains("id and length overlap"), "{error}");
    }
}
