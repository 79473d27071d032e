//! Whom a proxy says that it asks for, in a field of each request. Pure.
//!
//! ```text
//!   X-Forwarded-For: forged, client, proxy 1        peer: proxy 2
//!                            ^^^^^^ the rightmost that is not trusted
//! ```
//!
//! Invariant: a word counts as far as it was written by somebody who is trusted.
//! Each proxy appends whom it was asked by, so the list is read from its end; what
//! stands before the first stranger was sent by the stranger.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::sys::network::Network;

/// Which field says it. One alone: proxies pass on the others as they came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientField {
    /// A list of addresses.
    XForwardedFor,
    /// A list of elements with `for=` (RFC 7239).
    Forwarded,
    /// One address.
    XRealIp,
}

impl ClientField {
    /// In small letters.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
        }
    }
}

/// Whether a client may ask.
type Admits = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The proxies of a listener.
#[derive(Clone)]
pub struct Proxies {
    field: ClientField,
    trusted: Vec<Network>,
    admits: Admits,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxies({:?} of {:?})", self.field, self.trusted)
    }
}

impl Proxies {
    /// Those in `trusted` name their clients in this field. Whoever may open a Unix
    /// socket is trusted. `admits` says which clients may ask.
    #[must_use]
    pub fn new(
        field: ClientField,
        trusted: Vec<Network>,
        admits: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            field,
            trusted,
            admits: Arc::new(admits),
        }
    }

    pub(super) const fn field(&self) -> ClientField {
        self.field
    }

    pub(super) fn admits(&self, client: IpAddr) -> bool {
        (self.admits)(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let contains = |network: &Network| network.contains(address);
        self.trusted.iter().any(contains)
    }

    /// Whom `peer` asks for; `None` is a Unix socket. `values` are those of the
    /// field, in order. `None`: for itself, or it may not say.
    pub(super) fn client<'a>(
        &self,
        peer: Option<IpAddr>,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Option<IpAddr> {
        if !peer.is_none_or(|peer| self.trusts(peer)) {
            return None;
        }
        let values: Vec<&[u8]> = values.collect();
        let mut client = None;
        let mut names = values.iter().rev().flat_map(|value| self.names(value));
        if self.field == ClientField::XRealIp {
            return names.next().flatten();
        }
        for name in names {
            // Behind what is no address, nobody knows who wrote.
            let Some(address) = name else { break };
            client = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        client
    }

    /// Those that a value names, the last one first.
    fn names(&self, value: &[u8]) -> Vec<Option<IpAddr>> {
        let Ok(text) = std::str::from_utf8(value) else {
            return vec![None];
        };
        match self.field {
            ClientField::XRealIp => vec![address(text.trim())],
            ClientField::XForwardedFor => {
                let elements = text.rsplit(',').map(str::trim);
                elements
                    .filter(|element| !element.is_empty())
                    .map(address)
                    .collect()
            }
            ClientField::Forwarded => {
                let elements = unquoted(text, ',').into_iter().rev().map(str::trim);
                elements
                    .filter(|element| !element.is_empty())
                    .map(of_element)
                    .collect()
            }
        }
    }
}

/// The parts of `text` between marks that stand in no quotes.
fn unquoted(text: &str, mark: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        let is_mark = c == mark && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        is_mark
    })
    .collect()
}

/// The node of `for=` in one element (RFC 7239, 4).
fn of_element(element: &str) -> Option<IpAddr> {
    let mut nodes = unquoted(element, ';').into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim())
    });
    let node = nodes.next()?;
    match node.strip_prefix('"') {
        Some(quoted) => address(&quoted.strip_suffix('"')?.replace('\\', "")),
        None => address(node),
    }
}

