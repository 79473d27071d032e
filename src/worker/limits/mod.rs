//! The numbers a worker obeys.

pub(super) mod admission;
pub(super) mod flood;
pub(super) mod timeouts;

use std::time::Duration;

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
    pub outbound_over: Over,
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
}

/// How the kernel tells that a connection can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trigger {
    /// As long as there is something to read.
    Level,
    /// Once for each arrival: one look less a message at every socket.
    Edge,
}

impl Trigger {
    /// What a connection's socket is registered for.
    pub(crate) const fn interest(self) -> Interest {
        match self {
            Self::Level => Interest::Read,
            Self::Edge => Interest::ReadEdge,
        }
    }
}

/// What proves that a peer lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// Any whole message.
    Any,
    /// The protocol's heartbeat alone.
    Heartbeat,
}

impl Limits {
    /// When a new connection is looked at for the first time, after its accept.
    pub(crate) fn first_look(&self) -> Option<Duration> {
        let limits = [self.first_message, self.silence, self.ping, self.idle];
        limits.into_iter().flatten().min()
    }

    /// Whether heartbeats must be told from other messages.
    pub(crate) fn tell_heartbeats(&self) -> bool {
        self.idle.is_some() || self.proof == Proof::Heartbeat
    }
}

/// When the reactor yields its core after handing work over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Yield {
    /// When a sleeping business thread was woken.
    Auto,
    /// After every batch.
    Always,
    /// Never.
    Never,
}

/// What happens to a push that finds too many unsent bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Over {
    /// The push is lost and counted.
    Drop,
    /// The slow receiver is closed.
    Close,
}
