//! What each thread of a worker is doing for the user now: one word a thread,
//! written by it alone, read by the master.
//!
//! ```text
//!  63       35 34  32 31            0
//! +-----------+------+---------------+
//! |  serial   | kind |    number     |   kind 0: nothing of the user's
//! +-----------+------+---------------+
//! ```
//!
//! No clock is asked: the serial number grows with each message, so whoever
//! finds the same word again some time later knows that the same message ran
//! all the time. It comes round after 2^29 messages, minutes after a reader
//! looked again.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Row, Scoreboard};
use crate::sys::{own_word, threads};

/// Activities of a row: that of the reactor, then those of the business threads.
pub const ACTIVITIES: usize = 257;

/// Words of an activity: a cache line, so that threads do not wait for each other.
const ACTIVITY_WORDS: usize = super::LINE_WORDS;
/// Words of the activities of one row.
pub(super) const ACTIVITIES_WORDS: usize = ACTIVITIES * ACTIVITY_WORDS;

/// The thread whose it is; 0: nobody.
const THREAD: usize = 0;
/// What it is doing.
const WORK: usize = 1;

const NUMBER: u64 = u32::MAX as u64;
const KIND: u32 = 32;
const SERIAL: u64 = 1 << 35;
const SERIALS: u64 = !(SERIAL - 1);

/// Code of the user's that may run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Work {
    /// The handler of the message of this id.
    Message(u32),
    /// The handler of a message of a format without ids.
    Unnumbered,
    /// The handler of this route, counted in the order of their registration.
    Route(u32),
    /// The periodic job of this number, from 0.
    Job(u32),
    /// `opened`.
    Opened,
    /// A timer of a connection.
    Timer,
    /// `closed`, or the drop of the connection's state.
    Closed,
}

impl Work {
    const fn code(self) -> u64 {
        let (kind, number) = match self {
            Self::Message(id) => (1, id),
            Self::Unnumbered => (2, 0),
            Self::Route(number) => (3, number),
            Self::Job(number) => (4, number),
            Self::Opened => (5, 0),
            Self::Timer => (6, 0),
            Self::Closed => (7, 0),
        };
        kind << KIND | number as u64
    }

    fn from_word(word: u64) -> Option<Self> {
        let number = u32::try_from(word & NUMBER).expect("the mask leaves 32 bits");
        match word >> KIND & 7 {
            1 => Some(Self::Message(number)),
            2 => Some(Self::Unnumbered),
            3 => Some(Self::Route(number)),
            4 => Some(Self::Job(number)),
            5 => Some(Self::Opened),
            6 => Some(Self::Timer),
            7 => Some(Self::Closed),
            _ => None,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => write!(f, "message {id}"),
            Self::Unnumbered => f.write_str("a message without an id"),
            Self::Route(number) => write!(f, "route {number}"),
            Self::Job(number) => write!(f, "periodic job {number}"),
            Self::Opened => f.write_str("`opened`"),
            Self::Timer => f.write_str("a timer of a connection"),
            Self::Closed => f.write_str("`closed`"),
        }
    }
}

/// The calling thread begins `work`. Does nothing on threads without one.
#[inline]
pub fn begin(work: Work) {
    own_word::change(|word| (word & SERIALS).wrapping_add(SERIAL) | work.code());
}

/// The calling thread runs no code of the user's any more.
#[inline]
pub fn end() {
    own_word::change(|word| word & SERIALS);
}

/// What a thread does, as somebody else sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ThreadActivity {
    /// The number of the thread.
    pub thread: i32,
    /// The same as long as it is at the same work.
    pub word: u64,
}

impl ThreadActivity {
    /// What it is doing; `None`: nothing of the user's.
    #[must_use]
    pub fn work(self) -> Option<Work> {
        Work::from_word(self.word)
    }
}

impl Row {
    /// Runs `work` on the calling thread, as thread `n` of its worker.
    /// Where there is none, nobody sees what the thread does.
    pub fn at_work<R>(&self, n: usize, work: impl FnOnce() -> R) -> R {
        if n >= ACTIVITIES {
            return work();
        }
        let activity = &self.words[self.activities + n * ACTIVITY_WORDS..][..ACTIVITY_WORDS];
        let thread = u64::try_from(threads::own_id()).unwrap_or(0);
        activity[THREAD].store(thread, Ordering::Relaxed);
        let _left = Left(&activity[THREAD]);
        own_word::with(&activity[WORK], work)
    }
}

/// Ends the activity, on unwinding as well.
struct Left<'a>(&'a AtomicU64);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Scoreboard {
    /// The activities of row `n` up to the first empty one; the reactor's is first.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    #[must_use]
    pub fn activities(&self, n: usize) -> Vec<ThreadActivity> {
        let activities = self.activity_words(n).chunks_exact(ACTIVITY_WORDS);
        let seen = activities.map(|activity| ThreadActivity {
            thread: i32::try_from(activity[THREAD].load(Ordering::Relaxed)).unwrap_or(0),
            word: activity[WORK].load(Ordering::Relaxed),
        });
        seen.take_while(|one| one.thread != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Work; 9] = [
        Work::Message(0),
        Work::Message(u32::MAX),
        Work::Unnumbered,
        Work::Route(3),
        Work::Job(0),
        Work::Opened,
        Work::Timer,
        Work::Closed,
        Work::Message(7),
    ];

    #[test]
    fn work_is_seen_while_it_lasts_and_told_from_the_same_again() {
        let board = Scoreboard::new(2).unwrap();
        let mut seen = std::collections::HashSet::new();
        board.row(1).at_work(0, || {
            assert_eq!(board.activities(1)[0].work(), None);
            for work in [ALL, ALL].concat() {
                begin(work);
                let one = board.activities(1)[0];
                assert_eq!(one.thread, threads::own_id());
                assert_eq!(one.work(), Some(work));
                assert!(seen.insert(one.word), "{work} once more is another");
            }
            end();
            assert_eq!(board.activities(1)[0].work(), None);
        });
        assert_eq!(board.activities(1), [], "it has left");
        assert_eq!(board.activities(0), [], "nobody ever was here");
    }

    #[test]
    fn the_serial_number_comes_round_without_touching_the_rest() {
        let row = Row::alone().unwrap();
        row.at_work(0, || {
            own_word::change(|_| SERIALS);
            begin(Work::Message(5));
            own_word::change(|word| {
                assert_eq!(word, Work::Message(5).code());
                word
            });
        });
    }

    #[test]
    fn each_thread_has_its_words_and_those_beyond_work_unseen() {
        let board = Scoreboard::new(1).unwrap();
        let row = board.row(0);
        row.at_work(0, || {
            row.at_work(1, || {
                begin(Work::Opened);
                let works: Vec<_> = board
                    .activities(0)
                    .iter()
                    .map(|activity| activity.work())
                    .collect();
                assert_eq!(works, [None, Some(Work::Opened)]);
            });
            row.at_work(ACTIVITIES, || assert_eq!(board.activities(0).len(), 1));
        });
    }

    #[test]
    fn the_dead_leave_their_words() {
        let board = Scoreboard::new(1).unwrap();
        let row = board.row(0);
        row.at_work(0, || {
            begin(Work::Message(1));
            board.fold(0);
            assert_eq!(board.activities(0), []);
        });
    }
}
