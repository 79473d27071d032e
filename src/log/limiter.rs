//! How often a peer's faults may be logged. Pure: time comes in as an argument.
//!
//! A hostile peer can cause one fault a packet; a line for each would fill the
//! disk and hide everything else. So each class of fault gets a few lines a
//! second, and the next line that gets through tells how many did not.
//!
//! Any thread may ask. One atomic operation when the line may be written, one
//! when it may not; no lock, no memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the lines of each class in the current second.
#[derive(Debug)]
pub struct Limiter {
    lines_per_second: u32,
    rows: Box<[Row]>,
}

#[derive(Debug, Default)]
struct Row {
    /// The second in the upper half, the lines of that second in the lower: one
    /// word, so that a new second and its first line cannot come apart.
    window: AtomicU64,
    suppressed: AtomicU64,
}

impl Limiter {
    /// A limiter for the classes `0..classes`, each with `lines_per_second` of
    /// its own. With 0 lines a second nothing ever gets through.
    #[must_use]
    pub fn new(classes: usize, lines_per_second: u32) -> Self {
        Self {
            lines_per_second,
            rows: (0..classes).map(|_| Row::default()).collect(),
        }
    }

    /// Asks for one line of `class` at `now_ms`, milliseconds of any clock that
    /// does not go back by more than the threads that ask disagree.
    ///
    /// `None`: do not log; it is counted. Otherwise append what is returned to
    /// the line: it tells how many lines were suppressed since the last one.
    ///
    /// # Panics
    ///
    /// When `class` is not one of the classes: the caller's table and the
    /// limiter's disagree, and every count would be of something else.
    pub fn admit(&self, class: usize, now_ms: u64) -> Option<Suppressed> {
        let row = &self.rows[class];
        // Relaxed everywhere: the words count lines, they guard no other memory.
        let admitted = row
            .window
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
                self.count(window, now_ms)
            });
        if admitted.is_err() {
            row.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // Looked at first, because a swap would take the cache line from the
        // other threads for every line that is not limited at all.
        let suppressed = match row.suppressed.load(Ordering::Relaxed) {
            0 => 0,
            _ => row.suppressed.swap(0, Ordering::Relaxed),
        };
        Some(Suppressed(suppressed))
    }

    /// The window with one more line in it, unless that is too many.
    fn count(&self, window: u64, now_ms: u64) -> Option<u64> {
        let (second, lines) = (window >> 32, window & u64::from(u32::MAX));
        let now = (now_ms / 1000) & u64::from(u32::MAX);
        // A thread whose clock is behind joins the newer second.
        let (second, lines) = if now > second {
            (now, 0)
        } else {
            (second, lines)
        };
        (lines < u64::from(self.lines_per_second)).then(|| (second << 32) + lines + 1)
    }
}

/// How many lines were not logged since the last one that was. Displays as
/// nothing when none, so it can end every line of its class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Suppressed(pub u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 similar line suppressed)"),
            lines => write!(f, " ({lines} similar lines suppressed)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_admits_its_lines_and_the_next_line_tells_the_rest() {
        let limiter = Limiter::new(1, 2);
        for (now_ms, expected) in [
            (5_000, Some(0)),
            (5_400, Some(0)),
            (5_999, None),
            (5_100, None),
            (6_000, Some(2)),
            (5_900, Some(0)), // Another thread's clock, a little behind.
            (6_999, None),
            (9_000, Some(1)),
            (9_001, Some(0)),
        ] {
            let got = limiter.admit(0, now_ms).map(|suppressed| suppressed.0);
            assert_eq!(got, expected, "at {now_ms}");
        }
    }

    #[test]
    fn classes_do_not_limit_each_other() {
        let limiter = Limiter::new(2, 1);
        assert!(limiter.admit(0, 0).is_some());
        assert!(limiter.admit(0, 0).is_none());
        assert_eq!(limiter.admit(1, 0), Some(Suppressed(0)));
    }

    #[test]
    fn zero_lines_a_second_is_silence() {
        let limiter = Limiter::new(1, 0);
        assert!((0..10).all(|second| limiter.admit(0, second * 1000).is_none()));
    }

    #[test]
    fn suppression_is_told_in_words() {
        for (suppressed, told) in [
            (0, ""),
            (1, " (1 similar line suppressed)"),
            (37, " (37 similar lines suppressed)"),
        ] {
            assert_eq!(Suppressed(suppressed).to_string(), told);
        }
    }

    #[test]
    fn threads_admit_exactly_the_limit_and_lose_no_count() {
        const THREADS: u64 = 4;
        const ASKED: u64 = 20_000;
        const PER_SECOND: u32 = 7;
        let limiter = Limiter::new(1, PER_SECOND);
        let (mut admitted, mut told) = (0, 0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        (0..ASKED)
                            .filter_map(|_| limiter.admit(0, 3_000))
                            .fold((0, 0), |(lines, told), line| (lines + 1, told + line.0))
                    })
                })
                .collect();
            for thread in threads {
                let (lines, suppressed) = thread.join().unwrap();
                admitted += lines;
                told += suppressed;
            }
        });
        assert_eq!(admitted, u64::from(PER_SECOND));
        let last = limiter.admit(0, 4_000).unwrap();
        assert_eq!(admitted + told + last.0, THREADS * ASKED);
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn an_unknown_class_is_a_bug() {
        let _ = Limiter::new(3, 1).admit(3, 0);
    }
}
