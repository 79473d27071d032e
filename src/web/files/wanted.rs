//! What a request says about the file that it wants. Pure.

/// The fields of a request that decide what of a file is sent; borrowed from it.
/// A field that may have one value alone counts the first time.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) range: Option<&'a [u8]>,
    pub(super) if_range: Option<&'a [u8]>,
    pub(super) if_match: Vec<&'a [u8]>,
    pub(super) if_none_match: Vec<&'a [u8]>,
    pub(super) if_modified_since: Option<&'a [u8]>,
    pub(super) if_unmodified_since: Option<&'a [u8]>,
    pub(super) accept_encoding: Vec<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// Collects them: one look at each field.
    pub(super) fn read(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut wanted = Self::default();
        for (name, value) in fields {
            let once = match name.len() {
                5 if name.eq_ignore_ascii_case("range") => &mut wanted.range,
                8 if name.eq_ignore_ascii_case("if-range") => &mut wanted.if_range,
                8 if name.eq_ignore_ascii_case("if-match") => {
                    wanted.if_match.push(value);
                    continue;
                }
                13 if name.eq_ignore_ascii_case("if-none-match") => {
                    wanted.if_none_match.push(value);
                    continue;
                }
                15 if name.eq_ignore_ascii_case("accept-encoding") => {
                    wanted.accept_encoding.push(value);
                    continue;
                }
                17 if name.eq_ignore_ascii_case("if-modified-since") => {
                    &mut wanted.if_modified_since
                }
                19 if name.eq_ignore_ascii_case("if-unmodified-since") => {
                    &mut wanted.if_unmodified_since
                }
                _ => continue,
            };
            once.get_or_insert(trim(value));
        }
        wanted
    }
}

/// Without the spaces and tabs at both ends.
pub(super) const fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_whatever_their_case() {
        let wanted = Wanted::read(
            [
                ("RANGE", &b" bytes=0- "[..]),
                ("Range", b"bytes=1-"),
                ("if-range", b"\"a\""),
                ("If-Match", b"\"b\""),
                ("If-Match", b"\"c\""),
                ("IF-NONE-MATCH", b"*"),
                ("If-Modified-Since", b"x"),
                ("If-Unmodified-Since", b"y"),
                ("Accept-Encoding", b"gzip"),
                ("Host", b"h"),
            ]
            .into_iter(),
        );
        assert_eq!(wanted.range, Some(&b"bytes=0-"[..]));
        assert_eq!(wanted.if_range, Some(&b"\"a\""[..]));
        assert_eq!(wanted.if_match, [b"\"b\"", b"\"c\""]);
        assert_eq!(wanted.if_none_match, [b"*"]);
        assert_eq!(wanted.if_modified_since, Some(&b"x"[..]));
        assert_eq!(wanted.if_unmodified_since, Some(&b"y"[..]));
        assert_eq!(wanted.accept_encoding, [b"gzip"]);
    }

    #[test]
    fn only_the_ends_are_trimmed() {
        for (value, expected) in [(" \ta b\t ", "a b"), ("", ""), ("  ", ""), ("a", "a")] {
            assert_eq!(trim(value.as_bytes()), expected.as_bytes());
        }
    }
}
