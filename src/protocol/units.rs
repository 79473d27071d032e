//! Bytes of whole messages, lent for the time of a call; keeping a large part
//! of them need not copy. Pure; any thread.

use bytes::Bytes;

/// Bytes that may belong to a shared buffer, so that keeping them need not copy.
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    bytes: &'a [u8],
    owner: Option<&'a Bytes>,
}

impl<'a> Units<'a> {
    /// Bytes of a buffer that is used again after the call.
    #[must_use]
    pub const fn borrowed(bytes: &'a [u8]) -> Self {
        Self { bytes, owner: None }
    }

    /// Bytes that live as long as anybody wants them.
    #[must_use]
    pub fn shared(owner: &'a Bytes) -> Self {
        Self {
            bytes: owner,
            owner: Some(owner),
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A part of them.
    ///
    /// # Panics
    ///
    /// When `range` is outside: the caller miscounted.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            bytes: &self.bytes[range],
            owner: self.owner,
        }
    }

    /// The bytes for keeps. Small ones are copied (cheaper than sharing, and
    /// they do not hold a large chunk in memory), large ones are shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.owner {
            Some(owner) if self.bytes.len() >= Self::WORTH_SHARING => owner.slice_ref(self.bytes),
            Some(_) | None => Bytes::copy_from_slice(self.bytes),
        }
    }

    const WORTH_SHARING: usize = 1024;
}
