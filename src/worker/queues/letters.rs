//! Letters: what one thread of a worker asks of another.
//!
//! Each kind of letter is a closed enum, matched without `_`: what can wake a
//! thread is listed in one place. Posting never blocks, and rings the bell only
//! when the reader has not been called since it last looked.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crossbeam::queue::{ArrayQueue, SegQueue};

use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::eventfd::Bell;
use crate::sys::sync::{AtomicBool, Ordering};
use crate::worker::connection::Connection;

/// To the reactor, which decides who lives and who is read.
#[derive(Debug)]
pub(crate) enum ToReactor {
    /// The mailbox has room again.
    Resume(ConnId),
    /// The flood guard's delay is over.
    Thaw(ConnId),
    /// End this connection; counted under the name, if any.
    End(ConnId, CloseMode, Option<Counter>),
    /// The worker holds too many bytes: close whoever holds the most.
    Relieve,
    /// A slot of the pool is free again.
    Vacancy,
    /// A thread of the worker died; it must end as a whole.
    ThreadDied,
}

/// To the sender.
#[derive(Debug)]
pub(crate) enum ToSender {
    /// Pushes wait in its inbox.
    Pushes(Arc<Connection>),
}

/// To the recycler.
#[derive(Debug)]
pub(crate) enum ToRecycler {
    /// The last turn is over: half-close, linger, close the descriptor.
    Left(Arc<Connection>),
}

/// Letters that wait without any allocation.
const ROOM: usize = 1024;

/// A queue with a bell. One thread reads, any may post; letters of one poster
/// come in its order.
#[derive(Debug)]
pub(crate) struct Letters<T> {
    ring: ArrayQueue<T>,
    /// Used while the ring is full, and until it is empty again.
    overflow: SegQueue<T>,
    called: AtomicBool,
    bell: Bell,
}

impl<T> Letters<T> {
    /// # Errors
    ///
    /// As [`Bell::new`].
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            ring: ArrayQueue::new(ROOM),
            overflow: SegQueue::new(),
            called: AtomicBool::new(false),
            bell: Bell::new()?,
        })
    }

    /// Posts without waking anybody; [`Self::call`] must follow.
    pub(crate) fn put(&self, letter: T) {
        // Not into the ring while older letters wait in the overflow: the
        // reader takes the ring's first.
        if !self.overflow.is_empty() {
            return self.overflow.push(letter);
        }
        if let Err(letter) = self.ring.push(letter) {
            self.overflow.push(letter);
        }
    }

    /// Wakes the reader.
    pub(crate) fn call(&self) {
        if !self.called.swap(true, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// Posts and wakes the reader.
    pub(crate) fn post(&self, letter: T) {
        self.put(letter);
        self.call();
    }

    /// The bell has rung: makes it silent. Must come *before* the letters are
    /// read; the other order loses a letter posted in between.
    pub(crate) fn hush(&self) {
        self.bell.hush();
        self.called.store(false, Ordering::SeqCst);
    }

    /// The next letter, if any.
    pub(crate) fn next(&self) -> Option<T> {
        self.ring.pop().or_else(|| self.overflow.pop())
    }

    /// Whether no letter waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.overflow.is_empty()
    }

    /// Drops what nobody reads any more.
    pub(crate) fn clear(&self) {
        while self.next().is_some() {}
    }
}

impl<T> AsFd for Letters<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn letters_of_one_poster_keep_their_order_over_the_overflow() {
        let letters = Letters::new().unwrap();
        let (mut posted, mut read) = (0, 0);
        for round in [ROOM * 2, 10, ROOM + 7] {
            for _ in 0..round {
                letters.put(posted);
                posted += 1;
            }
            for _ in 0..round / 2 + 5 {
                if let Some(letter) = letters.next() {
                    assert_eq!(letter, read);
                    read += 1;
                }
            }
        }
        while let Some(letter) = letters.next() {
            assert_eq!(letter, read);
            read += 1;
        }
        assert_eq!(read, posted);
    }
}
