//! How many connections each address has, over all workers, and whether it may
//! have one more.
//!
//! ```text
//! word   63                      16 15        0
//!       +--------------------------+-----------+
//!       | upper bits of the hash   |   count   |   0: free
//!       +--------------------------+-----------+
//! ```
//!
//! Each worker has a table of its own. The lower bits of an address's hash name
//! a bucket of 16 words, in any of which the address may be; no address is
//! stored twice. One thread of the worker adds at a time, any may take away, nobody
//! else writes; the master clears the table of a worker that it reaped. So what a
//! killed worker had counted is gone with it.
//!
//! To admit a connection is to add it to one's own table, to sum up all tables,
//! and to take it back if that is too many.
//!
//! Invariant: no more than the limit are admitted at once. Between adding and
//! summing up is a fence; of those who are admitted, the one whose fence was
//! last has seen all the others. Two that come at once to an address that has
//! room for one may both be refused.
//!
//! An address that finds its bucket full is refused as well: admitted without a
//! count, its connections would have no limit. Tables are large enough that
//! this happens to one in a million when the worker is full, and nobody who does
//! not know the key can aim at it.

use std::net::IpAddr;

use crate::sys::sync::{AtomicU64, Ordering, fence};

mod board;
mod hash;

#[cfg(all(test, loom))]
mod loom_tests;

pub use hash::{Hash, Key};

/// The part of a word that counts. Limits are below it.
const COUNT: u64 = 0xFFFF;

/// The shared words, wherever they are. All start at 0.
pub trait Tables {
    /// The row whose worker we are.
    fn row(&self) -> usize;
    /// A bit for each of the rows `64 * group` and the 63 that follow: whether
    /// its worker counts.
    fn living(&self, group: usize) -> &AtomicU64;
    /// The words of `row` in which what has this hash is counted.
    fn bucket(&self, row: usize, hash: Hash) -> &[AtomicU64];
}

/// Groups of rows: 255 at most.
const GROUPS: usize = 4;

/// Why an address may not have one more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It has as many as it may.
    Limit,
    /// Its bucket has no word left, so its connections could not be counted.
    Full,
}

/// One worker's view of all tables.
#[derive(Debug)]
pub struct PerIp<T> {
    tables: T,
    limit: u64,
}

impl<T: Tables> PerIp<T> {
    /// Begins to count in the row of `tables`, which must be clear. Each address
    /// may have `limit` connections, 1 to 65,535.
    pub fn new(tables: T, limit: u16) -> Self {
        let row = tables.row();
        tables
            .living(row / 64)
            .fetch_or(1 << (row % 64), Ordering::SeqCst);
        Self {
            tables,
            limit: limit.into(),
        }
    }

    /// Counts one more connection. By one thread at a time.
    ///
    /// # Errors
    ///
    /// [`Refused`]: nothing is counted, close the connection.
    pub fn admit(&self, address: Hash) -> Result<(), Refused> {
        self.add(address)?;
        // See the invariant: the others' counts are read behind this.
        fence(Ordering::SeqCst);
        if self.sum(address) <= self.limit {
            return Ok(());
        }
        self.leave(address);
        Err(Refused::Limit)
    }

    /// Counts a connection that another worker has counted so far, and whose
    /// count that one takes back afterwards: for a moment it counts twice, so
    /// the limit is not asked. As [`admit`](Self::admit), by one at a time.
    ///
    /// # Errors
    ///
    /// [`Refused::Full`]: nothing is counted.
    pub fn adopt(&self, address: Hash) -> Result<(), Refused> {
        self.add(address)
    }

    /// A connection that was admitted is closed. Any thread of the worker.
    ///
    /// # Panics
    ///
    /// When it was not counted: every later count would be wrong as well.
    pub fn leave(&self, address: Hash) {
        let bucket = self.own(address);
        let counted = || find(bucket, address).expect("what leaves was counted when it came");
        loop {
            let (word, seen) = counted();
            let left = if seen & COUNT == 1 { 0 } else { seen - 1 };
            if swap(word, seen, left) {
                return;
            }
        }
    }

    /// Connections that the address has, in all workers.
    pub fn sum(&self, address: Hash) -> u64 {
        let count = |row| {
            let bucket = self.tables.bucket(row, address);
            find(bucket, address).map_or(0, |(_, seen)| seen & COUNT)
        };
        (0..GROUPS)
            .flat_map(|group| {
                let living = self.tables.living(group).load(Ordering::Acquire);
                Bits(living).map(move |bit| 64 * group + bit)
            })
            .map(count)
            .sum()
    }

