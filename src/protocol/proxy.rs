//! The PROXY protocol, versions 1 and 2: what a proxy says in front of the first
//! byte of a connection about whom it speaks for. Pure.
//!
//! ```text
//! 1   PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n            at most 107 bytes
//!
//! 2   0           12        13       14       16
//!     +-----------+---------+--------+--------+----------~~---+--~~---+
//!     | signature | 2 | cmd | family | length |   addresses   | TLVs  |
//!     +-----------+---------+--------+--------+----------~~---+--~~---+
//!                                             |<--- length bytes ---->|
//! ```
//!
//! From the specification by Willy Tarreau, <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>.
//! Invariant: once [`parse`] has decided, more bytes change nothing, so a header
//! means the same however the stream is cut.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header of version 1, with its line end.
const TEXT_MAX: usize = 107;

/// Bytes of a header of version 2 at most: addresses, and certificates that the
/// proxy has seen. The specification would allow 65,551.
pub const BINARY_MAX: usize = 4096;

const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 before the addresses.
const FIXED: usize = 16;

/// A header, as far as it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    /// More bytes are needed.
    Incomplete,
    /// It is whole.
    Complete {
        /// Its bytes; what the client sent follows.
        len: usize,
        /// Whom the proxy speaks for.
        origin: Origin,
    },
}

/// Whom a proxy speaks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Itself, as for a health check; or it does not know. The connection's own
    /// address is the peer's.
    Unknown,
    /// A client with this address.
    Tcp(SocketAddr),
    /// A client on the proxy's machine, over a Unix socket.
    Unix,
}

/// Why bytes are no header. The connection is to be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Malformed {
    /// They begin like none.
    NoHeader,
    /// The line does not end in time.
    EndlessLine,
    /// The line is not made of what it should be.
    Line,
    /// The version is not 2.
    Version(u8),
    /// The command is neither LOCAL nor PROXY.
    Command(u8),
    /// The family or the transport is none that is specified.
    Family(u8),
    /// There is no room for the addresses of that family.
    TooShort(u16),
    /// It is longer than [`BINARY_MAX`].
    TooLong(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("the first bytes are no PROXY header"),
            Self::EndlessLine => write!(f, "the PROXY line does not end within {TEXT_MAX} bytes"),
            Self::Line => f.write_str("the PROXY line is malformed"),
            Self::Version(version) => write!(f, "the PROXY header has version {version}"),
            Self::Command(command) => write!(f, "the PROXY header has command {command}"),
            Self::Family(family) => write!(f, "the PROXY header has family 0x{family:02x}"),
            Self::TooShort(length) => {
                write!(
                    f,
                    "{length} bytes of the PROXY header are too few for its addresses"
                )
            }
            Self::TooLong(length) => write!(
                f,
                "{length} bytes of the PROXY header, and {FIXED} before, are over {BINARY_MAX}"
            ),
        }
    }
}

/// Looks at the first bytes of a connection. Call it again with the same bytes
/// and more of them while it is [`Header::Incomplete`].
///
/// # Errors
///
/// [`Malformed`]: close the connection.
pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    if begin_alike(TEXT, bytes) {
        parse_text(bytes)
    } else if begin_alike(BINARY, bytes) {
        parse_binary(bytes)
    } else {
        Err(Malformed::NoHeader)
    }
}

fn begin_alike(token: &[u8], bytes: &[u8]) -> bool {
    let common = token.len().min(bytes.len());
    token[..common] == bytes[..common]
}

fn parse_text(bytes: &[u8]) -> Result<Header, Malformed> {
    let head = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if head.len() < TEXT_MAX {
            Ok(Header::Incomplete)
        } else {
            Err(Malformed::EndlessLine)
        };
    };
    let origin = parse_line(&head[TEXT.len()..end]).ok_or(Malformed::Line)?;
    Ok(Header::Complete {
        len: end + 2,
        origin,
    })
}

/// What stands between `PROXY ` and the line end.
fn parse_line(line: &[u8]) -> Option<Origin> {
    let line = std::str::from_utf8(line).ok()?;
    // Whatever follows is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Origin::Unknown);
    }
    let mut words = line.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == is_v4).then_some(address)
    };
    let (source, _destination) = (address()?, address()?);
    let (port, _destination) = (port(words.next()?)?, port(words.next()?)?);
    words
        .next()
        .is_none()
        .then(|| Origin::Tcp(SocketAddr::new(source, port)))
}

