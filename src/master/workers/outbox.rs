//! What a worker says to its master: a ring of letters in memory that the two
//! share with nobody else.
//!
//! ```text
//! word 0   1       512    513          1024
//! +------+-------+------+------~~~-----+------+------~~~-----+---
//! | put  | taken |  len | letter 0     |  len | letter 1     | ...
//! +------+-------+------+------~~~-----+------+------~~~-----+---
//! ```
//!
//! `put` counts the letters of the worker, `taken` those that the master took.
//! Memory, and not the line: whatever goes over a socket can carry descriptors,
//! and somebody has to close those. The last close of a socket with SO_LINGER
//! waits for its peer, and the kernel does it in the process that takes the
//! datagram, even when that makes no room for descriptors (measured: 3 s of 3),
//! or that closes the line with the datagram unread.
//!
//! Invariants:
//! - The master reads every word as what a stranger wrote: nothing there makes
//!   it wait, panic, or read outside of the ring.
//! - What waits is bounded by the ring. Who has more to say keeps it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sys::memory::SharedWords;

/// Letters that may wait.
pub(super) const LETTERS: usize = 8;

/// Words before the first letter, and of each letter.
const LETTER_WORDS: usize = 512;

/// Bytes of the longest letter.
pub(super) const LETTER_MAX: usize = (LETTER_WORDS - 1) * size_of::<u64>();

const PUT: usize = 0;
const TAKEN: usize = 1;

/// The ring, as both see it. Made before the fork; a clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Outbox(Arc<SharedWords>);

/// What a worker of ours never does with its ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Nonsense;

/// The master's side of it.
#[derive(Debug)]
pub(super) struct Inbox {
    ring: Outbox,
    /// Letters taken so far: in the ring it would be the worker's to say.
    taken: u64,
}

impl Outbox {
    /// An empty ring.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        let words = SharedWords::anonymous(LETTER_WORDS * (1 + LETTERS))?;
        Ok(Self(Arc::new(words)))
    }

    /// Puts a letter in; `false`: there is no room for it now. The worker alone
    /// calls it, on one thread.
    pub(super) fn put(&self, letter: &[u8]) -> bool {
        let (put, taken) = (&self.0[PUT], &self.0[TAKEN]);
        let number = put.load(Ordering::Relaxed);
        if number.wrapping_sub(taken.load(Ordering::Acquire)) >= LETTERS as u64 {
            return false;
        }
        let letter = &letter[..letter.len().min(LETTER_MAX)];
        let slot = &self.0[start(number)..][..LETTER_WORDS];
        slot[0].store(letter.len() as u64, Ordering::Relaxed);
        for (word, bytes) in slot[1..].iter().zip(letter.chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        // The letter is whole for whoever sees the number.
        put.store(number.wrapping_add(1), Ordering::Release);
        true
    }
}

impl Inbox {
    pub(super) fn new(ring: Outbox) -> Self {
        Self { ring, taken: 0 }
    }

    /// The next letter, if there is one.
    ///
    /// # Errors
    ///
    /// [`Nonsense`]: whoever wrote that is no worker of ours.
    pub(super) fn take(&mut self) -> Result<Option<Vec<u8>>, Nonsense> {
        let words = &*self.ring.0;
        let waiting = words[PUT].load(Ordering::Acquire).wrapping_sub(self.taken);
        match waiting {
            0 => return Ok(None),
            _ if waiting <= LETTERS as u64 => {}
            _ => return Err(Nonsense),
        }
        let slot = &words[start(self.taken)..][..LETTER_WORDS];
        let len = usize::try_from(slot[0].load(Ordering::Relaxed));
        let len = len.ok().filter(|len| *len <= LETTER_MAX).ok_or(Nonsense)?;
        let count = len.div_ceil(size_of::<u64>());
        let words_of_it = slot[1..=count].iter();
        let mut letter: Vec<u8> = words_of_it
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        letter.truncate(len);
        self.taken = self.taken.wrapping_add(1);
        // The place is the worker's again once it sees this.
        words[TAKEN].store(self.taken, Ordering::Release);
        Ok(Some(letter))
    }
}

/// A ring with any words in it, as a worker may write them.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn forged(words: &[u64]) -> io::Result<Inbox> {
    let ring = Outbox::new()?;
    for (at, word) in ring.0.iter().zip(words) {
        at.store(*word, Ordering::Relaxed);
    }
    Ok(Inbox::new(ring))
}

/// Where letter `number` begins.
fn start(number: u64) -> usize {
    let place = usize::try_from(number % LETTERS as u64).expect("under eight");
    LETTER_WORDS * (1 + place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair() -> (Outbox, Inbox) {
        let ring = Outbox::new().unwrap();
        (ring.clone(), Inbox::new(ring))
    }

    #[test]
    fn letters_arrive_whole_in_their_order_for_ever() {
        let (outbox, mut inbox) = pair();
        assert_eq!(inbox.take(), Ok(None));
        for n in 0..100_usize {
            let letters: Vec<Vec<u8>> = (0..=n % LETTERS)
                .map(|k| vec![b'a' + u8::try_from(k).unwrap(); n * 41 % (LETTER_MAX + 1)])
                .collect();
            assert!(letters.iter().all(|letter| outbox.put(letter)));
            for letter in letters {
                assert_eq!(inbox.take(), Ok(Some(letter)));
            }
            assert_eq!(inbox.take(), Ok(None));
        }
    }

    #[test]
    fn a_full_ring_takes_no_more_and_a_long_letter_is_cut() {
        let (outbox, mut inbox) = pair();
        let long = vec![7; LETTER_MAX + 9];
        for _ in 0..LETTERS {
            assert!(outbox.put(&long));
        }
        assert!(!outbox.put(b"one more"));
        assert_eq!(inbox.take().unwrap().unwrap().len(), LETTER_MAX);
        assert!(outbox.put(b"one more"));
    }

    proptest! {
        /// Whatever stands in the ring, the master takes at most what fits in it,
        /// and every letter is within its bounds.
        #[test]
        fn any_words_are_letters_or_nonsense(
            head in prop::array::uniform2(any::<u64>()),
            near in 0_u64..20,
            lens in prop::array::uniform8(prop_oneof![any::<u64>(), 0_u64..5000]),
        ) {
            for put in [head[0], near] {
                let (outbox, mut inbox) = pair();
                outbox.0[PUT].store(put, Ordering::Relaxed);
                outbox.0[TAKEN].store(head[1], Ordering::Relaxed);
                for (place, len) in (0..).zip(lens) {
                    outbox.0[start(place)].store(len, Ordering::Relaxed);
                }
                let mut taken = 0;
                while let Ok(Some(letter)) = inbox.take() {
                    taken += 1;
                    prop_assert!(letter.len() <= LETTER_MAX);
                }
                prop_assert!(taken <= LETTERS);
            }
        }
    }
}