    fn add(&self, address: Hash) -> Result<(), Refused> {
        let bucket = self.own(address);
        loop {
            let (word, seen, next) = match find(bucket, address) {
                Some((_, seen)) if seen & COUNT == COUNT => return Err(Refused::Limit),
                Some((word, seen)) => (word, seen, seen + 1),
                None => {
                    let free = |word: &&AtomicU64| word.load(Ordering::Acquire) == 0;
                    let word = bucket.iter().find(free).ok_or(Refused::Full)?;
                    (word, 0, address.tag() | 1)
                }
            };
            // Fails when somebody has taken one away meanwhile.
            if swap(word, seen, next) {
                return Ok(());
            }
        }
    }

    fn own(&self, address: Hash) -> &[AtomicU64] {
        self.tables.bucket(self.tables.row(), address)
    }
}

/// The word in which the address is counted, and what it said.
fn find(bucket: &[AtomicU64], address: Hash) -> Option<(&AtomicU64, u64)> {
    let looked_at = bucket
        .iter()
        .map(|word| (word, word.load(Ordering::Acquire)));
    let mut counted = looked_at.filter(|(_, seen)| seen & COUNT > 0);
    counted.find(|(_, seen)| seen & !COUNT == address.tag())
}

fn swap(word: &AtomicU64, from: u64, to: u64) -> bool {
    word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

/// The bits of a word that are set, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

/// What is counted as one: an IPv4 address, or the /64 that an IPv6 customer is
/// given and can take addresses from as he likes.
fn network(address: IpAddr) -> (u8, u64) {
    match address.to_canonical() {
        IpAddr::V4(address) => (4, u32::from(address).into()),
        IpAddr::V6(address) => {
            let [prefix @ .., _, _, _, _, _, _, _, _] = address.octets();
            (6, u64::from_be_bytes(prefix))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::scoreboard::{Addresses, BUCKET, Scoreboard};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicI64;
    use std::thread;

    fn view(board: &Scoreboard, row: usize, limit: u16) -> PerIp<Addresses> {
        PerIp::new(board.addresses(row), limit)
    }

    #[test]
    fn all_rows_count_together_and_a_dead_one_no_more() {
        let board = Scoreboard::for_connections(255, 100).unwrap();
        let rows = [0, 63, 64, 254].map(|row| view(&board, row, 4));
        let (one, other) = (Hash::from_word(77 << 16), Hash::from_word(78 << 16));
        for row in &rows {
            assert_eq!(row.admit(one), Ok(()));
        }
        for row in &rows {
            assert_eq!(row.admit(one), Err(Refused::Limit));
            assert_eq!((row.sum(one), row.sum(other)), (4, 0));
        }
        assert_eq!(rows[1].admit(other), Ok(()));
        board.fold(254);
        assert_eq!(rows[0].admit(one), Ok(()));
        assert_eq!(rows[1].admit(one), Err(Refused::Limit));
        let reborn = view(&board, 254, 4);
        assert_eq!((reborn.sum(one), reborn.sum(other)), (4, 1));
        rows[0].leave(one);
        assert_eq!(reborn.admit(one), Ok(()));
    }

    #[test]
    fn a_full_bucket_refuses_strangers_and_goes_on_counting_those_in_it() {
        let board = Scoreboard::for_connections(1, 0).unwrap();
        let row = view(&board, 0, 2);
        let address = |n: usize| Hash::from_word((n as u64 + 1) << 16);
        for n in 0..BUCKET {
            assert_eq!(row.admit(address(n)), Ok(()));
        }
        assert_eq!(row.admit(address(BUCKET)), Err(Refused::Full));
        assert_eq!(row.admit(address(3)), Ok(()));
        assert_eq!(row.admit(address(3)), Err(Refused::Limit));
        row.leave(address(7));
        assert_eq!(row.admit(address(BUCKET)), Ok(()));
        assert_eq!(row.sum(address(7)), 0);
    }

    #[test]
    fn the_count_ends_below_its_neighbour() {
        let board = Scoreboard::for_connections(1, 0).unwrap();
        let row = view(&board, 0, u16::MAX);
        let address = Hash::from_word(1 << 16);
        for _ in 0..u16::MAX {
            assert_eq!(row.admit(address), Ok(()));
        }
        assert_eq!(row.admit(address), Err(Refused::Limit));
        assert_eq!(row.sum(address), 65_535);
    }

    #[test]
    #[should_panic(expected = "was counted when it came")]
    fn leaving_without_having_come_is_noticed() {
        let board = Scoreboard::for_connections(1, 0).unwrap();
        view(&board, 0, 1).leave(Hash::from_word(1 << 16));
    }

    /// Eight workers hammer on three addresses. Whoever is admitted says so
    /// before it looks how many are.
    #[test]
    fn eight_workers_never_admit_more_than_the_limit() {
        const LIMIT: u16 = 5;
        let board = Scoreboard::for_connections(8, 16).unwrap();
        let held = [const { AtomicI64::new(0) }; 3];
        let admitted = AtomicI64::new(0);
        thread::scope(|scope| {
            for row in 0..8 {
                let (board, held, admitted) = (&board, &held, &admitted);
                scope.spawn(move || {
                    let row = view(board, row, LIMIT);
                    let mut mine = Vec::new();
                    for step in 0..60_000_usize {
                        let n = step % 3;
                        let address = Hash::from_word((n as u64) << 40);
                        if row.admit(address).is_ok() {
                            let now = held[n].fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now <= LIMIT.into(), "{now} at once");
                            admitted.fetch_add(1, Ordering::Relaxed);
                            mine.push((n, address));
                        }
                        if mine.len() > step % 4 {
                            let (n, address) = mine.swap_remove(0);
                            held[n].fetch_sub(1, Ordering::SeqCst);
                            row.leave(address);
                        }
                    }
                    for (n, address) in mine {
                        held[n].fetch_sub(1, Ordering::SeqCst);
                        row.leave(address);
                    }
                });
            }
        });
        assert!(admitted.into_inner() > 1000);
        let row = view(&board, 0, LIMIT);
        let left = (0..3_u64).map(|n| row.sum(Hash::from_word(n << 40)));
        assert_eq!(left.sum::<u64>(), 0);
    }

    /// The reactor adds while the recycler takes away, all in one bucket.
    #[test]
    fn two_threads_of_a_worker_keep_one_count() {
        let board = Scoreboard::for_connections(1, 0).unwrap();
        let row = view(&board, 0, 100);
        let addresses = [1_u64, 2, 3].map(|n| Hash::from_word(n << 16));
        let (send, receive) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let row = &row;
            scope.spawn(move || receive.iter().for_each(|address| row.leave(address)));
            for step in 0..100_000 {
                let address = addresses[step % 3];
                if row.admit(address).is_ok() {
                    send.send(address).unwrap();
                }
            }
            drop(send);
        });
        assert_eq!(addresses.map(|address| row.sum(address)), [0; 3]);
        let free = |word: &AtomicU64| word.load(Ordering::Relaxed) == 0;
        assert!(row.own(addresses[0]).iter().all(free));
    }

    proptest! {
        /// Against a plain map; 20 addresses share a bucket of 16.
        #[test]
        fn any_order_of_coming_and_leaving_is_counted(
            steps in proptest::collection::vec((any::<bool>(), 0..3_usize, 0..20_u64), 1..300),
            limit in 1..5_u16,
        ) {
            let board = Scoreboard::for_connections(3, 0).unwrap();
            let rows = [0, 1, 2].map(|row| view(&board, row, limit));
            let mut counted: HashMap<(usize, u64), u64> = HashMap::new();
            for (comes, row, n) in steps {
                let address = Hash::from_word((n + 1) << 16);
                let total: u64 = (0..3).filter_map(|row| counted.get(&(row, n))).sum();
                let own = counted.get(&(row, n)).copied().unwrap_or(0);
                prop_assert_eq!(rows[row].sum(address), total);
                if comes {
                    let taken = counted.iter().filter(|((r, _), count)| *r == row && **count > 0);
                    let expected = if own == 0 && taken.count() == BUCKET {
                        Err(Refused::Full)
                    } else if total >= limit.into() {
                        Err(Refused::Limit)
                    } else {
                        counted.insert((row, n), own + 1);
                        Ok(())
                    };
                    prop_assert_eq!(rows[row].admit(address), expected);
                } else if own > 0 {
                    rows[row].leave(address);
                    counted.insert((row, n), own - 1);
                }
            }
        }
    }
}
