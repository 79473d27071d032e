//! What a worker reads: the rings of all others, in turns. Under the worker's
//! reading lock.

use super::message::{Kind, MESSAGE, Message};
use super::ring::{Broken, Part, Ring};
use super::shape::Of;
use super::shared::Bus;
use crate::sys::sync::Ordering;

/// Pieces of one ring before the others have their turn.
const FAIR: usize = 64;

/// The way from one row.
#[derive(Debug, Default)]
struct Inlet {
    tail: u64,
    /// Of the last message.
    epoch: u16,
    sequence: u64,
    /// The message that has begun.
    begun: Option<Vec<u8>>,
    /// What follows is read when everything up to here was.
    behind: Option<Read>,
}

/// What a worker reads with.
#[derive(Debug)]
pub(super) struct Reader {
    row: usize,
    inlets: Vec<Inlet>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Words that waited when it was looked at.
    pub(super) waited: u64,
    pub(super) pieces: usize,
    pub(super) messages: u64,
    /// Rings that were given up to where they are.
    pub(super) broken: u64,
}

/// How far a worker has read another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Read {
    /// Row of the other one.
    pub row: u8,
    /// Which worker of that row.
    pub epoch: u16,
    /// The last message that was read.
    pub sequence: u64,
}

impl Reader {
    /// Of a worker that has just come: what was said before is not for it.
    pub(super) fn new(bus: &Bus, row: usize) -> Self {
        let inlet = |from| {
            let ring = bus.ring(from, row);
            let tail = ring.end();
            ring.done(tail);
            Inlet {
                tail,
                ..Inlet::default()
            }
        };
        Self {
            row,
            inlets: (0..bus.rows()).map(inlet).collect(),
        }
    }

    /// Whether something waits to be read, and can be.
    pub(super) fn is_behind(&self, bus: &Bus) -> bool {
        let mut inlets = self.inlets.iter().enumerate();
        inlets.any(|(from, inlet)| {
            from != self.row
                && bus.ring(from, self.row).end() != inlet.tail
                && inlet.behind.is_none_or(|mark| self.is_past(bus, mark))
        })
    }

    /// Gives `deliver` what waits, a part of each ring.
    pub(super) fn read(&mut self, bus: &Bus, deliver: &mut dyn FnMut(Message)) -> Seen {
        let mut seen = Seen::default();
        for from in 0..self.inlets.len() {
            self.read_ring(bus, from, FAIR, &mut seen, deliver);
        }
        seen
    }

    /// Gives `deliver` everything that is there now.
    pub(super) fn read_all(&mut self, bus: &Bus, deliver: &mut dyn FnMut(Message)) -> Seen {
        let mut seen = Seen::default();
        loop {
            let before = seen.pieces;
            for from in 0..self.inlets.len() {
                // A ring has at most so many pieces.
                self.read_ring(bus, from, bus.shape().ring, &mut seen, deliver);
            }
            let mut waiting = self
                .inlets
                .iter_mut()
                .filter(|inlet| inlet.behind.is_some());
            if seen.pieces > before {
                continue;
            }
            // What it waits for is in a backlog: rather out of its order than lost.
            let Some(inlet) = waiting.next() else {
                return seen;
            };
            inlet.behind = None;
        }
    }

    fn read_ring(
        &mut self,
        bus: &Bus,
        from: usize,
        most: usize,
        seen: &mut Seen,
        deliver: &mut dyn FnMut(Message),
    ) {
        let ring = bus.ring(from, self.row);
        let end = ring.end();
        if from == self.row || end == self.inlets[from].tail {
            return;
        }
        // A broken neighbour says any number.
        let waits = end.wrapping_sub(self.inlets[from].tail);
        seen.waited += waits.min(bus.shape().ring as u64);
        for _ in 0..most {
            let behind = self.inlets[from].behind;
            if behind.is_some_and(|mark| !self.is_past(bus, mark)) {
                break;
            }
            let inlet = &mut self.inlets[from];
            inlet.behind = None;
            if inlet.tail == end {
                break;
            }
            match inlet.read(ring, from, end) {
                Ok(None) => seen.pieces += 1,
                Ok(Some(message)) => {
                    seen.pieces += 1;
                    seen.messages += 1;
                    if message.kind == Kind::Behind {
                        inlet.behind = Read::of(&message.body);
                    } else {
                        deliver(message);
                    }
                }
                Err(Broken) => {
                    seen.broken += 1;
                    (inlet.tail, inlet.begun, inlet.behind) = (end, None, None);
                    break;
                }
            }
        }
        if ring.done(self.inlets[from].tail) {
            let _was_awake = bus.wake(from);
        }
    }

