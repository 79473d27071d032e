//! Where everything is in the memory of the bus.
//!
//! ```text
//! header | rows | interest, a table a row | rings, one for each ordered pair
//! ```
//!
//! Words that different workers write are on different lines of the cache.

use std::ops::Range;

use super::ring::CONTROL;

/// Words of a line of the cache.
pub(super) const LINE: usize = 8;

/// Marks the memory of a bus of this layout. Another layout has another number:
/// the program's counters do not enter it.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"PURLBUS2");

/// Jobs that one worker runs for all, at most.
pub(super) const LEASES: usize = 64;

/// Words of the header.
const HEADER: usize = (4 + LEASES) * LINE;

/// Words about one row.
const ROW: usize = 4 * LINE;

/// Words of the header, by what they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    Magic = 0,
    Rows = 1,
    Ring = 2,
    Names = 3,
    /// The key of the hash of names, two words.
    Key = 4,
    /// Raised whenever a connection has entered another worker.
    Moves = LINE as isize,
    /// A bit for each row that lives, four words.
    Living = (2 * LINE) as isize,
    /// The last ticket that was drawn.
    Ticket = (3 * LINE) as isize,
    /// Of jobs that one worker runs for all, a line each.
    Leases = (4 * LINE) as isize,
}

/// Words of a row, by what they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// Epoch of the worker plus one; 0: nobody. Written at its birth, by the
    /// master at its death.
    Life = 0,
    /// 1 while its bus thread sleeps or is about to.
    Asleep = LINE as isize,
    /// How many sessions it has. Its own, as the two below.
    Everybody = (2 * LINE) as isize,
    /// How many names found no place in its table.
    Overflowed = (2 * LINE + 1) as isize,
    /// Everything up to this sequence is in the rings, or in a backlog that the
    /// ring tells of.
    Published = (3 * LINE) as isize,
}

/// How large a bus is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Rows, 1 to 255: as many as the scoreboard has.
    pub rows: usize,
    /// Words of a ring, a power of two, 2,048 to 2^21.
    pub ring: usize,
    /// Names that a row's table has places for, a power of two, at least 64.
    pub names: usize,
}

impl Shape {
    /// Whether the numbers are within their ranges.
    pub(super) fn is_sound(&self) -> bool {
        (1..=255).contains(&self.rows)
            && self.ring.is_power_of_two()
            && (1 << 11..=1 << 21).contains(&self.ring)
            && self.names.is_power_of_two()
            && (64..=1 << 24).contains(&self.names)
    }

    /// Words in all.
    pub(super) fn words(&self) -> usize {
        self.rings() + self.rows * self.rows * self.pair()
    }

    pub(super) fn of(&self, row: usize, what: Of) -> usize {
        HEADER + row * ROW + what as usize
    }

    /// The table of names that a row is interested in.
    pub(super) fn interest(&self, row: usize) -> Range<usize> {
        let start = HEADER + self.rows * ROW + row * 2 * self.names;
        start..start + 2 * self.names
    }

    /// The ring in which `from` writes to `to`, its control words first.
    pub(super) fn ring(&self, from: usize, to: usize) -> Range<usize> {
        let start = self.rings() + (from * self.rows + to) * self.pair();
        start..start + self.pair()
    }

    fn rings(&self) -> usize {
        HEADER + self.rows * (ROW + 2 * self.names)
    }

    const fn pair(&self) -> usize {
        CONTROL + self.ring
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_nothing_is_left_over() {
        let shape = Shape {
            rows: 3,
            ring: 1 << 11,
            names: 64,
        };
        let mut used = vec![0_u8; shape.words()];
        let mut mark = |words: Range<usize>| used[words].iter_mut().for_each(|used| *used += 1);
        mark(0..HEADER);
        for row in 0..3 {
            mark(shape.of(row, Of::Life)..shape.of(row, Of::Life) + ROW);
            mark(shape.interest(row));
            (0..3).for_each(|to| mark(shape.ring(row, to)));
        }
        assert!(used.iter().all(|times| *times == 1));
    }

    #[test]
    fn each_word_of_a_row_is_within_it() {
        for what in [
            Of::Life,
            Of::Asleep,
            Of::Everybody,
            Of::Overflowed,
            Of::Published,
        ] {
            assert!((what as usize) < ROW);
        }
        assert!((Head::Living as usize) + 4 <= HEADER && (Head::Key as usize) + 2 <= LINE);
    }
}
