//! What the messages of a connection mean: the half of its server that knows no
//! frames of RFC 6455.

use super::fault::{Code, Fault};
use crate::protocol::{Dispatch, Event, Sent, Step, Turn};

/// A whole message.
pub(super) struct Incoming<'a> {
    pub(super) is_text: bool,
    /// Unmasked, and as it was before it was compressed. Whoever needs it for longer
    /// takes it.
    pub(super) payload: &'a mut Vec<u8>,
}

/// How much of a message was served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Served {
    /// All of it.
    Whole,
    /// Some of it: [`Speaker::go_on`] has the rest.
    Part,
    /// Nothing: it comes again.
    Nothing,
}

/// Serves whole messages. Used by whoever holds the connection's turn.
pub(super) trait Speaker: Send {
    /// Whether a message could be served in this lane, as far as that can be told
    /// without it.
    fn may_run(&self, turn: &Turn<'_>) -> bool {
        let _depends = turn;
        true
    }

    /// Serves a message or part of it, and tells why not more of it.
    ///
    /// # Errors
    ///
    /// It is none that means anything here.
    fn message(
        &mut self,
        message: Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(Served, Step), Fault>;

    /// Serves more of a message that was served in part. Whoever serves each whole
    /// has none.
    ///
    /// # Errors
    ///
    /// As [`Self::message`].
    fn go_on(&mut self, turn: &mut Turn<'_>) -> Result<(Served, Step), Fault> {
        let _nothing_is_left = turn;
        Ok((Served::Whole, Step::Next))
    }

    /// As [`Server::event`](crate::protocol::Server::event).
    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step;

    /// The code with which it ends a connection, where no handler wanted that.
    fn failed(&self) -> Code {
        Code::INTERNAL
    }

    /// As [`Server::owes`](crate::protocol::Server::owes).
    fn owes(&self) -> usize;

    /// As [`Server::is_idle`](crate::protocol::Server::is_idle).
    fn is_idle(&self) -> bool;

    /// As [`Server::snapshot`](crate::protocol::Server::snapshot).
    fn snapshot(&self) -> Option<u32>;

    /// As [`Server::restore`](crate::protocol::Server::restore).
    fn restore(&mut self, snapshot: u32);

    /// As [`Server::over`](crate::protocol::Server::over).
    fn over(&mut self, sent: Sent, app: &mut dyn Dispatch);

    /// As [`Server::reset`](crate::protocol::Server::reset).
    fn reset(&mut self);
}
