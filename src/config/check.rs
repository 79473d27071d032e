//! The rules between keys. Pure.

use std::net::SocketAddr;

use super::table::Table;
use super::value::size_text;
use super::{
    Accept, Address, ClientFrom, Config, ConfigError, Ipv6Only, Listener, Pinging, Place, Protocol,
    ProxyProtocol, START_KEYS,
};

impl Config {
    /// Whether a master that runs with `self` can go over to `next`.
    ///
    /// # Errors
    ///
    /// The first changed key that is applied at the start alone, with its place
    /// in `next`.
    pub fn can_become(&self, next: &Self) -> Result<(), ConfigError> {
        next.can_follow(&self.started_with())
    }

    /// The keys that only a start can change, and their values as in the file.
    #[must_use]
    pub fn started_with(&self) -> Vec<(String, String)> {
        let value = |key: &&str| Some(((*key).to_owned(), self.show(key)?));
        START_KEYS.iter().filter_map(value).collect()
    }

    /// As [`Self::can_become`], for a running master of which no more is known
    /// than what it was [started with](Self::started_with). Keys that one of the
    /// two does not have are no obstacle.
    ///
    /// # Errors
    ///
    /// As [`Self::can_become`].
    pub fn can_follow(&self, started_with: &[(String, String)]) -> Result<(), ConfigError> {
        let differs = |(key, running): &&(String, String)| {
            let is_known = START_KEYS.contains(&&**key);
            is_known && self.show(key).is_some_and(|own| own != *running)
        };
        let Some((key, running)) = started_with.iter().find(differs) else {
            return Ok(());
        };
        let message =
            format!("is {running} in the running master and is applied at the start alone");
        Err(self.refuse(key, &message))
    }

    /// Memory for more connections than there may be would be wasted. The lower
    /// value comes from where the limit came from.
    pub(super) fn lower_initial(&mut self) {
        let max = self.worker.connections_max;
        if self.worker.connections_initial > max {
            self.worker.connections_initial = max;
            let place = self.place("worker.connections_max").clone();
            let key = "worker.connections_initial".into();
            self.sources.0.insert(key, place);
        }
    }

