//! WebSocket (RFC 6455): what a connection over HTTP becomes when its client asks
//! for it.
//!
//! ```text
//!   Cutter        where does a message end; pings are answered
//!   SocketServer  frames -> message -> Speaker, and the close
//!   ByIdSpeaker     frames in binary, objects in text -> the functions by id
//!   RawSpeaker      a function of the program for the path
//! ```
//!
//! Invariants:
//! - Nothing depends on how the stream is cut into reads or a message into frames.
//! - What is wrong is refused with the byte that tells, behind the messages before
//!   it, which are served.
//! - Frames of a server have no mask: one push has the same bytes for everybody.

mod by_id;
mod cutter;
mod fault;
mod frame;
mod framed;
mod json;
mod limits;
mod raw;
mod server;
mod sockets;
mod speaker;
mod utf8;

use std::sync::Arc;

pub use limits::Limits;
pub use sockets::{Origins, Sockets};

use super::frame::{Format, Request, wire};
use super::{Cutter, Protocol, Push, Server, Unsendable, Wire};
use by_id::ByIdSpeaker;
use framed::Framed;
use raw::{Destination, RawSpeaker};

/// The protocol of connections whose messages have no ids.
#[derive(Debug)]
struct RawMessages {
    limits: Limits,
    to: Arc<Destination>,
}

/// The protocol of connections whose messages have ids. Requests may come in frames
/// or in JSON, each is answered in its own kind.
#[derive(Debug)]
struct MessagesById<F> {
    limits: Limits,
    format: Arc<Framed<F>>,
    wire: Wire,
    going_away: Option<u32>,
    /// Pushes go out in JSON.
    json: bool,
}

impl<F: Format> MessagesById<F> {
    /// As frames of `format`, or `json`.
    fn new(limits: Limits, format: &Arc<Framed<F>>, going_away: Option<u32>, json: bool) -> Self {
        let key = if json { JSON.into() } else { format.key() };
        Self {
            limits,
            format: Arc::clone(format),
            wire: wire(key),
            going_away,
            json,
        }
    }
}

/// What the protocol is called that pushes in JSON, before the name of its format.
const JSON: &str = "json over ";

impl<F: Format> Protocol for MessagesById<F> {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(cutter::MessageCutter::new(self.limits))
    }

    fn server(&self) -> Box<dyn Server> {
        let speaker = ByIdSpeaker::new(&self.format, self.going_away, self.json);
        Box::new(server::SocketServer::new(Box::new(speaker)))
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        if self.json {
            json::write(push.id, None, push.body, push.media, out);
            return Ok(());
        }
        self.format.encode(Request::push(push.id), push.body, out)
    }

    fn warns(&self) -> bool {
        self.going_away.is_some()
    }

    fn name(&self) -> Option<String> {
        let format = self.format.name();
        Some(if self.json {
            format!("{JSON}{format}")
        } else {
            format
        })
    }

    fn late(&self) -> &'static [u8] {
        LATE
    }
}

/// What the names of protocols without ids begin with.
const RAW: &str = "websocket messages ";

/// What a peer is told whose message did not come in time.
const LATE: &[u8] = b"\x88\x02\x03\xf0";

impl Protocol for RawMessages {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(cutter::MessageCutter::new(self.limits))
    }

    fn server(&self) -> Box<dyn Server> {
        let speaker = RawSpeaker::new(Arc::clone(&self.to));
        Box::new(server::SocketServer::new(Box::new(speaker)))
    }

    /// Not that of HTTP, which can push nothing.
    fn wire(&self) -> Wire {
        Wire(u32::MAX - 1)
    }

    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        raw::write(push.body, push.media, out);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(format!("{RAW}{}", self.to.path))
    }

    fn late(&self) -> &'static [u8] {
        LATE
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
