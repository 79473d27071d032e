//! How long the handlers of each message id take, of those that were timed: a
//! small table in a worker's row.
//!
//! ```text
//! id + 1 | samples | nanoseconds in all | the longest     16 times
//! ```
//!
//! Writers are the threads of one worker, for one message of many each. A table
//! that is full gives the place of its quickest id to a slower one. All updates
//! are relaxed; when two threads want one place at the same time, a sample may be
//! counted under the other's id.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Row;

/// Ids that a row remembers.
const PLACES: usize = 16;
const PLACE_WORDS: usize = 4;
pub(super) const TIMINGS_WORDS: usize = PLACES * PLACE_WORDS;

/// What is known of one message id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// The id.
    pub id: u32,
    /// Messages that were timed.
    pub samples: u64,
    /// Nanoseconds that these took together.
    pub total: u64,
    /// Nanoseconds that the slowest of them took.
    pub longest: u64,
}

impl Row {
    /// The handler of a message `id` took so many nanoseconds.
    pub fn time(&self, id: u32, nanos: u64) {
        self.time_message(id, nanos);
        let key = u64::from(id) + 1;
        let places = self.places();
        let find = |wanted: u64| {
            places
                .chunks_exact(PLACE_WORDS)
                .find(|place| place[0].load(Ordering::Relaxed) == wanted)
        };
        let claim = |place: &[AtomicU64]| {
            let claimed = place[0].compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
            claimed.is_ok_and(|_| true)
        };
        let place = find(key).or_else(|| find(0).filter(|place| claim(place)));
        let Some(place) = place.or_else(|| self.displace(key, nanos)) else {
            return;
        };
        place[1].fetch_add(1, Ordering::Relaxed);
        place[2].fetch_add(nanos, Ordering::Relaxed);
        place[3].fetch_max(nanos, Ordering::Relaxed);
    }

    /// The place of the quickest id, if `nanos` is slower; empty.
    fn displace(&self, key: u64, nanos: u64) -> Option<&[AtomicU64]> {
        let longest = |place: &&[AtomicU64]| place[3].load(Ordering::Relaxed);
        let places = self.places().chunks_exact(PLACE_WORDS);
        let quickest = places
            .min_by_key(longest)
            .filter(|one| longest(one) < nanos)?;
        quickest[0].store(key, Ordering::Relaxed);
        quickest[1..]
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        Some(quickest)
    }

    /// What is known, in no order.
    #[must_use]
    pub fn timings(&self) -> Vec<Timing> {
        let places = self.places().chunks_exact(PLACE_WORDS);
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let known = places.filter_map(|place| {
            Some(Timing {
                id: u32::try_from(word(&place[0]).checked_sub(1)?).ok()?,
                samples: word(&place[1]),
                total: word(&place[2]),
                longest: word(&place[3]),
            })
        });
        known.filter(|timing| timing.samples > 0).collect()
    }

    /// Forgets everything: another worker begins.
    pub(super) fn forget_timings(&self) {
        self.places()
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_its_sums() {
        let row = Row::alone().unwrap();
        for (id, nanos) in [(0, 5), (7, 100), (7, 300), (u32::MAX, 1)] {
            row.time(id, nanos);
        }
        let timing = |id, samples, total, longest| Timing {
            id,
            samples,
            total,
            longest,
        };
        let known = [
            timing(0, 1, 5, 5),
            timing(7, 2, 400, 300),
            timing(u32::MAX, 1, 1, 1),
        ];
        assert_eq!(row.timings(), known);
        row.forget_timings();
        assert_eq!(row.timings(), []);
    }

    #[test]
    fn a_full_table_keeps_the_slowest() {
        let row = Row::alone().unwrap();
        for id in 0..100_u32 {
            row.time(id, u64::from(id * 37 % 100) + 1);
        }
        let mut longest: Vec<u64> = row.timings().iter().map(|one| one.longest).collect();
        longest.sort_unstable();
        assert_eq!(longest, (85..=100).collect::<Vec<u64>>());
        row.time(500, 1);
        assert!(row.timings().iter().all(|one| one.id != 500));
    }
}
