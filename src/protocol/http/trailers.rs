//! Fields behind a chunked body. Pure.
//!
//! Invariant: what would say how a message is framed or whom it is for is never
//! among them, nor what would say who asks: such a field counts in a head, where
//! it can be acted on before the body, and in no other place (RFC 9110, 6.5.1).

use super::refusal::Bad;
use super::scan::{is_token, trim};

/// Whoever sends one of these behind a body wants somebody to frame or route the
/// message in another way than we do: refused.
const REFUSED: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// Fields that mean something in a head alone; not shown to handlers.
const NOT_SHOWN: [&str; 18] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "proxy-authorization",
    "range",
    "te",
    "trailer",
];

/// Fields that came behind the body of a request.
#[derive(Clone, Copy, Debug)]
pub struct Trailers<'a>(pub(super) &'a [u8]);

impl<'a> Trailers<'a> {
    /// None came.
    pub const NONE: Self = Self(&[]);

    /// The value of the first field called `name`, whatever its case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.0.split(|&byte| byte == b'\n').filter_map(|line| {
            let (name, value) = split(line)?;
            // A token is ASCII.
            Some((std::str::from_utf8(name).ok()?, value))
        })
    }
}

/// Name and value of a line that is a field.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = line.iter().take_while(|&&byte| is_token(byte)).count();
    let (name, value) = line.split_at(name);
    Some((name, trim(value.strip_prefix(b":")?)))
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    let is = |one: &&str| one.as_bytes().eq_ignore_ascii_case(name);
    names.iter().any(is)
}

/// Whether `line` can be a field behind a body.
///
/// # Errors
///
/// It cannot: the peer is broken or hostile.
pub(super) fn check(line: &[u8]) -> Result<(), Bad> {
    let is_text = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    match split(line) {
        Some((name, _)) if is_one_of(name, &REFUSED) => {
            Err(Bad::Syntax("a trailer that belongs into the head"))
        }
        Some((name, value)) if !name.is_empty() && value.iter().all(is_text) => Ok(()),
        Some(_) | None => Err(Bad::Syntax("a trailer that is no field")),
    }
}

/// Keeps a line that was checked behind `lines`, if handlers may see it.
pub(super) fn keep(line: &[u8], lines: &mut Vec<u8>) {
    if split(line).is_some_and(|(name, _)| !is_one_of(name, &NOT_SHOWN)) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn lines_are_fields_or_refused() {
        for (line, is_field) in [
            ("a: b", true),
            ("a:", true),
            ("X-Sum:\t7 ", true),
            ("authorization: x", true),
            ("a b: c", false),
            ("a : c", false),
            (" a: c", false),
            (": c", false),
            ("a", false),
            ("a: b\rc", false),
            ("a: \0", false),
            ("a: \x7f", false),
            ("Content-Length: 5", false),
            ("transfer-encoding: chunked", false),
            ("HOST: x", false),
        ] {
            assert_eq!(check(line.as_bytes()).is_ok(), is_field, "{line:?}");
        }
    }

    #[test]
    fn handlers_see_what_may_come_behind_a_body() {
        let mut lines = Vec::new();
        for line in ["X-Sum:  7 ", "Cookie: a=b", "x-sum: 8", "Empty:"] {
            keep(line.as_bytes(), &mut lines);
        }
        let trailers = Trailers(&lines);
        let seen: Vec<_> = trailers.iter().collect();
        assert_eq!(
            seen,
            [("X-Sum", &b"7"[..]), ("x-sum", b"8"), ("Empty", b"")]
        );
        assert_eq!(trailers.find("X-SUM"), Some(&b"7"[..]));
        assert_eq!(trailers.find("cookie"), None);
        assert_eq!(Trailers::NONE.iter().count(), 0);
    }
}
