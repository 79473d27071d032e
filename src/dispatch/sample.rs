//! Which messages are timed: every 64th of a thread, and the first one in each
//! tick of the coarse clock, so that a server with little to do times nearly
//! all. To ask costs about a nanosecond; to time one, about a hundred.

use std::cell::Cell;
use std::time::Instant;

use crate::scoreboard::Row;

/// One message of so many is timed.
const EVERY: u32 = 64;

thread_local! {
    /// Messages until one is timed.
    static LEFT: Cell<u32> = const { Cell::new(0) };
    /// The last tick.
    static TICK: Cell<u64> = const { Cell::new(0) };
}

/// A turn of a connection begins at `now`, in milliseconds of the coarse clock.
pub fn tick(now: u64) {
    if TICK.replace(now) != now {
        LEFT.set(0);
    }
}

/// A message is about to be handled: when, if it is to be timed.
pub(super) fn begin() -> Option<Instant> {
    let left = LEFT.get();
    if left > 0 {
        LEFT.set(left - 1);
        return None;
    }
    LEFT.set(EVERY - 1);
    Some(Instant::now())
}

/// The message `id`, which began at `began`, was handled.
pub(super) fn end(row: &Row, id: u32, began: Instant) {
    row.time(id, nanos(began));
}

/// How long it is since then.
pub(super) fn nanos(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_tick_and_every_64th_are_timed() {
        let timed = |count| (0..count).filter(|_| begin().is_some()).count();
        tick(1);
        assert_eq!(timed(1), 1);
        assert_eq!(timed(63), 0);
        assert_eq!(timed(64), 1);
        tick(1);
        assert_eq!(timed(63), 1);
        tick(2);
        assert_eq!(timed(1), 1);
    }
}