    /// The rules between keys.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.listener.is_empty() {
            return Err(self.refuse("listener", "is empty; at least one address is needed"));
        }
        for (index, Listener { address, .. }) in self.listener.iter().enumerate() {
            // The kernel gives each port 0 a port of its own.
            let any_port = matches!(address, Address::Tcp(at) if at.port() == 0);
            let mut earlier = self.listener[..index].iter();
            let earlier = earlier.position(|other| other.address == *address);
            if let Some(earlier) = earlier.filter(|_| !any_port) {
                return Err(self.refuse(
                    &format!("listener.{index}.address"),
                    &format!("is {address}, which listener.{earlier}.address is already"),
                ));
            }
        }
        self.check_overlaps()?;
        self.check_rights()?;
        self.check_trusted()?;
        self.check_heartbeat()?;
        let limits = &self.limits;
        let mailbox = ("limits.mailbox_high", limits.mailbox_high);
        let high = ("limits.outbound_high", limits.outbound_high);
        let max = ("limits.outbound_max", limits.outbound_max);
        let all = ("limits.buffered_max", limits.buffered_max);
        self.in_order(high, max)?;
        self.in_order(max, all)?;
        self.in_order(mailbox, all)
    }

    /// Whether the socket of listener `n` leaves IPv4 to others.
    #[must_use]
    pub fn is_ipv6_only(&self, n: usize) -> bool {
        let at = match (self.listener[n].ipv6_only, &self.listener[n].address) {
            (Ipv6Only::False, _) => return false,
            (Ipv6Only::Auto, Address::Tcp(at)) if at.port() != 0 => at,
            (Ipv6Only::Auto, _) => return false,
            (Ipv6Only::True, _) => return true,
        };
        let is_rival = |other: &Listener| matches!(other.address, Address::Tcp(other) if other.is_ipv4() && other.port() == at.port());
        self.listener.iter().any(is_rival)
    }

    /// Whoever listens on all addresses of a port leaves none of them to others. Of
    /// sockets that share their port the kernel takes the one that fits best.
    fn check_overlaps(&self) -> Result<(), ConfigError> {
        if self.accept == Accept::Reuseport {
            return Ok(());
        }
        for index in 0..self.listener.len() {
            let overlaps = (0..index).find(|earlier| self.overlap(*earlier, index));
            if let Some(earlier) = overlaps {
                let address = |n: usize| &self.listener[n].address;
                return Err(self.refuse(
                    &format!("listener.{index}.address"),
                    &format!(
                        "is {}, which cannot be had beside {}, listener.{earlier}.address: one \
                         of them has all addresses of the port",
                        address(index),
                        address(earlier)
                    ),
                ));
            }
        }
        Ok(())
    }

    fn overlap(&self, one: usize, other: usize) -> bool {
        let (Address::Tcp(a), Address::Tcp(b)) =
            (&self.listener[one].address, &self.listener[other].address)
        else {
            return false;
        };
        // The kernel gives each port 0 a port of its own.
        if a.port() != b.port() || a.port() == 0 {
            return false;
        }
        let has_all = |n: usize, at: &SocketAddr, of: &SocketAddr| {
            let is_family = at.is_ipv4() == of.is_ipv4() || (at.is_ipv6() && !self.is_ipv6_only(n));
            at.ip().is_unspecified() && is_family
        };
        has_all(one, a, b) || has_all(other, b, a)
    }

    /// A port has no file that could be somebody's.
    fn check_rights(&self) -> Result<(), ConfigError> {
        for (index, listener) in self.listener.iter().enumerate() {
            let keys = [
                ("mode", listener.mode.is_some()),
                ("user", listener.user.is_some()),
                ("group", listener.group.is_some()),
            ];
            let is_port = matches!(listener.address, Address::Tcp(_));
            if let Some((key, _)) = keys.iter().find(|(_, is_set)| is_port && *is_set) {
                let address = &listener.address;
                let why = format!("is for the file of a unix: address, and this is {address}");
                return Err(self.refuse(&format!("listener.{index}.{key}"), &why));
            }
        }
        Ok(())
    }

    /// A header that nobody may send is a mistake. Who may use a Unix socket is
    /// for the rights of its file to say.
    fn check_trusted(&self) -> Result<(), ConfigError> {
        let trusts_nobody = |listener: &Listener| {
            listener.proxy_protocol != ProxyProtocol::Off
                && listener.trusted.is_empty()
                && matches!(listener.address, Address::Tcp(_))
        };
        let Some(index) = self.listener.iter().position(trusts_nobody) else {
            return self.check_client_from();
        };
        let message =
            format!("needs listener.{index}.trusted to name the proxies that may send the header");
        Err(self.refuse(&format!("listener.{index}.proxy_protocol"), &message))
    }

    /// A field that nobody may send is a mistake as well.
    fn check_client_from(&self) -> Result<(), ConfigError> {
        let trusts = |listener: &Listener| {
            let is_unix = !matches!(listener.address, Address::Tcp(_));
            listener.protocol != Protocol::Frame && (is_unix || !listener.trusted.is_empty())
        };
        if self.http.client_from == ClientFrom::Off || self.listener.iter().any(trusts) {
            return Ok(());
        }
        let why = "needs `trusted` of a listener for HTTP to name the proxies that may send it";
        Err(self.refuse("http.client_from", why))
    }

    /// A peer must be asked before it is closed for its silence.
    fn check_heartbeat(&self) -> Result<(), ConfigError> {
        let heartbeat = &self.heartbeat;
        let never_asked = heartbeat.ping != Pinging::Client
            && heartbeat
                .timeout
                .is_some_and(|timeout| heartbeat.ping_interval >= timeout);
        if never_asked {
            let why = "must be shorter than heartbeat.timeout: a peer would be closed unasked";
            return Err(self.refuse("heartbeat.ping_interval", why));
        }
        Ok(())
    }

    /// Refuses a `low` that is above `high`, at whichever was written last.
    fn in_order(&self, low: (&str, usize), high: (&str, usize)) -> Result<(), ConfigError> {
        if low.1 <= high.1 {
            return Ok(());
        }
        let (low_text, high_text) = (size_text(low.1), size_text(high.1));
        Err(if rank(self.place(high.0)) > rank(self.place(low.0)) {
            let message = format!(
                "is {high_text}, must be at least {}, which is {low_text}",
                low.0
            );
            self.refuse(high.0, &message)
        } else {
            let message = format!(
                "is {low_text}, must be at most {}, which is {high_text}",
                high.0
            );
            self.refuse(low.0, &message)
        })
    }
}

