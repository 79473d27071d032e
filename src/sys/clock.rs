//! The monotonic clock, in the resolution that a server needs.
//!
//! Never the time of day for deadlines: they must not jump when an operator
//! sets the clock. Any thread may ask.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Milliseconds of the kernel's coarse monotonic clock.
///
/// Costs about 5 ns because no counter is read; lags at most one kernel tick
/// (1 to 4 ms). Only differences mean anything. Never 0, so that 0 can say
/// "never" in an atomic word.
#[must_use]
pub fn coarse_millis() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .expect("every Linux since 2.6.32 has the coarse monotonic clock");
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec()).unwrap_or(0) / 1_000_000;
    seconds * 1000 + millis + 1
}

/// Microseconds of the monotonic clock, for what is measured: about 20 ns.
#[must_use]
pub fn micros() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux since 2.6.32 has the monotonic clock");
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0) / 1000
}

/// The time of day in seconds since 1970, for what is shown to people; as cheap
/// as [`coarse_millis`].
#[must_use]
pub fn wall_seconds() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
        .expect("every Linux since 2.6.32 has the coarse clock");
    u64::try_from(now.tv_sec()).unwrap_or(0)
}

/// The same in milliseconds.
#[must_use]
pub fn wall_millis() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
        .expect("every Linux since 2.6.32 has the coarse clock");
    let millis = u64::try_from(now.tv_nsec()).unwrap_or(0) / 1_000_000;
    u64::try_from(now.tv_sec()).unwrap_or(0) * 1000 + millis
}

/// Milliseconds, at least one: a period of zero would never sleep.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_is_never_zero() {
        let mut last = coarse_millis();
        assert_ne!(last, 0);
        for _ in 0..1000 {
            let now = coarse_millis();
            assert!(now >= last);
            last = now;
        }
    }
}
