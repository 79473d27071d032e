//! What a request is for, in one form for each thing that it can be for. Pure.
//!
//! ```text
//!   /a/./%62//c?d=e          origin-form     --> path /a/b/c   query d=e
//!   http://host/a?d=e        absolute-form   --> path /a       query d=e
//!   *                        asterisk-form   --> path *, for OPTIONS alone
//!   host:443                 authority-form  --> no path, for CONNECT alone
//! ```
//!
//! Invariants of a path, which routes, middleware and files all see alike:
//! - It is absolute, has no `.` or `..` and never begins with two slashes, so that
//!   a redirect made of it stays on its host.
//! - Each escape that is left must be one: of a slash or a percent sign, which
//!   would mean something else, of a control character, or of what is no UTF-8.
//!   So it has one spelling, and what is left is undone once: [`unescaped`].
//!
//! What the RFCs, nginx and this do with which target stands in `cases.rs`.

mod authority;
#[cfg(all(test, not(loom)))]
mod cases;

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use self::authority::is_authority;
pub(super) use self::authority::is_host;
use super::refusal::Bad;

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    /// As sent, without its question mark.
    pub(super) query: &'a str,
}

/// The path of a request for the server itself.
pub(super) const ASTERISK: &str = "*";

const NO_TARGET: Bad = Bad::Syntax("a target that is none");
const NO_AUTHORITY: Bad = Bad::Syntax("a target whose authority is none");
const FRAGMENT: Bad = Bad::Syntax("a target with a fragment");
const ESCAPE: Bad = Bad::Syntax("a target with a percent sign that escapes nothing");
const NUL: Bad = Bad::Syntax("a target with a NUL");
const ABOVE: Bad = Bad::Syntax("a target above the root");

/// Reads the target of a request of this `method`. `merge`: slashes behind a
/// slash are nothing. A path that has another spelling is written into `room`.
///
/// # Errors
///
/// It is none, or none for this method.
pub(super) fn read<'a>(
    method: &str,
    target: &'a str,
    merge: bool,
    room: &'a mut String,
) -> Result<Target<'a>, Bad> {
    if method == "CONNECT" {
        let has_port = target
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty());
        return match is_authority(target.as_bytes()) && has_port {
            true => Ok(Target {
                path: "",
                query: "",
            }),
            false => Err(NO_AUTHORITY),
        };
    }
    let local = if target.starts_with('/') {
        target
    } else if target == ASTERISK && method == "OPTIONS" {
        return Ok(Target {
            path: ASTERISK,
            query: "",
        });
    } else {
        behind_authority(target)?
    };
    let (end, is_normal) = path_end(local.as_bytes())?;
    let (path, query) = local.split_at(end);
    let query = query.get(1..).unwrap_or_default();
    let path = if is_normal {
        path
    } else {
        room.clear();
        normalise(path, merge, room)?;
        room
    };
    Ok(Target { path, query })
}

