//! How many wrong passwords are too many: an address is refused, an account is slowed
//! down and never locked, or anybody could lock anybody out. Pure.

use std::net::IpAddr;
use std::time::Duration;

/// For how long failures count.
pub(crate) const WINDOW: u64 = 180;

/// Failures of an address in that time, after which it is refused.
pub(crate) const FAILURES: u64 = 10;

/// The longest delay of an account.
const DELAY: Duration = Duration::from_secs(5);

/// Who counts as one: of IPv6 a network of 64 bits, which is what one customer has.
pub(crate) fn origin(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// How long an account is slowed down for which so many addresses have failed.
pub(crate) fn delay(addresses: u64) -> Duration {
    let steps = u32::try_from(addresses.saturating_sub(1)).unwrap_or(u32::MAX);
    Duration::from_millis(100).saturating_mul(steps).min(DELAY)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_ipv6_are_one_and_mapped_addresses_ipv4() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ] {
            assert_eq!(origin(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn an_account_is_delayed_by_strangers_and_never_locked() {
        let millis = |addresses| delay(addresses).as_millis();
        assert_eq!(
            [0, 1, 2, 11, 51, 1000].map(millis),
            [0, 0, 100, 1000, 5000, 5000]
        );
    }
}
