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
    /// They are a value in JSON, of a message that says so.
    is_json: bool,
}

impl<'a> Units<'a> {
    /// Bytes of a buffer that is used again after the call.
    #[must_use]
    pub const fn borrowed(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            owner: None,
            file: None,
            is_json: false,
        }
    }

    /// A value in JSON, of a message in JSON: who wants a text gets the text that it
    /// is, and who wants JSON gets it as it was written.
    #[must_use]
    pub const fn json(value: &'a str) -> Self {
        Self {
            bytes: value.as_bytes(),
            owner: None,
            file: None,
            is_json: true,
        }
    }

    /// Whether the bytes are a value of a message in JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Bytes that live as long as anybody wants them.
    #[must_use]
    pub fn shared(owner: &'a Bytes) -> Self {
        Self {
            bytes: owner,
            owner: Some(owner),
            file: None,
            is_json: false,
        }
    }

    /// A body that stands in a file and has no bytes here.
    #[must_use]
    pub const fn filed(file: &'a BodyFile) -> Self {
        Self {
            bytes: &[],
            owner: None,
            file: Some(file),
            is_json: false,
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
            is_json: false,
        }
    }

    /// `part`, which lies within them: then it can be kept as they can. Anything
    /// else is borrowed.
    #[must_use]
    pub fn part(&self, part: &'a [u8]) -> Self {
        let (whole, within) = (self.bytes.as_ptr_range(), part.as_ptr_range());
        let is_inside = whole.start <= within.start && within.end <= whole.end;
        Self {
            bytes: part,
            owner: self.owner.filter(|_| is_inside),
            file: None,
            is_json: false,
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_shared_where_it_is_one() {
        let owner = Bytes::from(vec![7; 4096]);
        let units = Units::shared(&owner);
        let part = units.part(&owner[1..3000]).to_bytes();
        assert_eq!(part.as_ptr(), owner[1..].as_ptr());
        let other = vec![8; 4096];
        assert_eq!(units.part(&other).to_bytes(), other);
        assert_eq!(units.part(&[]).to_bytes(), Bytes::new());
    }
}
