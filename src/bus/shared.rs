//! The memory of the bus, as all processes of the server share it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::interest::{Interest, Table};
use super::ring::Ring;
use super::shape::{Head, LINE, MAGIC, Of, Shape};
use super::sleep::Sleep;
use crate::sys::futex;
use crate::sys::memory::SharedWords;
use crate::sys::sync::{AtomicU64, Ordering, fence};

/// The bus of a server. Cheap to clone; made before any fork, or inherited from
/// the process before this one.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    words: SharedWords,
    shape: Shape,
    key: [u64; 2],
}

/// Some rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rows([u64; 4]);

impl Rows {
    pub(super) const fn add(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }

    /// These and those.
    pub(super) fn with(self, others: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | others.0[at]))
    }

    /// These but those.
    pub(super) fn without(self, others: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & !others.0[at]))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }
}

impl Iterator for Rows {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let at = self.0.iter().position(|word| *word != 0)?;
        let bit = self.0[at].trailing_zeros() as usize;
        self.0[at] &= self.0[at] - 1;
        Some(at * 64 + bit)
    }
}

impl Bus {
    /// A bus of this shape, with nobody on it. Its memory is used as it is written
    /// to.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the shape is outside of its ranges. Out of memory, of
    /// address space or of descriptors: the server cannot start.
    pub fn new(shape: Shape) -> io::Result<Self> {
        if !shape.is_sound() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let words = SharedWords::named(c"purlin-bus", shape.words())?;
        let key = [0, 1].map(|n| RandomState::new().hash_one(n));
        let set = |what: Head, to: u64| {
            words[what as usize].store(to, std::sync::atomic::Ordering::Relaxed)
        };
        set(Head::Rows, shape.rows as u64);
        set(Head::Ring, shape.ring as u64);
        set(Head::Names, shape.names as u64);
        words[Head::Key as usize].store(key[0], std::sync::atomic::Ordering::Relaxed);
        words[Head::Key as usize + 1].store(key[1], std::sync::atomic::Ordering::Relaxed);
        words[Head::Magic as usize].store(MAGIC, std::sync::atomic::Ordering::Release);
        Ok(Self(Arc::new(Memory { words, shape, key })))
    }

    /// The bus of the process before this one, whose workers stay on it; `None`
    /// when that one gives the words another meaning.
    ///
    /// # Errors
    ///
    /// Those of [`SharedWords::inherit`].
    pub fn inherit(file: OwnedFd) -> io::Result<Option<Self>> {
        let words = SharedWords::inherit(file)?;
        let read = |at: usize| {
            words
                .get(at)
                .map_or(0, |word| word.load(std::sync::atomic::Ordering::Acquire))
        };
        let size = |what: Head| usize::try_from(read(what as usize)).unwrap_or(usize::MAX);
        let shape = Shape {
            rows: size(Head::Rows),
            ring: size(Head::Ring),
            names: size(Head::Names),
        };
        let is_ours =
            read(Head::Magic as usize) == MAGIC && shape.is_sound() && shape.words() == words.len();
        let key = [read(Head::Key as usize), read(Head::Key as usize + 1)];
        Ok(is_ours.then(|| Self(Arc::new(Memory { words, shape, key }))))
    }

