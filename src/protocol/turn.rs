//! A connection's turn, as its holder lends it to a server.

use super::{Dispatch, Lane, Out};

/// What the holder of a turn lends to a server.
pub struct Turn<'a> {
    /// Where handlers may run.
    pub lane: Lane,
    /// What will be written, with one system call unless there are files in it.
    pub out: Out<'a>,
    /// The handlers.
    pub app: &'a mut dyn Dispatch,
    /// Says when to stop.
    pub budget: &'a mut dyn FnMut() -> bool,
    /// Stop when this many bytes wait to be written.
    pub room: usize,
}

impl Turn<'_> {
    /// Whether to stop, asked after each message: the budget of messages or
    /// time is used, or enough bytes wait to be written.
    pub fn over(&mut self) -> bool {
        // Asked in any case: it counts the messages.
        let is_spent = (self.budget)();
        is_spent || self.out.pending() >= self.room
    }
}
