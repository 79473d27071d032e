//! Reads replies of HTTP/1.1 and 1.0 as they come, one after the other: heads
//! are parsed, bodies counted and forgotten. Pure.
//!
//! Invariant: how the kernel cuts the stream changes nothing, and whatever the
//! server sends, no more than a head or a line has to be kept.

use std::mem::{MaybeUninit, take};

use httparse::{ParserConfig, Response, Status};
use memchr::memchr;

/// Longest head.
const HEAD_MAX: usize = 64 * 1024;

/// Longest line between chunks, and of trailers.
const LINE_MAX: usize = 4096;

/// Most fields of a head.
const FIELDS_MAX: usize = 128;

/// Bytes of an unreadable reply that are shown.
const SHOWN: usize = 40;

/// How far a reply was read.
#[derive(Debug, Default)]
pub(in crate::stress) struct Reply {
    phase: Phase,
    whole: Whole,
    /// Bytes of the body so far.
    body: u64,
}

/// A reply of which everything came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Whole {
    pub(super) status: u16,
    /// It is the last one of its connection.
    pub(super) closes: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    #[default]
    Head,
    /// So many bytes.
    Fixed(u64),
    /// Whatever comes before the connection ends.
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Whole,
}

impl Reply {
    /// Reads on in `bytes`, which begin where the last call stopped; returns how
    /// many were used, and whether the reply is whole. `to_head`: the request
    /// was one for a head alone.
    ///
    /// # Errors
    ///
    /// This is no reply; in words.
    pub(super) fn read(&mut self, bytes: &[u8], to_head: bool) -> Result<(usize, bool), String> {
        let mut used = 0;
        loop {
            let before = self.phase;
            let count = self.step(&bytes[used..], to_head)?;
            used += count;
            if self.phase == Phase::Whole {
                return Ok((used, true));
            }
            if count == 0 && self.phase == before {
                return Ok((used, false));
            }
        }
    }

    /// Takes the reply that is whole; the next one begins.
    pub(super) fn take(&mut self) -> Whole {
        take(self).whole
    }

    /// Whether the end of the connection makes this reply whole.
    pub(super) fn ends_here(&self) -> bool {
        self.phase == Phase::UntilClose
    }

    /// Bytes of the body so far, once there is one.
    pub(super) fn body(&self) -> Option<u64> {
        (self.phase != Phase::Head).then_some(self.body)
    }

    fn step(&mut self, bytes: &[u8], to_head: bool) -> Result<usize, String> {
        match self.phase {
            Phase::Whole => Ok(0),
            _ if bytes.is_empty() => Ok(0),
            Phase::Head => self.head(bytes, to_head),
            Phase::Fixed(left) => {
                let count = self.count(bytes, left);
                self.phase = match left - count as u64 {
                    0 => Phase::Whole,
                    left => Phase::Fixed(left),
                };
                Ok(count)
            }
            Phase::UntilClose => Ok(self.count(bytes, u64::MAX)),
            Phase::ChunkSize => {
                let Some(line) = line(bytes)? else {
                    return Ok(0);
                };
                self.phase = match chunk_size(line)? {
                    0 => Phase::Trailers,
                    size => Phase::Chunk(size),
                };
                Ok(line.len() + 2)
            }
            Phase::Chunk(left) => {
                let count = self.count(bytes, left);
                self.phase = match left - count as u64 {
                    0 => Phase::ChunkEnd,
                    left => Phase::Chunk(left),
                };
                Ok(count)
            }
            Phase::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.phase = Phase::ChunkSize;
                    Ok(2)
                }
                [b'\r'] => Ok(0),
                _ => Err(format!("a chunk that does not end: {}", shown(bytes))),
            },
            Phase::Trailers => {
                let Some(line) = line(bytes)? else {
                    return Ok(0);
                };
                if line.is_empty() {
                    self.phase = Phase::Whole;
                }
                Ok(line.len() + 2)
            }
        }
    }

    /// Counts bytes of the body, `most` at most.
    fn count(&mut self, bytes: &[u8], most: u64) -> usize {
        let count = usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len()));
        self.body += count as u64;
        count
    }

    fn head(&mut self, bytes: &[u8], to_head: bool) -> Result<usize, String> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut head = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut head,
            bytes,
            &mut fields,
        );
        let len = match parsed {
            Ok(Status::Complete(len)) if len <= HEAD_MAX => len,
            Ok(Status::Partial) if bytes.len() <= HEAD_MAX => return Ok(0),
            Ok(_) => return Err(format!("a head of more than {HEAD_MAX} bytes")),
            Err(error) => return Err(format!("no reply of HTTP ({error}): {}", shown(bytes))),
        };
        let status = head.code.unwrap_or_default();
        match status {
            101 => return Err("status 101: another protocol, for which nobody asked".into()),
            // Others of its kind come before the reply.
            0..200 => return Ok(len),
            _ => {}
        }
        let bodiless = to_head || status == 204 || status == 304;
        let said = Said::by(&head)?;
        self.phase = match said.length {
            _ if bodiless => Phase::Whole,
            Length::Chunked => Phase::ChunkSize,
            Length::Fixed(0) => Phase::Whole,
            Length::Fixed(length) => Phase::Fixed(length),
            Length::UntilClose => Phase::UntilClose,
        };
        let closes = said.closes || self.phase == Phase::UntilClose;
        self.whole = Whole { status, closes };
        Ok(len)
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy)]
enum Length {
    Fixed(u64),
    Chunked,
    UntilClose,
}