    /// For the next program to inherit.
    #[must_use]
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.0.words.file()
    }

    /// How large it is.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// The worker of `row` is dead: nobody writes to it any more, what it had
    /// written is read, and its connections count no longer. The master's, before
    /// the row has another worker.
    pub fn bury(&self, row: usize) {
        self.of(row, Of::Life).store(0, Ordering::SeqCst);
        self.living_word(row)
            .fetch_and(!(1 << (row % 64)), Ordering::SeqCst);
        self.clear(row);
        // It may have died between a message and the wake for it, or have written
        // what it liked into the word by which others sleep.
        for row in self.living() {
            let _slept = self.sleep(row).must_wake();
            futex::wake(&self.0.words[self.0.shape.of(row, Of::Asleep)]);
        }
    }

    /// Whether a worker that lives has connections that the worker of `row` and this
    /// epoch accepted. As far as the tables have places.
    #[must_use]
    pub fn is_borne(&self, row: u8, epoch: u16) -> bool {
        let hash = Interest::Accepted(row, epoch).hash(self.key());
        let bears = |row| hash.is_some_and(|hash| self.table(row).count(hash) > 0);
        self.living().any(bears)
    }

    /// Nothing is known of a row.
    pub(super) fn clear(&self, row: usize) {
        for what in [Of::Asleep, Of::Everybody, Of::Overflowed, Of::Published] {
            self.of(row, what).store(0, Ordering::SeqCst);
        }
        self.0.words.clear(self.0.shape.interest(row));
    }

    /// The worker of `row` lives, as the one of this epoch.
    pub(super) fn bear(&self, row: usize, epoch: u16) {
        self.of(row, Of::Life)
            .store(u64::from(epoch) + 1, Ordering::SeqCst);
        self.living_word(row)
            .fetch_or(1 << (row % 64), Ordering::SeqCst);
    }

    /// Epoch plus one of the worker that `row` has; 0: none.
    pub(super) fn life(&self, row: usize) -> u64 {
        self.of(row, Of::Life).load(Ordering::Acquire)
    }

    pub(super) fn key(&self) -> [u64; 2] {
        self.0.key
    }

    pub(super) fn rows(&self) -> usize {
        self.0.shape.rows
    }

    /// Rows that have a worker. Of bits that a broken neighbour set none is a row
    /// that there is not.
    pub(super) fn living(&self) -> Rows {
        let word = |at: usize| self.words()[Head::Living as usize + at].load(Ordering::Acquire);
        Rows(std::array::from_fn(|at| {
            let below = self.rows().saturating_sub(at * 64).min(64);
            word(at)
                & u64::MAX
                    .checked_shr(64 - u32::try_from(below).unwrap_or(0))
                    .unwrap_or(0)
        }))
    }

    fn living_word(&self, row: usize) -> &AtomicU64 {
        &self.words()[Head::Living as usize + row / 64]
    }

    pub(super) fn moves(&self) -> &AtomicU64 {
        &self.words()[Head::Moves as usize]
    }

    /// A number that nobody has drawn before.
    pub(super) fn ticket(&self) -> u64 {
        self.words()[Head::Ticket as usize].fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Somebody has this one, from another bus perhaps: those that follow are larger.
    pub(super) fn has_ticket(&self, ticket: u64) {
        self.words()[Head::Ticket as usize].fetch_max(ticket, Ordering::SeqCst);
    }

    /// The words of a lease, below [`LEASES`](super::shape::LEASES).
    pub(super) fn lease(&self, at: usize) -> &[AtomicU64] {
        let start = Head::Leases as usize + at * LINE;
        &self.words()[start..start + LINE]
    }

    pub(super) fn of(&self, row: usize, what: Of) -> &AtomicU64 {
        &self.words()[self.0.shape.of(row, what)]
    }

    pub(super) fn table(&self, row: usize) -> Table<'_> {
        Table::new(&self.words()[self.0.shape.interest(row)])
    }

    pub(super) fn ring(&self, from: usize, to: usize) -> Ring<'_> {
        Ring::new(&self.words()[self.0.shape.ring(from, to)])
    }

    pub(super) fn sleep(&self, row: usize) -> Sleep<'_> {
        Sleep(self.of(row, Of::Asleep))
    }

    /// Wakes the reader of `row` if it sleeps.
    pub(super) fn wake(&self, row: usize) -> bool {
        let must = self.sleep(row).must_wake();
        if must {
            futex::wake(&self.0.words[self.0.shape.of(row, Of::Asleep)]);
        }
        must
    }

    /// Sleeps until somebody wakes `row`, or for no reason not at all.
    pub(super) fn wait(&self, row: usize) {
        futex::wait(&self.0.words[self.0.shape.of(row, Of::Asleep)], 1);
    }

    /// A connection has entered a worker beside the one that it leaves.
    pub(super) fn moved(&self) {
        fence(Ordering::SeqCst);
        self.moves().fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(not(loom))]
    fn words(&self) -> &[AtomicU64] {
        &self.0.words
    }

    #[cfg(loom)]
    fn words(&self) -> &[AtomicU64] {
        unreachable!("models have words of their own")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const SHAPE: Shape = Shape {
        rows: 70,
        ring: 1 << 11,
        names: 64,
    };

    #[test]
    fn the_next_program_finds_the_same_bus() {
        let bus = Bus::new(SHAPE).unwrap();
        bus.bear(69, 7);
        let file = bus.file().unwrap().as_fd().try_clone_to_owned().unwrap();
        let inherited = Bus::inherit(file).unwrap().unwrap();
        assert_eq!((inherited.shape(), inherited.key()), (SHAPE, bus.key()));
        assert_eq!(inherited.living().collect::<Vec<_>>(), [69]);
        assert_eq!(inherited.life(69), 8);
        inherited.bury(69);
        assert!(bus.living().is_empty());
        assert_eq!(bus.life(69), 0);
    }

    #[test]
    fn rows_that_there_are_not_never_live() {
        let bus = Bus::new(SHAPE).unwrap();
        for word in 0..4 {
            bus.words()[Head::Living as usize + word].store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(
            bus.living().collect::<Vec<_>>(),
            (0..70).collect::<Vec<_>>()
        );
        bus.bury(0);
        assert_eq!(bus.living().count(), 69);
    }

    #[test]
    fn other_words_are_no_bus() {
        let words = SharedWords::new(SHAPE.words()).unwrap();
        let copy = || words.file().unwrap().try_clone_to_owned().unwrap();
        assert!(Bus::inherit(copy()).unwrap().is_none());
        words[Head::Magic as usize].store(MAGIC, std::sync::atomic::Ordering::Relaxed);
        assert!(Bus::inherit(copy()).unwrap().is_none());
        for (rows, ring, names) in [
            (0, 1 << 11, 64),
            (256, 1 << 11, 64),
            (1, 3000, 64),
            (1, 1 << 11, 63),
        ] {
            let error = Bus::new(Shape { rows, ring, names }).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn rows_come_in_their_order() {
        let mut rows = Rows::default();
        let all = [0, 63, 64, 200, 254];
        all.into_iter().for_each(|row| rows.add(row));
        assert_eq!(rows.collect::<Vec<_>>(), all);
        let mut some = Rows::default();
        some.add(63);
        assert_eq!(rows.without(some).collect::<Vec<_>>(), [0, 64, 200, 254]);
    }
}
