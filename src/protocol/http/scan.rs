//! Finds the end of a head, line by line, and what it says about the body.
//!
//! Looks at each line once, however often it is called with more bytes, and at
//! the inside of those lines alone that say how long the body is. The rest is
//! for the server, which reads the whole head and refuses what is no HTTP: what
//! both would read differently, one of them refuses.

use memchr::memchr;

use super::Limits;
use super::refusal::Bad;
use super::upgrade;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    /// So many bytes; without a body, none.
    Fixed(usize),
    /// Chunks, the last of which is empty.
    Chunked,
}

/// A whole head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct HeadEnd {
    /// Its length in bytes.
    pub(super) at: usize,
    pub(super) length: Length,
    /// Its client wants to speak something else behind it.
    pub(super) upgrades: bool,
}

/// How far a head was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadScan {
    /// Where the first line begins that has not been seen whole.
    at: usize,
    fields: usize,
    /// The minor version, once the request line was seen.
    minor: Option<u8>,
    /// A body always comes with this method.
    has_body: bool,
    length: Option<usize>,
    chunked: bool,
    upgrades: bool,
}

impl HeadScan {
    /// Looks at `bytes`, which begin with the head; `None`: more are needed.
    pub(super) fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<HeadEnd>, Bad> {
        loop {
            let rest = &bytes[self.at..];
            if self.minor.is_none() && !rest.is_empty() {
                begins_well(rest)?;
            }
            let Some(len) = memchr(b'\n', rest) else {
                self.within(bytes.len(), rest.len(), limits)?;
                return Ok(None);
            };
            let line = &rest[..=len];
            self.at += line.len();
            self.within(self.at, line.len(), limits)?;
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(Bad::Syntax("a line that ends in a bare LF"));
            };
            if self.minor.is_none() {
                // Empty lines before a request are skipped (RFC 9112, 2.2).
                if !line.is_empty() {
                    self.request_line(line)?;
                }
            } else if line.is_empty() {
                return self.end().map(Some);
            } else {
                self.field(line, limits)?;
            }
        }
    }

    /// Whether a line that ends at `end` is still within the limits.
    fn within(&self, end: usize, line: usize, limits: &Limits) -> Result<(), Bad> {
        if self.minor.is_none() && line > limits.line {
            return Err(Bad::LineTooLong);
        }
        if end > limits.head {
            return Err(Bad::HeadTooLong);
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Bad> {
        let Some((rest, version)) = line.split_last_chunk::<8>() else {
            return Err(Bad::Syntax("a first line that is no request"));
        };
        self.minor = match version {
            [
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'1',
                b'.',
                minor @ b'0'..=b'9',
            ] => Some(minor - b'0'),
            b"HTTP/2.0" if rest == b"PRI * " => return Err(Bad::Http2),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Bad::Version);
            }
            _ => return Err(Bad::Syntax("a first line that is no request")),
        };
        self.has_body = [&b"POST "[..], b"PUT ", b"PATCH "]
            .iter()
            .any(|method| rest.starts_with(method));
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Bad> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Bad::TooManyFields);
        }
        match line[0] {
            b' ' | b'\t' => Err(Bad::Syntax("a field that is folded over two lines")),
            b'c' | b'C' => match value_of(line, b"content-length") {
                Some(value) => self.content_length(value),
                None => Ok(()),
            },
            b't' | b'T' => match value_of(line, b"transfer-encoding") {
                Some(value) => self.transfer_encoding(value),
                None => Ok(()),
            },
            b'u' | b'U' => {
                let value = value_of(line, b"upgrade");
                self.upgrades |= value.is_some_and(upgrade::is_wanted);
                Ok(())
            }
            b'e' | b'E' => match value_of(line, b"expect") {
                Some(value) => self.expectation(value),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A client of HTTP/1.0 that expects something expects it from a later
    /// server than us (RFC 9110, 10.1.1).
    fn expectation(&self, value: &[u8]) -> Result<(), Bad> {
        let is_known = value.is_empty() || value.eq_ignore_ascii_case(b"100-continue");
        if is_known || self.minor == Some(0) {
            Ok(())
        } else {
            Err(Bad::Expectation)
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Bad> {
        if self.length.is_some() {
            return Err(Bad::Syntax("two fields Content-Length"));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Bad::Syntax("a Content-Length that is no number"));
        }
        let digits = |sum: Option<usize>, digit: &u8| {
            sum?.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
        };
        // More than can be counted is more than any limit.
        self.length = Some(value.iter().fold(Some(0), digits).unwrap_or(usize::MAX));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Bad> {
        if self.chunked {
            return Err(Bad::Syntax("two fields Transfer-Encoding"));
        }
        if self.minor == Some(0) {
            return Err(Bad::Syntax("Transfer-Encoding in HTTP/1.0"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            // Where chunks are not outermost, and once, nobody can tell where the
            // body ends (RFC 9112, 6.3 and 7.1).
            let mut codings = value.rsplit(|&byte| byte == b',').map(trim);
            let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
            let ends = codings.next().is_some_and(is_chunked);
            return Err(if ends && !codings.any(is_chunked) {
                Bad::Coding
            } else {
                Bad::Syntax("a Transfer-Encoding that does not end in chunks")
            });
        }
        self.chunked = true;
        Ok(())
    }

    fn end(&self) -> Result<HeadEnd, Bad> {
        let length = match (self.length, self.chunked) {
            (Some(_), true) => {
                return Err(Bad::Syntax("Content-Length beside Transfer-Encoding"));
            }
            (None, true) => Length::Chunked,
            (Some(length), false) => Length::Fixed(length),
            (None, false) if self.has_body && self.minor == Some(0) => return Err(Bad::NoLength),
            (None, false) => Length::Fixed(0),
        };
        Ok(HeadEnd {
            at: self.at,
            length,
            upgrades: self.upgrades && self.minor > Some(0) && length == Length::Fixed(0),
        })
    }
}

/// Whether a request may begin so: with a method, or with an empty line. Asked
/// of the first bytes at once: whoever speaks something else may send no line.
fn begins_well(bytes: &[u8]) -> Result<(), Bad> {
    match bytes {
        [0x16, ..] => Err(Bad::Tls),
        [b'\r'] | [b'\r', b'\n', ..] => Ok(()),
        [byte, ..] if is_token(*byte) => Ok(()),
        _ => Err(Bad::Syntax("first bytes that are no request")),
    }
}

/// Characters of methods and field names (RFC 9110, 5.6.2).
pub(in crate::protocol) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// The value of a field, if `line` is the one called `name` (in lower case).
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| trim(value))
}

/// Without spaces and tabs at both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
