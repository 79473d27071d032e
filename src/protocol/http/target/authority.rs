//! Host and port, as targets and the field `Host` name them (RFC 3986, 3.2;
//! RFC 9112, 3.2). Pure.
//!
//! A user before the host is refused: none of the two may have one (RFC 9110,
//! 4.2.4), and whoever stands before us might look for the host there.

use std::net::Ipv6Addr;

/// Whether this can be the authority of a target: a host that is not empty, and
/// perhaps a port.
pub(super) fn is_authority(value: &[u8]) -> bool {
    !matches!(value, [] | [b':', ..]) && is_host(value)
}

/// Whether a field `Host` may say this. It is empty where the target has no
/// authority (RFC 9112, 3.2).
pub(in crate::protocol::http) fn is_host(value: &[u8]) -> bool {
    if let [b'[', rest @ ..] = value {
        let Some(end) = memchr::memchr(b']', rest) else {
            return false;
        };
        return is_address(&rest[..end]) && is_behind(&rest[end + 1..]);
    }
    let is_of_name = |byte: &&u8| OF_NAME[usize::from(**byte)];
    let name = value.iter().take_while(is_of_name).count();
    is_name(&value[..name]) && is_behind(&value[name..])
}

/// [`is_of_name`] of each byte: every request asks for all of its host.
const OF_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let found = is_of_name(byte as u8);
        table[byte] = found;
        byte += 1;
    }
    table
};

/// What stands behind a host: nothing, or a port.
fn is_behind(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b':', port @ ..] => {
            let number = |sum: u32, digit: &u8| sum.saturating_mul(10) + u32::from(digit - b'0');
            port.iter().all(u8::is_ascii_digit)
                && port.len() <= 9
                && port.iter().fold(0, number) <= u32::from(u16::MAX)
        }
        _ => false,
    }
}

/// An address in brackets, of version 6 or of a later one.
fn is_address(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    if let Some(later) = text.strip_prefix(['v', 'V']) {
        let Some((version, address)) = later.split_once('.') else {
            return false;
        };
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        let is_part = |byte: u8| byte != b'%' && (byte == b':' || is_of_name(byte));
        return is_version && !address.is_empty() && address.bytes().all(is_part);
    }
    text.parse::<Ipv6Addr>().is_ok()
}

/// Characters of a registered name: unreserved, sub-delims, and escapes.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=')
}

fn is_name(name: &[u8]) -> bool {
    let mut escapes = memchr::memchr_iter(b'%', name);
    escapes.all(|at| {
        let digits = name.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for (host, is_one) in [
            ("example.com", true),
            ("EXAMPLE.com:80", true),
            ("h:", true),
            ("", true),
            ("192.0.2.1:8080", true),
            ("[::1]", true),
            ("[2001:db8::1]:443", true),
            ("[v1.a:b]", true),
            ("a_b-c~d", true),
            ("a%20b", true),
            ("a!$&'()*+,;=b", true),
            ("xn--bcher-kva.example", true),
            ("a b", false),
            ("a\tb", false),
            ("a/b", false),
            ("a?b", false),
            ("a#b", false),
            ("user@h", false),
            ("user:word@h", false),
            ("a\\b", false),
            ("a\"b", false),
            ("<a>", false),
            ("{a}", false),
            ("a|b", false),
            ("a^b", false),
            ("a`b", false),
            ("b\u{fc}cher", false),
            ("a%2", false),
            ("a%zz", false),
            ("::1", false),
            ("[::1", false),
            ("::1]", false),
            ("[]", false),
            ("[::1]x", false),
            ("[::g]", false),
            ("[fe80::1%25eth0]", false),
            ("[127.0.0.1]", false),
            ("[v.a]", false),
            ("[v1.]", false),
            ("h:x", false),
            ("h:80x", false),
            ("h:-1", false),
            ("h:80:80", false),
            ("h:65536", false),
            ("h:99999999999999999999", false),
        ] {
            assert_eq!(is_host(host.as_bytes()), is_one, "{host:?}");
        }
        assert!(!is_authority(b"") && !is_authority(b":80"));
    }
}
