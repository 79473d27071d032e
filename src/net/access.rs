//! Who may connect: lists of networks. Pure.

use std::net::IpAddr;

use crate::sys::network::Network;

/// Networks that may connect, and networks that may not.
///
/// Of all networks in both lists that contain an address, the narrowest decides;
/// of one that is in both lists, the denial. Whom no network contains may
/// connect if nothing is allowed explicitly. The order within a list means
/// nothing.
///
/// ```
/// use purlin::net::Access;
///
/// let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
/// let access = Access::new(networks(&["10.0.0.0/8"]), networks(&["10.6.0.0/16"]));
/// assert!(access.admits([10, 1, 2, 3].into()));
/// assert!(!access.admits([10, 6, 2, 3].into()));
/// assert!(!access.admits([192, 168, 0, 1].into()));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    allow: Vec<Network>,
    deny: Vec<Network>,
}

impl Access {
    /// Lists of networks; both empty let everybody in.
    #[must_use]
    pub fn new(allow: Vec<Network>, deny: Vec<Network>) -> Self {
        Self { allow, deny }
    }

    /// Whether `address` may connect. Looks at every network.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        match (
            narrowest(&self.allow, address),
            narrowest(&self.deny, address),
        ) {
            (Some(allowed), Some(denied)) => allowed > denied,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.allow.is_empty(),
        }
    }
}

/// The longest prefix of those that contain `address`.
fn narrowest(networks: &[Network], address: IpAddr) -> Option<u8> {
    let containing = networks.iter().filter(|network| network.contains(address));
    containing.map(Network::prefix).max()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn access(allow: &str, deny: &str) -> Access {
        let networks = |text: &str| {
            let networks = text
                .split_whitespace()
                .map(|one| one.parse().expect("a network"));
            networks.collect()
        };
        Access::new(networks(allow), networks(deny))
    }

    #[test]
    fn the_narrowest_network_decides() {
        for (allow, deny, address, expected) in [
            ("", "", "1.2.3.4", true),
            ("", "", "::1", true),
            // A list of those who may: nobody else may.
            ("10.0.0.0/8", "", "10.1.1.1", true),
            ("10.0.0.0/8", "", "11.1.1.1", false),
            ("10.0.0.0/8", "", "::1", false),
            ("10.0.0.0/8", "", "::ffff:10.1.1.1", true),
            // A list of those who may not: everybody else may.
            ("", "10.0.0.0/8", "10.1.1.1", false),
            ("", "10.0.0.0/8", "11.1.1.1", true),
            ("", "10.0.0.0/8", "::ffff:10.1.1.1", false),
            ("", "2001:db8::/32", "2001:db8::1", false),
            ("", "2001:db8::/32", "10.0.0.1", true),
            // Exceptions, in both directions and nested.
            ("10.0.0.0/8", "10.6.0.0/16", "10.6.1.1", false),
            ("10.0.0.0/8", "10.6.0.0/16", "10.7.1.1", true),
            ("10.6.0.0/16", "10.0.0.0/8", "10.6.1.1", true),
            ("10.6.0.0/16", "10.0.0.0/8", "10.7.1.1", false),
            ("10.0.0.0/8 10.6.6.6", "10.6.0.0/16", "10.6.6.6", true),
            ("10.0.0.0/8 10.6.6.6", "10.6.0.0/16", "10.6.6.7", false),
            ("0.0.0.0/0", "10.0.0.0/8", "1.2.3.4", true),
            ("0.0.0.0/0 10.0.0.5", "10.0.0.0/8", "10.0.0.5", true),
            // In both lists: denied.
            ("10.0.0.0/8", "10.0.0.0/8", "10.1.1.1", false),
        ] {
            let admits = access(allow, deny).admits(address.parse().unwrap());
            assert_eq!(admits, expected, "allow {allow}, deny {deny}: {address}");
        }
    }

    /// `deny 192.168.1.1; allow 192.168.1.0/24; allow 10.1.0.0/16;
    /// allow 2001:db8::/32; deny all;` of an ordered list means the same here.
    #[test]
    fn the_usual_ordered_list_needs_no_order() {
        let access = access("192.168.1.0/24 10.1.0.0/16 2001:db8::/32", "192.168.1.1");
        for (address, expected) in [
            ("192.168.1.1", false),
            ("192.168.1.2", true),
            ("10.1.2.3", true),
            ("10.2.0.0", false),
            ("2001:db8::7", true),
            ("::1", false),
        ] {
            assert_eq!(
                access.admits(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
