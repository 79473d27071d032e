//! The keyed hash of an address: SipHash-2-4 (Aumasson and Bernstein, 2012), so
//! that nobody outside can find addresses that share a bucket. Pure.

use std::net::IpAddr;

use super::{COUNT, network};

/// The hash of an address, equal for all addresses that are counted as one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hash(u64);

impl Hash {
    /// Whose [`Self::word`] is this.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// All 64 bits; the lower ones choose a bucket.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The upper 48 bits, in their place.
    pub(super) const fn tag(self) -> u64 {
        self.0 & !COUNT
    }
}

/// The secret of one master and its workers.
#[derive(Clone, Copy, Debug)]
pub struct Key(pub [u64; 2]);

impl Key {
    /// The hash of `address`, or rather of the network that it counts for.
    #[must_use]
    pub fn hash(self, address: IpAddr) -> Hash {
        let (family, network) = network(address);
        Hash(self.sip(network, family))
    }

    /// Hashes nine bytes: `number`, little-endian, and `last`.
    fn sip(self, number: u64, last: u8) -> u64 {
        let [low, high] = self.0;
        let mut state = [
            low ^ 0x736F_6D65_7073_6575,
            high ^ 0x646F_7261_6E64_6F6D,
            low ^ 0x6C79_6765_6E65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        for block in [number, 9 << 56 | u64::from(last)] {
            state[3] ^= block;
            rounds(&mut state, 2);
            state[0] ^= block;
        }
        state[2] ^= 0xFF;
        rounds(&mut state, 4);
        state.into_iter().fold(0, |hash, word| hash ^ word)
    }
}

fn rounds([a, b, c, d]: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::hash::Hasher;

    #[test]
    #[allow(deprecated, reason = "an independent implementation, to compare with")]
    fn it_is_siphash() {
        for (low, high) in [(0, 0), (1, 2), (u64::MAX, 0x0123_4567_89AB_CDEF)] {
            for number in [0, 1, 0x0A00_0001, u64::MAX] {
                for last in [0, 4, 255] {
                    let mut expected = std::hash::SipHasher::new_with_keys(low, high);
                    expected.write(&u64::to_le_bytes(number));
                    expected.write(&[last]);
                    assert_eq!(Key([low, high]).sip(number, last), expected.finish());
                }
            }
        }
    }

    #[test]
    fn addresses_of_one_network_are_one_and_others_are_not() {
        let hash = |text: &str| Key([1, 2]).hash(text.parse().unwrap());
        for (a, b, same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("0.0.0.0", "::1", false),
        ] {
            assert_eq!(hash(a) == hash(b), same, "{a} {b}");
        }
        let other = Key([1, 3]).hash("10.0.0.1".parse().unwrap());
        assert_ne!(hash("10.0.0.1"), other, "the key matters");
    }
}
