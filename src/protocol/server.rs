//! The server: the rest of the decoder, the handlers, and the encoder, as the
//! holder of a connection's turn uses them.

use super::{Dispatch, Event, Step, Turn, Units};

/// What a connection has sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Bytes that went out.
    pub out: u64,
    /// Bytes that were written and wait.
    pub left: u64,
    /// The last of it were [`Protocol::overloaded`](super::Protocol::overloaded).
    pub overloaded: bool,
}

impl Sent {
    /// Bytes that were written.
    #[must_use]
    pub const fn written(self) -> u64 {
        self.out.wrapping_add(self.left)
    }
}

/// Serves the messages of one connection, in order. Used by whoever holds the
/// connection's turn: a business thread, or the reactor for inline handlers.
pub trait Server: Send {
    /// Serves whole messages; returns how many bytes of them are done, and why
    /// it stopped. Must stop when [`Turn::is_over`] says so, and tell
    /// [`Turn::served_one`] of each message that its cutter counted, once.
    fn serve(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step);

    /// Takes note of something that is not a message.
    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step;

    /// Replies that were put off and are still to come.
    fn owes(&self) -> usize {
        0
    }

    /// Whether every request that has begun is answered, as far as it was said whom
    /// each was from.
    fn is_between(&self) -> bool {
        false
    }

    /// Whether it remembers nothing of its connection, so that another one may
    /// serve the next turn, and this one another connection. An idle server
    /// has no other answer to [`Event::Eof`] than a close, and may not be asked.
    fn is_idle(&self) -> bool {
        false
    }

    /// What another process has to know to go on with this connection, if that
    /// is a number: nothing is owed, nothing of a message is kept. `None`: the
    /// connection stays here for now. Asked when no message waits.
    fn snapshot(&self) -> Option<u32> {
        self.is_idle().then_some(0)
    }

    /// Goes on where another process's server had this [`snapshot`](Self::snapshot).
    fn restore(&mut self, snapshot: u32) {
        let _nothing_to_know = snapshot;
    }

    /// The connection ends behind what was written, because somebody outside of its
    /// turn wants it: says good-bye, if the protocol can.
    fn farewell(&mut self, turn: &mut Turn<'_>) {
        let _has_no_words = turn;
    }

    /// The connection became this with an answer that was recorded, of which the
    /// last byte is the last one that was written: its end is recorded as well. The
    /// answer is packed as for another process.
    fn record_end(&mut self, answer: &[u8], sent: Sent) {
        let _nobody_wants_to_know = (answer, sent);
    }

    /// Whether the end is recorded, so that the server is needed until then.
    fn records_end(&self) -> bool {
        false
    }

    /// What another process has to know beside the [`snapshot`](Self::snapshot) and
    /// is longer than that; nearly always nothing.
    fn kept(&self, sent: Sent) -> Vec<u8> {
        let _nothing_to_keep = sent;
        Vec::new()
    }

    /// Goes on with what another process's server [`kept`](Self::kept). False: that
    /// cannot be read.
    fn restore_kept(&mut self, kept: &[u8]) -> bool {
        kept.is_empty()
    }

    /// The connection is over: nothing is served or written any more, and what is
    /// left is not sent.
    fn over(&mut self, sent: Sent, app: &mut dyn Dispatch) {
        let _nothing_to_note = (sent, app);
    }

    /// Forgets the connection; a new one begins.
    fn reset(&mut self);
}
