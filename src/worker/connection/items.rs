//! A queue whose first item needs no memory of its own.
//!
//! Most turns serve one chunk. Keeping it in place saves an allocation and a
//! release on another thread for each of them. What comes behind it is in a box,
//! so that an idle connection has a word for it and no buffer.

use std::collections::VecDeque;

/// First in, first out; sometimes put back in front.
#[derive(Debug)]
pub(crate) struct Items<T> {
    /// `None` only when `tail` is empty too.
    head: Option<T>,
    #[expect(
        clippy::box_collection,
        reason = "a word instead of four, nearly always"
    )]
    tail: Option<Box<VecDeque<T>>>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self {
            head: None,
            tail: None,
        }
    }
}

impl<T> Items<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    pub(crate) fn push_back(&mut self, item: T) {
        match self.head {
            None => self.head = Some(item),
            Some(_) => self.tail.get_or_insert_default().push_back(item),
        }
    }

    pub(crate) fn push_front(&mut self, item: T) {
        if let Some(second) = self.head.replace(item) {
            self.tail.get_or_insert_default().push_front(second);
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let next = self.tail.as_mut().and_then(|tail| tail.pop_front());
        std::mem::replace(&mut self.head, next)
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.head
            .iter()
            .chain(self.tail.iter().flat_map(|tail| tail.iter()))
    }

    /// Puts `earlier` before everything, in its order.
    pub(crate) fn put_front(&mut self, mut earlier: Self) {
        while let Some(item) = self.pop_front() {
            earlier.push_back(item);
        }
        *self = earlier;
    }

    /// Takes out the first item that `wanted` accepts.
    pub(crate) fn remove_first(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        if self.head.as_ref().is_some_and(&wanted) {
            return self.pop_front();
        }
        let tail = self.tail.as_mut()?;
        let at = tail.iter().position(wanted)?;
        tail.remove(at)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn items(of: &[u32]) -> Items<u32> {
        let mut items = Items::default();
        of.iter().for_each(|&item| items.push_back(item));
        items
    }

    fn all(mut items: Items<u32>) -> Vec<u32> {
        std::iter::from_fn(|| items.pop_front()).collect()
    }

    #[test]
    fn order_survives_every_way_in() {
        let mut queue = items(&[3, 4]);
        queue.push_front(2);
        queue.put_front(items(&[0, 1]));
        queue.push_back(5);
        let seen: Vec<u32> = queue.iter().copied().collect();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
        assert_eq!(all(queue), seen);
    }

    #[test]
    fn the_first_wanted_is_removed_wherever_it_is() {
        for (wanted, rest) in [(1, vec![2, 3]), (2, vec![1, 3]), (3, vec![1, 2])] {
            let mut queue = items(&[1, 2, 3]);
            assert_eq!(queue.remove_first(|&item| item == wanted), Some(wanted));
            assert_eq!(all(queue), rest);
        }
        assert_eq!(items(&[1]).remove_first(|_| false), None);
    }
}
