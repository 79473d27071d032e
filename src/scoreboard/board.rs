//! The memory of the whole server: a header, a row for each worker, the bells
//! that wake them, and beside it the ledger, which masters alone write.
//!
//! ```text
//! word 0       1        2       3      4 ... 7    8
//! +-------+--------+-------+---------+-------+-------+---~~~---+
//! | magic | layout | mutex |    0    | table | row 0 | row ... |
//! +-------+--------+-------+---------+-------+-------+---~~~---+
//! | activity of row 0 | activity of row ... | addresses | series of row 0 | ... |
//! +-------------------+---~~~---------------+-----------+-----------------+-~~~-+
//! ```
//!
//! `table` is the size of each table of the addresses. What no thread ever
//! touched of the activities and the addresses has no memory.
//!
//! Made by the master before any fork; every worker inherits it, and so does
//! the master of the next program. Any worker can write any word here, so to the
//! master every word is data: it may be anything at any time.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::activity::ACTIVITIES_WORDS;
use super::addresses::{Addresses, Region};
use super::ledger::Ledger;
use super::series::{Series, Shape, Sums};
use super::{ASLEEP, BUCKET, Counter, LIFE, LINE_WORDS, ROW_WORDS, Row};
use crate::sys::clock::wall_millis;
use crate::sys::eventfd::Bell;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::memory::SharedWords;

/// "purlin\0" and the version of the header, little-endian.
const MAGIC: u64 = u64::from_le_bytes(*b"purlin\0\x02");

const LAYOUT: usize = 1;
const MUTEX: usize = 2;
const TABLE: usize = 4;
const ROWS: usize = LINE_WORDS;

/// Stands among the counts for the time since when there are any.
const CREATED: &str = "created";

/// All shared words and bells of a server. A clone is the same scoreboard.
#[derive(Clone, Debug)]
pub struct Scoreboard {
    words: Arc<SharedWords>,
    ledger: Ledger,
    bells: Arc<[Bell]>,
    region: Region,
    shape: Arc<Shape>,
}

/// For the process that shows what is counted: it can change none of it.
#[derive(Debug)]
pub struct ReadOnly<T> {
    /// The words that workers write.
    pub memory: T,
    /// Those that masters alone write.
    pub ledger: T,
}

/// What the next program has to inherit for [`Scoreboard::inherit`].
#[derive(Clone, Debug)]
pub struct Descriptors<T> {
    /// The words that workers write.
    pub memory: T,
    /// Those that masters alone write.
    pub ledger: T,
    /// The bells, in the order of their rows.
    pub bells: Vec<T>,
}

impl Scoreboard {
    /// As [`Self::for_connections`], for few.
    ///
    /// # Errors
    ///
    /// As [`Self::for_connections`].
    ///
    /// # Panics
    ///
    /// As [`Self::for_connections`].
    pub fn new(rows: usize) -> io::Result<Self> {
        Self::for_connections(rows, 0)
    }

    /// A scoreboard of `rows` rows, all zero, and a bell for each, with tables
    /// that can count `connections` of each worker by address. Call it before
    /// any fork: what is made later is not shared.
    ///
    /// # Errors
    ///
    /// Out of memory or descriptors: the server cannot start.
    ///
    /// # Panics
    ///
    /// When `rows` is not 1 to 255: connections carry the row in their names,
    /// and the last name is not given to a worker.
    pub fn for_connections(rows: usize, connections: usize) -> io::Result<Self> {
        Self::for_program(rows, connections, Arc::default())
    }

    /// As [`Self::for_connections`], with the series of a program.
    ///
    /// # Errors
    ///
    /// As [`Self::for_connections`].
    ///
    /// # Panics
    ///
    /// As [`Self::for_connections`].
    pub fn for_program(rows: usize, connections: usize, shape: Arc<Shape>) -> io::Result<Self> {
        assert!(
            (1..=255).contains(&rows),
            "{rows} rows cannot be told apart"
        );
        let region = Region::new(activities(rows, rows), connections);
        let series = rows * series_words(&shape);
        let words = SharedWords::new(activities(rows, rows) + region.len(rows) + series)?;
        region.prepare(&words);
        words[TABLE].store(region.size as u64, Ordering::Relaxed);
        words[LAYOUT].store(layout(&shape), Ordering::Relaxed);
        words[0].store(MAGIC, Ordering::Release);
        let ledger = Ledger::new(rows, shape.sums())?;
        ledger.created().store(wall_millis(), Ordering::Relaxed);
        Ok(Self {
            words: Arc::new(words),
            ledger,
            bells: (0..rows).map(|_| Bell::new()).collect::<io::Result<_>>()?,
            region,
            shape,
        })
    }

