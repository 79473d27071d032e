//! Connections that came from another worker, which has not let go of them yet.
//!
//! Both are members of the same rooms for that moment, and hear the same messages.
//! What is heard here is kept. The other worker, when it lets go, says up to where
//! it has heard everybody: all of that it has passed on, and the rest is ours.
//!
//! ```text
//!   begin --keep, keep--> settle(marks): what is kept and not before the marks
//!                           |
//!                           +-- until nothing before the marks can come any more
//! ```
//!
//! Locks: taken behind no other of this layer; the connection's inbox under it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::body::Id;
use crate::bus::{Origin, Read};
use crate::net::ConnId;
use crate::protocol::Media;

/// A push: its id, its body, and what that is.
pub(super) type Pushing = (Id, Bytes, Media);

/// What is said to a connection.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A push.
    Push(Pushing),
    /// Its end, with a close code of the program's.
    Close(Option<u16>),
}

/// All of them in this worker.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    count: AtomicUsize,
    arriving: Mutex<HashMap<ConnId, Arriving>>,
}

#[derive(Debug)]
enum Arriving {
    /// The other worker has it as well.
    Waits(Vec<(Origin, Said)>),
    /// It is ours, but for what is before these marks.
    Settles(Arc<[Read]>),
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnId, Arriving>> {
        self.arriving
            .lock()
            .expect("nothing under this lock panics")
    }

    fn changed(&self, arriving: &HashMap<ConnId, Arriving>) {
        self.count.store(arriving.len(), Ordering::Release);
    }

    /// Whether there are none: nearly always.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// From now on what is said to `conn` is kept. Before it enters its rooms.
    pub(super) fn begin(&self, conn: ConnId) {
        let mut arriving = self.lock();
        arriving.insert(conn, Arriving::Waits(Vec::new()));
        self.changed(&arriving);
    }

    /// It has ended, or stays where it was.
    pub(super) fn forget(&self, conn: ConnId) {
        if !self.is_empty() {
            let mut arriving = self.lock();
            arriving.remove(&conn);
            self.changed(&arriving);
        }
    }

    /// Who waits.
    pub(super) fn waiting(&self) -> Vec<ConnId> {
        let arriving = self.lock();
        let waits = |one: &Arriving| matches!(one, Arriving::Waits(_));
        let waiting = arriving.iter().filter(|(_, one)| waits(one));
        waiting.map(|(conn, _)| *conn).collect()
    }

    /// Whether it waits.
    pub(super) fn has(&self, conn: ConnId) -> bool {
        !self.is_empty() && matches!(self.lock().get(&conn), Some(Arriving::Waits(_)))
    }

    /// Takes those out of `conns` to whom this is not to be said now; returns for
    /// how many it is kept.
    pub(super) fn keep(&self, conns: &mut Vec<ConnId>, origin: Origin, said: &Said) -> usize {
        let mut arriving = self.lock();
        let mut kept = 0;
        conns.retain(|conn| match arriving.get_mut(conn) {
            None => true,
            Some(Arriving::Waits(all)) => {
                all.push((origin, said.clone()));
                kept += 1;
                false
            }
            Some(Arriving::Settles(marks)) => !is_before(marks, origin),
        });
        kept
    }

    /// The other worker has let go of `conn`, and has passed on what is before the
    /// marks; `say` gets the rest, in its order, before anybody says more.
    pub(super) fn settle(&self, conn: ConnId, marks: &Arc<[Read]>, mut say: impl FnMut(Said)) {
        let mut arriving = self.lock();
        let Some(one) = arriving.get_mut(&conn) else {
            return;
        };
        let settles = Arriving::Settles(Arc::clone(marks));
        if let Arriving::Waits(kept) = std::mem::replace(one, settles) {
            for (origin, said) in kept {
                if !is_before(marks, origin) {
                    say(said);
                }
            }
        }
        if marks.is_empty() {
            arriving.remove(&conn);
        }
        self.changed(&arriving);
    }

