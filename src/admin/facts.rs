//! What the master alone knows and the admin process shows: who the workers are,
//! what they last died of, what is in force. Text in memory of the two, which the
//! master writes and the admin process can only read.
//!
//! ```text
//! word 0       1       2        ...
//! +----------+-------+--------+-----+
//! | sequence | bytes | JSON   |     |
//! +----------+-------+--------+-----+
//! ```
//!
//! `sequence` is odd while the master writes. It waits for no reader, and a reader
//! gives up after a while: the master may have been stopped in the middle.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use serde::{Deserialize, Serialize};

use crate::sys::memory::SharedWords;

const SEQUENCE: usize = 0;
const BYTES: usize = 1;
const TEXT: usize = 2;

/// Room for what is known of 255 workers.
const WORDS: usize = TEXT + (256 << 10) / size_of::<u64>();

/// How often a reader looks again before it gives up.
const LOOKS: usize = 1000;

/// What is known. Times are seconds since 1970.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Facts {
    /// What the program is called.
    pub program: String,
    /// The master.
    pub pid: i32,
    /// Since when it is there.
    pub started: f64,
    /// Which generation serves.
    pub generation: Option<u64>,
    /// Whether workers are started that do not serve yet, and none does.
    pub is_starting: bool,
    /// Whether it was told to stop.
    pub is_stopping: bool,
    /// The new master, while an upgrade goes on.
    pub upgrading: Option<i32>,
    /// The master before this one, while it drains.
    pub replaces: Option<i32>,
    /// The file of the configuration.
    pub configuration: Option<String>,
    /// How workers share the listeners.
    pub accept: String,
    /// Where the server listens.
    pub listeners: Vec<Listens>,
    /// The workers, those that drain included.
    pub workers: Vec<Worker>,
    /// How the last reload went; `None`: there was none.
    pub reload: Option<Reload>,
}

/// A listener.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Listens {
    /// As it is really bound.
    pub address: String,
    /// What it is called.
    pub name: Option<String>,
    /// What is spoken there.
    pub protocol: String,
}

/// A worker.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Worker {
    /// Which of its generation.
    pub number: usize,
    /// Its row of the scoreboard.
    pub row: usize,
    /// Its process.
    pub pid: Option<i32>,
    /// Its generation.
    pub generation: u64,
    /// What it is doing.
    pub state: String,
    /// Since when.
    pub since: f64,
    /// Until when it may.
    pub until: Option<f64>,
    /// How often it was replaced.
    pub restarts: u64,
    /// What the one before it died of.
    pub last_exit: Option<String>,
    /// Whether somebody has stopped it.
    pub is_stopped: bool,
}

/// How a reload went.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Reload {
    /// Whether what it brought is in force.
    pub was_good: bool,
    /// When that was known.
    pub at: f64,
}

/// The master's end.
#[derive(Debug)]
pub struct Publisher {
    words: SharedWords,
    last: Facts,
}

impl Publisher {
    /// Memory in which nothing is known.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::new`].
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            words: SharedWords::named(c"purlin-facts", WORDS)?,
            last: Facts::default(),
        })
    }

    /// What the admin process is given for [`Reader::new`].
    ///
    /// # Errors
    ///
    /// As [`SharedWords::read_only`].
    pub fn read_only(&self) -> io::Result<OwnedFd> {
        self.words.read_only()
    }

    /// Writes them, if they are others. What has no room stays as it was.
    pub fn publish(&mut self, facts: Facts) {
        if facts == self.last {
            return;
        }
        let text = serde_json::to_vec(&facts).expect("strings and numbers become JSON");
        self.last = facts;
        if text.len() > (WORDS - TEXT) * size_of::<u64>() {
            return;
        }
        let sequence = self.words[SEQUENCE].load(Ordering::Relaxed);
        self.words[SEQUENCE].store(sequence | 1, Ordering::Relaxed);
        // The odd number is seen by all who see what is written next.
        fence(Ordering::Release);
        self.words[BYTES].store(text.len() as u64, Ordering::Relaxed);
        for (to, bytes) in self.words[TEXT..].iter().zip(text.chunks(size_of::<u64>())) {
            let mut word = [0; size_of::<u64>()];
            word[..bytes.len()].copy_from_slice(bytes);
            to.store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        let even = (sequence | 1).wrapping_add(1);
        self.words[SEQUENCE].store(even, Ordering::Release);
    }
}

/// The end of whoever shows them.
#[derive(Debug)]
pub(super) struct Reader(SharedWords);

impl Reader {
    /// Of what a [`Publisher`] gives.
    ///
    /// # Errors
    ///
    /// It is none of this binary's.
    pub(super) fn new(file: OwnedFd) -> io::Result<Self> {
        let words = SharedWords::inherit_reader(file)?;
        if words.len() != WORDS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self(words))
    }

    /// What is known now; `None`: nothing yet, or the master writes for ever.
    #[must_use]
    pub(super) fn read(&self) -> Option<Facts> {
        for _ in 0..LOOKS {
            let before = self.0[SEQUENCE].load(Ordering::Acquire);
            let text = self.text();
            // The words are read before the number is read again.
            fence(Ordering::Acquire);
            let is_whole = before.is_multiple_of(2);
            if is_whole && self.0[SEQUENCE].load(Ordering::Relaxed) == before {
                return serde_json::from_slice(&text).ok();
            }
            std::thread::yield_now();
        }
        None
    }

    fn text(&self) -> Vec<u8> {
        let len = usize::try_from(self.0[BYTES].load(Ordering::Relaxed)).unwrap_or(0);
        let words = self.0[TEXT..].iter().take(len.div_ceil(size_of::<u64>()));
        let bytes = |word: &AtomicU64| word.load(Ordering::Relaxed).to_le_bytes();
        let mut text: Vec<u8> = words.flat_map(bytes).collect();
        text.truncate(len);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn facts(workers: usize) -> Facts {
        let worker = |number| Worker {
            number,
            pid: Some(7),
            last_exit: Some("was killed by SIGSEGV".into()),
            ..Worker::default()
        };
        Facts {
            program: "chat".into(),
            started: 1.5,
            workers: (0..workers).map(worker).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn what_is_published_is_read_and_an_odd_number_ends() {
        let mut publisher = Publisher::new().unwrap();
        let reader = Reader::new(publisher.read_only().unwrap()).unwrap();
        assert_eq!(reader.read(), None);
        for workers in [3, 255, 0] {
            publisher.publish(facts(workers));
            assert_eq!(reader.read(), Some(facts(workers)));
        }
        publisher.words[SEQUENCE].fetch_add(1, Ordering::Relaxed);
        assert_eq!(reader.read(), None);
        publisher.publish(facts(1));
        assert_eq!(reader.read(), Some(facts(1)));
    }

    #[test]
    fn a_reader_never_sees_halves() {
        let mut publisher = Publisher::new().unwrap();
        let reader = Reader::new(publisher.read_only().unwrap()).unwrap();
        publisher.publish(facts(1));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if let Some(seen) = reader.read() {
                        assert_eq!(seen, facts(seen.workers.len()));
                    }
                }
            });
            for n in 0..500 {
                publisher.publish(facts(n % 60));
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
