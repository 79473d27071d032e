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
//! - Frames of a server have no mask, and a compressed message is a stream of its
//!   own: one push has the same bytes for everybody who agreed on the same.

mod by_id;
pub mod client;
mod cutter;
mod deflate;
mod end;
mod fault;
mod frame;
mod framed;
mod json;
mod limits;
mod offer;
mod raw;
mod server;
mod sockets;
mod speaker;
mod utf8;
mod writer;

use std::sync::Arc;

pub use limits::Limits;
pub use sockets::{Origins, Sockets};

use super::frame::{Format, Request, wire};
use super::{Cutter, Protocol, Push, Server, Unsendable, Wire};
use by_id::ByIdSpeaker;
use framed::Framed;
use raw::{Destination, RawSpeaker};
use server::Unpacking;
use writer::Writer;

/// The protocol of connections whose messages have no ids.
#[derive(Debug)]
struct RawMessages {
    limits: Limits,
    to: Arc<Destination>,
    writer: Writer,
    wire: Wire,
}

impl RawMessages {
    fn new(limits: Limits, path: &str, writer: Writer) -> Self {
        let wire = wire(compressed(&writer, "websocket messages".into()));
        Self {
            limits,
            to: Arc::new(Destination::new(path)),
            writer,
            wire,
        }
    }

    /// Whether its connections are at `path` and compress with `window`.
    fn is_at(&self, path: &str, window: Option<u8>) -> bool {
        *self.to.path == *path && self.writer.window() == window
    }
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
    fn new(limits: Limits, format: Framed<F>, going_away: Option<u32>, json: bool) -> Self {
        let key = if json { JSON.into() } else { format.key() };
        Self {
            limits,
            wire: wire(compressed(&format.writer, key)),
            format: Arc::new(format),
            going_away,
            json,
        }
    }
}

/// What a protocol is called that compresses what it sends as `writer` does, and
/// `name` without that.
fn compressed(writer: &Writer, name: String) -> String {
    match writer.window() {
        Some(window) => format!("{COMPRESSED}{window} {name}"),
        None => name,
    }
}

/// The window, the name behind it, and the name: what [`compressed`] wrote.
fn uncompressed(name: &str) -> (Option<u8>, &str) {
    let rest = name.strip_prefix(COMPRESSED);
    let parts = rest.and_then(|rest| rest.split_once(' '));
    let read = parts.and_then(|(window, name)| Some((window.parse().ok()?, name)));
    match read.filter(|(window, _)| (deflate::WINDOW_MIN..=deflate::WINDOW_MAX).contains(window)) {
        Some((window, name)) => (Some(window), name),
        None => (None, name),
    }
}

/// How messages come from a peer who agreed on what `writer` does.
fn unpacking(limits: Limits, writer: &Writer) -> Option<Unpacking> {
    writer.counts().map(|counts| Unpacking {
        most: limits.message,
        counts: Arc::clone(counts),
    })
}

/// What the names of protocols begin with that compress.
const COMPRESSED: &str = "deflate ";

/// What the protocol is called that pushes in JSON, before the name of its format.
const JSON: &str = "json over ";

impl<F: Format> Protocol for MessagesById<F> {
    fn cutter(&self) -> Box<dyn Cutter> {
        let packing = self.format.writer.window().is_some();
        Box::new(cutter::MessageCutter::new(self.limits, packing))
    }

    fn server(&self) -> Box<dyn Server> {
        let speaker = ByIdSpeaker::new(&self.format, self.going_away, self.json);
        let unpacking = unpacking(self.limits, &self.format.writer);
        Box::new(server::SocketServer::new(Box::new(speaker), unpacking))
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        if self.json {
            let writer = &self.format.writer;
            json::write((push.id, None), push.body, push.media, writer, out);
            return Ok(());
        }
        self.format.encode(Request::push(push.id), push.body, out)
    }

    fn warns(&self) -> bool {
        self.going_away.is_some()
    }

    fn name(&self) -> Option<String> {
        let format = self.format.name();
        let name = if self.json {
            format!("{JSON}{format}")
        } else {
            format
        };
        Some(compressed(&self.format.writer, name))
    }

    fn late(&self) -> &'static [u8] {
        LATE
    }

    fn overloaded(&self) -> &'static [u8] {
        OVERLOADED
    }
}

/// What the names of protocols without ids begin with.
const RAW: &str = "websocket messages ";

/// What a peer is told whose message did not come in time.
const LATE: &[u8] = b"\x88\x02\x03\xf0";

/// What a peer is told for which there is no room: to try again later.
const OVERLOADED: &[u8] = b"\x88\x02\x03\xf5";

impl Protocol for RawMessages {
    fn cutter(&self) -> Box<dyn Cutter> {
        let packing = self.writer.window().is_some();
        Box::new(cutter::MessageCutter::new(self.limits, packing))
    }

    fn server(&self) -> Box<dyn Server> {
        let speaker = RawSpeaker::new(&self.to, &self.writer);
        let unpacking = unpacking(self.limits, &self.writer);
        Box::new(server::SocketServer::new(Box::new(speaker), unpacking))
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        raw::write(push.body, push.media, &self.writer, out);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(compressed(&self.writer, format!("{RAW}{}", self.to.path)))
    }

    fn late(&self) -> &'static [u8] {
        LATE
    }

    fn overloaded(&self) -> &'static [u8] {
        OVERLOADED
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
