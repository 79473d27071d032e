//! Why a connection ended, as `closed` is told. Plain data.

use crate::scoreboard::Counter;

/// Why a connection ended: what [`Ctx::close_reason`](crate::dispatch::Ctx::close_reason)
/// says within `closed`. The first reason stands; what comes behind it is its
/// consequence.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer has sent its end-of-file.
    PeerClosed,
    /// The peer has reset the connection, or the network failed.
    PeerReset,
    /// The program closed it, by [`Ctx::close`](crate::dispatch::Ctx::close),
    /// [`Ctx::abort`](crate::dispatch::Ctx::abort) or
    /// [`Target::close`](crate::dispatch::Target::close); or
    /// `unknown_id = "close"` did.
    Program,
    /// An operator wanted it: `kick`. What was said, if anything, is what
    /// [`App::kicked`](crate::App::kicked) was told.
    Kicked,
    /// Nothing proved in time that the peer lives: `heartbeat.timeout` or
    /// `heartbeat.first_message`.
    HeartbeatTimeout,
    /// No message went either way for `limits.idle`.
    IdleTimeout,
    /// The peer sent a message, or took what waits for it, too slowly:
    /// `limits.receive_rate`, `limits.send_stall`, `limits.make_room`.
    TooSlow,
    /// Too much waited for the peer: `limits.outbound_max` or
    /// `limits.buffered_max`.
    Overflow,
    /// The peer sent more than `limits.flood` allows.
    Flood,
    /// The peer broke a rule of its protocol.
    ProtocolError,
    /// The worker ends: a stop, a reload, an upgrade.
    GoingAway,
    /// The server failed: a file was cut, or a thread of the worker died.
    ServerError,
}

/// The reason behind each counter that is not about the protocol.
const COUNTED: &[(Counter, CloseReason)] = &[
    (Counter::Broken, CloseReason::PeerReset),
    (Counter::Truncated, CloseReason::PeerClosed),
    (Counter::ClosedByHandler, CloseReason::Program),
    (Counter::UnknownId, CloseReason::Program),
    (Counter::Kicked, CloseReason::Kicked),
    (Counter::FirstMessageTimeout, CloseReason::HeartbeatTimeout),
    (Counter::HeartbeatTimeout, CloseReason::HeartbeatTimeout),
    (Counter::IdleTimeout, CloseReason::IdleTimeout),
    (Counter::ReceiveTooSlow, CloseReason::TooSlow),
    (Counter::SendStalled, CloseReason::TooSlow),
    (Counter::MadeRoom, CloseReason::TooSlow),
    (Counter::OutboundOverflow, CloseReason::Overflow),
    (Counter::BufferedOverflow, CloseReason::Overflow),
    (Counter::Flooded, CloseReason::Flood),
    (Counter::FileCut, CloseReason::ServerError),
    (Counter::StreamsFailed, CloseReason::ServerError),
];

impl CloseReason {
    /// Each, in the order of the words of [`Self::word`].
    const ALL: [Self; 12] = [
        Self::PeerClosed,
        Self::PeerReset,
        Self::Program,
        Self::Kicked,
        Self::HeartbeatTimeout,
        Self::IdleTimeout,
        Self::TooSlow,
        Self::Overflow,
        Self::Flood,
        Self::ProtocolError,
        Self::GoingAway,
        Self::ServerError,
    ];

    /// Of a connection that is closed and counted under `counter`.
    pub(crate) fn of(counter: Counter) -> Self {
        let mut counted = COUNTED.iter();
        let found = counted.find(|(one, _)| *one == counter);
        found.map_or(Self::ProtocolError, |(_, reason)| *reason)
    }

    /// As a word that is not 0.
    pub(crate) const fn word(self) -> u32 {
        self as u32 + 1
    }

    /// The reason with this word; `None` for 0.
    pub(crate) fn from_word(word: u32) -> Option<Self> {
        Self::ALL.get((word as usize).checked_sub(1)?).copied()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_back_from_its_word() {
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_word(reason.word()), Some(reason));
        }
        assert_eq!(CloseReason::from_word(0), None);
        assert_eq!(CloseReason::from_word(u32::MAX), None);
    }

    #[test]
    fn what_is_not_listed_is_about_the_protocol() {
        assert_eq!(
            CloseReason::of(Counter::TooLong),
            CloseReason::ProtocolError
        );
        assert_eq!(CloseReason::of(Counter::Broken), CloseReason::PeerReset);
    }
}
