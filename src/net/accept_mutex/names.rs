//! Who holds the mutex and what a worker can do with it, as shared words.
//!
//! ```text
//!         63        33   32   31     24 23     16 15             0
//!        +------------+------+---------+---------+----------------+
//! holder |     0      |  1   |    0    |   row   |     epoch      |  0: parked
//!        +------------+------+---------+---------+----------------+
//!
//!         63                            24 23           8 7      0
//!        +--------------------------------+--------------+--------+
//! life   |               0                |    epoch     |standing|  0: never used
//!        +--------------------------------+--------------+--------+
//! ```

/// One worker process: its row, and which of the row's workers it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    /// Index of the row.
    pub row: u8,
    /// Grows with each fork into the row.
    pub epoch: u16,
}

impl Owner {
    const HELD: u64 = 1 << 32;

    pub(super) fn word(self) -> u64 {
        Self::HELD | u64::from(self.row) << 16 | u64::from(self.epoch)
    }

    pub(super) fn from_word(word: u64) -> Option<Self> {
        let [_, _, _, held, _, row, epoch @ ..] = word.to_be_bytes();
        (held != 0).then_some(Self {
            row,
            epoch: u16::from_be_bytes(epoch),
        })
    }

    /// The worker of `row` that this word of the master's names.
    pub(super) fn of_epoch(row: u8, word: u64) -> Self {
        let [.., high, low] = word.to_be_bytes();
        let epoch = u16::from_be_bytes([high, low]);
        Self { row, epoch }
    }

    pub(super) fn row(self) -> usize {
        self.row.into()
    }
}

/// What a worker can do with the mutex.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Standing {
    /// There is no such process (any more).
    Dead,
    /// Forked, not ready.
    Starting,
    /// Ready, with room: the only ones to get the mutex.
    Open,
    /// Out of slots or descriptors for now.
    Full,
    /// Accepts no more, for good.
    Draining,
    /// Its event loop did not advance; the watchdog took the mutex from it.
    Stuck,
}

impl Standing {
    pub(super) const ALL: [Self; 6] = [
        Self::Dead,
        Self::Starting,
        Self::Open,
        Self::Full,
        Self::Draining,
        Self::Stuck,
    ];

    pub(super) fn life(self, epoch: u16) -> u64 {
        u64::from(epoch) << 8 | self as u64
    }

    pub(super) fn from_life(life: u64) -> (u16, Self) {
        let [.., high, low, standing] = life.to_be_bytes();
        let standing = Self::ALL.get(usize::from(standing)).copied();
        let epoch = u16::from_be_bytes([high, low]);
        (epoch, standing.unwrap_or(Self::Dead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_standings_survive_their_words() {
        for (row, epoch) in [(0, 0), (255, 1), (7, 65_535)] {
            let owner = Owner { row, epoch };
            assert_eq!(Owner::from_word(owner.word()), Some(owner));
            for standing in Standing::ALL {
                let life = standing.life(epoch);
                assert_eq!(Standing::from_life(life), (epoch, standing));
            }
        }
        assert_eq!(Owner::from_word(0), None);
        assert_eq!(Standing::from_life(0), (0, Standing::Dead));
    }
}
