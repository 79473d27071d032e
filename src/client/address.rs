//! Where the server is: what the user wrote, and the addresses that it stands
//! for at the moment. Resolving blocks, so it runs on a thread of its own.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::str::FromStr;

use crate::sys::socket::Address;

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
                     `127.0.0.1:7000` or `[::1]:7000`, or `unix:PATH`"
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
    fn a_name_has_each_of_its_addresses_once() {
        let found = resolve("localhost", 7).unwrap();
        assert!(found.contains(&"127.0.0.1:7".parse().unwrap()), "{found:?}");
        for (n, address) in found.iter().enumerate() {
            assert!(!found[..n].contains(address), "{found:?}");
        }
    }
}
