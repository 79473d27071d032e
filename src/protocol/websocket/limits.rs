//! What a peer may send. Plain data.

/// Frames of one message, those without content and those of control that stand
/// between them included.
pub(super) const FRAMES_MAX: usize = 131_072;

/// What a peer may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a message, however many frames it came in.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 1 << 20 }
    }
}
