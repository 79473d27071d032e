//! One ring: pieces of messages from one worker to another, in words.
//!
//! A piece is a head word and its bytes, padded to words. `head` and `tail` count
//! words since the ring was made, which do not come round in the life of a server
//! (and may, if a broken neighbour says so); the writer stores `head`
//! behind a piece, so who sees it sees the piece.

use crate::sys::sync::{AtomicU64, Ordering};

use super::shape::LINE;

/// Words before the data: the writer's line, the reader's, and one for both.
pub(super) const CONTROL: usize = 3 * LINE;

/// Bytes of a piece at most. A longer message goes in several.
pub(super) const PIECE: usize = 8 * 1024;

const FIRST: u64 = 1 << 32;
const LAST: u64 = 1 << 33;

/// A ring in the shared memory.
#[derive(Clone, Copy)]
pub(super) struct Ring<'a> {
    /// Where the writer goes on. The writer's.
    pub(super) head: &'a AtomicU64,
    /// 1 while the writer has a backlog for this reader. The writer's.
    pub(super) behind: &'a AtomicU64,
    /// Where the reader goes on. The reader's.
    pub(super) tail: &'a AtomicU64,
    /// 1: the writer wants to hear of room. Set by it, taken by the reader.
    pub(super) wants: &'a AtomicU64,
    pub(super) data: &'a [AtomicU64],
}

/// What a piece is of its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    /// Of the writer.
    pub(super) epoch: u16,
}

/// What is in the ring is not what a writer of ours writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Broken;

/// Words of a piece of `len` bytes.
pub(super) const fn words(len: usize) -> u64 {
    1 + len.div_ceil(8) as u64
}

