//! The server: the rest of the decoder, the handlers, and the encoder, as the
//! holder of a connection's turn uses them.

use super::{Dispatch, Event, Step, Turn, Units};

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

    /// The connection is over: nothing is served or written any more, and so
    /// many bytes that were written are not sent.
    fn over(&mut self, unsent: u64, app: &mut dyn Dispatch) {
        let _nothing_to_note = (unsent, app);
    }

    /// Forgets the connection; a new one begins.
    fn reset(&mut self);
}
