//! Waking the reactors of workers. On the master's thread.
//!
//! Workers wake each other by their bells. A bell is one open file for all of
//! them, so that any worker can make it a blocking one and fill it; a write of
//! the master's would then wait for ever. (Tried: no flag of `pwritev2` helps,
//! and a timer that expires at once, which nobody could block, takes 250 us to
//! be set on a virtual machine.) So the master rings no bell. It sends an order
//! over the worker's own line, which is never waited for, or has the other
//! master of an upgrade do so.

use std::cell::RefCell;
use std::rc::Rc;

use super::Master;
use crate::master::supervisor::SlotId;
use crate::net::accept_mutex::Words;
use crate::scoreboard::Scoreboard;
use crate::sys::sync::AtomicU64;

/// The words of the accept mutex, and whom the master is to wake.
#[derive(Clone, Debug)]
pub(super) struct MasterWords {
    board: Scoreboard,
    rung: Rc<RefCell<Vec<usize>>>,
}

impl MasterWords {
    pub(super) fn new(board: Scoreboard) -> Self {
        let rung = Rc::default();
        Self { board, rung }
    }

    /// Rows that are to be woken.
    pub(super) fn rung(&self) -> Rc<RefCell<Vec<usize>>> {
        Rc::clone(&self.rung)
    }
}

impl Words for MasterWords {
    fn mutex(&self) -> &AtomicU64 {
        Words::mutex(&self.board)
    }

    fn rows(&self) -> usize {
        self.board.rows()
    }

    fn life(&self, row: usize) -> &AtomicU64 {
        Words::life(&self.board, row)
    }

    fn epoch(&self, row: usize) -> &AtomicU64 {
        Words::epoch(&self.board, row)
    }

    fn live(&self, row: usize) -> &AtomicU64 {
        Words::live(&self.board, row)
    }

    fn loops(&self, row: usize) -> &AtomicU64 {
        Words::loops(&self.board, row)
    }

    fn asleep(&self, row: usize) -> &AtomicU64 {
        Words::asleep(&self.board, row)
    }

    fn ring(&self, row: usize) {
        let mut rung = self.rung.borrow_mut();
        if !rung.contains(&row) {
            rung.push(row);
        }
    }
}

impl Master<'_> {
    /// Wakes those to whom the accept mutex went since the last call.
    pub(super) fn wake_rung(&mut self) {
        let rung = self.rung.take();
        for row in rung {
            if !self.wake(row) {
                self.have_woken(row);
            }
        }
    }

    /// Has our worker in this row look at the accept mutex, if there is one.
    pub(super) fn wake(&mut self, row: usize) -> bool {
        let member = self.workers.in_slot(SlotId(row));
        member.map(|member| member.wake()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::accept_mutex::AcceptMutex;
    use crate::sys::epoll::{Epoll, Events, Interest};
    use std::time::Duration;

    #[test]
    fn the_master_moves_the_mutex_without_a_bell() {
        let board = Scoreboard::new(2).unwrap();
        let words = MasterWords::new(board.clone());
        let (rung, mutex) = (words.rung(), AcceptMutex::new(words));
        let epoll = Epoll::new().unwrap();
        for row in 0..2 {
            epoll.add(board.bell(row), Interest::Read, 0).unwrap();
        }
        mutex.wake(mutex.admit(1));
        mutex.wake(mutex.admit(0));
        mutex.wake(mutex.admit(1));
        assert_eq!(rung.take(), [1, 0]);
        let mut events = Events::with_capacity(2);
        let told = epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(told.count(), 0, "a bell rang");
    }
}
