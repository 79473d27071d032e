//! A range of addresses, as in `10.0.0.0/8`. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that share their first bits. A single address is a network of
/// its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    address: IpAddr,
    /// How many bits are shared; the rest of `address` is 0.
    prefix: u8,
}

impl Network {
    /// Bits that the addresses share: the more, the narrower.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is one of them. An IPv4 address in IPv6 clothes
    /// (`::ffff:10.0.0.1`) counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && (bits(address) ^ bits(self.address)) & mask(self.prefix, width(address)) == 0
    }
}

/// The address, right-aligned.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `prefix` of `width` bits.
const fn mask(prefix: u8, width: u8) -> u128 {
    let behind = (width - prefix) as u32;
    match u128::MAX.checked_shl(behind) {
        Some(mask) => mask,
        None => 0,
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no network; expected one such as `10.0.0.0/8`, `2001:db8::/32` \
                 or `192.168.1.1`"
            )
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = width(address);
        let prefix = match prefix {
            None => width,
            // Also refuses "+8", which the parser of numbers would take.
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        if prefix > width {
            return Err(wrong());
        }
        if bits(address) & !mask(prefix, width) != 0 {
            return Err(format!(
                "`{text}` has bits set behind its prefix; an address of its own has none"
            ));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.prefix < width(self.address) {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_that_share_its_prefix() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.168.1.1", "192.168.1.1", true),
            ("192.168.1.1", "192.168.1.0", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("128.0.0.0/1", "127.255.255.255", false),
            ("128.0.0.0/1", "128.0.0.0", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("::/0", "fe80::1", true),
            ("::/0", "10.0.0.1", false),
            ("fe80::/127", "fe80::1", true),
            ("fe80::/127", "fe80::2", false),
        ] {
            let contains = network
                .parse::<Network>()
                .unwrap()
                .contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{network} {address}");
        }
    }

    #[test]
    fn networks_are_written_as_they_are_read() {
        for text in ["10.0.0.0/8", "1.2.3.4", "0.0.0.0/0", "2001:db8::/32", "::1"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        let whole: Network = "1.2.3.4/32".parse().unwrap();
        assert_eq!(whole.to_string(), "1.2.3.4");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/256",
            "::/129",
            "10.0.0/8",
            "010.0.0.0/8",
            "localhost",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "10.0.0.1:80",
        ] {
            assert!(
                text.parse::<Network>()
                    .unwrap_err()
                    .contains("is no network"),
                "{text}"
            );
        }
        for text in ["10.0.0.1/8", "2001:db8::1/32", "0.0.0.1/0"] {
            assert!(
                text.parse::<Network>()
                    .unwrap_err()
                    .contains("behind its prefix"),
                "{text}"
            );
        }
    }
}
