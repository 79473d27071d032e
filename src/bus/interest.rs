//! Which names a worker has connections under, and how many: a table that it
//! alone writes and all others read.
//!
//! A name is a keyed hash of what it names and how it is called. It has its place
//! in one of two buckets of eight pairs (hash, count). A count goes to 0 before
//! its hash changes, and readers look at the hash twice. A name without a place
//! makes its row interested in everything, until it leaves.

use std::collections::HashMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::net::ConnId;
use crate::sys::sync::{AtomicU64, Ordering};

/// Pairs of a bucket.
const PAIRS: usize = 8;

/// Whom a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest<'a> {
    /// Who has this connection.
    Conn(ConnId),
    /// Who has connections of this user.
    User(&'a str),
    /// Who has members of this room, or streams that listen there.
    Room(&'a str),
    /// Who has sessions.
    Everybody,
    /// Every worker.
    Workers,
    /// The worker of this row.
    Row(u8),
    /// Who has connections that this worker accepted: row and epoch.
    Accepted(u8, u16),
}

impl Interest<'_> {
    /// The hash of the name; `None`: it is looked up in no table. Never 0.
    pub(super) fn hash(self, key: [u64; 2]) -> Option<u64> {
        let word;
        let (what, name) = match self {
            Self::Conn(conn) => {
                word = conn.word().to_le_bytes();
                (b'c', &word[..])
            }
            Self::Accepted(row, epoch) => {
                word = (u64::from(row) << 16 | u64::from(epoch)).to_le_bytes();
                (b'a', &word[..])
            }
            Self::User(name) => (b'u', name.as_bytes()),
            Self::Room(name) => (b'r', name.as_bytes()),
            Self::Everybody | Self::Workers | Self::Row(_) => return None,
        };
        let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
        hasher.write_u8(what);
        hasher.write(name);
        Some(hasher.finish().max(1))
    }
}

/// The table of one row, in its words.
#[derive(Clone, Copy)]
pub(super) struct Table<'a>(&'a [AtomicU64]);

impl<'a> Table<'a> {
    pub(super) const fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    fn bucket(self, hash: u64) -> &'a [AtomicU64] {
        let buckets = self.0.len() / (2 * PAIRS);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below the number of buckets"
        )]
        let at = (hash % buckets as u64) as usize * 2 * PAIRS;
        &self.0[at..at + 2 * PAIRS]
    }

    /// Both places of a name.
    fn pairs(self, hash: u64) -> impl Iterator<Item = (&'a AtomicU64, &'a AtomicU64)> {
        let (one, other) = (self.bucket(hash), self.bucket(hash.rotate_left(32)));
        let pairs =
            |bucket: &'a [AtomicU64]| bucket.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
        pairs(one).chain(pairs(other))
    }

    /// How many there are under this name, but for those without a place.
    pub(super) fn count(self, hash: u64) -> u64 {
        for (name, count) in self.pairs(hash) {
            if name.load(Ordering::Acquire) == hash {
                let count = count.load(Ordering::Acquire);
                if name.load(Ordering::Acquire) == hash && count > 0 {
                    return count;
                }
            }
        }
        0
    }

    /// Writes a count. False: the name has no place.
    fn set(self, hash: u64, to: u64) -> bool {
        let mut pairs = self.pairs(hash);
        let is_it = |name: &AtomicU64, count: &AtomicU64| {
            name.load(Ordering::Relaxed) == hash && count.load(Ordering::Relaxed) > 0
        };
        if let Some((_, count)) = pairs.find(|(name, count)| is_it(name, count)) {
            count.store(to, Ordering::Release);
            return true;
        }
        let (one, other) = (self.free(hash), self.free(hash.rotate_left(32)));
        // The emptier bucket: so nearly all places are used before one overflows.
        let free = if one.len() >= other.len() { one } else { other };
        let Some((name, count)) = free.first() else {
            return false;
        };
        name.store(hash, Ordering::Release);
        count.store(to, Ordering::Release);
        true
    }

    /// Places of a bucket that nobody has.
    fn free(self, hash: u64) -> Vec<(&'a AtomicU64, &'a AtomicU64)> {
        let pairs = self.bucket(hash).chunks_exact(2);
        let pairs = pairs.map(|pair| (&pair[0], &pair[1]));
        pairs
            .filter(|(_, count)| count.load(Ordering::Relaxed) == 0)
            .collect()
    }
}