/// An address, perhaps in brackets, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || -> Option<IpAddr> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.parse::<Ipv6Addr>().ok()?.into())
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|at| at.ip());
    let found = text.parse().ok().or_else(bracketed).or_else(with_port);
    found.map(|address| address.to_canonical())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn client(field: ClientField, peer: &str, values: &[&str]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        let trusted = trusted
            .map(|network| network.parse().expect("a network"))
            .to_vec();
        let proxies = Proxies::new(field, trusted, |_| true);
        let values = values.iter().map(|value| value.as_bytes());
        let client = proxies.client(peer.parse().ok(), values);
        client.map(|client| client.to_string())
    }

    #[test]
    fn the_rightmost_that_is_not_trusted_is_the_client() {
        for (peer, values, expected) in [
            ("10.0.0.1", &["192.0.2.7"][..], Some("192.0.2.7")),
            ("unix", &["192.0.2.7"], Some("192.0.2.7")),
            // Who is not trusted says nothing.
            ("192.0.2.1", &["192.0.2.7"], None),
            ("10.0.0.1", &[], None),
            ("10.0.0.1", &[""], None),
            // What a client forged stands in front.
            ("10.0.0.1", &["127.0.0.1, 192.0.2.7"], Some("192.0.2.7")),
            ("10.0.0.1", &["127.0.0.1", "192.0.2.7"], Some("192.0.2.7")),
            ("10.0.0.1", &["x, 192.0.2.7"], Some("192.0.2.7")),
            // Proxies behind proxies.
            ("10.0.0.1", &["192.0.2.7, 10.0.0.2"], Some("192.0.2.7")),
            (
                "10.0.0.1",
                &["192.0.2.7 ,2001:db8::1,10.0.0.2,"],
                Some("192.0.2.7"),
            ),
            (
                "10.0.0.1",
                &["192.0.2.7", "10.0.0.3, 10.0.0.2"],
                Some("192.0.2.7"),
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            // Nobody knows who wrote what stands before a word that is none.
            (
                "10.0.0.1",
                &["192.0.2.7, unknown, 10.0.0.2"],
                Some("10.0.0.2"),
            ),
            ("10.0.0.1", &["192.0.2.7, unknown"], None),
            ("10.0.0.1", &["192.0.2.7:81"], Some("192.0.2.7")),
            ("10.0.0.1", &["[2001:db9::7]:81"], Some("2001:db9::7")),
            ("10.0.0.1", &["[2001:db9::7]"], Some("2001:db9::7")),
            ("10.0.0.1", &["::ffff:192.0.2.7"], Some("192.0.2.7")),
            ("::ffff:10.0.0.1", &["192.0.2.7"], Some("192.0.2.7")),
        ] {
            let found = client(ClientField::XForwardedFor, peer, values);
            assert_eq!(found.as_deref(), expected, "{peer}: {values:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (values, expected) in [
            (&["for=192.0.2.43"][..], Some("192.0.2.43")),
            (
                &["For=\"[2001:db9:cafe::17]:4711\""],
                Some("2001:db9:cafe::17"),
            ),
            (
                &["for=192.0.2.60;proto=http;by=203.0.113.43"],
                Some("192.0.2.60"),
            ),
            (
                &["by=\"a,b;for=1.1.1.1\"; FOR = 192.0.2.60"],
                Some("192.0.2.60"),
            ),
            (
                &["for=192.0.2.43, for=198.51.100.17"],
                Some("198.51.100.17"),
            ),
            (
                &["for=192.0.2.43", "for=10.0.0.9;proto=https"],
                Some("192.0.2.43"),
            ),
            (&["for=\"192.0.2.43:\\80\""], Some("192.0.2.43")),
            (&["for=192.0.2.43, for=unknown"], None),
            (
                &["for=192.0.2.43, for=_hidden, for=10.0.0.9"],
                Some("10.0.0.9"),
            ),
            (&["for=192.0.2.43, proto=http"], None),
            (&["for=\"192.0.2.43"], None),
            (&["192.0.2.43"], None),
        ] {
            let found = client(ClientField::Forwarded, "10.0.0.1", values);
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn a_real_ip_is_one_and_the_proxys_own() {
        for (values, expected) in [
            (&["192.0.2.7"][..], Some("192.0.2.7")),
            (&["1.1.1.1", "192.0.2.7"], Some("192.0.2.7")),
            (&["10.0.0.2"], Some("10.0.0.2")),
            (&["1.1.1.1, 192.0.2.7"], None),
            (&["x"], None),
        ] {
            let found = client(ClientField::XRealIp, "10.0.0.1", values);
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }
}
