//! Delays between attempts to mend: 2, 4, 8 … seconds by the number of failures in a
//! row. Pure.

use std::time::Duration;

/// Failures that lengthen the delay; those after them leave it as it is.
const LONGEST: u32 = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    failures: u32,
    max: Duration,
}

impl Backoff {
    pub(super) const fn new(max: Duration) -> Self {
        Self { failures: 0, max }
    }

    /// It failed once more: how long to leave it alone. `random` spreads the delays of
    /// many processes over their last quarter.
    pub(super) fn failed(&mut self, random: u64) -> Duration {
        self.failures = (self.failures + 1).min(LONGEST);
        let delay = Duration::from_secs(1 << self.failures).min(self.max);
        let quarter = u64::try_from(delay.as_millis() / 4).unwrap_or(u64::MAX);
        delay - Duration::from_millis(random % quarter.max(1))
    }

    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1024));
        let mut delays = || {
            (0..12)
                .map(|_| backoff.failed(0).as_secs())
                .collect::<Vec<_>>()
        };
        let expected = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024];
        assert_eq!(delays(), expected);
        backoff.succeeded();
        assert_eq!(backoff.failed(0).as_secs(), 2);
        let mut short = Backoff::new(Duration::from_secs(5));
        assert_eq!([2, 4, 5, 5], [(); 4].map(|()| short.failed(0).as_secs()));
    }

    #[test]
    fn chance_takes_a_quarter_at_most() {
        for random in [0, 1, 499, 500, u64::MAX] {
            let delay = Backoff::new(Duration::from_secs(1024)).failed(random);
            assert!((1500..=2000).contains(&delay.as_millis()), "{delay:?}");
        }
    }
}