/// Orders places by who wins; in the file, by line.
fn rank(place: &Place) -> (u8, usize) {
    match place {
        Place::Default => (0, 0),
        Place::File(at) => (1, at.line),
        Place::Variable(_) => (2, 0),
        Place::Flag(_) => (3, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let config = Config::parse(Some(("f".as_ref(), text.as_bytes())), [], &[]);
        config.map_err(|error| error.to_string())
    }

    fn listeners(addresses: &[&str]) -> String {
        let listener = |address| format!("[[listener]]\naddress = \"{address}\"\n");
        addresses.iter().map(listener).collect()
    }

    #[test]
    fn all_addresses_of_a_port_leave_none_to_others() {
        for addresses in [
            ["0.0.0.0:7000", "127.0.0.1:7000"],
            ["127.0.0.1:7000", "0.0.0.0:7000"],
            ["[::]:7000", "[::1]:7000"],
        ] {
            let error = read(&listeners(&addresses)).unwrap_err();
            let said = format!("listener.1.address is {}, which cannot", addresses[1]);
            assert!(error.contains(&said), "{error}");
            let shared = format!("accept = \"reuseport\"\n{}", listeners(&addresses));
            assert!(read(&shared).is_ok(), "the kernel tells them apart");
        }
        for addresses in [
            ["0.0.0.0:7000", "127.0.0.1:7001"],
            ["127.0.0.2:7000", "127.0.0.1:7000"],
            ["0.0.0.0:7000", "[::]:7000"],
            ["[::]:7000", "127.0.0.1:7000"],
            ["0.0.0.0:0", "127.0.0.1:0"],
        ] {
            assert!(read(&listeners(&addresses)).is_ok(), "{addresses:?}");
        }
        let both = listeners(&["0.0.0.0:7000", "[::]:7000"]) + "ipv6_only = \"false\"\n";
        assert!(read(&both).is_err());
    }

    #[test]
    fn ipv6_is_alone_where_ipv4_has_the_port() {
        for (addresses, only, expected) in [
            (&["[::]:7000"][..], "auto", false),
            (&["[::]:7000"], "true", true),
            (&["[::]:7000", "0.0.0.0:7001"], "auto", false),
            (&["[::]:7000", "0.0.0.0:7000"], "auto", true),
            (&["[::]:7000", "127.0.0.1:7000"], "auto", true),
            (&["[::]:0", "127.0.0.1:0"], "auto", false),
        ] {
            let mut config = read(&listeners(addresses)).unwrap();
            let key = format!("ipv6_only = \"{only}\"");
            config.listener[0].ipv6_only =
                read(&format!("[[listener]]\n{key}\n")).unwrap().listener[0].ipv6_only;
            assert_eq!(config.is_ipv6_only(0), expected, "{addresses:?} {only}");
        }
    }

    #[test]
    fn only_a_unix_socket_has_mode_user_and_group() {
        for key in ["mode = \"0660\"", "user = \"root\"", "group = \"0\""] {
            let error = read(&format!("[[listener]]\n{key}\n")).unwrap_err();
            assert!(
                error.contains("is for the file of a unix: address"),
                "{error}"
            );
            let unix = format!("[[listener]]\naddress = \"unix:s\"\n{key}\n");
            assert!(read(&unix).is_ok());
        }
    }

    #[test]
    fn a_socket_has_a_path_that_the_kernel_takes() {
        let path = |len| format!("[[listener]]\naddress = \"unix:{}\"\n", "p".repeat(len));
        assert!(read(&path(107)).is_ok());
        let error = read(&path(108)).unwrap_err();
        assert!(
            error.contains("has 108 bytes, and a socket's at most 107"),
            "{error}"
        );
        let error = read("[[listener]]\naddress = \"unix:@purlin\"\n").unwrap_err();
        assert!(error.contains("is an abstract socket"), "{error}");
    }
}