/// A port in decimal, without sign or leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let plain = plain && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn parse_binary(bytes: &[u8]) -> Result<Header, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Header::Incomplete);
    };
    let [.., what, family, high, low] = *fixed;
    let length = u16::from_be_bytes([high, low]);
    let is_local = match (what >> 4, what & 15) {
        (2, 0) => true,
        (2, 1) => false,
        (2, command) => return Err(Malformed::Command(command)),
        (version, _) => return Err(Malformed::Version(version)),
    };
    let len = FIXED + usize::from(length);
    if len > BINARY_MAX {
        return Err(Malformed::TooLong(length));
    }
    // A proxy that speaks for itself need not fill in the rest.
    let addresses = if is_local { 0 } else { room(family)? };
    if usize::from(length) < addresses {
        return Err(Malformed::TooShort(length));
    }
    let Some(header) = bytes.get(FIXED..len) else {
        return Ok(Header::Incomplete);
    };
    let origin = source(addresses, header);
    Ok(Header::Complete { len, origin })
}

const IPV4: usize = 12;
const IPV6: usize = 36;
const UNIX: usize = 216;

/// Bytes of the addresses of a family, 0 when it has none.
fn room(family: u8) -> Result<usize, Malformed> {
    match (family >> 4, family & 15) {
        (0..=3, 0) | (0, 1 | 2) => Ok(0),
        (1, 1 | 2) => Ok(IPV4),
        (2, 1 | 2) => Ok(IPV6),
        (3, 1 | 2) => Ok(UNIX),
        _ => Err(Malformed::Family(family)),
    }
}

