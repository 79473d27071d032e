//! What the messages of a connection mean: the half of its server that knows no
//! frames of RFC 6455.

use super::fault::{Code, Fault};
use crate::protocol::{Dispatch, Event, Step, Turn};

/// A whole message.
pub(super) struct Incoming<'a> {
    pub(super) is_text: bool,
    /// Unmasked. Whoever needs it for longer takes it.
    pub(super) payload: &'a mut Vec<u8>,
    /// Bytes of it that were served before.
    pub(super) from: usize,
}

/// Serves whole messages. Used by whoever holds the connection's turn.
pub(super) trait Speaker: Send {
    /// Whether a message could be served in this lane, as far as that can be told
    /// without it.
    fn may_run(&self, turn: &Turn<'_>) -> bool {
        let _depends = turn;
        true
    }

    /// Serves a message or part of it; tells up to where, and why not further.
    ///
    /// # Errors
    ///
    /// It is none that means anything here.
    fn message(
        &mut self,
        message: Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(usize, Step), Fault>;

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
    fn over(&mut self, unsent: u64, app: &mut dyn Dispatch);

    /// As [`Server::reset`](crate::protocol::Server::reset).
    fn reset(&mut self);
}
