//! What a worker writes: a message into the ring of each row that wants it, and a
//! backlog for those whose ring is full. Under the worker's publishing lock.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Interest;
use super::message::{Kind, Outgoing};
use super::ring::{PIECE, Part, Ring, words};
use super::shape::Of;
use super::shared::{Bus, Rows};
use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::{Ordering, fence};

/// How often a publisher looks again because connections move. A move takes two
/// turns of a loop, so that more is not theirs but of a broken neighbour.
const LOOKS: usize = 64;

/// A piece that waits for room.
struct Waiting {
    part: Part,
    bytes: Bytes,
}

/// The way to one row.
#[derive(Default)]
struct Outlet {
    /// Which worker of the row the rest is about.
    life: u64,
    head: u64,
    backlog: VecDeque<Waiting>,
    /// Something was lost, and nothing taken in since.
    has_gap: bool,
}

/// What a worker writes with.
pub(super) struct Publisher {
    row: usize,
    epoch: u16,
    sequence: u64,
    outlets: Vec<Outlet>,
    /// Bytes in all backlogs, and how many there may be.
    waiting: usize,
    waiting_max: usize,
    scratch: Vec<u8>,
}

/// What became of a message.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Its sequence; 0: nobody wanted it.
    pub(super) sequence: u64,
    /// How many connections were addressed by it.
    pub(super) reached: u64,
    /// Who may have to be woken.
    pub(super) written: Rows,
    /// How many rows did not get it, though they wanted it.
    pub(super) lost: u64,
}

impl Publisher {
    /// Of a worker that has just come: goes on where the one before it stopped.
    pub(super) fn new(bus: &Bus, row: usize, epoch: u16, waiting_max: usize) -> Self {
        let outlet = |to| Outlet {
            head: bus.ring(row, to).head.load(Ordering::Acquire),
            ..Outlet::default()
        };
        let outlets: Vec<Outlet> = (0..bus.rows()).map(outlet).collect();
        for to in 0..bus.rows() {
            let ring = bus.ring(row, to);
            ring.behind.store(0, Ordering::Relaxed);
            ring.wants.store(0, Ordering::Relaxed);
        }
        Self {
            row,
            epoch,
            sequence: 0,
            outlets,
            waiting: 0,
            waiting_max,
            scratch: Vec::new(),
        }
    }

    /// Bytes that wait for room.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The sequence of the last message.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes a message for all rows of `living` that want it.
    pub(super) fn publish(&mut self, bus: &Bus, out: &Outgoing<'_>) -> Published {
        let hash = out.to.hash(bus.key());
        let mut published = Published::default();
        let mut moves = bus.moves().load(Ordering::SeqCst);
        for _ in 0..LOOKS {
            let mut own = Rows::default();
            own.add(self.row);
            for row in bus.living().without(published.written).without(own) {
                let Some(there) = wanted(bus, row, out.to, hash) else {
                    continue;
                };
                if published.sequence == 0 && !self.encode(out) {
                    published.lost += 1;
                    return published;
                }
                published.sequence = self.sequence;
                published.written.add(row);
                if self.write(bus, row) {
                    published.reached = published.reached.saturating_add(there);
                } else {
                    published.lost += 1;
                }
            }
            // Whoever moved to a row that was looked at before is not missed.
            fence(Ordering::SeqCst);
            let now = bus.moves().load(Ordering::SeqCst);
            if now == moves {
                break;
            }
            moves = now;
        }
        if published.sequence > 0 {
            bus.of(self.row, Of::Published)
                .store(self.sequence, Ordering::Release);
        }
        published
    }

    fn encode(&mut self, out: &Outgoing<'_>) -> bool {
        self.scratch.clear();
        if self.scratch.capacity() > 16 * PIECE {
            self.scratch = Vec::new();
        }
        let fits = out.encode(self.sequence + 1, &mut self.scratch);
        self.sequence += u64::from(fits);
        fits
    }

    /// Writes the encoded message to `row`; false: there is no room for it.
    fn write(&mut self, bus: &Bus, row: usize) -> bool {
        self.meet(bus, row);
        let ring = bus.ring(self.row, row);
        let message = &self.scratch;
        let outlet = &mut self.outlets[row];
        let all: u64 = message.chunks(PIECE).map(|piece| words(piece.len())).sum();
        if outlet.backlog.is_empty() && ring.room(outlet.head) >= all {
            for (part, piece) in pieces(self.epoch, message) {
                outlet.head = ring.put(outlet.head, part, piece);
            }
            kill_point(Spot::Recording);
            ring.publish(outlet.head);
            kill_point(Spot::Recorded);
            return true;
        }
        if self.waiting + message.len() > self.waiting_max {
            self.lose(bus, row);
            return false;
        }
        outlet.has_gap = false;
        let message = Bytes::copy_from_slice(message);
        self.put_behind(row, &message);
        self.flush(bus, row);
        true
    }

