//! What a turn has to say: bytes, and parts of files between them.
//!
//! Bytes stand in one buffer, so that the replies of a batch go out with one
//! system call. A file is not read here: it is noted where it belongs, and
//! whoever writes moves it from the disk's cache to the socket.

use super::{Beside, CloseMode, FilePart, Protocol, Push, Receipt, Splice, Unsendable};

/// What a turn has to say.
pub struct Out<'a> {
    /// Encoded messages, in order.
    pub bytes: Vec<u8>,
    /// Set by a handler that wants the connection closed after its reply. The
    /// server, which knows what is owed, makes a [`Step`](super::Step) of it.
    pub close: Option<CloseMode>,
    /// With which code, where the protocol has them and the handler one of its own.
    pub code: Option<u16>,
    /// Why, beside the code: what an operator says.
    pub words: Option<Box<str>>,
    /// Nearly always nothing.
    pub beside: Option<Box<Beside>>,
    protocol: &'a dyn Protocol,
    /// The message of replies that was written last: where it begins and ends.
    replies: Option<(usize, usize)>,
}

impl<'a> Out<'a> {
    /// Empty; reuses the memory of `bytes`.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>, protocol: &'a dyn Protocol) -> Self {
        bytes.clear();
        Self {
            bytes,
            close: None,
            code: None,
            words: None,
            beside: None,
            protocol,
            replies: None,
        }
    }

    /// Where the message of replies begins behind which nothing was written.
    #[must_use]
    pub(super) fn replies(&self) -> Option<usize> {
        let (begin, end) = self.replies?;
        (end == self.bytes.len()).then_some(begin)
    }

    /// What was written since `begin` is a message of replies.
    pub(super) const fn note_replies(&mut self, begin: usize) {
        self.replies = Some((begin, self.bytes.len()));
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
