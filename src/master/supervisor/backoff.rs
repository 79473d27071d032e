//! How soon a worker that died young is started again, while others serve.
//!
//! Pure: time and the seed of the jitter come in as arguments. Invariant: no
//! retry is the eleventh fork of its slot within five seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Forks of one slot in a [`WINDOW`] before retries have to wait.
pub const FORKS: usize = 10;
/// See [`FORKS`].
pub const WINDOW: Duration = Duration::from_secs(5);
/// The first wait; each further one is twice as long.
pub const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
pub const LONGEST: Duration = Duration::from_secs(30);

/// A source of small differences, so that slots do not retry in step.
#[derive(Clone, Debug)]
pub(super) struct Jitter(pub(super) u64);

impl Jitter {
    /// Between three quarters of `wait` and all of it.
    fn shorten(&mut self, wait: Duration) -> Duration {
        // An odd multiplier and an odd step: the top bits take all values
        // before they repeat. Nothing here needs to be unpredictable.
        self.0 = self
            .0
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        let share = u32::try_from(self.0 >> 40).expect("24 bits fit");
        wait - wait / 4 * (share >> 8) / (1 << 16)
    }
}

/// The recent history of one slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// When it was forked, oldest first, at most the last [`FORKS`] times.
    forks: VecDeque<Instant>,
    /// Waits since a worker last served.
    waits: u32,
}

impl Backoff {
    /// Takes note of a fork.
    pub(super) fn forked(&mut self, now: Instant) {
        if self.forks.len() == FORKS {
            self.forks.pop_front();
        }
        self.forks.push_back(now);
    }

    /// Takes note of a worker that served: the next failure is a new one.
    pub(super) fn served(&mut self) {
        self.waits = 0;
    }

    /// When to retry after an early death: `now`, or later.
    pub(super) fn after_death(&mut self, now: Instant, jitter: &mut Jitter) -> Instant {
        // Once it had to wait, it goes on waiting until a worker served: else
        // every pause would be followed by another burst.
        if self.waits == 0 && self.window_opens(now) <= now {
            return now;
        }
        self.wait(now, jitter)
    }

    /// When to retry after the fork itself failed. Never at once: what the
    /// kernel lacks does not appear within microseconds.
    pub(super) fn wait(&mut self, now: Instant, jitter: &mut Jitter) -> Instant {
        let wait = FIRST.saturating_mul(1 << self.waits.min(16)).min(LONGEST);
        self.waits = self.waits.saturating_add(1);
        (now + jitter.shorten(wait)).max(self.window_opens(now))
    }

    /// From when on one more fork is within the bound.
    pub(super) fn window_opens(&self, now: Instant) -> Instant {
        match self.forks.front() {
            Some(&oldest) if self.forks.len() == FORKS => oldest + WINDOW,
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_forks_are_quick_and_the_waits_double_to_thirty_seconds() {
        let start = Instant::now();
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter(1));
        for _ in 0..FORKS - 1 {
            backoff.forked(start);
            assert_eq!(backoff.after_death(start, &mut jitter), start);
        }
        backoff.forked(start);
        let mut now = start;
        for seconds in [5, 2, 4, 8, 16, 30, 30] {
            let next = backoff.after_death(now, &mut jitter);
            let (wait, longest) = (next - now, Duration::from_secs(seconds));
            assert!(wait <= longest, "{wait:?} is over {longest:?}");
            assert!(wait >= longest * 3 / 4, "{wait:?} is far below {longest:?}");
            now = next;
            backoff.forked(now);
        }
    }

    #[test]
    fn a_worker_that_served_ends_the_waiting() {
        let start = Instant::now();
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter(1));
        let next = backoff.wait(start, &mut jitter);
        assert!(backoff.after_death(next, &mut jitter) > next);
        backoff.served();
        assert_eq!(backoff.after_death(next, &mut jitter), next);
    }

    #[test]
    fn slots_do_not_retry_in_step() {
        let mut jitter = Jitter(7);
        let waits: std::collections::HashSet<_> =
            (0..100).map(|_| jitter.shorten(LONGEST)).collect();
        assert!(waits.len() > 90, "{} different waits of 100", waits.len());
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= LONGEST && *wait >= LONGEST * 3 / 4)
        );
    }
}