    /// The scoreboard of the process before this one, whose workers count on;
    /// `None` when that one gives the words another meaning.
    ///
    /// # Errors
    ///
    /// What was inherited is no shared memory, or it cannot be mapped.
    pub fn inherit(shared: Descriptors<OwnedFd>, shape: Arc<Shape>) -> io::Result<Option<Self>> {
        let Descriptors {
            memory,
            ledger,
            bells,
        } = shared;
        let words = SharedWords::inherit(memory)?;
        let rows = bells.len();
        let Some(region) = Self::region(&words, rows, &shape) else {
            return Ok(None);
        };
        let Some(ledger) = Ledger::inherit(ledger, rows, shape.sums())? else {
            return Ok(None);
        };
        Ok(Some(Self {
            words: Arc::new(words),
            ledger,
            bells: bells.into_iter().map(Bell::from).collect(),
            region,
            shape,
        }))
    }

    /// Where addresses are counted in words of so many rows; `None`: they have
    /// another meaning.
    fn region(words: &SharedWords, rows: usize, shape: &Shape) -> Option<Region> {
        let header = |at: usize| words.get(at).map(|word| word.load(Ordering::Acquire));
        let is_ours = header(0) == Some(MAGIC) && header(LAYOUT) == Some(layout(shape));
        if !is_ours || !(1..=255).contains(&rows) {
            return None;
        }
        let table = usize::try_from(header(TABLE)?).ok()?;
        let region = Region::of_size(activities(rows, rows), table);
        let series = rows * series_words(shape);
        let expected = activities(rows, rows).saturating_add(region.len(rows));
        let expected = expected.saturating_add(series);
        (words.len() == expected && region.size.is_power_of_two()).then_some(region)
    }

