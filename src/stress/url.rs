//! Where a server is, as people write it: an address, or a URL. Names are looked
//! up; nothing else is done.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::protocol::websocket::client::SocketUrl;
use crate::sys::socket::Address;

/// The port of a URL that names none.
const PORT: u16 = 80;

/// What stands in the place of the address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Address(Address),
    Url(Url),
    Socket(SocketUrl),
}

/// `http://HOST:PORT/PATH?QUERY`, or only what is behind the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Url {
    /// Host and port as they are written.
    authority: Option<String>,
    /// Path and query.
    pub(super) target: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| ["ws", "wss"].contains(&&*scheme.to_ascii_lowercase())) {
            text.parse().map(Self::Socket)
        } else if scheme.is_some() {
            text.parse().map(Self::Url)
        } else {
            text.parse().map(Self::Address)
        }
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None if text.starts_with('/') => (None, text),
            None => return Err("expected http://HOST:PORT/PATH, or a /PATH of ADDRESS".into()),
        };
        match scheme.as_deref() {
            None | Some("http") => {}
            Some("https") => {
                return Err(
                    "this tool speaks no TLS: name the plain port behind what ends TLS, \
                            as http://HOST:PORT/PATH"
                        .into(),
                );
            }
            Some(other) => {
                return Err(format!(
                    "no load for {other}://, only for http:// and ws://"
                ));
            }
        }
        if let Some(bad) = rest.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("{bad:?} must be written as %XX in a URL"));
        }
        // What is behind `#` is for the client alone.
        let rest = rest.split('#').next().unwrap_or_default();
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(cut);
        if scheme.is_some() && authority.is_empty() {
            return Err("a URL without a host".into());
        }
        if authority.contains('@') {
            return Err("name a user by --header 'Authorization: Basic ...'".into());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            authority: scheme.map(|_| authority.to_owned()),
            target: format!("{slash}{target}"),
        })
    }
}

impl Url {
    /// The value of `Host`; that of `address` where the URL names none.
    pub(super) fn host(&self, address: &Address) -> String {
        match (&self.authority, address) {
            (Some(authority), _) => authority.clone(),
            (None, Address::Tcp(at)) => at.to_string(),
            (None, Address::Unix(_)) => "localhost".into(),
        }
    }

    /// Where it leads, or `None` where it names no host. Of a name with several
    /// addresses this is the first of IPv4: most servers that listen on one kind
    /// listen on that.
    ///
    /// # Errors
    ///
    /// The name has no address; the words for the operator.
    pub(super) fn address(&self) -> Result<Option<Address>, String> {
        let Some(authority) = &self.authority else {
            return Ok(None);
        };
        let colon = authority
            .rfind(':')
            .filter(|&at| !authority[at..].contains(']'));
        let whole = match colon {
            Some(_) => authority.clone(),
            None => format!("{authority}:{PORT}"),
        };
        found(&whole).map(Some)
    }
}

/// The address of a host and port: of several the first of IPv4.
///
/// # Errors
///
/// There is none; the words for the operator.
pub(super) fn found(authority: &str) -> Result<Address, String> {
    let found = authority.to_socket_addrs().map_err(|error| {
        format!("`{authority}` is no HOST or HOST:PORT that can be found: {error}")
    })?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|at| at.is_ipv4()).or(found.first());
    let first = first.ok_or_else(|| format!("`{authority}` has no address"))?;
    Ok(Address::Tcp(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (text, target, host, address) in [
            (
                "http://127.0.0.1:8080/a/b?c=d&e",
                "/a/b?c=d&e",
                "127.0.0.1:8080",
                "127.0.0.1:8080",
            ),
            ("HTTP://127.0.0.1", "/", "127.0.0.1", "127.0.0.1:80"),
            ("http://127.0.0.1?q", "/?q", "127.0.0.1", "127.0.0.1:80"),
            ("http://127.0.0.1:9/a#b", "/a", "127.0.0.1:9", "127.0.0.1:9"),
            ("http://[::1]:8080/", "/", "[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "/", "[::1]", "[::1]:80"),
        ] {
            let Ok(Place::Url(url)) = text.parse() else {
                panic!("{text}");
            };
            let found = url.address().unwrap().unwrap();
            assert_eq!(url.target, target, "{text}");
            assert_eq!(url.host(&found), host, "{text}");
            assert_eq!(found.to_string(), address, "{text}");
        }
    }

    #[test]
    fn a_path_alone_is_one_of_the_address() {
        let url: Url = "/a?b".parse().unwrap();
        assert_eq!((url.address(), &*url.target), (Ok(None), "/a?b"));
        for (address, host) in [("127.0.0.1:1", "127.0.0.1:1"), ("unix:/x", "localhost")] {
            assert_eq!(url.host(&address.parse().unwrap()), host);
        }
        assert!(matches!("127.0.0.1:1".parse(), Ok(Place::Address(_))));
    }

    #[test]
    fn urls_that_cannot_be_are_refused_with_the_reason() {
        for (text, expected) in [
            ("https://x/", "speaks no TLS"),
            ("ftp://x/", "no load for ftp://"),
            ("http:///x", "without a host"),
            ("http://x/a b", "' ' must be written as %XX"),
            ("http://x/\u{e4}", "must be written as %XX"),
            ("http://me:pw@x/", "Authorization"),
            ("x/y", "expected http://"),
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in [
            "http://127.0.0.1:http/",
            "http://127.0.0.1:99999/",
            "http://:80/",
        ] {
            let url: Url = text.parse().unwrap();
            assert!(url.address().is_err(), "{text}");
        }
    }
}
