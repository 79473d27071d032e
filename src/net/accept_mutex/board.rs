//! The scoreboard's words and bells, as the accept mutex's.

use super::Words;
use crate::scoreboard::{Counter, Scoreboard};
use crate::sys::sync::AtomicU64;

impl Words for Scoreboard {
    fn mutex(&self) -> &AtomicU64 {
        known(self.accept_mutex())
    }

    fn rows(&self) -> usize {
        self.rows()
    }

    fn life(&self, row: usize) -> &AtomicU64 {
        known(self.life(row))
    }

    fn epoch(&self, row: usize) -> &AtomicU64 {
        known(self.epoch(row))
    }

    fn live(&self, row: usize) -> &AtomicU64 {
        known(self.word(row, Counter::Live))
    }

    fn loops(&self, row: usize) -> &AtomicU64 {
        known(self.word(row, Counter::Loops))
    }

    fn asleep(&self, row: usize) -> &AtomicU64 {
        known(self.asleep(row))
    }

    fn ring(&self, row: usize) {
        self.bell(row).ring_shared();
    }
}

#[cfg(not(loom))]
fn known(word: &AtomicU64) -> &AtomicU64 {
    word
}

/// Loom knows its own words alone; the model of the mutex has such ones.
#[cfg(loom)]
fn known(_: &std::sync::atomic::AtomicU64) -> &AtomicU64 {
    unreachable!("no model runs on shared memory")
}
