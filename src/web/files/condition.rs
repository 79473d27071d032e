//! Whether a client has the file already (RFC 9110, 13). Pure.

use std::time::{Duration, SystemTime};

use super::wanted::{Wanted, trim};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// With its quotes; one that begins with `W/` is good for saving a transfer,
    /// not for putting pieces together. `None`: nothing tells the states apart.
    pub(super) etag: Option<&'a str>,
    /// Seconds since 1970.
    pub(super) modified: Option<u64>,
    /// Seconds since 1970, now.
    pub(super) now: u64,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Send what is asked for.
    Send,
    /// The client has it: 304.
    NotModified,
    /// The client wants another one: 412.
    Failed,
}

impl Validators<'_> {
    /// Judges a `GET` or `HEAD`, in the order of RFC 9110, 13.2.2.
    pub(super) fn judge(&self, wanted: &Wanted<'_>) -> Verdict {
        let is_other = if wanted.if_match.is_empty() {
            self.is_after(wanted.if_unmodified_since) == Some(true)
        } else {
            !self.matches(&wanted.if_match, Self::is_strongly)
        };
        if is_other {
            return Verdict::Failed;
        }
        let is_same = if wanted.if_none_match.is_empty() {
            self.is_after(wanted.if_modified_since) == Some(false)
        } else {
            self.matches(&wanted.if_none_match, Self::is_weakly)
        };
        if is_same {
            Verdict::NotModified
        } else {
            Verdict::Send
        }
    }

    /// Whether a range may be sent: there is no `If-Range`, or the client has
    /// pieces of just this state.
    pub(super) fn range_holds(&self, if_range: Option<&[u8]>) -> bool {
        let Some(value) = if_range else {
            return true;
        };
        if value.starts_with(b"\"") || value.starts_with(b"W/") {
            return self.is_strongly(value);
        }
        // A date tells seconds: within one, a file can change twice.
        let settled = |modified: &u64| *modified < self.now;
        let modified = self.modified.filter(settled);
        modified.is_some() && modified == date(value)
    }

    /// Whether the file is newer than a date; `None` when one of the two is
    /// missing or none.
    fn is_after(&self, value: Option<&[u8]>) -> Option<bool> {
        Some(self.modified? > date(value?)?)
    }

    fn matches(&self, lists: &[&[u8]], is: impl Fn(&Self, &[u8]) -> bool) -> bool {
        let mut tags = lists.iter().flat_map(|list| Tags(list));
        tags.any(|tag| tag == b"*" || is(self, tag))
    }

    /// RFC 9110, 8.8.3.2.
    fn is_strongly(&self, tag: &[u8]) -> bool {
        let strong = self.etag.filter(|etag| !etag.starts_with("W/"));
        strong.is_some_and(|etag| etag.as_bytes() == tag)
    }

    fn is_weakly(&self, tag: &[u8]) -> bool {
        let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
        self.etag
            .is_some_and(|etag| opaque(etag.as_bytes()) == opaque(tag))
    }
}

/// The tags of a list, with their quotes. A comma inside of quotes ends none.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut quoted = false;
        let end = self.0.iter().position(|&byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        if self.0.is_empty() {
            return None;
        }
        let (tag, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &b""[..]),
        };
        self.0 = rest;
        Some(trim(tag))
    }
}

