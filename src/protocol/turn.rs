//! A connection's turn, as its holder lends it to a server.

use std::net::IpAddr;

use super::{Budget, Dispatch, Lane, Out};

/// Whom a proxy asks for, and what each of them may have.
pub trait Clients {
    /// A request of `client` is looked at, twice if the reactor leaves it to others;
    /// `None`: it names nobody. False: he has as much as he may.
    fn admit(&self, client: Option<IpAddr>) -> bool;
}

/// Nobody is counted.
impl Clients for () {
    fn admit(&self, _: Option<IpAddr>) -> bool {
        true
    }
}

/// What the holder of a turn lends to a server.
pub struct Turn<'a> {
    /// Where handlers may run.
    pub lane: Lane,
    /// What will be written, with one system call unless there are files in it.
    pub out: Out<'a>,
    /// Whom its requests are from.
    pub clients: &'a dyn Clients,
    /// The handlers.
    pub app: &'a mut dyn Dispatch,
    /// Says when to stop, and counts what was served.
    pub budget: &'a mut Budget,
    /// Stop when this many bytes wait to be written.
    pub room: usize,
}

impl Turn<'_> {
    /// A message was served: its handler has run, whether it answered or put
    /// that off, or a rule has answered.
    pub fn served_one(&mut self) {
        self.budget.served_one();
    }

    /// Something was done that takes time and is no message: an event, part of
    /// a body, part of an answer.
    pub fn spend(&mut self) {
        self.budget.spend();
    }

    /// Whether to stop, asked after each message or part of one: the budget is
    /// spent, or enough bytes wait to be written.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.budget.is_spent() || self.out.pending() >= self.room
    }
}
