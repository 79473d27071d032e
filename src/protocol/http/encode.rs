//! A response as it goes over the wire.

use std::net::IpAddr;

use super::content::{Content, Piece};
use super::date::http_date;
use super::response::{Response, reason};
use super::source::Stream;
use super::stream_writer::{Framing, StreamWriter};
use crate::protocol::{FilePart, Out, Successor};

/// What of the request its response must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    /// `HEAD`: the content is not sent.
    pub(super) head: bool,
    pub(super) minor: u8,
    pub(super) keeps: bool,
    /// It asks for another protocol behind its answer.
    pub(super) upgrades: bool,
    /// Whom a proxy asks for.
    pub(super) client: Option<IpAddr>,
    /// When it was looked at first, if answers are recorded.
    pub(super) since: u64,
}

/// What of a response is written.
#[derive(Debug)]
pub(super) enum Written {
    /// All of it; the connection goes on, or not.
    Whole { keeps: bool },
    /// All of it; the connection goes on as this.
    Becomes(Successor),
    /// Its head: the content follows, bit by bit.
    Head(StreamWriter),
}

impl Response {
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
        // These never have content (RFC 9110, 15.2, 15.3.5 and 15.4.5).
        let bare = matches!(status, 101 | 204 | 304);
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
        // Only a client that wants a close has said that it asks no more.
        if let Some(successor) = self.becomes
            && keeps
        {
            return Written::Becomes(successor);
        }
        if asked.head || bare {
            return Written::Whole { keeps };
        }
        match self.content.write(out) {
            None => Written::Whole { keeps },
            Some(stream) => Written::Head(StreamWriter::new(stream, framing, keeps)),
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

impl Piece {
    fn write(self, out: &mut Out<'_>) {
        match self {
            Self::Bytes(bytes) => out.bytes.extend_from_slice(&bytes),
            Self::File { file, range } => out.file(FilePart { file, range }),
        }
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
}