fn date(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.ok().map(|since: Duration| since.as_secs())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MODIFIED: u64 = 784_111_777;
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn file(etag: &str) -> Validators<'_> {
        Validators {
            etag: Some(etag),
            modified: Some(MODIFIED),
            now: MODIFIED + 10,
        }
    }

    fn wanted<'a>(fields: &[(&'a str, &'a str)]) -> Wanted<'a> {
        Wanted::read(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_the_rfc() {
        use Verdict::{Failed, NotModified, Send};
        let (m, n) = ("If-Match", "If-None-Match");
        let (s, u) = ("If-Modified-Since", "If-Unmodified-Since");
        for (fields, expected) in [
            (&[][..], Send),
            (&[(n, "\"a\"")], NotModified),
            (&[(n, "W/\"a\"")], NotModified),
            (&[(n, "\"b\", \"a\"")], NotModified),
            (&[(n, "\"x,\", \"a\"")], NotModified),
            (&[(n, "\"b\""), (n, "\"a\"")], NotModified),
            (&[(n, "*")], NotModified),
            (&[(n, "\"b\"")], Send),
            (&[(n, "a")], Send),
            (&[(n, "")], Send),
            (&[(s, SAME)], NotModified),
            (&[(s, AFTER)], NotModified),
            (&[(s, BEFORE)], Send),
            (&[(s, "yesterday")], Send),
            // The tag knows better than the date.
            (&[(n, "\"b\""), (s, SAME)], Send),
            (&[(n, "\"a\""), (s, BEFORE)], NotModified),
            (&[(m, "\"a\"")], Send),
            (&[(m, "*")], Send),
            (&[(m, "\"b\", \"a\"")], Send),
            (&[(m, "\"b\"")], Failed),
            (&[(m, "W/\"a\"")], Failed),
            (&[(u, SAME)], Send),
            (&[(u, AFTER)], Send),
            (&[(u, BEFORE)], Failed),
            (&[(u, "yesterday")], Send),
            (&[(m, "\"a\""), (u, BEFORE)], Send),
            (&[(m, "\"b\""), (u, SAME)], Failed),
            (&[(m, "\"b\""), (n, "\"a\"")], Failed),
            (&[(m, "\"a\""), (n, "\"a\"")], NotModified),
            (&[(u, SAME), (s, SAME)], NotModified),
        ] {
            assert_eq!(file("\"a\"").judge(&wanted(fields)), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_has_no_tag_is_there_all_the_same() {
        use Verdict::{Failed, NotModified, Send};
        let page = Validators {
            etag: None,
            modified: None,
            now: MODIFIED,
        };
        for (name, value, expected) in [
            ("If-None-Match", "*", NotModified),
            ("If-None-Match", "\"a\", *", NotModified),
            ("If-None-Match", "\"\"", Send),
            ("If-None-Match", "", Send),
            ("If-None-Match", ",", Send),
            ("If-Match", "*", Send),
            ("If-Match", "\"a\"", Failed),
            ("If-Match", ",", Failed),
            ("If-Modified-Since", AFTER, Send),
            ("If-Unmodified-Since", BEFORE, Send),
        ] {
            let verdict = page.judge(&wanted(&[(name, value)]));
            assert_eq!(verdict, expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_weak_tag_saves_a_transfer_and_no_more() {
        let judge = |name, value| file("W/\"a\"").judge(&wanted(&[(name, value)]));
        assert_eq!(judge("If-None-Match", "W/\"a\""), Verdict::NotModified);
        assert_eq!(judge("If-Match", "W/\"a\""), Verdict::Failed);
        assert!(!file("W/\"a\"").range_holds(Some(b"W/\"a\"")));
    }

    #[test]
    fn ranges_are_sent_of_the_same_state_alone() {
        for (value, expected) in [
            ("\"a\"", true),
            ("\"b\"", false),
            ("W/\"a\"", false),
            ("a", false),
            ("\"a\", \"b\"", false),
            (SAME, true),
            (BEFORE, false),
            (AFTER, false),
        ] {
            let holds = file("\"a\"").range_holds(Some(value.as_bytes()));
            assert_eq!(holds, expected, "{value}");
        }
        assert!(file("\"a\"").range_holds(None));
    }

    #[test]
    fn a_date_of_this_second_is_no_proof() {
        let mut file = file("\"a\"");
        file.now = MODIFIED;
        assert!(!file.range_holds(Some(SAME.as_bytes())));
        file.modified = None;
        assert!(!file.range_holds(Some(SAME.as_bytes())));
        let since = wanted(&[("If-Modified-Since", SAME)]);
        assert_eq!(file.judge(&since), Verdict::Send);
    }
}
