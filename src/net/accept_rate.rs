//! How fast each address may connect.
//!
//! ```text
//! word   63        40 39                           0
//!       +------------+------------------------------+
//!       | hash       | even, in 64ths of a ms       |   0: free
//!       +------------+------------------------------+
//! ```
//!
//! A token bucket, kept as one time: when its account will be even again if
//! nobody connects meanwhile. Each connection moves that by the time for which
//! it uses up the rate; too far in the future, and the bucket is empty. (Known
//! as GCRA, or the virtual scheduling form of the leaky bucket.) A time in the
//! past says nothing, so nothing has to be cleaned up, and the words belong to
//! no worker: all of them use the same, and a killed one leaves nothing behind.
//!
//! The rate holds over all workers, but is approximate where it may be: two
//! addresses share an account when 24 bits of their hashes and their buckets are
//! the same, and when 16 accounts of a bucket are in use, the one that would be
//! even first is forgotten.

use super::per_ip::Hash;
use crate::sys::sync::{AtomicU64, Ordering};

/// Units of time in a millisecond.
const UNITS: u64 = 64;

/// Times are counted modulo this, about 200 days: longer than anybody waits.
const TIME: u64 = (1 << 40) - 1;

/// What each address may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AcceptRate {
    /// For how long one connection uses up the rate.
    interval: u64,
    /// How far in the future an account may be even.
    window: u64,
}

impl AcceptRate {
    /// `per_second` connections, 1 to 1000, and `burst` at once, at least 1.
    ///
    /// # Panics
    ///
    /// When `per_second` is 0: nobody could ever connect.
    #[must_use]
    pub fn new(per_second: u16, burst: u16) -> Self {
        let interval = 1000 * UNITS / u64::from(per_second);
        Self {
            interval,
            window: interval * u64::from(burst.max(1)),
        }
    }

    /// Whether `address` may connect at `now`, in milliseconds of a clock that
    /// all workers share; if so, that is noted in one of the words of `bucket`.
    pub fn admit(self, bucket: &[AtomicU64], address: Hash, now: u64) -> bool {
        let now = now.wrapping_mul(UNITS) & TIME;
        let tag = address.word() & !TIME;
        loop {
            // Relaxed: each word is a fact of its own.
            let words = bucket
                .iter()
                .map(|word| (word, word.load(Ordering::Relaxed)));
            let debt = |seen: u64| self.debt(seen, now);
            let account = |&(_, seen): &(_, u64)| seen & !TIME == tag && debt(seen) > 0;
            let own = words.clone().find(account);
            let Some((word, seen)) = own.or_else(|| words.min_by_key(|(_, seen)| debt(*seen)))
            else {
                return true;
            };
            let owed = own.map_or(0, |(_, seen)| debt(seen)) + self.interval;
            if owed > self.window {
                return false;
            }
            let next = tag | (now + owed) & TIME;
            if word
                .compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// How long until the account is even. More than can be owed means that the
    /// time is long past.
    fn debt(self, word: u64, now: u64) -> u64 {
        let ahead = (word & TIME).wrapping_sub(now) & TIME;
        if word != 0 && ahead <= self.window {
            ahead
        } else {
            0
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    fn bucket() -> [AtomicU64; 16] {
        [const { AtomicU64::new(0) }; 16]
    }

    const ADDRESS: Hash = Hash::from_word(0xABCD_EF00_0000_0000);

    /// How many of `tries` get in at `now`.
    fn admitted(rate: AcceptRate, words: &[AtomicU64], now: u64, tries: u32) -> usize {
        (0..tries)
            .filter(|_| rate.admit(words, ADDRESS, now))
            .count()
    }

    #[test]
    fn a_burst_gets_in_and_then_the_rate() {
        for (per_second, burst) in [(1, 1), (10, 5), (1000, 1), (7, 300), (1, 65_535)] {
            let (rate, words) = (AcceptRate::new(per_second, burst), bucket());
            let (per_second, burst) = (usize::from(per_second), usize::from(burst));
            let now = 1_000_000;
            assert_eq!(admitted(rate, &words, now, 70_000), burst, "{per_second}");
            // Ten seconds, looked at every 100 ms.
            let later: usize = (1..=100)
                .map(|n| admitted(rate, &words, now + n * 100, 200))
                .sum();
            let expected = per_second * 10;
            // With a burst of one, what comes at most every 100 ms has no more.
            let expected = expected.min(100 * burst);
            assert!(expected.abs_diff(later) <= 1, "{later} for {expected}");
            let after_a_day = now + 86_400_000;
            assert_eq!(admitted(rate, &words, after_a_day, 70_000), burst);
        }
    }

    #[test]
    fn refusals_cost_nothing() {
        let (rate, words) = (AcceptRate::new(1, 1), bucket());
        assert_eq!(admitted(rate, &words, 1000, 1000), 1);
        assert_eq!(admitted(rate, &words, 1999, 1000), 0);
        assert_eq!(admitted(rate, &words, 2000, 1000), 1);
    }

    #[test]
    fn addresses_have_accounts_of_their_own() {
        let (rate, words) = (AcceptRate::new(1, 2), bucket());
        for n in 1..=16 {
            let address = Hash::from_word(n << 40);
            let admitted = [1, 2, 3].map(|now| rate.admit(&words, address, now));
            assert_eq!(admitted, [true, true, false], "{n}");
        }
        // One too many: who owes least is forgotten.
        assert!(rate.admit(&words, Hash::from_word(17 << 40), 4));
        let still_owing = (1..=16).filter(|n| !rate.admit(&words, Hash::from_word(n << 40), 4));
        assert_eq!(still_owing.count(), 15);
    }

    #[test]
    fn the_clock_may_wrap_around() {
        let rate = AcceptRate::new(10, 3);
        for start in [(TIME + 1) / UNITS - 50, TIME, u64::MAX / UNITS - 50] {
            let words = bucket();
            assert_eq!(admitted(rate, &words, start, 10), 3, "{start}");
            assert_eq!(admitted(rate, &words, start + 99, 10), 0, "{start}");
            assert_eq!(admitted(rate, &words, start + 100, 10), 1, "{start}");
        }
    }

    #[test]
    fn workers_share_the_account() {
        let (rate, words) = (AcceptRate::new(1, 100), bucket());
        let count = || admitted(rate, &words, 5, 1000);
        let total: usize = thread::scope(|scope| {
            let workers = [(); 4].map(|()| scope.spawn(count));
            workers.map(|worker| worker.join().unwrap()).iter().sum()
        });
        // The first steps may find no account and make one each.
        assert!((100..=103).contains(&total), "{total}");
    }
}
