//! The bytes of a message on their way to a handler: borrowed, shared, or in a
//! file. Only carried here; nothing of the file is read or written.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes that may belong to a shared buffer, so that keeping them need not copy.
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    bytes: &'a [u8],
    owner: Option<&'a Bytes>,
    file: Option<&'a BodyFile>,
}

impl<'a> Units<'a> {
    /// Bytes of a buffer that is used again after the call.
    #[must_use]
    pub const fn borrowed(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            owner: None,
            file: None,
        }
    }

    /// Bytes that live as long as anybody wants them.
    #[must_use]
    pub fn shared(owner: &'a Bytes) -> Self {
        Self {
            bytes: owner,
            owner: Some(owner),
            file: None,
        }
    }

    /// A body that stands in a file and has no bytes here.
    #[must_use]
    pub const fn filed(file: &'a BodyFile) -> Self {
        Self {
            bytes: &[],
            owner: None,
            file: Some(file),
        }
    }

    /// The file of a body that was too long for memory.
    #[must_use]
    pub const fn file(&self) -> Option<&'a BodyFile> {
        self.file
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
            file: None,
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

/// A body that was too long for memory, in a file that has no name.
#[derive(Clone, Debug)]
pub struct BodyFile {
    /// Holds the body and nothing else. The position is anybody's guess.
    pub file: Arc<File>,
    /// Bytes of the body.
    pub len: u64,
    /// What a handler may take of a body into memory.
    pub memory_max: usize,
}