    /// What the next program has to inherit; `None` in a worker, which has not
    /// all of it.
    #[must_use]
    pub fn descriptors(&self) -> Option<Descriptors<BorrowedFd<'_>>> {
        Some(Descriptors {
            memory: self.words.file()?,
            ledger: self.ledger.file()?,
            bells: self.bells.iter().map(Bell::as_fd).collect(),
        })
    }

    /// What a process has to be given for [`Self::watch`].
    ///
    /// # Errors
    ///
    /// As [`SharedWords::read_only`].
    pub fn read_only(&self) -> io::Result<ReadOnly<OwnedFd>> {
        Ok(ReadOnly {
            memory: self.words.read_only()?,
            ledger: self.ledger.read_only()?,
        })
    }

    /// The scoreboard of another process, to look at: whoever stores there ends. It
    /// has no bells.
    ///
    /// # Errors
    ///
    /// It is none of this binary's.
    pub fn watch(shared: ReadOnly<OwnedFd>, shape: Arc<Shape>) -> io::Result<Self> {
        let words = SharedWords::inherit_reader(shared.memory)?;
        let ledger = Ledger::inherit_reader(shared.ledger, shape.sums())?;
        let region = Self::region(&words, ledger.rows(), &shape);
        let region = region.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            words: Arc::new(words),
            ledger,
            bells: Arc::new([]),
            region,
            shape,
        })
    }

    /// When counting began, in milliseconds since 1970.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.ledger.created().load(Ordering::Relaxed)
    }

    /// The same scoreboard for a worker: what masters alone write it can read.
    /// In its process, once the master's own is dropped.
    ///
    /// # Errors
    ///
    /// As [`SharedWords::reader`].
    pub fn for_worker(&self) -> io::Result<Self> {
        Ok(Self {
            ledger: self.ledger.reader()?,
            ..self.clone()
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ledger.rows()
    }

    /// The counters of row `n`.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, n: usize) -> Row {
        Row {
            words: Arc::clone(&self.words),
            ledger: Some(self.ledger.clone()),
            start: self.start(n),
            rows: self.rows(),
            activities: activities(self.rows(), n),
            addresses: Some(self.addresses(n)),
            series: Some(Series {
                words: Arc::clone(&self.words),
                start: self.series(n),
                shape: Arc::clone(&self.shape),
            }),
        }
    }

    /// Where the series of row `n` are.
    fn series(&self, n: usize) -> usize {
        let before = activities(self.rows(), self.rows()) + self.region.len(self.rows());
        before + n * series_words(&self.shape)
    }

    /// The sums of row `n`.
    fn row_sums(&self, n: usize) -> &[AtomicU64] {
        &self.words[self.series(n)..][..self.shape.sums()]
    }

    /// Where the worker of row `n` counts connections by address.
    #[must_use]
    pub fn addresses(&self, n: usize) -> Addresses {
        Addresses::new(Arc::clone(&self.words), self.region, n)
    }

    /// Wakes the reactor of the row's worker.
    ///
    /// # Panics
    ///
    /// As [`Self::row`].
    #[must_use]
    pub fn bell(&self, n: usize) -> &Bell {
        &self.bells[n]
    }

    /// Names the worker that may accept: see `net::accept_mutex`.
    #[must_use]
    pub fn accept_mutex(&self) -> &AtomicU64 {
        &self.words[MUTEX]
    }

    /// Who lives in row `n`, and what it can do: see `net::accept_mutex`.
    ///
    /// # Panics
    ///
    /// As [`Self::row`].
    #[must_use]
    pub fn life(&self, n: usize) -> &AtomicU64 {
        &self.words[self.start(n) + LIFE]
    }

    /// Which of its workers row `n` was given last. The master alone writes it.
    ///
    /// # Panics
    ///
    /// As [`Self::row`].
    #[must_use]
    pub fn epoch(&self, n: usize) -> &AtomicU64 {
        assert!(n < self.rows(), "row {n} of {}", self.rows());
        self.ledger.epoch(n)
    }

    /// Not 0 while the event loop of row `n` waits.
    ///
    /// # Panics
    ///
    /// As [`Self::row`].
    #[must_use]
    pub fn asleep(&self, n: usize) -> &AtomicU64 {
        &self.words[self.start(n) + ASLEEP]
    }

    /// The word of one counter of row `n`.
    ///
    /// # Panics
    ///
    /// As [`Self::row`].
    #[must_use]
    pub fn word(&self, n: usize, counter: Counter) -> &AtomicU64 {
        &self.words[self.start(n) + counter as usize]
    }

    /// The words of the activities of row `n`.
    pub(super) fn activity_words(&self, n: usize) -> &[AtomicU64] {
        assert!(n < self.rows(), "row {n} of {}", self.rows());
        &self.words[activities(self.rows(), n)..][..ACTIVITIES_WORDS]
    }

    /// Writes something into every word that workers write.
    #[cfg(test)]
    pub(crate) fn scramble(&self, seed: u64, small: bool) {
        let mut word = seed | 1;
        for to in self.words.iter().skip(MUTEX) {
            // Marsaglia's xorshift.
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            to.store(if small { word % 9 } else { word }, Ordering::Relaxed);
        }
    }

    fn start(&self, n: usize) -> usize {
        assert!(n < self.rows(), "row {n} of {}", self.rows());
        ROWS + n * ROW_WORDS
    }

    /// Adds what the worker of row `n` counted to the totals and clears the
    /// row for the next one. Its gauges are dropped: what they counted went
    /// with the worker, as did what it counted by address and what its threads
    /// were at. Its life stays, for the mutex.
    ///
    /// A master alone calls it, after it reaped the worker and before it forks
    /// into the row again. Two masters may do so at once, for different rows:
    /// during an upgrade there are two.
    ///
    /// # Panics
    ///
    /// As [`Self::row`].
    pub fn fold(&self, n: usize) {
        self.ledger.fold(|| {
            kill_point(Spot::Folding);
            let ended = self.ledger.total(Counter::EndedWithWorker);
            ended.fetch_add(self.left_behind(n), Ordering::Relaxed);
            for &counter in Counter::ALL {
                let counted = self.word(n, counter).swap(0, Ordering::Relaxed);
                if !counter.is_gauge() {
                    let total = self.ledger.total(counter);
                    total.fetch_add(counted, Ordering::Relaxed);
                }
            }
            self.asleep(n).store(0, Ordering::Relaxed);
            self.row(n).forget_timings();
            for (total, word) in self.ledger.sums().iter().zip(self.row_sums(n)) {
                // A page that nobody has written to stays without memory.
                if word.load(Ordering::Relaxed) > 0 {
                    let counted = word.swap(0, Ordering::Relaxed);
                    total.fetch_add(counted, Ordering::Relaxed);
                }
            }
        });
        let series = self.series(n);
        self.words.clear(series..series + series_words(&self.shape));
        self.addresses(n).forget();
        let activities = activities(self.rows(), n);
        self.words.clear(activities..activities + ACTIVITIES_WORDS);
    }

    /// Connections that came to the worker of row `n` and did not leave it before
    /// it was gone. Of what it counted in their whole life: when it was killed,
    /// the gauge may have been about to change.
    fn left_behind(&self, n: usize) -> u64 {
        let sum = |counters: [Counter; 2]| {
            let words = counters.map(|counter| self.word(n, counter).load(Ordering::Relaxed));
            words[0].wrapping_add(words[1])
        };
        let came = sum([Counter::Accepted, Counter::TakenOver]);
        came.saturating_sub(sum([Counter::Closed, Counter::HandedOver]))
    }

    /// Counts one of the server's as a whole, in a master.
    pub fn count(&self, counter: Counter) {
        let total = self.ledger.total(counter);
        total.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what was counted elsewhere, by name: by a program that gives the
    /// words another meaning. Names that this one does not know are dropped, as
    /// are those of gauges.
    pub fn add(&self, counted: &[(String, u64)]) {
        let keys = self.shape.keys();
        for (name, count) in counted {
            let mut all = Counter::ALL.iter();
            if name == CREATED && *count > 0 {
                // What they count began before us.
                self.ledger.created().fetch_min(*count, Ordering::Relaxed);
                continue;
            }
            if name.contains('#') {
                self.add_sum(&keys, name, *count);
                continue;
            }
            let known = all.find(|counter| counter.name() == name && !counter.is_gauge());
            if let Some(&counter) = known {
                let total = self.ledger.total(counter);
                total.fetch_add(*count, Ordering::Relaxed);
            }
        }
    }

    /// Adds to a word of a series, as [`Self::sums_by_name`] names it.
    fn add_sum(&self, keys: &[(String, Range<usize>)], name: &str, count: u64) {
        let known = name.rsplit_once('#').and_then(|(key, word)| {
            let (_, at) = keys.iter().find(|(known, _)| known == key)?;
            let at = at.clone().nth(word.parse().ok()?)?;
            self.ledger.sums().get(at)
        });
        if let Some(total) = known {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sums of all series, for [`Self::add`]: those that are not 0.
    #[must_use]
    pub fn sums_by_name(&self) -> Vec<(String, u64)> {
        let (_, sums) = self.figures();
        let mut named = Vec::new();
        for (key, at) in self.shape.keys() {
            let words = sums.words[at].iter().enumerate();
            let counted = words.filter(|(_, count)| **count > 0);
            named.extend(counted.map(|(n, count)| (format!("{key}#{n}"), *count)));
        }
        named
    }

    /// As [`Self::totals`], with the sums of all series at the same moment.
    #[must_use]
    pub fn figures(&self) -> (Vec<(Counter, u64)>, Sums) {
        self.ledger.read(|| {
            let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
            let mut words: Vec<u64> = self.ledger.sums().iter().map(load).collect();
            // The memory of a row that nobody uses is not touched.
            for n in (0..self.rows()).filter(|n| self.is_used(*n)) {
                for (sum, word) in words.iter_mut().zip(self.row_sums(n)) {
                    *sum = sum.wrapping_add(load(word));
                }
            }
            let shape = Arc::clone(&self.shape);
            (self.sums(), Sums { shape, words })
        })
    }

    /// Whether a worker lives in row `n`: it waits, or has waited. That of a dead one
    /// is cleared.
    #[must_use]
    pub fn is_used(&self, n: usize) -> bool {
        let is_set = |word: &AtomicU64| word.load(Ordering::Relaxed) > 0;
        is_set(self.asleep(n)) || is_set(self.word(n, Counter::Loops))
    }

    /// Which series there are.
    #[must_use]
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// What was counted so far, by name, for [`Self::add`]; without gauges.
    #[must_use]
    pub fn counted(&self) -> Vec<(String, u64)> {
        let totals = self.totals().into_iter();
        let counters = totals.filter(|(counter, count)| !counter.is_gauge() && *count > 0);
        counters
            .map(|(counter, count)| (counter.name().to_owned(), count))
            .collect()
    }

    /// As [`Self::counted`], with the time since when: for a program that takes over.
    #[must_use]
    pub fn bequeathed(&self) -> Vec<(String, u64)> {
        let created = (CREATED.to_owned(), self.created());
        self.counted().into_iter().chain([created]).collect()
    }

    /// Every counter of the server: the dead and the living together. Counters
    /// never go back from one call to the next; gauges are those of the living.
    #[must_use]
    pub fn totals(&self) -> Vec<(Counter, u64)> {
        self.ledger.read(|| self.sums())
    }

    fn sums(&self) -> Vec<(Counter, u64)> {
        let sum = |counter: Counter| {
            let dead = self.ledger.total(counter).load(Ordering::Relaxed);
            let living = (0..self.rows()).map(|n| self.word(n, counter).load(Ordering::Relaxed));
            living.fold(dead, u64::wrapping_add)
        };
        Counter::ALL
            .iter()
            .map(|&counter| (counter, sum(counter)))
            .collect()
    }
}

/// What a worker can tell of all of them.
impl Row {
    /// A counter of the server: the dead and the living together; of a gauge,
    /// the living. In the moment in which a dead worker is counted in, its part
    /// may be missing.
    #[must_use]
    pub fn total(&self, counter: Counter) -> u64 {
        let Some(ledger) = &self.ledger else {
            return self.read(counter);
        };
        let word = |start: usize| self.words[start + counter as usize].load(Ordering::Relaxed);
        let dead = ledger.total(counter).load(Ordering::Relaxed);
        self.starts().map(word).fold(dead, u64::wrapping_add)
    }

    /// Worker processes that live, those that drain included.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.rows == 0 {
            return 1;
        }
        // One that lives waits, or has waited; the row of a dead one is
        // cleared.
        let is_set = |word: usize| self.words[word].load(Ordering::Relaxed) > 0;
        let lives =
            |start: &usize| is_set(start + ASLEEP) || is_set(start + Counter::Loops as usize);
        self.starts().filter(lives).count()
    }

    fn starts(&self) -> impl Iterator<Item = usize> {
        (0..self.rows).map(|n| ROWS + n * ROW_WORDS)
    }
}

/// Where the activities of row `n` of so many begin; behind the last row's, where
/// all of them end.
const fn activities(rows: usize, n: usize) -> usize {
    ROWS + rows * ROW_WORDS + n * ACTIVITIES_WORDS
}

/// Words of the series of a row, in whole cache lines.
fn series_words(shape: &Shape) -> usize {
    shape.words().next_multiple_of(LINE_WORDS)
}

/// A number that differs when the meaning of the words does (FNV-1a of the
/// names in their order, and of where the words are).
fn layout(shape: &Shape) -> u64 {
    let names = Counter::ALL
        .iter()
        .flat_map(|counter| counter.name().bytes().chain([0]));
    let places = [ROWS, ROW_WORDS, LIFE, ASLEEP, BUCKET, ACTIVITIES_WORDS];
    let places = places.into_iter().flat_map(usize::to_le_bytes);
    let series = format!("{shape:?}").into_bytes();
    names
        .chain(places)
        .chain(series)
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn total(board: &Scoreboard, wanted: Counter) -> u64 {
        let totals = board.totals();
        let found = totals.into_iter().find(|(counter, _)| *counter == wanted);
        found.unwrap().1
    }

    #[test]
    fn a_worker_can_tell_of_all() {
        let board = Scoreboard::new(3).unwrap();
        let row = board.row(0);
        assert_eq!(row.workers(), 0, "none has begun");
        row.fall_asleep();
        assert_eq!(row.workers(), 1, "it waits for its first client");
        for n in [0, 2] {
            board.row(n).add(Counter::Loops, 5);
            board.row(n).add(Counter::Live, 2);
            board.row(n).add(Counter::Accepted, 10);
        }
        assert_eq!(row.workers(), 2);
        assert_eq!(
            (row.total(Counter::Live), row.total(Counter::Accepted)),
            (4, 20)
        );
        board.fold(2);
        assert_eq!(row.workers(), 1);
        assert_eq!(
            (row.total(Counter::Live), row.total(Counter::Accepted)),
            (2, 20)
        );
        let alone = Row::alone().unwrap();
        alone.add(Counter::Live, 3);
        assert_eq!((alone.workers(), alone.total(Counter::Live)), (1, 3));
    }

    #[test]
    fn the_dead_leave_their_counts_and_take_their_gauges() {
        let board = Scoreboard::new(3).unwrap();
        for n in 0..3 {
            for (value, &counter) in (1..).zip(Counter::ALL) {
                board.row(n).add(counter, value);
            }
        }
        board.life(1).store(77, Ordering::Relaxed);
        board.fold(1);
        for (value, (counter, total)) in (1..).zip(board.totals()) {
            let expected = if counter.is_gauge() { 2 } else { 3 } * value;
            assert_eq!(total, expected, "{}", counter.name());
            assert_eq!(board.row(1).read(counter), 0, "{}", counter.name());
        }
        assert_eq!(board.life(1).load(Ordering::Relaxed), 77);
    }

    #[test]
    fn gauges_are_marked_in_the_table() {
        let gauges = Counter::ALL.iter().filter(|counter| counter.is_gauge());
        let names: Vec<_> = gauges.map(|counter| counter.name()).collect();
        assert_eq!(
            names,
            [
                "connections_live",
                "bytes_buffered",
                "pool_slots",
                "connections_quarantined",
                "replies_owed",
                "draining_files",
                "draining_streams",
                "draining_uploads",
                "draining_replies",
                "bus_backlog",
                "bus_lag",
                "redis_connections_idle",
                "redis_connections_busy",
                "redis_connections_broken",
                "redis_waiting",
                "worker_open_fds",
                "worker_max_fds"
            ]
        );
    }

    #[test]
    fn rows_share_no_word_with_each_other_or_the_header() {
        let board = Scoreboard::new(255).unwrap();
        let header = [0, LAYOUT, MUTEX, TABLE].map(|n| &raw const board.words[n]);
        let words = (0..255).flat_map(|n| {
            let counters = Counter::ALL.iter().map(move |&counter| (n, counter));
            let counters = counters.map(|(n, counter)| &raw const *board.word(n, counter));
            let others = [board.life(n), board.asleep(n)].map(|word| &raw const *word);
            let addresses = board.addresses(n);
            let table = (0..4).flat_map(|bucket| addresses.bucket(n, bucket));
            let table: Vec<_> = table.map(|word| &raw const *word).collect();
            assert_eq!(table.len(), 4 * super::super::BUCKET);
            let activities = board.activity_words(n).iter().map(|word| &raw const *word);
            let of_row = counters.chain(others).chain(table);
            of_row.chain(activities).collect::<Vec<_>>()
        });
        let addresses = board.addresses(0);
        let living = [0, 1, 2, 3].map(|group| &raw const *addresses.living(group));
        let rates = (0..4).flat_map(|bucket| addresses.rates(bucket));
        let rates = rates.map(|word| &raw const *word);
        let all: Vec<_> = (header.into_iter().chain(words))
            .chain(living.into_iter().chain(rates))
            .collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(board.words[0].load(Ordering::Relaxed), MAGIC);
    }

    #[test]
    fn tables_for_the_most_connections_need_addresses_but_no_memory() {
        let board = Scoreboard::for_connections(255, 1 << 20).unwrap();
        let last = board.addresses(254);
        assert_eq!(last.connections(), 1 << 20);
        last.bucket(254, u64::MAX)[15].store(7, Ordering::Relaxed);
        last.living(3).fetch_or(1 << 62, Ordering::Relaxed);
        board.fold(254);
        let word = &last.bucket(254, u64::MAX)[15];
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    /// A worker counts and "dies" thousands of times while readers look on.
    #[test]
    fn readers_never_count_twice_and_never_go_back() {
        const LIVES: u64 = 20_000;
        let board = Scoreboard::new(2).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut before = 0;
                    while !over.load(Ordering::Relaxed) {
                        let now = total(&board, Counter::Handled);
                        assert!((before..=3 * LIVES).contains(&now), "{before} then {now}");
                        before = now;
                    }
                });
            }
            for _ in 0..LIVES {
                board.row(0).add(Counter::Handled, 3);
                board.fold(0);
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(total(&board, Counter::Handled), 3 * LIVES);
    }

    #[test]
    fn two_masters_that_fold_at_once_lose_nothing() {
        const LIVES: u64 = 20_000;
        let board = Scoreboard::new(2).unwrap();
        thread::scope(|scope| {
            for n in 0..2 {
                let board = &board;
                scope.spawn(move || {
                    for _ in 0..LIVES {
                        board.row(n).add(Counter::Handled, 1);
                        board.fold(n);
                    }
                });
            }
        });
        assert_eq!(total(&board, Counter::Handled), 2 * LIVES);
    }

    fn copies(board: &Scoreboard) -> Descriptors<OwnedFd> {
        let all = board.descriptors().unwrap();
        let copy = |one: BorrowedFd<'_>| one.try_clone_to_owned().unwrap();
        Descriptors {
            memory: copy(all.memory),
            ledger: copy(all.ledger),
            bells: all.bells.into_iter().map(copy).collect(),
        }
    }

    #[test]
    fn the_next_program_shares_every_word_if_it_means_the_same() {
        let board = Scoreboard::for_connections(3, 100).unwrap();
        let next = Scoreboard::inherit(copies(&board), Arc::default())
            .unwrap()
            .unwrap();
        next.row(2).count(Counter::Handled);
        next.count(Counter::Handled);
        next.epoch(1).store(8, Ordering::Relaxed);
        next.addresses(1).bucket(2, 9)[3].store(5, Ordering::Relaxed);
        assert_eq!(total(&board, Counter::Handled), 2);
        assert_eq!(board.epoch(1).load(Ordering::Relaxed), 8);
        let addresses = board.addresses(1);
        let word = &addresses.bucket(2, 9)[3];
        assert_eq!(word.load(Ordering::Relaxed), 5);
        assert_eq!(
            next.addresses(0).connections(),
            board.addresses(0).connections()
        );
    }

    #[test]
    fn a_worker_counts_in_its_row_and_reads_the_totals() {
        let board = Scoreboard::new(2).unwrap();
        let of_worker = board.for_worker().unwrap();
        of_worker.row(1).count(Counter::Handled);
        board.fold(1);
        assert_eq!(of_worker.row(0).total(Counter::Handled), 1);
        assert!(of_worker.descriptors().is_none());
    }

    #[test]
    fn words_of_another_meaning_are_not_shared() {
        for at in [0, LAYOUT, TABLE] {
            let board = Scoreboard::new(3).unwrap();
            board.words[at].fetch_add(64, Ordering::Relaxed);
            let found = Scoreboard::inherit(copies(&board), Arc::default()).unwrap();
            assert!(found.is_none(), "{at}");
        }
        let board = Scoreboard::new(3).unwrap();
        let mut fewer = copies(&board);
        fewer.bells.pop();
        assert!(
            Scoreboard::inherit(fewer, Arc::default())
                .unwrap()
                .is_none()
        );
        let mut other = copies(&board);
        other.ledger = copies(&Scoreboard::new(4).unwrap()).ledger;
        assert!(
            Scoreboard::inherit(other, Arc::default())
                .unwrap()
                .is_none()
        );
    }

    proptest! {
        /// What a worker writes may be anything: no word of it makes whoever
        /// reads it panic, wait, or leave the memory.
        #[test]
        fn any_words_can_be_read_and_folded(seed in any::<u64>(), small in any::<bool>()) {
            let board = Scoreboard::for_connections(2, 8).unwrap();
            board.scramble(seed, small);
            for n in 0..2 {
                let row = board.row(n);
                let _any = (row.timings(), board.activities(n), row.is_asleep());
                let _work: Vec<_> = board.activities(n).iter().map(|one| one.work()).collect();
                let _also = (row.workers(), row.total(Counter::Live), board.addresses(n).key());
                row.add_alone(Counter::Loops, 1);
                row.time(7, u64::MAX);
                board.fold(n);
                prop_assert!(board.activities(n).is_empty() && row.timings().is_empty());
            }
            let _sums = (board.totals(), board.counted());
        }
    }

    #[test]
    fn counts_go_over_by_name_and_gauges_stay() {
        let (old, new) = (Scoreboard::new(1).unwrap(), Scoreboard::new(1).unwrap());
        old.row(0).add(Counter::Handled, 7);
        old.row(0).add(Counter::Live, 3);
        new.row(0).add(Counter::Handled, 1);
        let counted = old.counted();
        assert_eq!(counted, [("messages_handled".to_owned(), 7)]);
        old.ledger.created().store(5, Ordering::Relaxed);
        new.add(&old.bequeathed()[1..]);
        assert_eq!(new.created(), 5);
        new.add(&counted);
        new.add(&[("unheard_of".into(), 1), ("connections_live".into(), 9)]);
        assert_eq!(total(&new, Counter::Handled), 8);
        assert_eq!(total(&new, Counter::Live), 0);
    }
}
