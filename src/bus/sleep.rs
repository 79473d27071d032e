//! How the reader of a row sleeps, and how it is woken, with one word.
//!
//! ```text
//!   sleeper: asleep = 1, fence, look, wait        publisher: head, fence, look at
//!                                                 asleep: 1 -> 0, then wake
//! ```
//!
//! Of the two fences one comes first: either the sleeper sees the head, or the
//! publisher sees that it sleeps.

use crate::sys::sync::{AtomicU64, Ordering, fence};

/// The word `asleep` of a row.
#[derive(Clone, Copy)]
pub(super) struct Sleep<'a>(pub(super) &'a AtomicU64);

impl Sleep<'_> {
    /// From here on publishers wake. Look once more, then sleep or
    /// [`stay`](Self::stay).
    pub(super) fn announce(&self) {
        self.0.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// It does not sleep after all, or sleeps no more.
    pub(super) fn stay(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether somebody has to be woken, who then is the caller's to wake. Call it
    /// behind what there is to see.
    pub(super) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) != 0 && self.0.swap(0, Ordering::SeqCst) != 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Of two publishers and a sleeper: who goes to sleep has seen everything, or
    /// is woken by exactly one.
    #[test]
    fn loom_nobody_sleeps_over_a_message() {
        loom::model(|| {
            let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
            let publish = |at: usize| {
                let words = Arc::clone(&words);
                thread::spawn(move || {
                    words[at].store(1, Ordering::Release);
                    Sleep(&words[0]).must_wake()
                })
            };
            let publishers = [publish(1), publish(2)];
            let sleep = Sleep(&words[0]);
            sleep.announce();
            let seen: u64 = (1..3).map(|at| words[at].load(Ordering::Acquire)).sum();
            let woken = publishers.map(|one| one.join().unwrap());
            let wakers = woken.iter().filter(|woke| **woke).count();
            assert!(wakers <= 1);
            assert!(seen == 2 || wakers == 1, "saw {seen} and sleeps on");
        });
    }
}
