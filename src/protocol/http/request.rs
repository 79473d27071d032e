//! One request, before and behind its body, and what the listener itself has
//! to show. Borrows from the bytes of the request.

use std::fmt;
use std::net::IpAddr;

use super::{Head, Response, Served, Taken, Trailers};
use crate::protocol::{Lane, Successors, Units};
use crate::scoreboard::Row;

/// One request, as handlers get it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Request line and fields.
    pub head: Head<'a>,
    /// The body; chunked ones are put together.
    pub body: Units<'a>,
    /// Fields behind a chunked body.
    pub trailers: Trailers<'a>,
    /// What the listener has to show.
    pub root: Option<&'a dyn Root>,
    /// What its connection may become.
    pub successors: Option<&'a dyn Successors>,
    /// It asks for that.
    pub upgrades: bool,
    /// What an [`Intake`](super::Intake) made of the body, for its handler to take.
    pub taken: Option<&'a Taken>,
    /// Whom a proxy asks for; `None`: the peer asks for itself.
    pub client: Option<IpAddr>,
}

/// A request whose body is yet to come.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Request line and fields.
    pub head: Head<'a>,
    /// Bytes of the body, if its client says so beforehand.
    pub length: Option<usize>,
    /// Bytes that a body may have, unless its route says otherwise.
    pub max: usize,
    /// Whom a proxy asks for; `None`: the peer asks for itself.
    pub client: Option<IpAddr>,
    /// What the listener has to show.
    pub root: Option<&'a dyn Root>,
}

/// What a listener has to show where the program has no route: files, by `web`.
pub trait Root: fmt::Debug + Send + Sync {
    /// Serves a request; `None` when nothing is there, and the response is as it
    /// was.
    fn serve(
        &self,
        lane: Lane,
        request: &Request<'_>,
        row: &Row,
        response: &mut Response,
    ) -> Option<Served>;
}
