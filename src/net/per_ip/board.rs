//! The scoreboard's words, as the tables of the addresses.

use super::{Hash, Tables};
use crate::scoreboard::Addresses;
use crate::sys::sync::AtomicU64;

impl Tables for Addresses {
    fn row(&self) -> usize {
        self.row()
    }

    fn living(&self, group: usize) -> &AtomicU64 {
        &known(std::slice::from_ref(self.living(group)))[0]
    }

    fn bucket(&self, row: usize, hash: Hash) -> &[AtomicU64] {
        known(self.bucket(row, hash.word()))
    }
}

/// The words in which the pace of an address is kept, shared by all rows.
impl Addresses {
    /// For [`AcceptRate::admit`](crate::net::accept_rate::AcceptRate::admit).
    #[must_use]
    pub fn paces(&self, hash: Hash) -> &[AtomicU64] {
        known(self.rates(hash.word()))
    }
}

#[cfg(not(loom))]
fn known(words: &[AtomicU64]) -> &[AtomicU64] {
    words
}

/// Loom knows its own words alone; the model of the tables has such ones.
#[cfg(loom)]
fn known(_: &[std::sync::atomic::AtomicU64]) -> &[AtomicU64] {
    unreachable!("no model runs on shared memory")
}