/// What a head says about what follows it.
struct Said {
    length: Length,
    closes: bool,
}

impl Said {
    fn by(head: &Response<'_, '_>) -> Result<Self, String> {
        let mut length = None;
        let mut coding = None;
        // Of what 1.0 has said nothing about, it closes.
        let mut closes = head.version == Some(0);
        for field in &*head.headers {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let found = number(field.value)?;
                if length.is_some_and(|length| length != found) {
                    return Err("two different lengths".into());
                }
                length = Some(found);
            } else if is("transfer-encoding") {
                coding = Some(has_token(field.value, "chunked"));
            } else if is("connection") {
                closes |= has_token(field.value, "close");
                closes &= !has_token(field.value, "keep-alive");
            }
        }
        let length = match (coding, length) {
            (Some(_), Some(_)) => return Err("a length and a transfer coding".into()),
            (Some(true), None) => Length::Chunked,
            (None, Some(length)) => Length::Fixed(length),
            (Some(false) | None, None) => Length::UntilClose,
        };
        Ok(Self { length, closes })
    }
}

/// Whether the list `value` has this token.
fn has_token(value: &[u8], token: &str) -> bool {
    let mut tokens = value.split(|&byte| byte == b',');
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn number(value: &[u8]) -> Result<u64, String> {
    let text = str::from_utf8(value).ok();
    let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("a length that is no number: {}", shown(value)))
}

/// The line that `bytes` begin with, without its end; `None`: more are needed.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    match memchr(b'\n', bytes) {
        Some(at) if at <= LINE_MAX => match bytes[..at].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(format!("a line without its CR: {}", shown(bytes))),
        },
        None if bytes.len() <= LINE_MAX => Ok(None),
        Some(_) | None => Err(format!("a line of more than {LINE_MAX} bytes")),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, String> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    let text = str::from_utf8(digits).ok();
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| format!("a chunk whose size is no number: {}", shown(line)))
}

