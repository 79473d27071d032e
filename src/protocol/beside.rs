//! What goes with the bytes of a turn: parts of files, and who waits until all
//! is out. Plain data; nobody reads a file here.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// A part of an open file, as it is now. Others may send other parts of the
/// same file at the same time.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file; its own position is neither used nor moved.
    pub file: Arc<File>,
    /// First byte, and the one behind the last.
    pub range: Range<u64>,
}

impl FilePart {
    /// Bytes of the part.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of a file, and its place among the bytes.
#[derive(Debug)]
pub struct Splice {
    /// How many bytes go before it.
    pub at: usize,
    /// What is sent there.
    pub part: FilePart,
}

/// Waits for what was written before it.
pub trait Receipt: Send {
    /// All of it is out, but for `unsent` bytes that never will be: the
    /// connection ended first. Any thread; must not block. Dropped without this
    /// when the worker ends first.
    fn complete(self: Box<Self>, unsent: u64);

    /// What another process needs to make the same of. `None`: it stays in this
    /// one, and its connection with it.
    fn pack(&self) -> Option<Vec<u8>> {
        None
    }
}

/// What goes with the bytes of a turn.
#[derive(Default)]
pub struct Beside {
    /// Parts of files, in order.
    pub files: Vec<Splice>,
    /// Who waits, and how many bytes go before, those of files included.
    pub receipts: Vec<(usize, Box<dyn Receipt>)>,
    /// Bytes of `files`.
    pub(super) carried: usize,
}
