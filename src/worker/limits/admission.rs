//! Who gets in: lists of networks, and limits for each address.
//!
//! The reactor asks before a connection gets its slot, and takes the count back
//! when it ends. While the peer has not gone, that waits until the recycler has
//! closed it: peers that never leave must not hold more descriptors than they may.
//!
//! Connections over a Unix socket have no address: the rights of the socket's
//! file say who gets in, and nothing is counted.

use std::io;
use std::net::IpAddr;

use super::Limits;
use crate::config::{self, ClientFrom, Listener, ProxyProtocol};
use crate::net::Access;
use crate::net::accept_rate::AcceptRate;
use crate::net::per_ip::{Hash, Key, PerIp, Refused};
use crate::scoreboard::{Addresses, Counter, Row};
use crate::sys::network::Network;
use crate::sys::socket::Peer;
use crate::sys::sync::{Mutex, lock};

/// Whom one listener lets in.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Who may connect.
    pub access: Access,
    /// Whether a proxy says whom it speaks for.
    pub proxy: ProxyProtocol,
    /// Whose word is taken for that.
    pub trusted: Vec<Network>,
    /// Whether their requests name the client that each is from.
    pub names_clients: bool,
}

impl Entrance {
    /// That of `listener`, where requests name their clients so.
    #[must_use]
    pub fn new(listener: &Listener, client_from: ClientFrom) -> Self {
        let speaks_http = listener.protocol != config::Protocol::Frame;
        Self {
            names_clients: speaks_http && client_from != ClientFrom::Off,
            access: Access::new(listener.allow.clone(), listener.deny.clone()),
            proxy: listener.proxy_protocol,
            trusted: listener.trusted.clone(),
        }
    }
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Greeting {
    /// With what the client sends.
    Client,
    /// With a header that says who the client is.
    Header,
    /// With a header that nobody would believe.
    Untrusted,
}

impl Entrance {
    /// Whether the lists let `peer` in.
    pub(crate) fn admits(&self, peer: Peer) -> bool {
        address(peer).is_none_or(|address| self.access.admits(address))
    }

    /// Whether `address` is a proxy over HTTP whose connections are many clients', each
    /// of whom its requests name: no limit for one of them is about it.
    fn is_proxy(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted.iter();
        self.names_clients && trusted.any(|network| network.contains(address))
    }

    /// How a connection of `peer` begins.
    pub(crate) fn greeting(&self, peer: Peer) -> Greeting {
        if self.proxy == ProxyProtocol::Off {
            return Greeting::Client;
        }
        let trusted = address(peer)
            .is_none_or(|address| self.trusted.iter().any(|network| network.contains(address)));
        match self.proxy {
            ProxyProtocol::Required | ProxyProtocol::Mixed if trusted => Greeting::Header,
            ProxyProtocol::Required => Greeting::Untrusted,
            ProxyProtocol::Mixed | ProxyProtocol::Off => Greeting::Client,
        }
    }
}

fn address(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Unix => None,
    }
}

/// Whether a proxy has named him: then nobody knows his port.
fn is_named(peer: Peer) -> bool {
    matches!(peer, Peer::Tcp(address) if address.port() == 0)
}

/// What holds for each address, on all listeners.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    per_ip: Option<(Key, PerIp<Addresses>)>,
    /// Held by who adds: the reactor, and turns for clients of proxies.
    adds: Mutex<()>,
    rate: Option<(Key, AcceptRate, Addresses)>,
}

