//! From the path of a request to a path below a folder. Pure.
//!
//! The path is that of the request, whose escapes are undone. What two readers
//! could read in two ways is refused: `.` and `..`, empty segments, names that
//! begin with a dot. What is refused cannot be there, so the client is told just
//! that. A backslash is a letter like any other, as it is to the file system: it
//! separates nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The one folder with a dot that is for the public (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// A place below a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place<'a> {
    /// Relative, without a slash at its end; empty for the folder itself.
    pub(super) below: &'a OsStr,
    /// The path says that it is a folder: it ends with a slash, or is empty.
    pub(super) is_folder: bool,
}

impl<'a> Place<'a> {
    /// Reads a path whose escapes are undone; `None` when nothing can be there.
    pub(super) fn read(path: &'a [u8]) -> Option<Self> {
        let below = path.strip_suffix(b"/").unwrap_or(path);
        let mut names = below.split(|&byte| byte == b'/').enumerate();
        (path.is_empty() || names.all(|(depth, name)| is_shown(depth, name))).then(|| Self {
            below: OsStr::from_bytes(below),
            is_folder: path.len() != below.len() || path.is_empty(),
        })
    }
}

/// Whether something of this name, so deep below the folder, may be asked for.
fn is_shown(depth: usize, name: &[u8]) -> bool {
    let is_hidden = name.starts_with(b".") && (depth > 0 || name != WELL_KNOWN);
    !name.is_empty() && !is_hidden
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::http::unescaped;

    #[test]
    fn paths_become_places_below_the_folder() {
        for (path, below, is_folder) in [
            ("", "", true),
            ("a", "a", false),
            ("a/", "a", true),
            ("a/b.html", "a/b.html", false),
            ("a%20b/%c3%A4", "a b/ä", false),
            ("%252e%252e", "%2e%2e", false),
            ("line%0Afeed", "line\nfeed", false),
            ("a..b/c...", "a..b/c...", false),
            (".well-known/x", ".well-known/x", false),
            (".well-known/", ".well-known", true),
            ("a%3Fb", "a?b", false),
            ("a%5cb", "a\\b", false),
            ("a%5Cb/", "a\\b", true),
            ("a%5c..%5cb", "a\\..\\b", false),
        ] {
            let path = unescaped(path).unwrap_or_else(|| panic!("{path}"));
            let place = Place::read(&path).unwrap_or_else(|| panic!("{below}"));
            assert_eq!((place.below, place.is_folder), (below.as_ref(), is_folder));
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
            "..\\b",
            "..%5cb",
            "a/%2e%2e%5cb",
            "a\\b/../c",
            ".git/config",
            ".env",
            "a/.env",
            "a/.well-known/x",
            "%2eenv",
            ".well-known/.x",
            ".well-knownx",
        ] {
            let path = unescaped(path);
            let place = path.as_deref().and_then(Place::read);
            assert_eq!(place, None, "{path:?}");
        }
    }
}