/// The first bytes, for people.
fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN { "..." } else { "" };
    format!(
        "\"{}\"{more}",
        bytes[..bytes.len().min(SHOWN)].escape_ascii()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What came of a stream in pieces: status, body and whether it closes, of
    /// each reply.
    fn replies(pieces: &[&[u8]], to_head: bool) -> Result<Vec<(u16, u64, bool)>, String> {
        let (mut reply, mut kept, mut found) = (Reply::default(), Vec::new(), Vec::new());
        for piece in pieces {
            kept.extend_from_slice(piece);
            loop {
                let (used, whole) = reply.read(&kept, to_head)?;
                kept.drain(..used);
                if !whole {
                    break;
                }
                let body = reply.body;
                let whole = reply.take();
                found.push((whole.status, body, whole.closes));
            }
            assert!(kept.len() <= HEAD_MAX);
        }
        if reply.ends_here() {
            let body = reply.body;
            found.push((reply.take().status, body, true));
        }
        Ok(found)
    }

    /// Replies of every kind, and what they are.
    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n\
        5;a=b\r\nhello\r\n1A \r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: x\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n\
        HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx\
        HTTP/1.1 500\r\nConnection: a, close\r\n\r\nuntil it ends";

    const FOUND: [(u16, u64, bool); 7] = [
        (200, 5, false),
        (404, 0, false),
        (200, 31, false),
        (204, 0, false),
        (304, 0, false),
        (200, 1, false),
        (500, 13, true),
    ];

    #[test]
    fn replies_of_every_kind_survive_every_cut() {
        for cut in 0..=STREAM.len() {
            let (one, two) = STREAM.split_at(cut);
            assert_eq!(
                replies(&[one, two], false).as_deref(),
                Ok(&FOUND[..]),
                "{cut}"
            );
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(replies(&bytes, false).as_deref(), Ok(&FOUND[..]));
    }

    #[test]
    fn a_reply_to_head_has_no_body_whatever_it_says() {
        for says in ["Content-Length: 9", "Transfer-Encoding: chunked", "A: b"] {
            let head = format!("HTTP/1.1 200 OK\r\n{says}\r\n\r\n").repeat(2);
            let found = replies(&[head.as_bytes()], true).unwrap();
            assert_eq!(found.len(), 2, "{says}");
        }
    }

    #[test]
    fn a_connection_goes_on_as_version_and_field_say() {
        for (line, field, closes) in [
            ("HTTP/1.1 200 OK", "", false),
            ("HTTP/1.1 200 OK", "Connection: close\r\n", true),
            ("HTTP/1.1 200 OK", "connection: foo,  CLOSE\r\n", true),
            ("HTTP/1.0 200 OK", "", true),
            ("HTTP/1.0 200 OK", "Connection: keep-alive\r\n", false),
        ] {
            let reply = format!("{line}\r\n{field}Content-Length: 0\r\n\r\n");
            let found = replies(&[reply.as_bytes()], false).unwrap();
            assert_eq!(found, [(200, 0, closes)], "{line} {field}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told_why() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let fields = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let cases = [
            ("\0\u{8}\0\u{1}....".to_owned(), "no reply of HTTP"),
            ("SSH-2.0-OpenSSH_9\r\n".to_owned(), "SSH-2.0-OpenSSH_9"),
            ("HTTP/2 200\r\n\r\n".to_owned(), "no reply of HTTP"),
            (fields("Content-Length: -1"), "no number: \"-1\""),
            (fields("Content-Length: "), "no number"),
            (fields("Content-Length: 99999999999999999999"), "no number"),
            (
                fields("Content-Length: 1\r\nContent-Length: 2"),
                "two different",
            ),
            (
                fields("Content-Length: 1\r\nTransfer-Encoding: chunked"),
                "a length and a transfer coding",
            ),
            (
                fields(&format!("A: {}", "b".repeat(HEAD_MAX))),
                "a head of more",
            ),
            (fields(&"A: b\r\n".repeat(200)), "too many headers"),
            (
                "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
                "another protocol",
            ),
            (format!("{chunked}x\r\n"), "size is no number: \"x\""),
            (format!("{chunked}+5\r\n"), "size is no number"),
            (format!("{chunked}\r\n"), "size is no number"),
            (
                format!("{chunked}fffffffffffffffff\r\n"),
                "size is no number",
            ),
            (format!("{chunked}5\n"), "without its CR"),
            (format!("{chunked}1\r\nxx\r\n"), "does not end"),
            (
                format!("{chunked}{}", "0".repeat(5000)),
                "a line of more than",
            ),
        ];
        for (stream, expected) in cases {
            // In pieces: a head that never ends is refused before it is whole.
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(1000).collect();
            let error = replies(&pieces, false).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn what_is_left_open_is_not_whole() {
        for (stream, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Le", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", Some(3)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
                Some(5),
            ),
        ] {
            let mut reply = Reply::default();
            assert!(!reply.read(stream.as_bytes(), false).unwrap().1, "{stream}");
            assert!(!reply.ends_here());
            assert_eq!(reply.body(), body, "{stream}");
        }
    }

    proptest! {
        /// Nothing panics, and the same is found however the bytes are cut.
        #[test]
        fn garbage_is_the_same_in_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            from in 0..STREAM.len(),
            flip in any::<u8>(),
            cuts in 1_usize..50,
        ) {
            let mut broken = STREAM.to_vec();
            broken[from] ^= flip;
            for stream in [&bytes[..], &broken, &[&STREAM[from..], &bytes].concat()] {
                let pieces: Vec<&[u8]> = stream.chunks(cuts).collect();
                let whole = replies(&[stream], false);
                let cut = replies(&pieces, false);
                // Which words a refusal has may depend on what was there.
                prop_assert_eq!(whole.ok(), cut.ok());
            }
        }
    }
}