/// What the writer of a table knows beside it. Under its lock.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Names that found no place.
    overflowed: HashMap<u64, u64>,
}

impl Names {
    /// One more under this name.
    pub(super) fn enter(&mut self, table: Table<'_>, hash: u64) {
        if let Some(count) = self.overflowed.get_mut(&hash) {
            *count += 1;
        } else if !table.set(hash, table.count(hash) + 1) {
            self.overflowed.insert(hash, 1);
        }
    }

    /// One less.
    pub(super) fn leave(&mut self, table: Table<'_>, hash: u64) {
        if let Some(count) = self.overflowed.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                self.overflowed.remove(&hash);
            }
            return;
        }
        let count = table.count(hash);
        if count > 0 {
            table.set(hash, count - 1);
        }
    }

    /// How many names found no place.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.len() as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn words(names: usize) -> Vec<AtomicU64> {
        (0..2 * names).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn counts_rise_and_fall_and_a_place_is_used_again() {
        let words = words(64);
        let (table, mut names) = (Table::new(&words), Names::default());
        for round in 0..1000 {
            let hash = Interest::Room(&round.to_string()).hash([1, 2]).unwrap();
            assert_eq!(table.count(hash), 0);
            names.enter(table, hash);
            names.enter(table, hash);
            assert_eq!(table.count(hash), 2);
            names.leave(table, hash);
            names.leave(table, hash);
            assert_eq!(table.count(hash), 0);
            names.leave(table, hash);
            assert_eq!(table.count(hash), 0, "who is not there leaves nothing");
        }
        assert_eq!(names.overflowed(), 0);
    }

    #[test]
    fn what_finds_no_place_is_known_until_it_leaves() {
        let words = words(64);
        let (table, mut names) = (Table::new(&words), Names::default());
        let hashes: Vec<u64> = (0..100_u64)
            .map(|n| Interest::Conn(ConnId::from_word(n)).hash([1, 2]).unwrap())
            .collect();
        for hash in &hashes {
            names.enter(table, *hash);
            names.enter(table, *hash);
        }
        let placed = hashes
            .iter()
            .filter(|hash| table.count(**hash) == 2)
            .count();
        assert!(placed <= 64 && placed > 40, "{placed} of 64 places used");
        assert_eq!(names.overflowed(), 100 - placed as u64);
        for hash in &hashes {
            names.leave(table, *hash);
            names.leave(table, *hash);
        }
        assert_eq!(names.overflowed(), 0);
        assert!(hashes.iter().all(|hash| table.count(*hash) == 0));
    }

    #[test]
    fn most_places_can_be_used_before_one_overflows() {
        let words = words(65_536);
        let (table, mut names) = (Table::new(&words), Names::default());
        for n in 0..50_000_u64 {
            let conn = Interest::Conn(ConnId::from_word(n));
            names.enter(table, conn.hash([n, 2]).unwrap());
        }
        assert_eq!(names.overflowed(), 0);
    }

    #[test]
    fn a_room_a_user_and_a_connection_have_names_of_their_own() {
        let key = [1, 2];
        let text = str::from_utf8(&[65; 8]).unwrap();
        let same = ConnId::from_word(u64::from_le_bytes([65; 8]));
        let names = [
            Interest::Room(text),
            Interest::User(text),
            Interest::Conn(same),
        ];
        let hashes = names.map(|name| name.hash(key).unwrap());
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
        assert_ne!(
            Interest::Room("a").hash([1, 3]),
            Interest::Room("a").hash(key)
        );
        assert_eq!(Interest::Everybody.hash(key), None);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Who looks for a name while its place changes hands never gets the count of
    /// the other one.
    #[test]
    fn loom_a_count_is_of_its_own_name() {
        loom::model(|| {
            let words: Arc<Vec<AtomicU64>> =
                Arc::new((0..2 * PAIRS).map(|_| AtomicU64::new(0)).collect());
            let table = Table::new(&words);
            let mut names = Names::default();
            names.enter(table, 7);
            let reader = {
                let words = Arc::clone(&words);
                thread::spawn(move || Table::new(&words).count(7))
            };
            names.leave(table, 7);
            for _ in 0..5 {
                names.enter(table, 9);
            }
            let count = reader.join().unwrap();
            assert!(count <= 1, "7 was counted {count} times");
        });
    }
}
