//! What a connection over HTTP may become, as HTTP sees it.

use std::fmt;
use std::sync::Arc;

use super::Protocol;
use crate::scoreboard::Row;

/// A protocol, and the subprotocol that its client is told it is.
pub type Chosen<'a> = (Arc<dyn Protocol>, Option<&'a str>);

/// How a client and its listener agree to compress messages (RFC 7692).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agreement {
    /// Bits of the window that what goes to the client is compressed with.
    pub window: u8,
    /// What the client is told.
    pub answer: String,
}

/// What the connections of a listener may become. Shared by all of them;
/// implemented by `websocket`.
pub trait Successors: fmt::Debug + Send + Sync {
    /// Whether a page of `origin` may connect to `host`, both as the request says
    /// them. Who is no browser says no origin.
    fn admits(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool;

    /// Whether and how messages are compressed, by what a client offers that calls
    /// itself `agent`.
    fn agree(
        &self,
        offers: &mut dyn Iterator<Item = &[u8]>,
        agent: Option<&[u8]>,
    ) -> Option<Agreement>;

    /// What is spoken at `path`, which is a route and not what a client wrote, where
    /// messages have no ids: one protocol for all its connections that compress with
    /// the same `window`, or not at all.
    fn raw(&self, path: &str, window: Option<u8>) -> Arc<dyn Protocol>;

    /// What has messages with ids, by what a client offers; compressed as in `raw`.
    fn by_id(
        &self,
        offered: &mut dyn Iterator<Item = &[u8]>,
        window: Option<u8>,
    ) -> Option<Chosen<'_>>;

    /// A worker has them from now on, and counts in `row`.
    fn count_in(&self, row: &Row);

    /// Where connections become what has messages with ids, unless the program has a
    /// route there.
    fn path(&self) -> Option<&str>;

    /// What spoke `name` in another process.
    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>>;
}
