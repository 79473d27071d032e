//! What a server is asked, and how its replies are recognised: frames of which
//! each is different, by themselves or in the messages of a WebSocket, or one
//! request over HTTP again and again. The engine knows of none of them.
//!
//! Invariant: what is owed is answered in the order in which it was asked,
//! unless replies say what they answer; whatever else comes is a fault.

mod frames;
mod http;
mod reply;
mod socket;

use std::collections::VecDeque;
use std::io;

pub(super) use self::frames::Frames;
pub(super) use self::http::{Http, Request as HttpRequest};
pub(super) use self::reply::Reply;
use self::socket::Messages;
pub(super) use self::socket::Socket;
use super::connection::{Read, Request};
use super::fault::{Fault, Kind};
use super::stats::Ledger;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Asks {
    /// Echoes of frames.
    Frames(Frames),
    /// The same over a WebSocket.
    Socket(Socket),
    /// A resource.
    Http(Http),
}

/// What a connection knows of the replies that it is owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) requests: VecDeque<Request>,
    /// How far the oldest one's reply was read; HTTP alone.
    reply: Reply,
    /// What the frames come in; over a WebSocket alone.
    messages: Messages,
}

impl Asks {
    /// What is sent on a new connection, and has to be answered before anything
    /// else; nearly always nothing.
    pub(super) fn greeting(&self) -> &[u8] {
        match self {
            Self::Frames(_) | Self::Http(_) => &[],
            Self::Socket(socket) => socket.greeting(),
        }
    }

    /// How many of `bytes` are the answer to the greeting, once it is whole.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub(super) fn greeted(&self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self {
            Self::Frames(_) | Self::Http(_) => Ok(Some(0)),
            Self::Socket(socket) => socket.greeted(bytes),
        }
    }

    /// Appends to `out` what is sent then, before all requests; nearly always nothing.
    pub(super) fn first(&self, client: u32, out: &mut Vec<u8>) {
        match self {
            Self::Frames(frames) => out.extend_from_slice(frames.first()),
            Self::Socket(socket) => socket.first(client, out),
            Self::Http(_) => {}
        }
    }

    /// Looks for its reply in `bytes`; how many of them are done with, and whether it
    /// has come.
    ///
    /// # Errors
    ///
    /// It is an error, or none.
    pub(super) fn first_reply(
        &self,
        owed: &mut Owed,
        bytes: &[u8],
        read: &mut Read,
    ) -> Result<(usize, bool), Fault> {
        match self {
            Self::Frames(frames) => frames.first_reply(bytes),
            Self::Socket(socket) => socket.first_reply(owed, bytes, read),
            Self::Http(_) => Ok((0, true)),
        }
    }

    /// The frames that are asked for, if any are.
    pub(super) const fn frames(&self) -> Option<&Frames> {
        match self {
            Self::Frames(frames) => Some(frames),
            Self::Socket(socket) => Some(&socket.frames),
            Self::Http(_) => None,
        }
    }

    /// Appends `request` of `client` to `out`. `last`: nothing follows on its
    /// connection. `spare` is memory.
    pub(super) fn write(
        &self,
        client: u32,
        request: Request,
        last: bool,
        spare: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Frames(frames) => frames.write(client, request, spare, out),
            Self::Socket(socket) => socket.write(client, request, spare, out),
            Self::Http(http) => http.write(last, out),
        }
    }

    /// Compares what `bytes` hold with what is owed; returns how many of them
    /// are done with.
    pub(super) fn compare(
        &self,
        client: u32,
        owed: &mut Owed,
        bytes: &[u8],
        read: &mut Read,
        ledger: &mut Ledger<'_>,
    ) -> usize {
        match self {
            Self::Frames(frames) => frames.compare(client, &mut owed.requests, bytes, read, ledger),
            Self::Socket(socket) => socket.compare(client, owed, bytes, read, ledger),
            Self::Http(http) => http.compare(owed, bytes, read, ledger),
        }
    }

    /// The peer closed the connection, with a `partial` reply. That ends a reply
    /// of HTTP that says so.
    ///
    /// # Errors
    ///
    /// It closed too early; in words.
    pub(super) fn end(
        &self,
        owed: &mut Owed,
        partial: &[u8],
        ledger: &mut Ledger<'_>,
    ) -> io::Result<Read> {
        let early = |what: String| io::Error::new(io::ErrorKind::UnexpectedEof, what);
        match self {
            Self::Frames(_) | Self::Socket(_) => Err(early(CLOSED.to_owned())),
            Self::Http(http) => http.end(owed, partial, ledger).map_err(early),
        }
    }

    /// What is asked, in a few words.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Frames(frames) => frames.summary(),
            Self::Socket(socket) => socket.summary(),
            Self::Http(http) => http.summary(),
        }
    }

    /// Bytes of each request's body.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Frames(frames) => frames.size,
            Self::Socket(socket) => socket.frames.size,
            Self::Http(http) => http.size,
        }
    }

    /// What to try when not one reply was right.
    pub(super) fn hint(&self, kind: Kind) -> Option<String> {
        match self {
            Self::Frames(frames) => frames.hint(kind),
            Self::Socket(socket) => socket.hint(kind),
            Self::Http(http) => http.hint(kind),
        }
    }
}

const CLOSED: &str = "the server closed the connection before its reply";

/// What stands where the reply to the oldest request should.
fn unreadable(owed: &mut VecDeque<Request>, detail: &str) -> Fault {
    let turn = owed.pop_front().map(|request| request.turn);
    let request = turn.map_or("between requests".into(), |turn| format!("request {turn}"));
    Fault {
        kind: Kind::Unreadable,
        detail: format!("{request}: {detail}"),
    }
}
