//! Where a handler's pushes and its wish to close go.

use crate::protocol::{CloseMode, Out, Push, Unsendable};

/// Where pushes and the wish to close go; hides the lifetime of [`Out`].
pub(super) trait Sink {
    fn push(&mut self, push: Push<'_>) -> Result<(), Unsendable>;
    /// Appends a push as it goes over the wire.
    fn append(&mut self, push: &[u8]);
    fn close(&mut self, mode: CloseMode);
    /// Says why, where the protocol has words for it.
    fn say_code(&mut self, code: u16);
    /// The same in words, of at most [`Words::MAX`](crate::net::Words::MAX) bytes.
    fn say_words(&mut self, words: &str);
    fn pending(&self) -> usize;
    /// Whether anything that is sent goes anywhere.
    fn is_open(&self) -> bool;
}

impl Sink for Out<'_> {
    fn push(&mut self, push: Push<'_>) -> Result<(), Unsendable> {
        Out::push(self, push)
    }

    fn append(&mut self, push: &[u8]) {
        self.bytes.extend_from_slice(push);
    }

    fn close(&mut self, mode: CloseMode) {
        // An abort stays an abort, whatever is asked for afterwards.
        if self.close != Some(CloseMode::Abort) {
            self.close = Some(mode);
        }
    }

    fn say_code(&mut self, code: u16) {
        self.code = Some(code);
    }

    fn say_words(&mut self, words: &str) {
        self.words = Some(words.into());
    }

    fn pending(&self) -> usize {
        self.bytes.len()
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// Where a connection that is over sends to.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn push(&mut self, _: Push<'_>) -> Result<(), Unsendable> {
        Ok(())
    }

    fn append(&mut self, _: &[u8]) {}

    fn close(&mut self, _: CloseMode) {}

    fn say_code(&mut self, _: u16) {}

    fn say_words(&mut self, _: &str) {}

    fn pending(&self) -> usize {
        0
    }

    fn is_open(&self) -> bool {
        false
    }
}