/// The part of an absolute target behind its authority.
fn behind_authority(target: &str) -> Result<&str, Bad> {
    let (scheme, rest) = target.split_once("://").ok_or(NO_TARGET)?;
    if !["http", "https"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
    {
        return Err(Bad::Syntax("a target of a scheme other than http"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if is_authority(authority.as_bytes()) {
        Ok(rest)
    } else {
        Err(NO_AUTHORITY)
    }
}

/// Where the path ends that `local` begins with, and whether it is normal: each
/// byte is looked at once, which is all that most requests pay.
fn path_end(local: &[u8]) -> Result<(usize, bool), Bad> {
    let (mut before, mut is_normal) = (0, !local.is_empty() && local[0] == b'/');
    for (at, &byte) in local.iter().enumerate() {
        match byte {
            b'?' => {
                return match memchr::memchr(b'#', local) {
                    Some(_) => Err(FRAGMENT),
                    None => Ok((at, is_normal)),
                };
            }
            b'#' => return Err(FRAGMENT),
            b'%' => is_normal = false,
            b'/' | b'.' if before == b'/' => is_normal = false,
            _ => {}
        }
        before = byte;
    }
    Ok((local.len(), is_normal))
}

/// Appends the one spelling of `path`, which is empty or begins with a slash, to
/// nothing.
fn normalise(path: &str, merge: bool, normal: &mut String) -> Result<(), Bad> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let segment = respelled(segment)?;
        match &*segment {
            "" | "." => {}
            ".." => {
                let above = normal.rfind('/').ok_or(ABOVE)?;
                normal.truncate(above);
            }
            name => {
                normal.push('/');
                normal.push_str(name);
                continue;
            }
        }
        // The first slash is never one of two.
        let stays = segment.is_empty() && !merge && !normal.is_empty();
        if stays || segments.peek().is_none() {
            normal.push('/');
        }
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Ok(())
}

/// A segment with all escapes undone that may be.
fn respelled(segment: &str) -> Result<Cow<'_, str>, Bad> {
    if !segment.contains('%') {
        return Ok(segment.into());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk().ok_or(ESCAPE)?;
        rest = behind;
        match escaped(*digits).ok_or(ESCAPE)? {
            0 => return Err(NUL),
            byte @ (b'/' | b'%' | 1..=0x1f | 0x7f) => escape(byte, &mut bytes),
            byte => bytes.push(byte),
        }
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let mut odd = Vec::new();
        chunk
            .invalid()
            .iter()
            .for_each(|byte| escape(*byte, &mut odd));
        text.extend(odd.into_iter().map(char::from));
    }
    Ok(text.into())
}

fn escaped(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

fn escape(byte: u8, bytes: &mut Vec<u8>) {
    let digit = |digit: u8| b"0123456789ABCDEF"[usize::from(digit)];
    bytes.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
}

/// The path of a route or a folder of files, spelled as requests are. One that
/// no request can have is as it was.
pub(crate) fn spelled(path: &str) -> String {
    let segments = path.split('/').map(|segment| match respelled(segment) {
        Ok(segment) => segment,
        Err(_) => segment.replace('%', "%25").into(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The bytes that a path, or a part of one, stands for; `None`: a slash is among
/// them that separates nothing.
pub(crate) fn unescaped(path: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = path.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Some(bytes.into());
    }
    let plain: Cow<'_, [u8]> = percent_encoding::percent_decode(bytes).into();
    let slashes = |bytes: &[u8]| memchr::memchr_iter(b'/', bytes).count();
    (slashes(&plain) == slashes(bytes)).then_some(plain)
}

/// What no path of a URI has as it is (RFC 3986, 3.3); percent signs stay, which
/// are escapes in a path.
const NO_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A path as it stands in a URI.
pub(crate) fn in_uri(path: &str) -> Cow<'_, str> {
    utf8_percent_encode(path, NO_PATH).into()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::cases::{CASES, Does, NO_FRAGMENT, ONCE, RESERVED, SCHEMES};
    use super::*;
    use Does::{Path, Status};

    fn done<'a>(
        method: &str,
        target: &'a str,
        merge: bool,
        room: &'a mut String,
    ) -> Option<(&'a str, &'a str)> {
        let found = read(method, target, merge, room).ok();
        found.map(|Target { path, query }| (path, query))
    }

    #[test]
    fn targets_are_read_as_the_table_says() {
        for (method, target, why, _, ours) in CASES {
            let mut room = String::from("left over");
            let found = done(method, target, true, &mut room);
            match ours {
                Path(path, query) => assert_eq!(found, Some((*path, *query)), "{target}: {why}"),
                Status(status) => assert_eq!((found, *status), (None, 400), "{target}: {why}"),
            }
        }
    }

    #[test]
    fn where_nginx_does_something_else_a_line_of_an_rfc_says_why() {
        for (method, target, why, nginx, ours) in CASES {
            let (rfc, _) = why.split_once(", ").expect("a number");
            assert!(
                rfc.len() == 4 && rfc.bytes().all(|b| b.is_ascii_digit()),
                "{why}"
            );
            // What has a path of its own is answered by the server.
            let is_alike = nginx == ours || matches!((method, ours), (&"OPTIONS" | &"CONNECT", _));
            let reasons = [RESERVED, ONCE, NO_FRAGMENT, SCHEMES];
            let escaped = matches!(ours, Path(path, _) if path.contains('%'));
            assert!(
                is_alike || escaped || reasons.contains(why),
                "{target}: {why}"
            );
        }
    }

    #[test]
    fn a_path_is_normal_already_and_a_redirect_to_it_stays() {
        for (method, target, ..) in CASES {
            for merge in [true, false] {
                let mut room = String::new();
                let Some((path, _)) = done(method, target, merge, &mut room) else {
                    continue;
                };
                if !path.starts_with('/') {
                    continue;
                }
                let there = in_uri(path).into_owned();
                assert!(
                    !there.starts_with("//") && !there.starts_with("/\\"),
                    "{there}"
                );
                let is_uri =
                    |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte);
                assert!(there.bytes().all(is_uri), "{there}");
                let mut again = String::new();
                let (path_again, _) = done("GET", &there, merge, &mut again).expect(&there);
                assert_eq!(path_again, path, "{target}");
                assert_eq!(spelled(&there), path, "{target}");
            }
        }
    }

    #[test]
    fn slashes_stay_where_they_are_not_merged() {
        for (target, path) in [
            ("/a//b", "/a//b"),
            ("/a//", "/a//"),
            ("/a//../b", "/a/b"),
            ("/a/b/..//c", "/a//c"),
            // What begins with two would be the name of a host.
            ("//a", "/a"),
            ("/.//a", "/a"),
            ("/a/..//b", "/b"),
            ("//", "/"),
        ] {
            let mut room = String::new();
            let found = done("GET", target, false, &mut room);
            assert_eq!(found, Some((path, "")), "{target}");
        }
    }

    #[test]
    fn what_is_left_escaped_is_undone_once() {
        for (path, bytes) in [
            ("/a b/ä", Some("/a b/ä".as_bytes())),
            ("/%252e", Some(b"/%2e")),
            ("/a%0A%FFb", Some(b"/a\n\xffb")),
            ("/a%2Fb", None),
            ("/..%2F..", None),
        ] {
            assert_eq!(unescaped(path).as_deref(), bytes, "{path}");
        }
        let mut room = String::new();
        let found = done("GET", "/%ff%C3%28%80", true, &mut room);
        assert_eq!(found, Some(("/%FF%C3(%80", "")));
    }
}
