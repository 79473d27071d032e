//! HTTP/1.1 and 1.0: a head of lines, and a body whose end the head tells.
//!
//! ```text
//!   HeadScan    where does the head end, how long is the body --> Cutter
//!   ChunkScan   where does a chunked body end, what is in it  --/
//!   Server      whole request -> handler -> Response -> bytes
//! ```
//!
//! Invariants:
//! - A request is one unit: its head and all of its body. Only a client that
//!   waits for `100 Continue` has its head served first.
//! - What can be read in two ways is refused, and its connection closed: who
//!   stands between us and the client might read it the other way.
//! - Nothing here depends on how the stream is cut into reads.

mod chunks;
mod cutter;
mod date;
mod head;
mod refusal;
mod response;
mod scan;
mod server;

pub use date::http_date;
pub use head::{Fields, Head};
pub use response::{Content, Piece, Response, reason};

use super::{Cutter, Media, Protocol, Push, Server, Units, Unsendable, Wire};

/// Fields that a head may have however it is configured.
pub const FIELDS_MAX: usize = 128;

/// What a listener accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the request line; over it, 414.
    pub line: usize,
    /// Bytes of the head, request line included; over it, 431.
    pub head: usize,
    /// Fields of the head, at most [`FIELDS_MAX`]; over it, 431.
    pub fields: usize,
    /// Bytes of the body; over it, 413.
    pub body: usize,
}

/// The protocol of a listener that speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Http1(Limits);

impl Http1 {
    /// HTTP within `limits`.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self(limits)
    }
}

impl Protocol for Http1 {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(cutter::HttpCutter::new(self.0))
    }

    fn server(&self) -> Box<dyn Server> {
        Box::new(server::HttpServer::new(self.0))
    }

    fn wire(&self) -> Wire {
        Wire(u32::MAX)
    }

    fn push(&self, _: Push<'_>, _: &mut Vec<u8>) -> Result<(), Unsendable> {
        Err(Unsendable::AnswersOnly)
    }

    fn is_session(&self) -> bool {
        false
    }

    /// The next response says that it is the last one.
    fn warns(&self) -> bool {
        true
    }
}

/// One request, as handlers get it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Request line and fields.
    pub head: Head<'a>,
    /// The body; chunked ones are put together.
    pub body: Units<'a>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Served {
    /// The response says what to send.
    Done,
    /// The answer comes as [`Event::Reply`](super::Event::Reply) with this
    /// token, into this response.
    Later(u64),
    /// Nothing was done: its handler may block.
    NotInline,
}

impl Media {
    /// As the field `Content-Type` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "application/octet-stream",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
