//! Pushes on their way to a connection: any thread puts, whoever writes to the
//! connection takes them first.
//!
//! ```text
//!   hub, any thread --put--> inbox --take--> outbound --> socket
//!                              |     (a turn that writes, else the sender)
//!                              +-- close: nothing is taken in any more
//! ```
//!
//! The order in which one thread puts is that in which they go out. The lock is
//! a leaf, never held over a system call, so nobody who pushes waits for a peer.
//! Invariant: while something waits, a letter to the sender is on its way, from
//! whoever put the first; it holds the connection, so its slot is nobody else's.

use bytes::Bytes;

use super::items::Items;
use crate::sys::sync::{Mutex, lock};

/// What became of a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Put {
    /// It is the first that waits: call the sender.
    First,
    /// It waits behind others.
    Behind,
    /// The connection is about to close: nothing goes out behind what was there.
    Closed,
}

/// The pushes that wait for one connection.
#[derive(Debug)]
pub(crate) struct Inbox(Mutex<Inner>);

#[derive(Debug)]
enum Inner {
    Empty,
    /// At least one. In a box: an idle connection has a word for it.
    Waits(Box<Items<Bytes>>),
    Closed,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner::Empty))
    }

    /// Puts a push behind the others. Any thread.
    pub(crate) fn put(&self, push: Bytes) -> Put {
        let mut inner = lock(&self.0);
        match &mut *inner {
            Inner::Closed => Put::Closed,
            Inner::Waits(pushes) => {
                pushes.push_back(push);
                Put::Behind
            }
            Inner::Empty => {
                let mut pushes = Box::<Items<Bytes>>::default();
                pushes.push_back(push);
                *inner = Inner::Waits(pushes);
                Put::First
            }
        }
    }

    /// Takes what waits. For whoever holds the lock of the outbound queue, so
    /// that two who write do not change the order.
    pub(crate) fn take(&self) -> Option<Box<Items<Bytes>>> {
        let mut inner = lock(&self.0);
        match std::mem::replace(&mut *inner, Inner::Empty) {
            Inner::Empty => None,
            Inner::Waits(pushes) => Some(pushes),
            Inner::Closed => {
                *inner = Inner::Closed;
                None
            }
        }
    }

    /// As [`Self::take`], for the last time: nothing is taken in any more.
    pub(crate) fn close(&self) -> Option<Box<Items<Bytes>>> {
        let mut inner = lock(&self.0);
        match std::mem::replace(&mut *inner, Inner::Closed) {
            Inner::Empty | Inner::Closed => None,
            Inner::Waits(pushes) => Some(pushes),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn all(pushes: Option<Box<Items<Bytes>>>) -> Vec<Bytes> {
        let mut pushes = *pushes.unwrap_or_default();
        std::iter::from_fn(|| pushes.pop_front()).collect()
    }

    #[test]
    fn pushes_are_taken_in_their_order_and_none_behind_the_close() {
        let inbox = Inbox::new();
        assert_eq!(inbox.put(Bytes::from("a")), Put::First);
        assert_eq!(inbox.put(Bytes::from("b")), Put::Behind);
        assert_eq!(all(inbox.take()), ["a", "b"]);
        assert_eq!(all(inbox.take()), [""; 0]);
        assert_eq!(inbox.put(Bytes::from("c")), Put::First);
        assert_eq!(all(inbox.close()), ["c"]);
        assert_eq!(inbox.put(Bytes::from("d")), Put::Closed);
        assert_eq!(all(inbox.take()), [""; 0]);
        assert_eq!(
            inbox.put(Bytes::from("d")),
            Put::Closed,
            "taking opens nothing"
        );
        assert_eq!(all(inbox.close()), [""; 0]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// What `put` took in is taken by somebody who writes or closes, once.
    #[test]
    fn loom_no_push_is_lost_between_a_writer_and_a_close() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let putter = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    let put = |n: u8| inbox.put(Bytes::copy_from_slice(&[n]));
                    [put(1), put(2)].map(|put| put != Put::Closed)
                })
            };
            let writer = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || numbers(inbox.take()))
            };
            let last = numbers(inbox.close());
            let written = writer.join().unwrap();
            let taken_in = putter.join().unwrap();
            let mut out = written.clone();
            out.extend(&last);
            let expected: Vec<u8> = [1, 2]
                .into_iter()
                .zip(taken_in)
                .filter_map(|(n, is_in)| is_in.then_some(n))
                .collect();
            out.sort_unstable();
            assert_eq!(out, expected);
            assert!(written.is_sorted() && last.is_sorted());
        });
    }

    fn numbers(pushes: Option<Box<Items<Bytes>>>) -> Vec<u8> {
        let mut pushes = *pushes.unwrap_or_default();
        std::iter::from_fn(|| pushes.pop_front())
            .map(|push| push[0])
            .collect()
    }
}