    fn put_behind(&mut self, row: usize, message: &Bytes) {
        self.waiting += message.len();
        for (part, piece) in pieces(self.epoch, message) {
            let bytes = message.slice_ref(piece);
            self.outlets[row].backlog.push_back(Waiting { part, bytes });
        }
    }

    /// Leaves a mark where messages are missing, one for all of them.
    fn lose(&mut self, bus: &Bus, row: usize) {
        if std::mem::replace(&mut self.outlets[row].has_gap, true) {
            return;
        }
        let gap = Outgoing {
            kind: Kind::Gap,
            to: Interest::Workers,
            topic: "",
            except: None,
            id: 0,
            form: 0,
            body: &[],
        };
        let mut bytes = Vec::new();
        if gap.encode(self.sequence, &mut bytes) {
            self.put_behind(row, &bytes.into());
        }
        self.flush(bus, row);
    }

    /// What waited for a worker that is gone is not for the next one.
    fn meet(&mut self, bus: &Bus, row: usize) {
        let life = bus.life(row);
        let outlet = &mut self.outlets[row];
        if outlet.life != life {
            outlet.life = life;
            outlet.has_gap = false;
            let dropped = std::mem::take(&mut outlet.backlog);
            self.waiting -= dropped.iter().map(|piece| piece.bytes.len()).sum::<usize>();
            bus.ring(self.row, row).behind.store(0, Ordering::Release);
        }
    }

    /// Writes what waits, as far as there is room; gives who may have to be woken.
    pub(super) fn flush_all(&mut self, bus: &Bus) -> Rows {
        let mut written = Rows::default();
        for row in 0..self.outlets.len() {
            if self.outlets[row].backlog.is_empty() {
                continue;
            }
            self.meet(bus, row);
            if self.flush(bus, row) {
                written.add(row);
            }
        }
        written
    }

    fn flush(&mut self, bus: &Bus, row: usize) -> bool {
        let ring = bus.ring(self.row, row);
        let before = self.outlets[row].head;
        self.flush_into(row, ring);
        if self.outlets[row].backlog.is_empty() {
            ring.behind.store(0, Ordering::Release);
        } else {
            ring.behind.store(1, Ordering::Release);
            ring.wants.store(1, Ordering::SeqCst);
            // The reader may have looked before.
            fence(Ordering::SeqCst);
            self.flush_into(row, ring);
        }
        self.outlets[row].head != before
    }

    fn flush_into(&mut self, row: usize, ring: Ring<'_>) {
        let outlet = &mut self.outlets[row];
        let before = outlet.head;
        while let Some(next) = outlet.backlog.front() {
            if ring.room(outlet.head) < words(next.bytes.len()) {
                break;
            }
            outlet.head = ring.put(outlet.head, next.part, &next.bytes);
            self.waiting -= next.bytes.len();
            outlet.backlog.pop_front();
        }
        if outlet.head != before {
            ring.publish(outlet.head);
        }
    }
}

/// How many connections of a row a message is for; `None`: it is not for it.
pub(super) fn wanted(bus: &Bus, row: usize, to: Interest<'_>, hash: Option<u64>) -> Option<u64> {
    let Some(hash) = hash else {
        let there = bus.of(row, Of::Everybody).load(Ordering::Acquire);
        return match to {
            Interest::Workers => Some(there),
            Interest::Row(only) => (usize::from(only) == row).then_some(0),
            Interest::Everybody
            | Interest::Conn(_)
            | Interest::User(_)
            | Interest::Room(_)
            | Interest::Accepted(..) => (there > 0).then_some(there),
        };
    };
    let named = bus.table(row).count(hash);
    let named_here = |conn: &crate::net::ConnId| {
        usize::from(conn.row()) == row && u64::from(conn.epoch()) + 1 == bus.life(row)
    };
    if named > 0 {
        return Some(named);
    }
    // Who never moved is in no table: its name says where it is.
    if let Interest::Conn(conn) = to
        && named_here(&conn)
    {
        return Some(1);
    }
    let has_overflowed = bus.of(row, Of::Overflowed).load(Ordering::Acquire) > 0;
    has_overflowed.then_some(0)
}

fn pieces(epoch: u16, message: &[u8]) -> impl Iterator<Item = (Part, &[u8])> {
    let last = message.len().div_ceil(PIECE).saturating_sub(1);
    let part = move |at| Part {
        is_first: at == 0,
        is_last: at == last,
        epoch,
    };
    let pieces = message.chunks(PIECE).enumerate();
    pieces.map(move |(at, piece)| (part(at), piece))
}
