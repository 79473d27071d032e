//! What the shared words mean: a row of counters for each worker.
//!
//! Writers are the threads of one worker; readers are anybody. Counters only
//! grow; gauges rise and fall. All updates are relaxed: each word is a fact of
//! its own, and no word announces another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::memory::SharedWords;

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident = $text:literal,)+) => {
        /// Everything that a worker counts. One line here gives a counter its
        /// name, its help text, its shared word and its line in every report.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Counter { $($(#[doc = $help])+ $name,)+ }

        impl Counter {
            /// All of them, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($help),+).trim_ascii(),)+ }
            }
        }
    };
}

counters! {
    /// Connections accepted.
    Accepted = "connections_accepted",
    /// Connections open now (a gauge).
    Live = "connections_live",
    /// Connections closed, whoever asked.
    Closed = "connections_closed",
    /// Connections that ended in an error of the network.
    Broken = "connections_broken",
    /// Times that accepting paused because the connection pool was full.
    PoolFull = "accept_paused_pool_full",
    /// Times that accepting paused because descriptors ran out.
    OutOfDescriptors = "accept_paused_out_of_descriptors",
    /// Connections that the operating system could not register.
    AcceptFailed = "connections_refused",
    /// Connections closed because no message came in time after the first byte was awaited.
    FirstMessageTimeout = "connections_closed_first_message_timeout",
    /// Connections closed because the peer was silent for too long.
    IdleTimeout = "connections_closed_idle_timeout",
    /// Connections closed because a frame claimed more than the limit.
    TooLong = "connections_closed_frame_too_long",
    /// Connections closed because a frame claimed less than its header, or a negative length.
    TooShort = "connections_closed_frame_too_short",
    /// Connections closed because a checksum was wrong.
    BadChecksum = "connections_closed_bad_checksum",
    /// Connections closed because the peer spoke HTTP to a frame port.
    SpokeHttp = "connections_closed_spoke_http",
    /// Connections closed because the peer spoke TLS to a plain port.
    SpokeTls = "connections_closed_spoke_tls",
    /// Connections closed because a message had an id that no handler claimed.
    UnknownId = "connections_closed_unknown_id",
    /// Connections closed by handlers or through the hub.
    ClosedByHandler = "connections_closed_by_handler",
    /// Connections closed because their unsent pushes passed `outbound_max`.
    OutboundOverflow = "connections_closed_outbound_max",
    /// Connections closed because the worker's buffers passed `buffered_max`.
    BufferedOverflow = "connections_closed_buffered_max",
    /// Connections closed by an end-of-file in the middle of a frame.
    Truncated = "connections_closed_truncated",
    /// Messages that reached a handler.
    Handled = "messages_handled",
    /// Messages handled on the event loop.
    HandledInline = "messages_handled_inline",
    /// Messages with an id that no handler claimed.
    Unclaimed = "messages_unclaimed",
    /// Messages whose handler answered with an error.
    HandlerErrors = "messages_answered_error",
    /// Messages whose handler panicked.
    Panicked = "messages_panicked",
    /// Repliers of `later` that were dropped unsent.
    RepliersDropped = "repliers_dropped",
    /// Messages, replies or pushes addressed to a connection that is gone.
    Stale = "stale",
    /// Pushes queued for a connection.
    Pushed = "pushes",
    /// Pushes dropped because the receiver's unsent bytes passed `outbound_max`.
    PushesDropped = "pushes_dropped",
    /// Bytes received.
    BytesIn = "bytes_received",
    /// Bytes sent.
    BytesOut = "bytes_sent",
    /// Bytes held now in partial frames, mailboxes and outbound queues (a gauge).
    Buffered = "bytes_buffered",
    /// System calls that read from connections.
    Reads = "reads",
    /// System calls that wrote to connections.
    Writes = "writes",
    /// Turns of the event loop.
    Loops = "reactor_loops",
    /// Times that a sleeping business thread was woken.
    Wakes = "business_wakes",
    /// Times that the reactor yielded its core after handing work over.
    Yields = "reactor_yields",
    /// Connections whose turn a business thread took.
    Turns = "business_turns",
    /// Times that reading from a connection was paused.
    ReadPaused = "reads_paused",
    /// Times that reading from a connection was resumed.
    ReadResumed = "reads_resumed",
    /// Times that the sender asked to be told about room to write.
    WriteArmed = "writes_armed",
    /// Times that the sender stopped asking.
    WriteDisarmed = "writes_disarmed",
    /// Times that the sender was told of room and the kernel took nothing.
    WriteFutile = "writes_futile",
    /// Slots of the connection pool that exist (a gauge).
    PoolSlots = "pool_slots",
    /// Connections that the recycler closed.
    Recycled = "connections_recycled",
    /// Connections whose descriptor is not closed yet because somebody holds them (a gauge).
    Quarantined = "connections_quarantined",
    /// Deadlines that the heartbeat thread looked at.
    Deadlines = "deadlines_examined",
}

/// Words of one row.
pub const ROW_WORDS: usize = Counter::ALL.len();

/// One worker's row: cheap to clone, safe from any thread.
#[derive(Clone, Debug)]
pub struct Row {
    words: Arc<SharedWords>,
    start: usize,
}

impl Row {
    /// The row that begins at word `start`.
    ///
    /// # Panics
    ///
    /// When the words end before the row does: whoever sized the memory erred.
    #[must_use]
    pub fn new(words: Arc<SharedWords>, start: usize) -> Self {
        assert!(
            start + ROW_WORDS <= words.len(),
            "row outside of the shared words"
        );
        Self { words, start }
    }

    /// A row in memory of its own.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::new`].
    pub fn alone() -> std::io::Result<Self> {
        Ok(Self::new(Arc::new(SharedWords::new(ROW_WORDS)?), 0))
    }

    fn word(&self, counter: Counter) -> &AtomicU64 {
        &self.words[self.start + counter as usize]
    }

    /// Adds `n`.
    pub fn add(&self, counter: Counter, n: u64) {
        self.word(counter).fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Takes `n` away from a gauge.
    pub fn subtract(&self, counter: Counter, n: u64) {
        self.word(counter).fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, counter: Counter, value: u64) {
        self.word(counter).store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.word(counter).load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_explained() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        assert!(
            Counter::ALL
                .iter()
                .all(|counter| counter.help().ends_with('.'))
        );
    }

    #[test]
    fn counters_have_words_of_their_own() {
        let row = Row::alone().unwrap();
        for (n, &counter) in (1..).zip(Counter::ALL) {
            row.add(counter, n);
        }
        for (n, &counter) in (1..).zip(Counter::ALL) {
            assert_eq!(row.read(counter), n, "{}", counter.name());
        }
        row.subtract(Counter::Live, 1);
        assert_eq!(row.read(Counter::Live), 1);
    }
}