impl Admission {
    /// # Errors
    ///
    /// When addresses are to be counted and `row` has no words for that.
    pub(crate) fn new(row: &Row, limits: &Limits) -> io::Result<Self> {
        let (max, per_second) = (limits.connections_per_ip, limits.accept_rate_per_ip);
        if max == 0 && per_second == 0 {
            return Ok(Self::default());
        }
        let Some(words) = row.addresses() else {
            let text = "limits for each address need a row of a scoreboard";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let key = Key(words.key());
        let rate = AcceptRate::new(per_second.max(1), limits.accept_burst_per_ip);
        Ok(Self {
            adds: Mutex::default(),
            per_ip: (max > 0).then(|| (key, PerIp::new(words.clone(), max))),
            rate: (per_second > 0).then(|| (key, rate, words.clone())),
        })
    }

    /// Lets `peer` in at `now`, in milliseconds of the coarse clock; gives what
    /// to [`leave`](Self::leave) with. On the reactor's thread.
    ///
    /// # Errors
    ///
    /// Under which name the refusal is counted.
    pub(crate) fn admit(
        &self,
        entrance: &Entrance,
        peer: Peer,
        now: u64,
    ) -> Result<Option<Hash>, Counter> {
        let Some(address) = address(peer) else {
            return Ok(None);
        };
        if !entrance.access.admits(address) {
            return Err(Counter::RefusedDenied);
        }
        if entrance.is_proxy(address) {
            return Ok(None);
        }
        if let Some((key, rate, words)) = &self.rate {
            let hash = key.hash(address);
            if !rate.admit(words.paces(hash), hash, now) {
                return Err(Counter::RefusedRate);
            }
        }
        let Some((key, per_ip)) = &self.per_ip else {
            return Ok(None);
        };
        let hash = key.hash(address);
        let _one_adds = lock(&self.adds);
        match per_ip.admit(hash) {
            Ok(()) => Ok(Some(hash)),
            Err(Refused::Limit) => Err(Counter::RefusedPerIp),
            Err(Refused::Full) => Err(Counter::RefusedUncounted),
        }
    }

    /// As [`admit`](Self::admit), for a connection that another worker has let in
    /// and counts until this one does.
    ///
    /// # Errors
    ///
    /// Under which name it is counted when its address cannot be.
    pub(crate) fn adopt(&self, entrance: &Entrance, peer: Peer) -> Result<Option<Hash>, Counter> {
        let counts = |address: &IpAddr| is_named(peer) || !entrance.is_proxy(*address);
        let address = address(peer).filter(counts);
        let Some((address, (key, per_ip))) = address.zip(self.per_ip.as_ref()) else {
            return Ok(None);
        };
        let hash = key.hash(address);
        let _one_adds = lock(&self.adds);
        match per_ip.adopt(hash) {
            Ok(()) => Ok(Some(hash)),
            Err(Refused::Limit | Refused::Full) => Err(Counter::RefusedUncounted),
        }
    }

    /// Under which word a client is counted; `None`: nobody is.
    pub(crate) fn word_of(&self, client: IpAddr) -> Option<Hash> {
        self.per_ip.as_ref().map(|(key, _)| key.hash(client))
    }

    /// Counts one more under `address`. False: there are as many as may be. Any thread.
    pub(crate) fn add(&self, address: Hash) -> bool {
        let _one_adds = lock(&self.adds);
        (self.per_ip.as_ref()).is_none_or(|(_, per_ip)| per_ip.admit(address).is_ok())
    }

    /// A connection that was let in is closed. Any thread.
    pub(crate) fn leave(&self, address: Option<Hash>) {
        if let (Some(address), Some((_, per_ip))) = (address, &self.per_ip) {
            per_ip.leave(address);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::scoreboard::Scoreboard;

    fn peer(text: &str) -> Peer {
        Peer::Tcp(text.parse().expect("an address"))
    }

    #[test]
    fn a_header_is_awaited_from_those_who_are_trusted() {
        let entrance = |proxy_protocol| {
            let listener = Listener {
                proxy_protocol,
                trusted: vec!["10.0.0.0/8".parse().unwrap()],
                ..Listener::default()
            };
            Entrance::new(&listener, ClientFrom::Off)
        };
        use Greeting::{Client, Header, Untrusted};
        for (proxy, expected) in [
            (ProxyProtocol::Off, [Client; 3]),
            (ProxyProtocol::Required, [Header, Untrusted, Header]),
            (ProxyProtocol::Mixed, [Header, Client, Header]),
        ] {
            let peers = [peer("10.1.1.1:1"), peer("11.1.1.1:1"), Peer::Unix];
            let greetings = peers.map(|peer| entrance(proxy).greeting(peer));
            assert_eq!(greetings, expected, "{proxy:?}");
        }
    }

    fn limits(keys: &[(&str, &str)]) -> Limits {
        let keys: Vec<_> = (keys.iter())
            .map(|(key, value)| (format!("limits.{key}"), (*value).to_owned()))
            .collect();
        Limits::from(&Config::parse(None, [], &keys).expect("good values"))
    }

    #[test]
    fn each_refusal_has_its_name() {
        let board = Scoreboard::new(1).unwrap();
        let limits = limits(&[
            ("connections_per_ip", "2"),
            ("accept_rate_per_ip", "1"),
            ("accept_burst_per_ip", "3"),
        ]);
        let admission = Admission::new(&board.row(0), &limits).unwrap();
        let listener = Listener {
            deny: vec!["10.6.6.6".parse().unwrap()],
            trusted: vec!["10.7.0.0/16".parse().unwrap()],
            protocol: config::Protocol::Http,
            ..Listener::default()
        };
        let entrance = Entrance::new(&listener, ClientFrom::XForwardedFor);
        let admit = |text: &str| admission.admit(&entrance, peer(text), 1000);
        assert_eq!(admit("10.6.6.6:1"), Err(Counter::RefusedDenied));
        let first = admit("10.0.0.1:1").unwrap();
        assert!(first.is_some() && admit("10.0.0.1:2").is_ok());
        assert_eq!(admit("10.0.0.1:3"), Err(Counter::RefusedPerIp));
        assert_eq!(admit("10.0.0.1:4"), Err(Counter::RefusedRate));
        assert!(admit("10.0.0.2:1").is_ok());
        admission.leave(first);
        let again = admission.admit(&entrance, peer("10.0.0.1:5"), 2000);
        assert!(again.is_ok());
        // Many clients', and anybody's.
        for peer in [peer("10.7.0.1:1"), Peer::Unix] {
            for _ in 0..9 {
                assert_eq!(admission.admit(&entrance, peer, 1000), Ok(None));
                assert_eq!(admission.adopt(&entrance, peer), Ok(None));
            }
        }
        admission.leave(None);
    }

    #[test]
    fn without_words_to_count_in_a_limit_is_refused_rather_than_ignored() {
        let row = Row::alone().unwrap();
        assert!(Admission::new(&row, &limits(&[])).is_ok());
        for key in ["connections_per_ip", "accept_rate_per_ip"] {
            assert!(Admission::new(&row, &limits(&[(key, "1")])).is_err());
        }
    }
}
