//! What is answered, and how it goes over the wire.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Served;
use super::date::http_date;
use super::source::Stream;
use super::streaming::{Framing, Streaming};
use crate::protocol::{Answer, Error, FilePart, Media, Out};

/// What is answered to one request. Empty at first: a handler that sets nothing
/// and answers nothing has answered 204.
#[derive(Debug, Default)]
pub struct Response {
    /// 200 to 599; `None`: what fits the content, 200 or 204.
    pub status: Option<u16>,
    /// Close the connection behind this response.
    pub close: bool,
    /// What is sent.
    pub content: Content,
    /// Encoded fields, each with its line end.
    fields: Vec<u8>,
    /// `Content-Type` is among the fields.
    typed: bool,
    /// The request's name, which is among the fields.
    request_id: Option<Box<str>>,
}

/// The content of a response.
#[derive(Debug, Default)]
pub enum Content {
    /// Nothing.
    #[default]
    None,
    /// These bytes.
    Bytes(Bytes, Media),
    /// This part of a file. It goes from the disk's cache to the socket and
    /// never into memory, however long it is. If the file turns out to be
    /// shorter, the connection is closed: its client has been told a length.
    File {
        /// The file.
        file: Arc<File>,
        /// First byte, and the one behind the last.
        range: Range<u64>,
    },
    /// These, in order: several ranges of a file, for example.
    Pieces(Vec<Piece>),
    /// What a source gives while it is sent.
    Stream(Stream),
}

/// A piece of a [`Content::Pieces`].
#[derive(Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// This part of a file, as [`Content::File`].
    File {
        /// The file.
        file: Arc<File>,
        /// First byte, and the one behind the last.
        range: Range<u64>,
    },
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }

    fn write(self, out: &mut Out<'_>) {
        match self {
            Self::Bytes(bytes) => out.bytes.extend_from_slice(&bytes),
            Self::File { file, range } => out.file(FilePart { file, range }),
        }
    }
}

/// Files and streams are never equal: nobody knows what is in them.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bytes(own, media), Self::Bytes(others, as_media)) => {
                own == others && media == as_media
            }
            (
                Self::None
                | Self::Bytes(..)
                | Self::File { .. }
                | Self::Pieces(_)
                | Self::Stream(_),
                _,
            ) => false,
        }
    }
}

impl Content {
    /// Bytes of it; `None` when only its end will tell.
    pub(super) fn len(&self) -> Option<u64> {
        Some(match self {
            Self::None => 0,
            Self::Bytes(bytes, _) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
            Self::Pieces(pieces) => pieces.iter().map(Piece::len).sum(),
            Self::Stream(_) => return None,
        })
    }

    /// What it is, if a field does not say it.
    const fn media(&self) -> Option<Media> {
        match self {
            Self::None => None,
            Self::Bytes(_, media) => Some(*media),
            Self::File { .. } | Self::Pieces(_) => Some(Media::Bytes),
            Self::Stream(stream) => Some(stream.kind()),
        }
    }
}

/// What of the request its response must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    /// `HEAD`: the content is not sent.
    pub(super) head: bool,
    pub(super) minor: u8,
    pub(super) keeps: bool,
    /// When it was looked at first, if answers are recorded.
    pub(super) since: u64,
}

/// What of a response is written.
#[derive(Debug)]
pub(super) enum Written {
    /// All of it; the connection goes on, or not.
    Whole { keeps: bool },
    /// Its head: the content follows, bit by bit.
    Head(Streaming),
}

impl Response {
    /// Adds a field. One whose name or value cannot be sent is left out, and
    /// false returned: a line break in it would begin a response of its own.
    pub fn field(&mut self, name: &str, value: &[u8]) -> bool {
        let is_name = !name.is_empty() && name.bytes().all(super::scan::is_token);
        let is_value = value
            .iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        if !is_name || !is_value {
            return false;
        }
        self.typed |= name.eq_ignore_ascii_case("content-type");
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.extend_from_slice(b": ");
        self.fields.extend_from_slice(value);
        self.fields.extend_from_slice(b"\r\n");
        true
    }

    /// Adds fields that are encoded already, each with its line end. `typed`:
    /// `Content-Type` is among them.
    pub(crate) fn encoded(&mut self, fields: &[&[u8]], typed: bool) {
        self.typed |= typed;
        self.fields
            .reserve(fields.iter().map(|fields| fields.len()).sum());
        for fields in fields {
            self.fields.extend_from_slice(fields);
        }
    }

    /// Gives the request a name, and says it in the response.
    pub fn identify(&mut self, id: Box<str>) {
        // One allocation instead of three.
        self.fields.reserve(64 + id.len());
        self.field("X-Request-Id", id.as_bytes());
        self.request_id = Some(id);
    }

    /// The request's name, if it has one yet.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Takes the request's name, which is still said in the response.
    pub(super) fn take_request_id(&mut self) -> Option<Box<str>> {
        self.request_id.take()
    }

    /// As new, but for the request's name.
    pub fn restart(&mut self) {
        let id = self.request_id.take();
        *self = Self::default();
        if let Some(id) = id {
            self.identify(id);
        }
    }

