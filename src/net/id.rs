//! The name of a connection, unique over workers, restarts and reuse.
//!
//! ```text
//! 63    56 55        40 39            20 19             0
//! +-------+------------+----------------+----------------+
//! |  row  |   epoch    |      slot      |   generation   |
//! +-------+------------+----------------+----------------+
//! ```
//!
//! A slot of the pool is used again after its connection closed; `generation`
//! counts the uses. A row of the scoreboard is used again after its worker
//! died; `epoch` counts those. So a reply, a timer or an event that arrives
//! late finds a newer name in the slot and is dropped.

use std::fmt;
use std::str::FromStr;

/// Names one connection. Equal names mean the same connection.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnId(u64);

impl ConnId {
    /// Rows that can be told apart.
    pub const ROWS: usize = 1 << 8;
    /// Slots of one worker that can be told apart.
    pub const SLOTS: usize = 1 << 20;
    const GENERATION_MASK: u64 = (1 << 20) - 1;

    /// The first connection of a slot.
    ///
    /// # Panics
    ///
    /// When `slot` does not fit: the pool is limited to [`Self::SLOTS`].
    #[must_use]
    pub fn first(row: u8, epoch: u16, slot: usize) -> Self {
        assert!(slot < Self::SLOTS, "slot {slot} has no name");
        Self(u64::from(row) << 56 | u64::from(epoch) << 40 | (slot as u64) << 20)
    }

    /// The name of the slot's next connection.
    #[must_use]
    pub const fn next(self) -> Self {
        let generation = (self.0 + 1) & Self::GENERATION_MASK;
        Self(self.0 & !Self::GENERATION_MASK | generation)
    }

    /// The word, for a registration with the kernel or for shared memory.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The name that [`Self::word`] gave.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Row of the worker in the scoreboard.
    #[must_use]
    pub const fn row(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Which worker of that row.
    #[must_use]
    pub const fn epoch(self) -> u16 {
        let [_, _, _, _, _, low, high, _] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Index into the worker's pool.
    #[must_use]
    pub const fn slot(self) -> usize {
        ((self.0 >> 20) & (Self::SLOTS as u64 - 1)) as usize
    }

    /// How many connections the slot held before this one, modulo 2^20.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 & Self::GENERATION_MASK) as u32
    }
}

/// `row.epoch.slot.generation`, as in the log.
impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (row, epoch, slot) = (self.row(), self.epoch(), self.slot());
        write!(f, "{row}.{epoch}.{slot}.{}", self.generation())
    }
}

/// What is no name of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoConnId;

impl fmt::Display for NoConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the id of a connection, which is four numbers such as 0.1.17.3")
    }
}

impl std::error::Error for NoConnId {}

/// Reads what `Display` writes.
impl FromStr for ConnId {
    type Err = NoConnId;

    fn from_str(text: &str) -> Result<Self, NoConnId> {
        let mut parts = text.split('.').map(|part| {
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            let number = part.parse::<u64>().ok().filter(|_| is_number);
            number.ok_or(NoConnId)
        });
        let mut word = 0;
        for bits in [8, 16, 20, 20] {
            let part = parts.next().ok_or(NoConnId)??;
            if part >> bits > 0 {
                return Err(NoConnId);
            }
            word = word << bits | part;
        }
        parts.next().map_or(Ok(Self(word)), |_| Err(NoConnId))
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_survives_the_word() {
        let mut id = ConnId::first(255, 65_535, ConnId::SLOTS - 1);
        for generation in 0..3 {
            assert_eq!(
                (id.row(), id.epoch(), id.slot(), id.generation()),
                (255, 65_535, ConnId::SLOTS - 1, generation)
            );
            assert_eq!(ConnId::from_word(id.word()), id);
            assert_eq!(id.to_string().parse(), Ok(id));
            id = id.next();
        }
        assert_eq!(ConnId::first(1, 2, 3).next().to_string(), "1.2.3.1");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            "256.0.0.0",
            "0.0.1048576.0",
            "a.0.0.0",
            "+1.0.0.0",
            "-1.0.0.0",
            " 1.0.0.0",
        ] {
            assert_eq!(text.parse::<ConnId>(), Err(NoConnId), "{text:?}");
        }
    }

    #[test]
    fn the_generation_wraps_without_touching_the_slot() {
        let mut id = ConnId::first(1, 2, 3);
        for _ in 0..=ConnId::GENERATION_MASK {
            id = id.next();
        }
        assert_eq!(id, ConnId::first(1, 2, 3));
    }
}
