//! What a turn has to say: bytes, and parts of files between them.
//!
//! Bytes stand in one buffer, so that the replies of a batch go out with one
//! system call. A file is not read here: it is noted where it belongs, and
//! whoever writes moves it from the disk's cache to the socket.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use super::{CloseMode, Protocol, Push, Unsendable};

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
}

/// What goes with the bytes of a turn.
#[derive(Default)]
pub struct Beside {
    /// Parts of files, in order.
    pub files: Vec<Splice>,
    /// Who waits, and how many bytes go before, those of files included.
    pub receipts: Vec<(usize, Box<dyn Receipt>)>,
    /// Bytes of `files`.
    carried: usize,
}

/// What a turn has to say.
pub struct Out<'a> {
    /// Encoded messages, in order.
    pub bytes: Vec<u8>,
    /// Set by a handler that wants the connection closed after its reply. The
    /// server, which knows what is owed, makes a [`Step`](super::Step) of it.
    pub close: Option<CloseMode>,
    /// Nearly always nothing.
    pub beside: Option<Box<Beside>>,
    protocol: &'a dyn Protocol,
}

impl<'a> Out<'a> {
    /// Empty; reuses the memory of `bytes`.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>, protocol: &'a dyn Protocol) -> Self {
        bytes.clear();
        Self {
            bytes,
            close: None,
            beside: None,
            protocol,
        }
    }

    /// Appends a message that answers no request.
    ///
    /// # Errors
    ///
    /// [`Unsendable`]; nothing is appended.
    pub fn push(&mut self, push: Push<'_>) -> Result<(), Unsendable> {
        self.protocol.push(push, &mut self.bytes)
    }

    /// Appends a part of a file.
    pub fn file(&mut self, part: FilePart) {
        if part.is_empty() {
            return;
        }
        let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
        let beside = self.beside.get_or_insert_default();
        beside.carried = beside.carried.saturating_add(len);
        let at = self.bytes.len();
        beside.files.push(Splice { at, part });
    }

    /// Tells `receipt` when everything up to here is out.
    pub fn receipt(&mut self, receipt: Box<dyn Receipt>) {
        let at = self.pending();
        let beside = self.beside.get_or_insert_default();
        beside.receipts.push((at, receipt));
    }

    /// Bytes that wait to be written, those of files included.
    #[must_use]
    pub fn pending(&self) -> usize {
        let carried = self.beside.as_ref().map_or(0, |beside| beside.carried);
        self.bytes.len().saturating_add(carried)
    }
}
