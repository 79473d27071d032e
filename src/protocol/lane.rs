//! Where code runs: on the event loop or beside it. Plain data.

/// Where the turn runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// On the event loop: only handlers that said they do not block.
    Inline,
    /// On a business thread: any handler.
    Pool,
}
