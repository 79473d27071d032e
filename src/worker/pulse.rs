//! The times by which a connection is judged: relaxed atomic words in
//! milliseconds of the coarse clock, 0 for "never" and "not now". Each is a fact
//! of its own; who reads an old one looks again later.

use crate::sys::sync::{AtomicBool, AtomicU64, Ordering};

/// What threads of a worker note about one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The protocol's heartbeat message arrived; noted only if a limit asks.
    pub(crate) beat: AtomicU64,
    /// A message other than a heartbeat came or went; noted only if a limit asks.
    pub(crate) spoken: AtomicU64,
    /// A business thread was done with messages of the peer.
    pub(crate) served: AtomicU64,
    /// A pause that the server made was over.
    pub(crate) thawed: AtomicU64,
    /// The server sent its last heartbeat.
    pub(crate) pinged: AtomicU64,
    /// The unfinished message that the reactor keeps began to arrive.
    pub(crate) started: AtomicU64,
    /// Bytes of it that came in time; what came sooner than it had to is not
    /// counted.
    pub(crate) arrived: AtomicU64,
    /// The kernel took bytes or refused the first ones; 0: it refuses none.
    pub(crate) progress: AtomicU64,
    /// Bytes that the kernel held for the peer at that time.
    pub(crate) held: AtomicU64,
    /// The flood guard has the connection not read.
    pub(crate) delayed: AtomicBool,
    /// A message other than a heartbeat waits for its turn.
    pub(crate) owed: AtomicBool,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            beat: AtomicU64::new(0),
            spoken: AtomicU64::new(0),
            served: AtomicU64::new(0),
            thawed: AtomicU64::new(0),
            pinged: AtomicU64::new(0),
            started: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            held: AtomicU64::new(0),
            delayed: AtomicBool::new(false),
            owed: AtomicBool::new(false),
        }
    }

    /// The kernel took bytes or refused the first ones at `now`, and holds `held`.
    pub(crate) fn progressed(&self, now: u64, held: u64) {
        self.held.store(held, Ordering::Relaxed);
        self.progress.store(now, Ordering::Relaxed);
    }

    /// The peer need not wait for the server any more, and has all its time from
    /// here.
    pub(crate) fn thaw(&self, now: u64) {
        self.arrived.store(0, Ordering::Relaxed);
        self.thawed.store(now, Ordering::Relaxed);
    }

    /// Whether the peer has taken some of what the kernel holds, now that this
    /// is `held`.
    pub(crate) fn has_drained(&self, held: u64) -> bool {
        held < self.held.load(Ordering::Relaxed)
    }

    /// A business thread has served messages; what it says goes out now.
    pub(crate) fn served(&self, now: u64) {
        self.served.store(now, Ordering::Relaxed);
        if self.owed.swap(false, Ordering::Relaxed) {
            self.spoken.store(now, Ordering::Relaxed);
        }
    }
}