    /// How far every other row was read.
    pub(super) fn read_up_to(&self) -> impl Iterator<Item = Read> {
        let inlets = self.inlets.iter().enumerate();
        inlets
            .filter(|(_, inlet)| inlet.sequence > 0)
            .map(|(row, inlet)| Read {
                row: u8::try_from(row).unwrap_or(u8::MAX),
                epoch: inlet.epoch,
                sequence: inlet.sequence,
            })
    }

    /// Whether nothing up to `mark` can come any more: it was read, or its worker
    /// is gone and its ring is empty, or it has written all of it and its ring is
    /// empty.
    pub(super) fn is_past(&self, bus: &Bus, mark: Read) -> bool {
        let row = usize::from(mark.row);
        let Some(inlet) = self.inlets.get(row).filter(|_| row != self.row) else {
            return true;
        };
        if inlet.epoch == mark.epoch && inlet.sequence >= mark.sequence {
            return true;
        }
        let is_gone = bus.life(row) != u64::from(mark.epoch) + 1;
        let ring = bus.ring(row, self.row);
        let has_written = || {
            let published = bus.of(row, Of::Published).load(Ordering::Acquire);
            published >= mark.sequence && ring.behind.load(Ordering::Acquire) == 0
        };
        (is_gone || has_written()) && ring.end() == inlet.tail
    }
}

impl Read {
    /// As the body of a [`Kind::Behind`].
    pub(super) fn bytes(self) -> [u8; 11] {
        let mut bytes = [0; 11];
        bytes[0] = self.row;
        bytes[1..3].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[3..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; 11]>::try_from(bytes).ok()?;
        let sequence = bytes.last_chunk::<8>().copied()?;
        Some(Self {
            row: bytes[0],
            epoch: u16::from_le_bytes([bytes[1], bytes[2]]),
            sequence: u64::from_le_bytes(sequence),
        })
    }
}

impl Inlet {
    /// Reads a piece; gives the message that is whole with it.
    fn read(&mut self, ring: Ring<'_>, from: usize, end: u64) -> Result<Option<Message>, Broken> {
        let mut message = self.begun.take().unwrap_or_default();
        let before = message.len();
        let (part, next) = ring.take(self.tail, end, &mut message)?;
        self.tail = next;
        if !self.takes(part, before, &mut message)? {
            return Ok(None);
        }
        let row = u8::try_from(from).map_err(|_| Broken)?;
        let message = Message::parse(row, part.epoch, &message.into()).ok_or(Broken)?;
        (self.epoch, self.sequence) = (part.epoch, message.origin.sequence);
        Ok(Some(message))
    }

    /// Whether `message` is whole with this piece, which came behind `before`
    /// bytes of it.
    fn takes(&mut self, part: Part, before: usize, message: &mut Vec<u8>) -> Result<bool, Broken> {
        if part.is_first && before > 0 {
            // The one before it was not finished: its writer died.
            message.drain(..before);
        } else if !part.is_first && before == 0 {
            // The rest of what began before this reader did.
            return Ok(false);
        }
        if message.len() > MESSAGE {
            return Err(Broken);
        }
        if !part.is_last {
            self.begun = Some(std::mem::take(message));
            return Ok(false);
        }
        Ok(true)
    }
}

/// What a reader makes of a ring of these words: messages and broken rings, the
/// more the worse, but never a fault. For the fuzzer.
#[doc(hidden)]
#[must_use]
pub fn arbitrary(words: &[u64], head: u64) -> (u64, u64) {
    use super::shape::Shape;
    let shape = Shape {
        rows: 2,
        ring: 1 << 11,
        names: 64,
    };
    let bus = Bus::new(shape).expect("memory for a small bus");
    let mut reader = Reader::new(&bus, 0);
    let ring = bus.ring(1, 0);
    for (to, word) in ring.data.iter().zip(words) {
        to.store(*word, Ordering::Relaxed);
    }
    let (mut messages, mut broken) = (0, 0);
    for end in [head, ring.end(), head.wrapping_add(1)] {
        ring.publish(end);
        let seen = reader.read_all(&bus, &mut |message| {
            assert!(message.body.len() <= MESSAGE);
        });
        messages += seen.messages;
        broken += seen.broken;
        assert!(!reader.is_behind(&bus) || seen.broken == 0);
    }
    (messages, broken)
}
