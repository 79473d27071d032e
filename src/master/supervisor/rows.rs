//! A set of slots, small enough to be copied.

use super::slot::SlotId;

/// Some of the slots, which are rows of the shared memory: 0 to 255.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rows([u64; 4]);

impl Rows {
    /// Whether it holds `slot`.
    #[must_use]
    pub fn contains(&self, slot: SlotId) -> bool {
        let word = self.0.get(slot.0 / 64);
        word.is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }

    /// Puts `slot` in.
    ///
    /// # Panics
    ///
    /// When `slot` is over 255: there is no such row.
    pub fn insert(&mut self, slot: SlotId) {
        self.0[slot.0 / 64] |= 1 << (slot.0 % 64);
    }

    /// Puts all of `other` in.
    pub fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    /// Takes all of `other` out.
    pub fn remove(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= !b);
    }

    /// Takes all out that are not in `other`.
    pub fn keep(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= b);
    }

    /// Those that it holds, in order.
    pub fn iter(self) -> impl Iterator<Item = SlotId> {
        (0..256)
            .map(SlotId)
            .filter(move |slot| self.contains(*slot))
    }
}

impl FromIterator<SlotId> for Rows {
    fn from_iter<I: IntoIterator<Item = SlotId>>(slots: I) -> Self {
        let mut rows = Self::default();
        slots.into_iter().for_each(|slot| rows.insert(slot));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_in_and_out() {
        let of = |rows: &[usize]| rows.iter().copied().map(SlotId).collect::<Rows>();
        let mut rows = of(&[0, 63, 64, 255]);
        rows.add(of(&[1, 64]));
        rows.remove(of(&[0, 7]));
        assert_eq!(rows, of(&[1, 63, 64, 255]));
        let found: Vec<usize> = rows.iter().map(|slot| slot.0).collect();
        assert_eq!(found, [1, 63, 64, 255]);
        assert!(!rows.contains(SlotId(1000)));
        rows.keep(of(&[2, 63, 255]));
        assert_eq!(rows, of(&[63, 255]));
    }
}
