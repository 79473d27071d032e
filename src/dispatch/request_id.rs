//! Names for requests that came without one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A name that no other request has, of this process or of another: 32 digits in
/// hex. Nobody should guess it from an earlier one, and nothing depends on that.
pub fn request_id() -> Box<str> {
    static SEED: OnceLock<u64> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Made in the worker: what was made before a fork would be everybody's.
    let seed = *SEED.get_or_init(seed);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 32];
    hex(seed, &mut id[..16]);
    hex(mixed(seed.wrapping_add(number)), &mut id[16..]);
    let id = std::str::from_utf8(&id).expect("digits are ASCII");
    id.into()
}

fn seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    hasher.write_u128(now.map_or(0, |now| now.as_nanos()));
    hasher.finish()
}

/// Spreads consecutive numbers over all numbers, each once (splitmix64).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn hex(number: u64, to: &mut [u8]) {
    for (at, digit) in to.iter_mut().rev().enumerate() {
        let value = (number >> (4 * at)) & 15;
        *digit = b"0123456789abcdef"[usize::try_from(value).expect("below sixteen")];
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_are_alike() {
        let ids: HashSet<_> = (0..10_000).map(|_| request_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
