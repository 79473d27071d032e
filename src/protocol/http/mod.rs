//! HTTP/1.1 and 1.0: a head of lines, and a body whose end the head tells.
//!
//! ```text
//!   HeadScan    where does the head end, how long is the body --> Cutter
//!   ChunkScan   where does a chunked body end, what is in it  --/
//!   Server      whole request -> handler -> Response -> bytes
//!   Upload      a longer body, in pieces -> Intake --/
//! ```
//!
//! Invariants:
//! - A request is one unit, its head and all of its body, unless the body is
//!   longer than `Limits::memory` or its client waits for `100 Continue`: then
//!   the head is served first, and the body goes to an [`Intake`] as it comes.
//! - What can be read in two ways is refused, and its connection closed: who
//!   stands between us and the client might read it the other way.
//! - Nothing here depends on how the stream is cut into reads.

mod access;
mod chunks;
mod cutter;
mod date;
mod head;
mod intake;
mod recorder;
mod refusal;
mod requests;
mod response;
mod scan;
mod server;
mod source;
mod streaming;
mod trailers;
mod upload;

pub use access::{Access, AccessFormat, Sending};
pub use date::http_date;
pub use head::{Fields, Head};
pub use intake::{Incoming, Intake, Received, Spooling, Taken, Wanted};
pub use requests::Requests;
pub use response::{Content, Piece, Response, reason};
pub use source::{ChunkBuf, Fill, Source, Stream};
pub use trailers::Trailers;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Cutter, Lane, Protocol, Push, Server, Units, Unsendable, Wire};
use crate::scoreboard::Row;

/// Fields that a head may have however it is configured.
pub const FIELDS_MAX: usize = 128;

/// What a listener accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the request line; over it, 414.
    pub line: usize,
    /// Bytes of the head, request line included, and again of the trailers of a
    /// chunked body; over it, 431.
    pub head: usize,
    /// Fields of the head, and again of the trailers, at most [`FIELDS_MAX`]; over it, 431.
    pub fields: usize,
    /// Bytes of the body unless its route says otherwise; over it, 413.
    pub body: usize,
    /// Bytes of a body that is kept in memory until it is whole. A longer one
    /// goes where its handler wants it, as it comes.
    pub memory: usize,
}

impl Limits {
    /// Bytes of a body for which the rest of its request waits.
    fn kept(&self) -> usize {
        self.memory.min(self.body)
    }
}

/// The protocol of a listener that speaks HTTP.
#[derive(Clone, Debug)]
pub struct Http1(Arc<Settings>);

/// What all connections of a listener have in common.
#[derive(Clone, Debug)]
struct Settings {
    limits: Limits,
    spooling: Spooling,
    /// How each answer is recorded, if it is.
    access: Option<AccessFormat>,
    root: Option<Arc<dyn Root>>,
}

impl Http1 {
    /// HTTP within `limits`. Bodies that are too long for memory go to `/tmp`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let spooling = Spooling {
            folder: PathBuf::from("/tmp"),
            memory_max: limits.body,
        };
        Self(Arc::new(Settings {
            limits,
            spooling,
            access: None,
            root: None,
        }))
    }

    /// Bodies that are too long for memory go to `folder`.
    #[must_use]
    pub fn spooling_to(mut self, folder: impl Into<PathBuf>) -> Self {
        let settings = Arc::make_mut(&mut self.0);
        settings.spooling.folder = folder.into();
        self
    }

    /// The same, with something to serve where the program has no route.
    #[must_use]
    pub fn with_root(mut self, root: Arc<dyn Root>) -> Self {
        Arc::make_mut(&mut self.0).root = Some(root);
        self
    }

    /// Each answer is recorded like this, and requests have ids.
    #[must_use]
    pub fn recorded(mut self, format: AccessFormat) -> Self {
        Arc::make_mut(&mut self.0).access = Some(format);
        self
    }
}

impl Protocol for Http1 {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(cutter::HttpCutter::new(self.0.limits))
    }

    fn server(&self) -> Box<dyn Server> {
        Box::new(server::HttpServer::new(Arc::clone(&self.0)))
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

    fn name(&self) -> Option<String> {
        Some("http/1.1".into())
    }

    fn late(&self) -> &'static [u8] {
        refusal::LATE
    }
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
    /// What an [`Intake`] made of the body, for its handler to take.
    pub taken: Option<&'a Taken>,
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
    /// Nothing was done: nobody knows the method.
    NoSuchMethod,
}

#[cfg(all(test, not(loom)))]
mod tests;
