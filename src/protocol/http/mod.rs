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
mod content;
mod cutter;
mod date;
mod encode;
mod forwarded;
mod head;
mod intake;
mod limits;
mod refusal;
mod request;
mod requests;
mod response;
mod scan;
mod sending;
mod server;
mod settings;
mod source;
mod stream_writer;
mod target;
mod trailers;
mod upgrade;

pub use access::{Access, AccessFormat, Shown};
pub use content::{Content, Piece};
pub use date::http_date;
pub use forwarded::{ClientField, Proxies};
pub use head::{Fields, Head};
pub use intake::{Intake, Received, Spooling, Taken, Wanted};
pub use limits::{FIELDS_MAX, Limits};
pub use request::{Incoming, Request, Root};
pub use requests::Requests;
pub use response::{Response, Served, reason};
pub(super) use scan::is_token;
pub use sending::Sending;
pub use source::{ChunkBuf, Fill, Source, Stream};
pub(crate) use target::{in_uri, spelled, unescaped};
pub use trailers::Trailers;
pub(super) use upgrade::accepted;
pub use upgrade::{NoUpgrade, Upgrade};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Cutter, Protocol, Push, Server, Successors, Unsendable, Wire};
use crate::scoreboard::Row;
use settings::Settings;

/// The protocol of a listener that speaks HTTP.
#[derive(Clone, Debug)]
pub struct Http1(Arc<Settings>);

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
            merge_slashes: true,
            keep_alive: None,
            proxies: None,
            spooling,
            access: None,
            ends: false,
            root: None,
            successors: None,
        }))
    }

    /// Bodies that are too long for memory go to `folder`.
    #[must_use]
    pub fn spooling_to(mut self, folder: impl Into<PathBuf>) -> Self {
        let settings = Arc::make_mut(&mut self.0);
        settings.spooling.folder = folder.into();
        self
    }

    /// Whether slashes behind a slash in a path are nothing; they are, unless it
    /// is said otherwise.
    #[must_use]
    pub fn merging_slashes(mut self, merge: bool) -> Self {
        Arc::make_mut(&mut self.0).merge_slashes = merge;
        self
    }

    /// How long a client may be silent between two requests.
    #[must_use]
    pub fn keeping_alive(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.0).keep_alive = Some(limit);
        self
    }

    /// Proxies say in a field of each request whom it is from.
    #[must_use]
    pub fn behind(mut self, proxies: Proxies) -> Self {
        Arc::make_mut(&mut self.0).proxies = Some(proxies);
        self
    }

    /// The same, with something to serve where the program has no route.
    #[must_use]
    pub fn with_root(mut self, root: Arc<dyn Root>) -> Self {
        Arc::make_mut(&mut self.0).root = Some(root);
        self
    }

    /// Its connections may become one of `successors`.
    #[must_use]
    pub fn becoming(mut self, successors: Arc<dyn Successors>) -> Self {
        Arc::make_mut(&mut self.0).successors = Some(successors);
        self
    }

    /// Each answer is recorded like this, and requests have ids.
    #[must_use]
    pub fn recorded(mut self, format: AccessFormat) -> Self {
        Arc::make_mut(&mut self.0).access = Some(format);
        self
    }

    /// A connection that becomes something else is recorded once more at its end.
    #[must_use]
    pub fn recording_ends(mut self, ends: bool) -> Self {
        Arc::make_mut(&mut self.0).ends = ends;
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

    /// What its connections may become.
    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>> {
        self.0.successors.as_ref()?.named(name)
    }

    fn count_in(&self, row: &Row) {
        if let Some(successors) = &self.0.successors {
            successors.count_in(row);
        }
    }

    fn keep_alive(&self) -> Option<Duration> {
        self.0.keep_alive
    }

    fn late(&self) -> &'static [u8] {
        refusal::LATE
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
