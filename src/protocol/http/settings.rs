//! What all connections of a listener have in common. Plain data.

use std::sync::Arc;
use std::time::Duration;

use super::{AccessFormat, Limits, Proxies, Root, Spooling};
use crate::protocol::Successors;

/// What all connections of a listener have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    /// Slashes behind a slash are nothing.
    pub(super) merge_slashes: bool,
    /// How long a client may be silent between two requests; `None`: as long as
    /// any other peer.
    pub(super) keep_alive: Option<Duration>,
    pub(super) spooling: Spooling,
    /// Who may say whom a request is from.
    pub(super) proxies: Option<Proxies>,
    /// How each answer is recorded, if it is.
    pub(super) access: Option<AccessFormat>,
    /// What a connection becomes is recorded once more when it ends.
    pub(super) ends: bool,
    pub(super) root: Option<Arc<dyn Root>>,
    /// What its connections may become.
    pub(super) successors: Option<Arc<dyn Successors>>,
}
