//! Deadlines: a heap of what falls due when. Pure: time comes in.
//!
//! Activity does not touch the heap. A connection that speaks only stores the
//! time; when its entry falls due, the real deadline is computed from that
//! and the entry goes back. So a busy connection costs one heap operation per
//! timeout, not one per message, and a slot has at most a few entries however
//! many connections pass through it.
//!
//! A timer that is cancelled stays in the heap until half of it are such; then
//! they are taken out together. So none waits for a time that may be years away,
//! and cancelling costs no more than adding did.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::net::ConnId;

/// What falls due.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Due {
    /// Look whether the connection in this slot has been silent too long.
    Silence(usize),
    /// The flood guard's delay of this connection is over.
    Thaw(ConnId),
    /// Run timer `.1` of this connection.
    Timer(ConnId, u64),
    /// Have this connection looked at, which waits for an event.
    Wake(ConnId),
    /// Run this periodic job.
    Tick(usize),
}

/// Times are milliseconds of the coarse clock.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(u64, Due)>>,
    /// For each slot the earliest time in the heap at which it is looked at;
    /// 0: none.
    watched: Vec<u64>,
    /// Timers that were cancelled since the heap was last cleared of them. One
    /// that had fallen due by then is in here alone.
    cancelled: HashSet<u64>,
}

impl Deadlines {
    /// Adds a deadline; tells whether it is now the earliest.
    pub(crate) fn add(&mut self, at: u64, due: Due) -> bool {
        let earliest = self.next().is_none_or(|next| at < next);
        self.heap.push(Reverse((at, due)));
        earliest
    }

    /// Sees to it that `slot` is looked at no later than `at`; tells whether
    /// that is now the earliest deadline.
    pub(crate) fn watch(&mut self, slot: usize, at: u64) -> bool {
        if self.watched.len() <= slot {
            self.watched.resize(slot + 1, 0);
        }
        if self.watched[slot] != 0 && self.watched[slot] <= at {
            return false;
        }
        self.watched[slot] = at;
        self.add(at, Due::Silence(slot))
    }

    /// Timer `token` does not fall due any more.
    pub(crate) fn cancel(&mut self, token: u64) {
        self.cancelled.insert(token);
        if self.cancelled.len() * 2 < self.heap.len() {
            return;
        }
        let cancelled = std::mem::take(&mut self.cancelled);
        let is_cancelled =
            |due: &Due| matches!(due, Due::Timer(_, token) if cancelled.contains(token));
        self.heap.retain(|Reverse((_, due))| !is_cancelled(due));
    }

    /// When the next one falls due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one that is due at `now`.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Due> {
        while self.next()? <= now {
            let Reverse((at, due)) = self.heap.pop()?;
            if let Due::Silence(slot) = due {
                // A later entry of a slot that got an earlier one since.
                if self.watched[slot] != at {
                    continue;
                }
                self.watched[slot] = 0;
            }
            if let Due::Timer(_, token) = due
                && self.cancelled.remove(&token)
            {
                continue;
            }
            return Some(due);
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn they_fall_due_in_order_and_never_early() {
        let mut deadlines = Deadlines::default();
        assert!(deadlines.add(30, Due::Tick(3)));
        assert!(deadlines.add(10, Due::Tick(1)));
        assert!(!deadlines.add(20, Due::Tick(2)));
        assert_eq!(deadlines.pop(9), None);
        assert_eq!(deadlines.pop(25), Some(Due::Tick(1)));
        assert_eq!(deadlines.pop(25), Some(Due::Tick(2)));
        assert_eq!(deadlines.pop(25), None);
        assert_eq!(deadlines.next(), Some(30));
    }

    #[test]
    fn a_slot_is_looked_at_once_however_many_connections_it_saw() {
        let mut deadlines = Deadlines::default();
        for opened in 0..1000 {
            deadlines.watch(7, opened + 100);
        }
        assert_eq!(deadlines.heap.len(), 1);
        assert_eq!(deadlines.pop(99), None);
        assert_eq!(deadlines.pop(100), Some(Due::Silence(7)));
        assert_eq!(deadlines.pop(u64::MAX), None);
    }

    #[test]
    fn cancelled_timers_do_not_fall_due_and_are_not_kept() {
        let id = ConnId::first(0, 0, 0);
        let mut deadlines = Deadlines::default();
        deadlines.add(5, Due::Tick(0));
        for token in 0..10_000 {
            deadlines.add(u64::MAX, Due::Timer(id, token));
            deadlines.add(10, Due::Timer(id, 20_000 + token));
            deadlines.cancel(token);
            let kept = (deadlines.heap.len(), deadlines.cancelled.len());
            let alive = usize::try_from(token).unwrap() + 2;
            assert!(kept.0 <= 2 * alive && kept.1 <= alive, "{kept:?}");
        }
        assert_eq!(deadlines.pop(9), Some(Due::Tick(0)));
        for token in 20_000..30_000 {
            deadlines.cancel(token);
            // It has fallen due before, or never was.
            deadlines.cancel(token + 20_000);
        }
        assert_eq!(deadlines.pop(u64::MAX), None);
        assert!(deadlines.heap.is_empty() && deadlines.cancelled.len() <= 1);
    }

    #[test]
    fn one_cancelled_timer_does_not_take_another_along() {
        let id = ConnId::first(0, 0, 0);
        let mut deadlines = Deadlines::default();
        for token in 0..3 {
            deadlines.add(token, Due::Timer(id, token));
        }
        deadlines.cancel(1);
        assert_eq!(deadlines.pop(9), Some(Due::Timer(id, 0)));
        assert_eq!(deadlines.pop(9), Some(Due::Timer(id, 2)));
        assert_eq!(deadlines.pop(9), None);
    }

    #[test]
    fn an_earlier_look_replaces_a_later_one() {
        let mut deadlines = Deadlines::default();
        deadlines.watch(0, 50);
        assert!(deadlines.watch(0, 20));
        assert_eq!(deadlines.pop(20), Some(Due::Silence(0)));
        assert_eq!(deadlines.pop(60), None, "the later entry is void");
    }
}
