//! What a connection over HTTP may become, as HTTP sees it.

use std::fmt;
use std::sync::Arc;

use super::Protocol;

/// A protocol, and the subprotocol that its client is told it is.
pub type Chosen<'a> = (Arc<dyn Protocol>, Option<&'a str>);

/// What the connections of a listener may become. Shared by all of them;
/// implemented by `websocket`.
pub trait Successors: fmt::Debug + Send + Sync {
    /// Whether a page of `origin` may connect to `host`, both as the request says
    /// them. Who is no browser says no origin.
    fn admits(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool;

    /// What is spoken at `path`, which is a route and not what a client wrote, where
    /// messages have no ids: one protocol for all its connections.
    fn raw(&self, path: &str) -> Arc<dyn Protocol>;

    /// What has messages with ids, by what a client offers.
    fn by_id(&self, offered: &mut dyn Iterator<Item = &[u8]>) -> Option<Chosen<'_>>;

    /// Where connections become what has messages with ids, unless the program has a
    /// route there.
    fn path(&self) -> Option<&str>;

    /// What spoke `name` in another process.
    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>>;
}
