//! A place as the field `Location` says it. Pure.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, utf8_percent_encode};

/// What no URI has as it is (RFC 3986, 2) but some clients send so; percent
/// signs stay, for what is escaped already. Control characters stay as well: no
/// field has them, so that whoever sets one learns it.
const NO_URI: &AsciiSet = &AsciiSet::EMPTY
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// `place` with everything escaped that no URI can have, such as letters beyond
/// ASCII.
pub(super) fn location(place: &str) -> Cow<'_, str> {
    utf8_percent_encode(place, NO_URI).into()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_no_uri_has_is_escaped_once() {
        for (place, expected) in [
            ("/a/b?c=d&e#f", "/a/b?c=d&e#f"),
            ("/ä/", "/%C3%A4/"),
            ("/%C3%A4/", "/%C3%A4/"),
            ("/中?q=中", "/%E4%B8%AD?q=%E4%B8%AD"),
            ("/a b\\c\"<>^`{|}", "/a%20b%5Cc%22%3C%3E%5E%60%7B%7C%7D"),
            (
                "https://[::1]:80/x~!$'()*+,;=:@",
                "https://[::1]:80/x~!$'()*+,;=:@",
            ),
            ("/a\r\nb", "/a\r\nb"),
        ] {
            assert_eq!(location(place), expected, "{place}");
        }
    }
}
