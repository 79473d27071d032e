//! What the requests say: a body for each that no other request has. Pure.
//!
//! A stamp of 8 bytes, different for every client and turn, then a piece of one
//! block of noise whose place depends on the stamp. Writing and comparing are a
//! copy and a comparison, and no body is kept while its reply is awaited. Of a
//! body shorter than the stamp the stamp's first bytes are left: neighbours
//! still differ, for 256 turns.
//!
//! Formats of text cannot carry any bytes. Theirs are 32 printable ones, which
//! stand for five bits each.

/// Bytes between which the pieces of noise begin.
const PLACES: usize = 1 << 16;

const STAMP: usize = size_of::<u64>();

/// An odd number whose bits look random: clients that follow each other get
/// stamps far apart.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Bytes of a body of text are of so many kinds.
const LETTERS: usize = 32;

/// All the bodies of a run.
#[derive(Debug)]
pub(super) struct Bodies {
    noise: Vec<u8>,
    size: usize,
    /// `None`: all bytes.
    letters: Option<[u8; LETTERS]>,
}

impl Bodies {
    /// Bodies of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        let mut state = STRIDE;
        let mut noise = Vec::with_capacity(PLACES + size + STAMP);
        while noise.len() < PLACES + size {
            // xorshift64: the tool needs bytes that differ, not secrets.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend(state.to_le_bytes());
        }
        Self {
            noise,
            size,
            letters: None,
        }
    }

    /// Bodies of `size` printable bytes, none of which is one of `without`;
    /// `None` when these leave too few.
    pub(super) fn of_text(size: usize, without: &[u8]) -> Option<Self> {
        let printable = (b'!'..=b'~').filter(|byte| !without.contains(byte));
        let letters: Vec<u8> = printable.take(LETTERS).collect();
        let letters = letters.try_into().ok()?;
        let Self { mut noise, .. } = Self::new(size);
        for byte in &mut noise {
            *byte = letter(&letters, u64::from(*byte));
        }
        Some(Self {
            noise,
            size,
            letters: Some(letters),
        })
    }

    /// The two parts of the body of request `turn` of `client`.
    fn parts(&self, client: u32, turn: u64) -> (([u8; STAMP], usize), &[u8]) {
        let stamp = u64::from(client).wrapping_mul(STRIDE).wrapping_add(turn);
        let [high, low, ..] = stamp.wrapping_mul(STRIDE).to_be_bytes();
        let place = usize::from(u16::from_be_bytes([high, low]));
        let stamped = self.size.min(STAMP);
        let noise = &self.noise[place..place + self.size - stamped];
        let stamp = match &self.letters {
            None => stamp.to_le_bytes(),
            Some(letters) => std::array::from_fn(|at| letter(letters, stamp >> (5 * at))),
        };
        ((stamp, stamped), noise)
    }

    /// Puts the body of request `turn` of `client` into `into`.
    pub(super) fn write(&self, client: u32, turn: u64, into: &mut Vec<u8>) {
        let ((stamp, stamped), noise) = self.parts(client, turn);
        into.clear();
        into.extend_from_slice(&stamp[..stamped]);
        into.extend_from_slice(noise);
    }

    /// Whether `found` is that body.
    pub(super) fn is(&self, client: u32, turn: u64, found: &[u8]) -> bool {
        let ((stamp, stamped), noise) = self.parts(client, turn);
        found.len() == self.size
            && found[..stamped] == stamp[..stamped]
            && found[stamped..] == *noise
    }
}

/// The letter that the lowest five bits say.
fn letter(letters: &[u8; LETTERS], bits: u64) -> u8 {
    let [low, ..] = bits.to_le_bytes();
    letters[usize::from(low) % LETTERS]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn body(bodies: &Bodies, client: u32, turn: u64) -> Vec<u8> {
        let mut body = vec![7];
        bodies.write(client, turn, &mut body);
        body
    }

    #[test]
    fn a_body_is_itself_and_no_other() {
        for size in [1, 2, 7, 8, 9, 256, 10_240] {
            let bodies = Bodies::new(size);
            let mine = body(&bodies, 3, 5);
            assert_eq!(mine.len(), size);
            assert!(bodies.is(3, 5, &mine));
            assert!(!bodies.is(3, 6, &mine), "{size}: the next turn");
            assert!(!bodies.is(4, 5, &mine), "{size}: the next client");
            assert!(!bodies.is(3, 5, &mine[1..]), "{size}: a byte is missing");
            for at in 0..size.min(300) {
                let mut flipped = mine.clone();
                flipped[at] ^= 1;
                assert!(!bodies.is(3, 5, &flipped), "{size}: bit flipped at {at}");
            }
        }
    }

    #[test]
    fn no_two_requests_have_the_same_body() {
        for bodies in [Bodies::new(16), Bodies::of_text(16, b"\n").unwrap()] {
            let all: HashSet<Vec<u8>> = (0..100)
                .flat_map(|client| (0..1000).map(move |turn| (client, turn)))
                .map(|(client, turn)| body(&bodies, client, turn))
                .collect();
            assert_eq!(all.len(), 100_000);
        }
    }

    #[test]
    fn text_has_no_byte_that_it_must_be_without() {
        let bodies = Bodies::of_text(300, b"$_$!").unwrap();
        for turn in 0..1000 {
            let body = body(&bodies, 7, turn);
            assert!(bodies.is(7, turn, &body));
            assert!(body.iter().all(u8::is_ascii_graphic));
            assert!(!body.iter().any(|byte| b"$_!".contains(byte)));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert!(Bodies::of_text(1, &all).is_none());
    }

    #[test]
    fn empty_bodies_are_alike() {
        let bodies = Bodies::new(0);
        assert!(body(&bodies, 1, 1).is_empty());
        assert!(bodies.is(1, 1, b"") && !bodies.is(1, 1, b"x"));
    }
}