    /// Forgets those that have settled. `is_past` tells whether nothing before some
    /// marks can come any more.
    pub(super) fn tidy(&self, is_past: impl Fn(&[Read]) -> bool) {
        let mut marks: Vec<Arc<[Read]>> = Vec::new();
        for one in self.lock().values() {
            if let Arriving::Settles(of) = one
                && !marks.iter().any(|known| Arc::ptr_eq(known, of))
            {
                marks.push(Arc::clone(of));
            }
        }
        // Without the lock: who reads holds another one, and then comes here.
        marks.retain(|marks| is_past(marks));
        let mut arriving = self.lock();
        arriving.retain(|_, one| match one {
            Arriving::Settles(of) => !marks.iter().any(|past| Arc::ptr_eq(past, of)),
            Arriving::Waits(_) => true,
        });
        self.changed(&arriving);
    }
}

/// Whether the other worker has heard it.
fn is_before(marks: &[Read], origin: Origin) -> bool {
    let of = |mark: &&Read| (mark.row, mark.epoch) == (origin.row, origin.epoch);
    let mark = marks.iter().find(of);
    origin.sequence > 0 && mark.is_some_and(|mark| origin.sequence <= mark.sequence)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn origin(row: u8, sequence: u64) -> Origin {
        Origin {
            row,
            epoch: 1,
            sequence,
        }
    }

    fn push(id: u32) -> Said {
        Said::Push((id, Bytes::new(), Media::Bytes))
    }

    fn id(said: Said) -> u32 {
        match said {
            Said::Push((id, ..)) => id,
            Said::Close(_) => 0,
        }
    }

    #[test]
    fn what_the_other_worker_has_heard_is_not_said_again() {
        let (one, other) = (ConnId::first(0, 0, 0), ConnId::first(0, 0, 1));
        let arrivals = Arrivals::default();
        assert!(arrivals.is_empty() && !arrivals.has(one));
        arrivals.begin(one);
        assert!(arrivals.has(one) && arrivals.waiting() == [one]);
        for sequence in 1..=4 {
            let mut conns = vec![one, other];
            let said = push(u32::try_from(sequence).unwrap());
            assert_eq!(arrivals.keep(&mut conns, origin(3, sequence), &said), 1);
            assert_eq!(conns, [other], "who did not move hears it at once");
        }
        // Of a worker that the other one has not heard at all, and of one that was
        // in the same row before.
        arrivals.keep(&mut vec![one], origin(4, 1), &push(5));
        let older = Origin {
            epoch: 0,
            ..origin(3, 1)
        };
        arrivals.keep(&mut vec![one], older, &push(6));
        arrivals.keep(&mut vec![one], Origin::default(), &Said::Close(None));
        let mark = Read {
            row: 3,
            epoch: 1,
            sequence: 2,
        };
        let marks: Arc<[Read]> = Arc::new([mark]);
        let mut said = Vec::new();
        arrivals.settle(one, &marks, |one| said.push(id(one)));
        assert_eq!(said, [3, 4, 5, 6, 0]);
        let mut late = vec![one];
        arrivals.keep(&mut late, origin(3, 2), &push(2));
        assert_eq!(late, [], "late, and heard there");
        let mut newer = vec![one];
        arrivals.keep(&mut newer, origin(3, 5), &push(7));
        assert_eq!(newer, [one]);
        arrivals.tidy(|_| false);
        assert!(!arrivals.is_empty());
        arrivals.tidy(|of| of == [mark]);
        assert!(arrivals.is_empty());
    }

    #[test]
    fn who_stays_where_it_was_is_forgotten_with_what_was_kept() {
        let arrivals = Arrivals::default();
        let conn = ConnId::first(0, 0, 0);
        arrivals.begin(conn);
        arrivals.keep(&mut vec![conn], origin(3, 1), &push(1));
        arrivals.forget(conn);
        assert!(arrivals.is_empty());
        let none: Arc<[Read]> = Arc::new([]);
        arrivals.settle(conn, &none, |_| unreachable!("nothing is kept"));
    }
}
