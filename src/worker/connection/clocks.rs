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
    /// Until when the peer took what was sent as fast as it has to, the kernel
    /// having refused more of it; 0: it refuses none.
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

    /// The kernel refused the first bytes at `now`, and holds `held`; all 0: it
    /// refuses none any more.
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

    /// The kernel took `sent` bytes more and now, at `now`, holds `held`: what
    /// the peer took in between buys it time, a second for `rate` bytes and none
    /// in advance; at a `rate` of 0 anything does.
    ///
    /// Several threads note it. What two of them see at once may count twice or
    /// not at all, once.
    pub(crate) fn drained(&self, sent: usize, held: usize, rate: usize, now: u64) {
        let before = self.held.swap(word(held), Ordering::Relaxed);
        let taken = (u64::from(before) + sent as u64).saturating_sub(u64::from(word(held)));
        let since = self.progress.load(Ordering::Relaxed);
        if since == 0 || taken == 0 {
            return;
        }
        let bought = taken.saturating_mul(1000).checked_div(rate as u64);
        let until = bought.map_or(now, |bought| since.saturating_add(bought).min(now));
        self.progress.store(until, Ordering::Relaxed);
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
    fn time_is_bought_at_the_rate_and_not_in_advance() {
        let clocks = Clocks::new();
        let progress = || clocks.progress.load(Ordering::Relaxed);
        clocks.drained(5, 100, 10, 50);
        assert_eq!(progress(), 0, "the kernel refuses nothing");
        clocks.progressed(1000, 100);
        clocks.drained(0, 98, 10, 2000);
        assert_eq!(progress(), 1200);
        clocks.drained(3, 98, 10, 2000);
        assert_eq!(progress(), 1500, "what it gave up is what it got");
        clocks.drained(0, 98, 10, 3000);
        assert_eq!(progress(), 1500, "it took nothing");
        clocks.drained(1000, 98, 10, 3000);
        assert_eq!(progress(), 3000);
        clocks.drained(0, 97, 0, 4000);
        assert_eq!(progress(), 4000, "any rate will do");
    }

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
