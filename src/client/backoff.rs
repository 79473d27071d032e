//! How long to wait before the next attempt to connect. Pure but for its dice.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waits that double from `first` to `max`; each is cut at random to between
/// its half and its whole, so that the clients of a restarted server do not
/// all come back in the same moment.
///
/// They begin at `first` again only after a connection that has proved itself:
/// one over which a call or a heartbeat was answered, not with an error, or that
/// has lasted for `max`. A server that accepts and then turns us away, as one that
/// is full does, is thus asked more and more rarely.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// Before the first attempt.
    pub first: Duration,
    /// Never longer.
    pub max: Duration,
}

impl Default for Backoff {
    /// From 1 s to 60 s.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after `failures` attempts that failed in a row.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        // Every state is seeded anew; a die needs no more.
        let dice = RandomState::new().hash_one(failures) % 1_000;
        self.cut(failures, u32::try_from(dice).expect("below 1,000"))
    }

    fn cut(&self, failures: u32, thousandths: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.min(30));
        let half = doubled.min(self.max) / 2;
        half + half * thousandths / 1_000
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_maximum() {
        let backoff = Backoff::default();
        for (failures, from, to) in [
            (0, 500, 999),
            (1, 1_000, 1_999),
            (6, 30_000, 59_970),
            (99, 30_000, 59_970),
        ] {
            assert_eq!(backoff.cut(failures, 0).as_millis(), from);
            assert_eq!(backoff.cut(failures, 999).as_millis(), to);
        }
    }
}
