//! What all connections of a listener have in common. Plain data.

use std::sync::Arc;

use super::{AccessFormat, Limits, Root, Spooling};

/// What all connections of a listener have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) spooling: Spooling,
    /// How each answer is recorded, if it is.
    pub(super) access: Option<AccessFormat>,
    pub(super) root: Option<Arc<dyn Root>>,
}