impl<'a> Ring<'a> {
    /// In these words, which begin with the control words.
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        let (control, data) = words.split_at(CONTROL);
        Self {
            head: &control[0],
            behind: &control[1],
            tail: &control[LINE],
            wants: &control[2 * LINE],
            data,
        }
    }

    fn at(&self, position: u64) -> &'a AtomicU64 {
        let mask = self.data.len() as u64 - 1;
        #[expect(clippy::cast_possible_truncation, reason = "below the ring's length")]
        let index = (position & mask) as usize;
        &self.data[index]
    }

    /// Words that the writer may write from `head` on. None, if the reader says
    /// what cannot be.
    pub(super) fn room(&self, head: u64) -> u64 {
        let used = head.wrapping_sub(self.tail.load(Ordering::Acquire));
        (self.data.len() as u64).saturating_sub(used)
    }

    /// Writes a piece from `head` on, where there must be room, and returns where
    /// the next one goes. The reader sees nothing yet.
    pub(super) fn put(&self, head: u64, part: Part, bytes: &[u8]) -> u64 {
        let flag = |is, flag| if is { flag } else { 0 };
        let first = bytes.len() as u64
            | flag(part.is_first, FIRST)
            | flag(part.is_last, LAST)
            | u64::from(part.epoch) << 48;
        self.at(head).store(first, Ordering::Relaxed);
        let (whole, rest) = bytes.as_chunks::<8>();
        let mut next = head.wrapping_add(1);
        for word in whole {
            self.at(next)
                .store(u64::from_le_bytes(*word), Ordering::Relaxed);
            next = next.wrapping_add(1);
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.at(next)
                .store(u64::from_le_bytes(word), Ordering::Relaxed);
            next = next.wrapping_add(1);
        }
        next
    }

    /// Shows the reader everything before `head`.
    pub(super) fn publish(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }

    /// Where the writer is, for the reader.
    pub(super) fn end(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Appends the piece at `tail` to `into`, of what was there up to `end`;
    /// returns what it is and where the next one is.
    pub(super) fn take(
        &self,
        tail: u64,
        end: u64,
        into: &mut Vec<u8>,
    ) -> Result<(Part, u64), Broken> {
        let there = end.wrapping_sub(tail);
        if there == 0 || there > self.data.len() as u64 {
            return Err(Broken);
        }
        let first = self.at(tail).load(Ordering::Relaxed);
        let len = usize::try_from(first & 0xFFFF_FFFF).unwrap_or(usize::MAX);
        if len > PIECE || words(len) > there {
            return Err(Broken);
        }
        let part = Part {
            is_first: first & FIRST != 0,
            is_last: first & LAST != 0,
            epoch: u16::try_from(first >> 48).unwrap_or_default(),
        };
        into.reserve(len + 8);
        let start = into.len();
        for word in 1..words(len) {
            let bytes = self
                .at(tail.wrapping_add(word))
                .load(Ordering::Relaxed)
                .to_le_bytes();
            into.extend_from_slice(&bytes);
        }
        into.truncate(start + len);
        Ok((part, tail.wrapping_add(words(len))))
    }

    /// The reader needs nothing before `tail` any more; whether the writer wants
    /// to hear of it.
    pub(super) fn done(&self, tail: u64) -> bool {
        self.tail.store(tail, Ordering::SeqCst);
        crate::sys::sync::fence(Ordering::SeqCst);
        self.wants.load(Ordering::SeqCst) != 0 && self.wants.swap(0, Ordering::SeqCst) != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn memory(words: usize) -> Vec<AtomicU64> {
        (0..CONTROL + words).map(|_| AtomicU64::new(0)).collect()
    }

    const WHOLE: Part = Part {
        is_first: true,
        is_last: true,
        epoch: 65_535,
    };

    #[test]
    fn what_is_put_is_taken_over_the_end_of_the_ring() {
        let memory = memory(32);
        let ring = Ring::new(&memory);
        let (mut head, mut tail) = (0, 0);
        for len in (0..200).cycle().take(2000) {
            let bytes: Vec<u8> = (0..len).map(|n| u8::try_from(n).unwrap()).collect();
            assert_eq!(ring.room(head), 32);
            head = ring.put(head, WHOLE, &bytes);
            ring.publish(head);
            let mut taken = Vec::new();
            let (part, next) = ring.take(tail, ring.end(), &mut taken).unwrap();
            assert_eq!((part, taken, next), (WHOLE, bytes, head));
            tail = next;
            assert!(!ring.done(tail));
        }
    }

    #[test]
    fn a_length_that_goes_beyond_what_is_there_is_not_followed() {
        let memory = memory(32);
        let ring = Ring::new(&memory);
        ring.publish(ring.put(0, WHOLE, b"0123456789"));
        for forged in [11 + 6, PIECE as u64 + 1, u64::from(u32::MAX)] {
            memory[CONTROL].store(forged, Ordering::Relaxed);
            assert_eq!(ring.take(0, ring.end(), &mut Vec::new()), Err(Broken));
        }
        ring.publish(33);
        assert_eq!(ring.take(0, ring.end(), &mut Vec::new()), Err(Broken));
        assert_eq!(ring.take(33, 33, &mut Vec::new()), Err(Broken), "nothing");
    }

    #[test]
    fn a_ring_goes_on_where_the_positions_come_round() {
        let memory = memory(32);
        let ring = Ring::new(&memory);
        let start = u64::MAX - 2;
        ring.tail.store(start, Ordering::Relaxed);
        let head = ring.put(start, WHOLE, &[7; 40]);
        ring.publish(head);
        let mut taken = Vec::new();
        assert_eq!(ring.take(start, ring.end(), &mut taken), Ok((WHOLE, head)));
        assert_eq!(taken, [7; 40]);
    }

    #[test]
    fn a_tail_that_cannot_be_leaves_no_room() {
        let memory = memory(32);
        let ring = Ring::new(&memory);
        ring.tail.store(1, Ordering::Relaxed);
        assert_eq!(ring.room(0), 0);
        assert_eq!(ring.room(33), 0);
        assert_eq!(ring.room(32), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    const WHOLE: Part = Part {
        is_first: true,
        is_last: true,
        epoch: 1,
    };

    /// A ring of four words and messages of two: the second pair waits for room.
    #[test]
    fn loom_what_the_reader_sees_is_whole_and_in_order() {
        loom::model(|| {
            let memory: Arc<Vec<AtomicU64>> =
                Arc::new((0..CONTROL + 4).map(|_| AtomicU64::new(0)).collect());
            let writer = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    let ring = Ring::new(&memory);
                    let mut head = 0;
                    for n in 1_u64..=3 {
                        if ring.room(head) < 2 {
                            return n - 1;
                        }
                        head = ring.put(head, WHOLE, &n.to_le_bytes());
                        ring.publish(head);
                    }
                    3
                })
            };
            let ring = Ring::new(&memory);
            let (mut tail, mut seen) = (0, 0);
            for _ in 0..2 {
                let end = ring.end();
                while tail != end {
                    let mut bytes = Vec::new();
                    let (_, next) = ring.take(tail, end, &mut bytes).unwrap();
                    assert_eq!(bytes, (seen + 1_u64).to_le_bytes());
                    (tail, seen) = (next, seen + 1);
                    ring.done(tail);
                }
            }
            let written = writer.join().unwrap();
            assert!(seen <= written && written >= 2);
        });
    }
}