/// The source among addresses that take so many bytes.
fn source(room: usize, bytes: &[u8]) -> Origin {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match (room, bytes.first_chunk(), bytes.first_chunk()) {
        (IPV4, Some(address), _) => {
            let address: &[u8; 4] = address;
            Origin::Tcp((Ipv4Addr::from(*address), port(8)).into())
        }
        (IPV6, _, Some(address)) => {
            let address: &[u8; 16] = address;
            Origin::Tcp((Ipv6Addr::from(*address), port(32)).into())
        }
        (UNIX, ..) => Origin::Unix,
        _ => Origin::Unknown,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(bytes: &[u8]) -> Result<(usize, Origin), Malformed> {
        match parse(bytes)? {
            Header::Complete { len, origin } => Ok((len, origin)),
            Header::Incomplete => panic!("{bytes:?} is not whole"),
        }
    }

    fn tcp(text: &str) -> Origin {
        Origin::Tcp(text.parse().expect("an address"))
    }

    /// A header of version 2.
    fn binary(what: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len())
            .expect("a short block")
            .to_be_bytes();
        [BINARY, &[what, family], &length, block].concat()
    }

    #[test]
    fn lines_name_the_client() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), 107);
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
                tcp("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                tcp("255.255.255.255:65535"),
            ),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n", tcp("1.2.3.4:0")),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", tcp("[2001:db8::1]:1")),
            (
                "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n",
                tcp("[::ffff:1.2.3.4]:1"),
            ),
            ("PROXY UNKNOWN\r\n", Origin::Unknown),
            ("PROXY UNKNOWN what ever  it\tis\r\n", Origin::Unknown),
            (&longest, Origin::Unknown),
        ] {
            let with_data = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(
                complete(with_data.as_bytes()),
                Ok((line.len(), expected)),
                "{line}"
            );
        }
    }

    #[test]
    fn lines_that_are_none_are_malformed() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed::Line), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "f".repeat(93));
        assert_eq!(parse(&endless.as_bytes()[..106]), Ok(Header::Incomplete));
        assert_eq!(parse(endless.as_bytes()), Err(Malformed::EndlessLine));
        assert_eq!(
            parse(b"PROXY UNKNOWN \xff\r\n"),
            Err(Malformed::Line),
            "no text"
        );
    }

    #[test]
    fn what_begins_like_no_header_is_refused_at_the_first_byte_that_differs() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"X",
            b"PROXX",
            b"PROXY\t",
            b"\r\n\r\nX",
            b"\0",
        ] {
            assert_eq!(parse(bytes), Err(Malformed::NoHeader), "{bytes:?}");
            let same_so_far = parse(&bytes[..bytes.len() - 1]);
            assert!(
                bytes.len() > 5 || same_so_far == Ok(Header::Incomplete),
                "{bytes:?}"
            );
        }
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 4, 1, 0xBB];

    fn v6() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        [&source.octets()[..], &[0; 16], &[0xDC, 4, 1, 0xBB]].concat()
    }

    #[test]
    fn binary_headers_name_the_client() {
        let tlv = [4, 0, 3, 1, 2, 3];
        let cases = [
            (0x21, 0x11, V4.to_vec(), tcp("192.0.2.1:56324")),
            (0x21, 0x12, V4.to_vec(), tcp("192.0.2.1:56324")),
            (0x21, 0x21, v6(), tcp("[2001:db8::1]:56324")),
            (0x21, 0x22, v6(), tcp("[2001:db8::1]:56324")),
            (0x21, 0x31, vec![b'/'; 216], Origin::Unix),
            (0x21, 0x32, vec![b'/'; 216], Origin::Unix),
            // Without a family or a transport the addresses mean nothing.
            (0x21, 0x00, vec![], Origin::Unknown),
            (0x21, 0x00, V4.to_vec(), Origin::Unknown),
            (0x21, 0x01, vec![], Origin::Unknown),
            (0x21, 0x10, V4.to_vec(), Origin::Unknown),
            // The proxy speaks for itself, whatever it fills in.
            (0x20, 0x00, vec![], Origin::Unknown),
            (0x20, 0x11, V4.to_vec(), Origin::Unknown),
            (0x20, 0x11, vec![], Origin::Unknown),
            (0x20, 0xFF, vec![], Origin::Unknown),
        ];
        for (what, family, block, expected) in cases {
            for tlvs in [&[][..], &tlv] {
                let header = binary(what, family, &[&block, tlvs].concat());
                let with_data = [&header, &b"data"[..]].concat();
                let found = complete(&with_data);
                assert_eq!(found, Ok((header.len(), expected)), "{what:x} {family:x}");
            }
        }
    }

    #[test]
    fn binary_headers_that_break_the_format_are_malformed() {
        for (what, family, block, expected) in [
            (0x11, 0x11, &V4[..], Malformed::Version(1)),
            (0x31, 0x11, &V4, Malformed::Version(3)),
            (0x22, 0x11, &V4, Malformed::Command(2)),
            (0x2F, 0x11, &V4, Malformed::Command(15)),
            (0x21, 0x13, &V4, Malformed::Family(0x13)),
            (0x21, 0x41, &V4, Malformed::Family(0x41)),
            (0x21, 0x11, &V4[..11], Malformed::TooShort(11)),
            (0x21, 0x21, &V4, Malformed::TooShort(12)),
            (0x21, 0x31, &[0; 215], Malformed::TooShort(215)),
            (0x21, 0x11, &[0; 4081], Malformed::TooLong(4081)),
        ] {
            let header = binary(what, family, block);
            assert_eq!(parse(&header), Err(expected));
        }
        let longest = binary(0x21, 0x11, &[1; 4080]);
        assert_eq!(complete(&longest), Ok((4096, tcp("1.1.1.1:257"))));
    }

    /// Bytes that are likely to be headers, or nearly.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let line = "PROXY (TCP4|TCP6|UNKNOWN|TCP) (1\\.2\\.3\\.4|::1|x) (1\\.2\\.3\\.4|::1) \
                    [0-9]{1,6} [0-9]{1,6}(\r\n|\r|\n)[ -~]{0,80}";
        let line = line.prop_map(String::into_bytes);
        let block = proptest::collection::vec(any::<u8>(), 0..300);
        let what = prop_oneof![Just(0x20_u8), Just(0x21), any::<u8>()];
        let family = prop_oneof![Just(0x11_u8), Just(0x21), Just(0x31), Just(0), any::<u8>()];
        let length = prop_oneof![Just(12_u16), 0..300_u16, any::<u16>()];
        let header = (what, family, length, block).prop_map(|(what, family, length, block)| {
            [BINARY, &[what, family], &length.to_be_bytes(), &block].concat()
        });
        let garbage = proptest::collection::vec(any::<u8>(), 0..40);
        (
            prop_oneof![line, header, garbage],
            any::<bool>(),
            any::<(u8, u8)>(),
        )
            .prop_map(|(mut stream, flips, (at, bit))| {
                if let Some(byte) = stream.get_mut(usize::from(at)).filter(|_| flips) {
                    *byte ^= 1 << (bit % 8);
                }
                stream
            })
    }

    proptest! {
        /// Once decided, for good; and never about bytes that are not there.
        #[test]
        fn any_cut_of_the_stream_gives_the_same(stream in streams()) {
            let whole = parse(&stream);
            for cut in 0..stream.len() {
                let found = parse(&stream[..cut]);
                prop_assert!(found == Ok(Header::Incomplete) || found == whole, "{cut}");
            }
            if let Ok(Header::Complete { len, .. }) = whole {
                prop_assert!(len <= stream.len());
                let before = parse(&stream[..len - 1]);
                prop_assert_eq!(before, Ok(Header::Incomplete), "not a byte too many");
            } else if whole == Ok(Header::Incomplete) {
                prop_assert!(stream.len() < BINARY_MAX);
            }
        }
    }
}
