//! The words in which connections are counted by address.
//!
//! ```text
//! 0     2        6         16          16 + size    16 + 2 size
//! +-----+--------+---------+-----~~----+-----~~-----+-----~~-----+--
//! | key | living |    0    |   rates   | of row 0   | of row 1   | ...
//! +-----+--------+---------+-----~~----+-----~~-----+-----~~-----+--
//! ```
//!
//! `key` is random and made once, before any fork. `living` has a bit for each
//! row whose worker counts. The worker of a row alone writes the row's table;
//! the master clears it after it reaped the worker. All workers write `rates`.
//! What a word of a table means is for `net::per_ip` and `net::accept_rate`.
//!
//! A table that nobody uses has an address but no memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::memory::SharedWords;

/// Words that are looked at for one address: two cache lines.
pub const BUCKET: usize = 16;

/// Words for one connection. Buckets are then a quarter full when a worker has
/// as many connections as it may, each from another address, and one in a
/// million overflows.
const WORDS_PER_CONNECTION: usize = 4;

const KEY: usize = 0;
const LIVING: usize = 2;
const HEADER: usize = 16;

/// Where the words are among those of the scoreboard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    start: usize,
    /// Words of one table, a power of two.
    pub(super) size: usize,
}

impl Region {
    pub(super) fn new(start: usize, connections: usize) -> Self {
        let words = connections.saturating_mul(WORDS_PER_CONNECTION);
        Self {
            start,
            size: words.next_power_of_two().max(4 * BUCKET),
        }
    }

    /// The region of tables that were made with this size; any size, which is
    /// to be compared with that of the memory.
    pub(super) const fn of_size(start: usize, size: usize) -> Self {
        Self { start, size }
    }

    /// Words of the whole region for so many rows.
    pub(super) const fn len(self, rows: usize) -> usize {
        // A size from elsewhere may be anything.
        HEADER.saturating_add(self.size.saturating_mul(rows + 1))
    }

    /// Makes the key, before anybody else can see the words.
    pub(super) fn prepare(self, words: &SharedWords) {
        for word in &words[self.start + KEY..self.start + LIVING] {
            // What the standard library seeds its hash maps with is random.
            word.store(RandomState::new().hash_one(0), Ordering::Relaxed);
        }
    }
}

/// The tables of all rows, as one row's worker sees them. A clone is the same.
#[derive(Clone, Debug)]
pub struct Addresses {
    words: Arc<SharedWords>,
    region: Region,
    row: usize,
}

impl Addresses {
    pub(super) fn new(words: Arc<SharedWords>, region: Region, row: usize) -> Self {
        Self { words, region, row }
    }

    /// Which row these are seen from.
    #[must_use]
    pub fn row(&self) -> usize {
        self.row
    }

    /// The secret with which addresses are hashed.
    #[must_use]
    pub fn key(&self) -> [u64; 2] {
        [0, 1].map(|n| self.word(KEY + n).load(Ordering::Relaxed))
    }

    /// Connections of one worker for which the tables are large enough.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.region.size / WORDS_PER_CONNECTION
    }

    /// The bits of rows `64 * group` and the 63 that follow.
    ///
    /// # Panics
    ///
    /// When `group` is over 3: there are 255 rows at most.
    #[must_use]
    pub fn living(&self, group: usize) -> &AtomicU64 {
        assert!(group < 4, "group {group} of 4");
        self.word(LIVING + group)
    }

    /// The words of `row` in which what has this hash is counted.
    #[must_use]
    pub fn bucket(&self, row: usize, hash: u64) -> &[AtomicU64] {
        self.bucket_of(1 + row, hash)
    }

    /// The words of all rows in which the pace of what has this hash is kept.
    #[must_use]
    pub fn rates(&self, hash: u64) -> &[AtomicU64] {
        self.bucket_of(0, hash)
    }

    fn bucket_of(&self, table: usize, hash: u64) -> &[AtomicU64] {
        let start = self.table(table);
        let buckets = (self.region.size / BUCKET) as u64;
        let bucket = usize::try_from(hash & (buckets - 1)).unwrap_or(0);
        &self.words[start + bucket * BUCKET..][..BUCKET]
    }

    fn table(&self, table: usize) -> usize {
        self.region.start + HEADER + table * self.region.size
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[self.region.start + at]
    }

    /// Forgets what the row's worker counted. For the master, after it reaped
    /// the worker and before it forks into the row again.
    pub(super) fn forget(&self) {
        let (living, bit) = (self.living(self.row / 64), 1 << (self.row % 64));
        if living.load(Ordering::SeqCst) & bit == 0 {
            return;
        }
        let start = self.table(1 + self.row);
        self.words.clear(start..start + self.region.size);
        // Last: who does not see the bit does not read the table.
        living.fetch_and(!bit, Ordering::SeqCst);
    }
}
