//! Where the server is: what the user wrote, and the addresses that it stands
//! for at the moment. Resolving blocks, so it runs on a thread of its own.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::str::FromStr;

use crate::protocol::websocket::client::SocketUrl;
use crate::sys::socket::Address;

/// The server, as the user names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Server {
    pub(super) at: Target,
    /// Frames go there in the messages of this WebSocket.
    pub(super) url: Option<SocketUrl>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            let at = text.parse()?;
            return Ok(Self { at, url: None });
        }
        let url: SocketUrl = text
            .parse()
            .map_err(|error| format!("`{text}` is no address: {error}"))?;
        let at = url.address().parse()?;
        let url = Some(url);
        Ok(Self { at, url })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            Some(url) => url.fmt(f),
            None => self.at.fmt(f),
        }
    }
}

/// An address, or a name that is looked up for each attempt to connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    At(Address),
    Name { host: String, port: u16 },
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(address) => Ok(Self::At(address)),
            Err(error) if text.starts_with("unix:") => Err(error),
            Err(_) => name(text).ok_or_else(|| {
                format!(
                    "`{text}` is no address; expected HOST:PORT such as `localhost:7000`, \
                     `127.0.0.1:7000` or `[::1]:7000`, or `unix:PATH`, or `ws://HOST:PORT/PATH`"
                )
            }),
        }
    }
}

fn name(text: &str) -> Option<Target> {
    let (host, port) = text.rsplit_once(':')?;
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !host.is_empty() && host.bytes().all(may_stand);
    let port = port.parse().ok().filter(|_| is_name)?;
    let host = host.to_owned();
    Some(Target::Name { host, port })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The addresses of a name, IPv6 and IPv4, each once, in the order in which the
/// system prefers them. Takes as long as the system's resolver does.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<Vec<Address>> {
    let mut found: Vec<Address> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        let address = Address::Tcp(address);
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(found)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses_and_from_neither() {
        for text in ["127.0.0.1:7000", "[::1]:7000", "unix:/run/s"] {
            let target: Target = text.parse().unwrap();
            assert!(matches!(target, Target::At(_)), "{text}");
            assert_eq!(target.to_string(), text);
        }
        for text in ["localhost:7000", "a-b.example.org:1", "my_host:65535"] {
            let target: Target = text.parse().unwrap();
            assert!(matches!(target, Target::Name { .. }), "{text}");
            assert_eq!(target.to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "localhost:",
            ":7000",
            "localhost:70000",
            "::1:7000",
            "[localhost]:7000",
            "http://localhost:7000",
            "a b:7000",
            "unix:",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_websocket_is_named_by_its_url() {
        for (text, at) in [
            ("ws://127.0.0.1:7000/ws", "127.0.0.1:7000"),
            ("ws://a.example/ws?x", "a.example:80"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), text);
            assert_eq!(server.at, at.parse().unwrap());
        }
        let plain: Server = "a:1".parse().unwrap();
        assert_eq!((plain.to_string(), plain.url), ("a:1".into(), None));
        for (text, why) in [
            ("wss://a/", "no TLS"),
            ("http://a:1/", "expected ws://"),
            ("ws://a b/", "%XX"),
            ("ws://a:x/", "is no address"),
        ] {
            let error = text.parse::<Server>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_has_each_of_its_addresses_once() {
        let found = resolve("localhost", 7).unwrap();
        assert!(found.contains(&"127.0.0.1:7".parse().unwrap()), "{found:?}");
        for (n, address) in found.iter().enumerate() {
            assert!(!found[..n].contains(address), "{found:?}");
        }
    }
}
