//! Requests that name a path instead of an id, as the dispatcher sees them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::ctx::{Ctx, Timers};
use super::hub::Hub;
use super::seed::Seed;
use super::sink::Sink;
use crate::net::ConnId;
use crate::protocol::http::{Incoming, Request, Response, Served, Wanted};
use crate::protocol::{Answer, Lane, Listening, Message};
use crate::scoreboard::Row;
use crate::sys::socket::Peer;

/// Routes of requests. Implemented by `web`.
pub trait Site<S>: Send + Sync {
    /// Serves one request with a state of its own, or says
    /// [`Served::NotInline`] before it did anything. May panic: the caller
    /// answers 500.
    fn serve(
        &self,
        visit: Visit<'_, S>,
        lane: Lane,
        request: &Request<'_>,
        response: &mut Response,
    ) -> Served;

    /// The function that gets the messages without ids of `path`, a route.
    fn messages_at(&self, path: &str) -> Option<Listening>;

    /// Gives it one. May panic: the caller closes the connection.
    fn message(&self, number: u32, ctx: &mut Ctx<'_, S>, message: Message, answer: &mut Answer);

    /// Says what to do with a body that is yet to come, as
    /// [`Requests::receive`](crate::protocol::http::Requests::receive). May panic.
    fn receive(
        &self,
        visit: Visit<'_, S>,
        incoming: &Incoming<'_>,
        response: &mut Response,
    ) -> Wanted;
}

/// Who asks, and what a handler's context is made of.
pub struct Visit<'a, S> {
    pub(super) conn: ConnId,
    pub(super) peer: Peer,
    pub(super) listener: Option<&'a str>,
    pub(super) hub: &'a Hub,
    pub(super) timers: &'a mut Timers<S>,
    pub(super) member: &'a mut bool,
    pub(super) seed: &'a mut Option<Seed<S>>,
    pub(super) out: &'a mut dyn Sink,
}

impl<S> Visit<'_, S> {
    /// Where the worker counts.
    #[must_use]
    pub fn row(&self) -> &Row {
        self.hub.row()
    }

    /// The session that the connection becomes begins with this state, bound to
    /// this user and in this room.
    pub fn leave(self, state: S, user: Option<String>, room: Option<String>) {
        *self.seed = Some(Seed { state, user, room });
    }

    /// The request is from this client, if a proxy says so, whose port nobody
    /// knows.
    pub(super) const fn by(mut self, client: Option<IpAddr>) -> Self {
        self.peer = client_or(client, self.peer);
        self
    }

    /// The context of a handler that has this state.
    pub fn ctx<'b>(&'b mut self, state: &'b mut S) -> Ctx<'b, S> {
        Ctx {
            state,
            slot: self.conn,
            conn: self.conn,
            peer: self.peer,
            listener: self.listener,
            id: None,
            hub: self.hub,
            timers: self.timers,
            member: self.member,
            out: self.out,
            gone: None,
        }
    }
}

/// Who asks: whom a proxy names, or the peer itself.
pub(super) const fn client_or(client: Option<IpAddr>, peer: Peer) -> Peer {
    match client {
        Some(client) => Peer::Tcp(SocketAddr::new(client, 0)),
        None => peer,
    }
}

impl<S> fmt::Debug for Visit<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visit({} of {})", self.conn, self.peer)
    }
}
