//! From the path of a request to a path below a folder. Pure.
//!
//! Decoded once, and refused where two readers could disagree: encoded slashes
//! and backslashes, NUL, `.` and `..`, empty segments. What is refused cannot be
//! there, so the client is told just that.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use percent_encoding::percent_decode_str;

/// The one folder with a dot that is for the public (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// A place below a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Relative, without a slash at its end; empty for the folder itself.
    pub(super) below: OsString,
    /// The path says that it is a folder: it ends with a slash, or is empty.
    pub(super) is_folder: bool,
}

impl Place {
    /// Reads a path, as sent, behind the slash of its folder; `None` when
    /// nothing can be there.
    pub(super) fn read(path: &str) -> Option<Self> {
        let (names, is_folder) = match path.strip_suffix('/') {
            Some(names) => (names, true),
            None => (path, path.is_empty()),
        };
        let mut below = Vec::with_capacity(names.len());
        for (n, name) in names.split('/').enumerate() {
            if names.is_empty() && path.is_empty() {
                break;
            }
            let name = segment(name)?;
            let is_hidden = name.starts_with(b".") && (n > 0 || name != WELL_KNOWN);
            if is_hidden {
                return None;
            }
            if n > 0 {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
        }
        Some(Self {
            below: OsString::from_vec(below),
            is_folder,
        })
    }
}

/// One name, decoded.
fn segment(encoded: &str) -> Option<Vec<u8>> {
    let bytes = encoded.as_bytes();
    let is_escape = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut percents = memchr::memchr_iter(b'%', bytes);
    if !percents.all(is_escape) {
        return None;
    }
    let name: Vec<u8> = percent_decode_str(encoded).collect();
    let is_odd = |byte: &u8| matches!(byte, 0 | b'/' | b'\\');
    (!name.is_empty() && !name.iter().any(is_odd)).then_some(name)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn paths_become_places_below_the_folder() {
        for (path, below, is_folder) in [
            ("", "", true),
            ("a", "a", false),
            ("a/", "a", true),
            ("a/b.html", "a/b.html", false),
            ("a%20b/%c3%A4", "a b/ä", false),
            ("%252e%252e", "%2e%2e", false),
            ("a..b/c...", "a..b/c...", false),
            (".well-known/x", ".well-known/x", false),
            (".well-known/", ".well-known", true),
            ("a%3Fb", "a?b", false),
        ] {
            let place = Place::read(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((place.below, place.is_folder), (below.into(), is_folder));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_nowhere() {
        for path in [
            "..",
            "../",
            "a/..",
            "../a",
            "a/../b",
            "%2e%2e",
            "%2E./a",
            ".%2e",
            ".",
            "./",
            "a/./b",
            "%2e",
            "/",
            "/a",
            "//",
            "a//",
            "a//b",
            "/etc/passwd",
            "a%2fb",
            "a%2Fb",
            "..%2fb",
            "a%5cb",
            "a\\b",
            "..\\b",
            "a%00",
            "%00",
            "%",
            "a%",
            "%2",
            "%zz",
            "%+1",
            ".git/config",
            ".env",
            "a/.env",
            "a/.well-known/x",
            "%2eenv",
            ".well-known/.x",
            ".well-knownx",
        ] {
            assert_eq!(Place::read(path), None, "{path}");
        }
    }
}
