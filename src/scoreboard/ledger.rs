//! What masters alone write: the totals of the dead, and who is in which row.
//!
//! ```text
//! word 0       1         8        ...          ...             ...
//! +----------+---------+--------+----~~~----+----------------+----------------+
//! | sequence | created | totals |           | epochs of rows | sums of series |
//! +----------+---------+--------+----~~~----+----------------+----------------+
//! ```
//!
//! A memory of its own, because a worker is not trusted: it has this one for
//! reading alone ([`Ledger::reader`]), so that nothing it does can forge a total
//! or make a reader wait. The file is its maker's alone: a worker of another
//! user cannot open it for writing either.
//!
//! `sequence` is odd while a master folds, so a reader sees a dead worker's
//! counts in its row or in the totals: never in both, never in none. Two masters
//! may fold, each the rows of its own workers.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::{Counter, LINE_WORDS};
use crate::sys::memory::SharedWords;

const SEQUENCE: usize = 0;
const CREATED: usize = 1;
const TOTALS: usize = LINE_WORDS;
const EPOCHS: usize = (TOTALS + Counter::ALL.len()).next_multiple_of(LINE_WORDS);

/// How long a fold may take: a microsecond, unless its master was stopped or
/// died in it.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long one who reads waits for several of them.
const PATIENCE_IN_ALL: Duration = Duration::from_millis(200);

/// The ledger of a server. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    words: Arc<SharedWords>,
    rows: usize,
}

impl Ledger {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::new`].
    pub(super) fn new(rows: usize, sums: usize) -> io::Result<Self> {
        let words = Arc::new(SharedWords::new(EPOCHS + rows + sums)?);
        Ok(Self { words, rows })
    }

    /// That of the process before this one; `None` when it is not for so many
    /// rows and sums.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::inherit`].
    pub(super) fn inherit(file: OwnedFd, rows: usize, sums: usize) -> io::Result<Option<Self>> {
        let words = SharedWords::inherit(file)?;
        let is_it = words.len() == EPOCHS + rows + sums;
        let words = Arc::new(words);
        Ok(is_it.then_some(Self { words, rows }))
    }

    /// That of another process, for reading alone.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::inherit`].
    pub(super) fn inherit_reader(file: OwnedFd, sums: usize) -> io::Result<Self> {
        let words = Arc::new(SharedWords::inherit_reader(file)?);
        let rows = words.len().checked_sub(EPOCHS + sums);
        let rows = rows.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { words, rows })
    }

    /// For how many rows it is.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What the dead counted by name.
    pub(super) fn sums(&self) -> &[AtomicU64] {
        &self.words[EPOCHS + self.rows..]
    }

    /// Its file for [`Self::inherit_reader`].
    ///
    /// # Errors
    ///
    /// As [`SharedWords::read_only`].
    pub(super) fn read_only(&self) -> io::Result<OwnedFd> {
        self.words.read_only()
    }

    /// When the first of its masters made it, in milliseconds since 1970.
    pub(super) fn created(&self) -> &AtomicU64 {
        &self.words[CREATED]
    }

    /// The same for a process that must not write it: a write there ends it.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::reader`].
    pub(super) fn reader(&self) -> io::Result<Self> {
        Ok(Self {
            words: Arc::new(self.words.reader()?),
            rows: self.rows,
        })
    }

    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.words.file()
    }

    /// What the dead counted.
    pub(super) fn total(&self, counter: Counter) -> &AtomicU64 {
        &self.words[TOTALS + counter as usize]
    }

    /// Which of its workers row `n` was given last.
    pub(super) fn epoch(&self, n: usize) -> &AtomicU64 {
        &self.words[EPOCHS + n]
    }

    /// Changes totals by `change`, while no reader looks and no other master
    /// changes them.
    pub(super) fn fold(&self, change: impl FnOnce()) {
        let odd = self.begin();
        change();
        // Unless somebody lost patience and folds under a number of its own.
        let sequence = &self.words[SEQUENCE];
        let even = odd.wrapping_add(1);
        let _ours = sequence.compare_exchange(odd, even, Ordering::Release, Ordering::Relaxed);
    }

    /// Waits for another master's fold, and makes the sequence word odd.
    fn begin(&self) -> u64 {
        let sequence = &self.words[SEQUENCE];
        let mut until = None;
        loop {
            let now = sequence.load(Ordering::Relaxed);
            let is_free = now.is_multiple_of(2);
            if !is_free && is_patient(&mut until) {
                std::thread::yield_now();
                continue;
            }
            let odd = now.wrapping_add(if is_free { 1 } else { 2 });
            let swapped = sequence.compare_exchange(now, odd, Ordering::Relaxed, Ordering::Relaxed);
            if swapped.is_ok() {
                // The odd number is seen by all who see what is changed next.
                fence(Ordering::Release);
                return odd;
            }
        }
    }

    /// What `look` sees of totals and rows together.
    pub(super) fn read<R>(&self, look: impl Fn() -> R) -> R {
        let sequence = &self.words[SEQUENCE];
        let (mut until, mut last) = (None, 0);
        let latest = Instant::now() + PATIENCE_IN_ALL;
        loop {
            let before = sequence.load(Ordering::Acquire);
            if before != last && Instant::now() < latest {
                // Somebody folds, one worker behind the other.
                (until, last) = (None, before);
            }
            let seen = look();
            // The words are read before the number is read again.
            fence(Ordering::Acquire);
            let is_whole = before.is_multiple_of(2) && sequence.load(Ordering::Relaxed) == before;
            if is_whole || !is_patient(&mut until) {
                return seen;
            }
            std::thread::yield_now();
        }
    }
}

/// Whether it is not [`PATIENCE`] yet since the first call with this `until`.
fn is_patient(until: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    now < *until.get_or_insert(now + PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the sequence among the workers' words, `status` took over ten
    /// seconds here: a million looks at 255 rows.
    #[test]
    fn a_fold_that_never_ends_holds_readers_and_masters_for_a_moment() {
        let ledger = Ledger::new(3, 0).unwrap();
        for odd in [1, 7, u64::MAX] {
            ledger.words[SEQUENCE].store(odd, Ordering::Relaxed);
            let begun = Instant::now();
            assert_eq!(ledger.read(|| 5), 5);
            ledger.fold(|| ledger.total(Counter::Handled).store(odd, Ordering::Relaxed));
            assert!(begun.elapsed() < 50 * PATIENCE, "{:?}", begun.elapsed());
            let after = ledger.words[SEQUENCE].load(Ordering::Relaxed);
            assert!(after.is_multiple_of(2), "{after}");
        }
    }

    #[test]
    fn a_reader_sees_what_its_master_writes() {
        let ledger = Ledger::new(2, 0).unwrap();
        let reader = ledger.reader().unwrap();
        ledger.epoch(1).store(9, Ordering::Relaxed);
        ledger.total(Counter::Handled).store(7, Ordering::Relaxed);
        assert_eq!(reader.epoch(1).load(Ordering::Relaxed), 9);
        let total = reader.read(|| reader.total(Counter::Handled).load(Ordering::Relaxed));
        assert_eq!(total, 7);
        assert!(reader.file().is_none(), "nothing to open anew");
    }
}
