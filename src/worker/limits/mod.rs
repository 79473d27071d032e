//! What a worker obeys: its keys of the configuration, in one place and without
//! those that are the master's.

pub(super) mod admission;
pub(super) mod flood;
pub(super) mod timeouts;

use std::time::Duration;

use crate::config::{Config, Overflow, Pinging, Proof, Trigger, Yield};
use crate::sys::epoll::Interest;
use flood::Flood;

/// Limits of one worker. Every number has a key in `conf/purlin.toml`, where
/// its reason and its range are explained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections at most, 1 to 1,048,575.
    pub connections_max: usize,
    /// Connections whose memory is made at the start.
    pub connections_initial: usize,
    /// Threads that run handlers, at least 1.
    pub business_threads: usize,
    /// How the kernel tells that a connection can be read.
    pub trigger: Trigger,
    /// When the reactor yields its core after handing work over.
    pub yield_after_handover: Yield,
    /// Messages of one connection before others get a turn.
    pub turn_messages: usize,
    /// Time of one connection before others get a turn.
    pub turn_time: Duration,
    /// Bytes of messages that wait for a turn before reading pauses.
    pub mailbox_high: usize,
    /// Unsent bytes before reading and serving pause.
    pub outbound_high: usize,
    /// Unsent bytes over which pushes are not queued.
    pub outbound_max: usize,
    /// What happens to a push over `outbound_max`.
    pub outbound_over: Overflow,
    /// Bytes that the worker holds for all connections.
    pub buffered_max: usize,
    /// How long a closing connection may take to read its last bytes, and to
    /// send its own end-of-file.
    pub linger: Duration,
    /// When a connection sends too many messages.
    pub flood: Option<Flood>,
    /// Silence after which a draining worker closes a connection.
    pub drain_idle: Duration,
    /// Time without proof of life after which a peer is closed.
    pub silence: Option<Duration>,
    /// What proves life.
    pub proof: Proof,
    /// Silence after which the server sends a heartbeat, again and again.
    pub ping: Option<Duration>,
    /// Time without a message in either direction, heartbeats aside, after
    /// which a connection is closed.
    pub idle: Option<Duration>,
    /// Bytes a second that a started message must arrive at; 0: any.
    pub receive_rate: usize,
    /// Time before the rate is asked for.
    pub receive_grace: Duration,
    /// Time after which a peer is closed that takes nothing of what waits for it.
    pub send_stall: Option<Duration>,
    /// Bytes a second that a peer has to take; 0: any.
    pub send_rate: usize,
    /// Time for which a reply that was put off may be owed.
    pub reply_max: Option<Duration>,
    /// In a full pool, whoever keeps the server waiting for so long may be
    /// closed for a client that wants in.
    pub make_room: Option<Duration>,
    /// Time a new peer has to send its first whole message.
    pub first_message: Option<Duration>,
    /// Time a proxy has to say whom it speaks for.
    pub proxy_header: Duration,
    /// Connections of one address, in all workers together; 0: any number.
    pub connections_per_ip: u16,
    /// Connections of one address a second, at most 1000; 0: any number.
    pub accept_rate_per_ip: u16,
    /// Connections of one address that may come at once all the same.
    pub accept_burst_per_ip: u16,
    /// Bytes that may wait for other workers which read slowly.
    pub bus_backlog: usize,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let (worker, limits) = (&config.worker, &config.limits);
        let connections_max = worker.connections_max as usize;
        Self {
            connections_max,
            connections_initial: (worker.connections_initial as usize).min(connections_max),
            business_threads: usize::from(worker.business_threads),
            trigger: worker.trigger,
            yield_after_handover: worker.yield_after_handover,
            turn_messages: worker.turn_messages as usize,
            turn_time: worker.turn_time,
            mailbox_high: limits.mailbox_high,
            outbound_high: limits.outbound_high,
            outbound_max: limits.outbound_max,
            outbound_over: limits.outbound_over,
            buffered_max: limits.buffered_max,
            linger: limits.linger,
            connections_per_ip: limits.connections_per_ip,
            accept_rate_per_ip: limits.accept_rate_per_ip,
            accept_burst_per_ip: limits.accept_burst_per_ip,
            bus_backlog: config.bus.backlog,
            flood: Flood::new(&limits.flood),
            drain_idle: worker.drain_idle,
            silence: config.heartbeat.timeout,
            proof: config.heartbeat.counts,
            ping: match config.heartbeat.ping {
                Pinging::Client => None,
                Pinging::Server | Pinging::Both => Some(config.heartbeat.ping_interval),
            },
            idle: limits.idle,
            receive_rate: limits.receive_rate,
            receive_grace: limits.receive_grace,
            send_stall: limits.send_stall,
            send_rate: limits.send_rate,
            reply_max: limits.reply_max,
            make_room: limits.make_room,
            first_message: config.heartbeat.first_message,
            proxy_header: config.heartbeat.proxy_header,
        }
    }
}

impl Limits {
    /// What a connection's socket is registered for.
    pub(crate) const fn interest(&self) -> Interest {
        match self.trigger {
            Trigger::Level => Interest::Read,
            Trigger::Edge => Interest::ReadEdge,
        }
    }

    /// When a new connection is looked at for the first time, after its accept.
    pub(crate) fn first_look(&self) -> Option<Duration> {
        let limits = [self.first_message, self.silence, self.ping, self.idle];
        limits.into_iter().flatten().min()
    }

    /// Whether heartbeats must be told from other messages.
    pub(crate) fn tell_heartbeats(&self) -> bool {
        self.idle.is_some() || self.proof == Proof::Ping
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_obeys_what_is_written() {
        let limits = |keys: &[(&str, &str)]| {
            let keys: Vec<_> = (keys.iter())
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            Limits::from(&Config::parse(None, [], &keys).expect("good values"))
        };
        let default = limits(&[]);
        assert_eq!(default.interest(), Interest::Read);
        assert!(!default.tell_heartbeats() && default.ping.is_none());
        let edge = limits(&[("worker.trigger", "edge")]);
        assert_eq!(edge.interest(), Interest::ReadEdge);
        let ping = limits(&[("heartbeat.counts", "ping"), ("heartbeat.ping", "both")]);
        assert!(ping.tell_heartbeats() && ping.ping.is_some());
        let off = limits(&[("limits.flood", "off"), ("limits.outbound_over", "close")]);
        assert_eq!((off.flood, off.outbound_over), (None, Overflow::Close));
    }
}
