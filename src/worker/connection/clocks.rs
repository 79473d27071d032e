//! The times by which a connection is judged: relaxed atomic words in
//! milliseconds of the coarse clock, 0 for "never" and "not now". Each is a
//! fact of its own; who reads an old one looks again later.

use crate::sys::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// No buffer of a connection comes near to it.
fn word(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What threads of a worker note about one connection.
#[derive(Debug)]
pub(crate) struct Clocks {
    /// The protocol's heartbeat message arrived; noted only if a limit asks.
    pub(crate) beat: AtomicU64,
    /// A message other than a heartbeat came or went; noted only if a limit
    /// asks.
    pub(crate) spoken: AtomicU64,
    /// A business thread was done with messages of the peer.
    pub(crate) served: AtomicU64,
    /// A pause that the server made was over.
    pub(crate) thawed: AtomicU64,
    /// The server sent its last heartbeat.
    pub(crate) pinged: AtomicU64,
    /// The unfinished message began to arrive, or was last as far as the rate
    /// asks for.
    pub(crate) started: AtomicU64,
    /// Bytes of it that came since then.
    pub(crate) arrived: AtomicU32,
    /// The kernel took bytes or refused the first ones; 0: it refuses none.
    pub(crate) progress: AtomicU64,
    /// Bytes that the kernel held for the peer at that time.
    held: AtomicU32,
    /// The flood guard has the connection not read.
    pub(crate) delayed: AtomicBool,
    /// A message other than a heartbeat waits for its turn.
    pub(crate) request_pending: AtomicBool,
    /// The peer's end-of-file came.
    pub(crate) finished: AtomicU64,
    /// Since when the peer waits for a reply that was put off: since it was put
    /// off, or the last other one was given.
    pub(crate) owed: AtomicU64,
    /// Replies that were put off and are owed. Changed by who holds the turn.
    pub(crate) replies: AtomicU32,
    /// Messages that business threads have to serve yet. The reactor adds, they
    /// take away, and in between it may be below 0: only its last value counts.
    pub(crate) unserved: AtomicU32,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        Self {
            beat: AtomicU64::new(0),
            spoken: AtomicU64::new(0),
            served: AtomicU64::new(0),
            thawed: AtomicU64::new(0),
            pinged: AtomicU64::new(0),
            started: AtomicU64::new(0),
            arrived: AtomicU32::new(0),
            progress: AtomicU64::new(0),
            held: AtomicU32::new(0),
            delayed: AtomicBool::new(false),
            request_pending: AtomicBool::new(false),
            finished: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            replies: AtomicU32::new(0),
            unserved: AtomicU32::new(0),
        }
    }

    /// The kernel took bytes or refused the first ones at `now`, and holds
    /// `held`.
    pub(crate) fn progressed(&self, now: u64, held: usize) {
        self.held.store(word(held), Ordering::Relaxed);
        self.progress.store(now, Ordering::Relaxed);
    }

    /// The peer need not wait for the server any more, and has all its time
    /// from here.
    pub(crate) fn thaw(&self, now: u64) {
        self.arrived(0);
        self.thawed.store(now, Ordering::Relaxed);
    }

    /// Whether the peer has taken some of what the kernel holds, now that this
    /// is `held`.
    pub(crate) fn has_drained(&self, held: usize) -> bool {
        word(held) < self.held.load(Ordering::Relaxed)
    }

    /// So many bytes of the unfinished message are there since it `started`.
    pub(crate) fn arrived(&self, bytes: usize) {
        self.arrived.store(word(bytes), Ordering::Relaxed);
    }

    /// A business thread has served messages; what it says goes out now.
    pub(crate) fn served(&self, now: u64) {
        self.served.store(now, Ordering::Relaxed);
        if self.request_pending.swap(false, Ordering::Relaxed) {
            self.spoken.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_answers_a_heartbeat_is_no_conversation() {
        let clocks = Clocks::new();
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        clocks.served(5);
        assert_eq!((read(&clocks.served), read(&clocks.spoken)), (5, 0));
        clocks.request_pending.store(true, Ordering::Relaxed);
        clocks.served(6);
        assert_eq!((read(&clocks.served), read(&clocks.spoken)), (6, 6));
        clocks.served(7);
        assert_eq!(read(&clocks.spoken), 6, "it was answered before");
    }
}