    /// Whether a field of this name was added.
    #[must_use]
    pub fn has_field(&self, name: &str) -> bool {
        self.fields.split(|&byte| byte == b'\n').any(|line| {
            line.split_at_checked(name.len())
                .is_some_and(|(found, rest)| {
                    found.eq_ignore_ascii_case(name.as_bytes()) && rest.starts_with(b":")
                })
        })
    }

    /// Takes what a handler returned.
    pub fn take(&mut self, answer: Answer) -> Served {
        match answer {
            Answer::None => {}
            Answer::Reply { body, media, .. } => self.content = Content::Bytes(body, media),
            Answer::Content(content) => self.content = *content,
            Answer::Error(error) => self.error(&error),
            Answer::Later(token) => return Served::Later(token),
        }
        Served::Done
    }

    /// Answers an error: its code is the status if it can be one, and 500
    /// otherwise; its text is the content.
    pub fn error(&mut self, error: &Error) {
        let is_status = (400..600).contains(&error.code);
        self.status = Some(if is_status { error.code } else { 500 });
        let mut text = error.text.clone();
        text.push('\n');
        self.content = Content::Bytes(text.into(), Media::Text);
    }

    /// The status that will be sent.
    #[must_use]
    pub const fn sent_status(&self) -> u16 {
        match (self.status, &self.content) {
            (Some(status), _) => status,
            (None, Content::None) => 204,
            (None, _) => 200,
        }
    }

    /// Writes the response, of a stream the head alone; tells how the connection
    /// goes on.
    pub(super) fn write(self, asked: Asked, seconds: u64, out: &mut Out<'_>) -> Written {
        let length = self.content.len();
        let framing = match asked.minor {
            0 => Framing::Close,
            _ => Framing::Chunks,
        };
        let is_told = length.is_some() || framing == Framing::Chunks;
        let keeps = asked.keeps && !self.close && (is_told || asked.head);
        let status = self.sent_status();
        // These two never have content (RFC 9110, 15.3.5 and 15.4.5).
        let bare = matches!(status, 204 | 304);
        let bytes = &mut out.bytes;
        self.write_head(status, seconds, bytes);
        match length {
            _ if bare => {}
            Some(length) => {
                bytes.extend_from_slice(b"Content-Length: ");
                decimal(length, bytes);
                bytes.extend_from_slice(b"\r\n");
            }
            None if framing == Framing::Chunks => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            None => {}
        }
        match (keeps, asked.minor) {
            (false, _) => bytes.extend_from_slice(b"Connection: close\r\n"),
            (true, 0) => bytes.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, _) => {}
        }
        bytes.extend_from_slice(b"\r\n");
        if asked.head || bare {
            return Written::Whole { keeps };
        }
        match self.content.write(out) {
            None => Written::Whole { keeps },
            Some(stream) => Written::Head(Streaming::new(stream, framing, keeps)),
        }
    }

    fn write_head(&self, status: u16, seconds: u64, bytes: &mut Vec<u8>) {
        if status == 200 {
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
        } else {
            bytes.extend_from_slice(b"HTTP/1.1 ");
            decimal(u64::from(status), bytes);
            bytes.push(b' ');
            bytes.extend_from_slice(reason(status).as_bytes());
            bytes.extend_from_slice(b"\r\nDate: ");
        }
        bytes.extend_from_slice(&http_date(seconds));
        bytes.extend_from_slice(b"\r\n");
        if let Some(media) = self.content.media()
            && !self.typed
        {
            bytes.extend_from_slice(b"Content-Type: ");
            bytes.extend_from_slice(media.name().as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(&self.fields);
    }
}

impl Content {
    /// Writes it; gives a stream back.
    fn write(self, out: &mut Out<'_>) -> Option<Stream> {
        match self {
            Self::None => {}
            Self::Stream(stream) => return Some(stream),
            Self::Bytes(body, _) => out.bytes.extend_from_slice(&body),
            Self::File { file, range } => out.file(FilePart { file, range }),
            Self::Pieces(pieces) => pieces.into_iter().for_each(|piece| piece.write(out)),
        }
        None
    }
}

/// Appends a number in decimal.
fn decimal(mut number: u64, bytes: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("below ten");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&digits[at..]);
}

/// What a status says in words (RFC 9110, 15); empty for others.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut bytes = Vec::new();
            decimal(number, &mut bytes);
            assert_eq!(bytes, number.to_string().as_bytes());
        }
    }

    #[test]
    fn fields_cannot_end_their_line() {
        let mut response = Response::default();
        for (name, value) in [
            ("", &b"x"[..]),
            ("a b", b"x"),
            ("a:", b"x"),
            ("a\r\nb", b"x"),
            ("a", b"x\r\ny: z"),
            ("a", b"x\ny"),
            ("a", b"\0"),
        ] {
            assert!(!response.field(name, value), "{name:?} {value:?}");
        }
        assert!(response.fields.is_empty());
        assert!(response.field("A-b", b"x y"));
        assert!(response.has_field("a-B") && !response.has_field("A"));
    }
}
