//! What a listener accepts. Plain data.

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
    pub(super) const fn kept(&self) -> usize {
        if self.memory < self.body {
            self.memory
        } else {
            self.body
        }
    }
}
