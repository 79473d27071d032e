//! What a request leaves to the session that it opens. Plain data.

/// What a request made for the session that its connection becomes.
pub(super) struct Seed<S> {
    pub(super) state: S,
    /// Whom it is bound to from its start.
    pub(super) user: Option<String>,
    /// Which room it is in from its start.
    pub(super) room: Option<String>,
}
