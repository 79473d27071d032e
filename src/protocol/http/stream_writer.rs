//! A response whose head is written: what its source gives, as chunks.
//!
//! ```text
//!   size in hex CRLF data CRLF ... 0 CRLF [trailers] CRLF
//! ```

use super::scan::is_token;
use super::sending::Sending;
use super::source::{ChunkBuf, Fill, Stream};
use crate::protocol::Turn;

/// Bytes around the data of a round: the line of a chunk, its end, the last
/// chunk.
const AROUND: usize = 32;

/// Trailers that would say how the message is framed or routed (RFC 9110,
/// 6.5.1).
const NO_TRAILERS: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
];

/// How the end of the content is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    Chunks,
    /// By the end of the connection.
    Close,
}

/// A response whose head is written and whose content is not.
#[derive(Debug)]
pub(super) struct StreamWriter {
    stream: Stream,
    framing: Framing,
    /// The connection goes on behind it.
    pub(super) keeps: bool,
    /// Its source has nothing now.
    pub(super) waits: bool,
    /// Its line in the access log, if it will have one.
    pub(super) sending: Option<Box<Sending>>,
}

impl StreamWriter {
    pub(super) const fn new(stream: Stream, framing: Framing, keeps: bool) -> Self {
        Self {
            stream,
            framing,
            keeps,
            waits: false,
            sending: None,
        }
    }

    /// Writes what the source has, and the end behind the last of it.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>) -> Fill {
        let left = turn.room.saturating_sub(turn.out.pending());
        let left = left.saturating_sub(AROUND).max(1);
        let bytes = &mut turn.out.bytes;
        let begin = bytes.len();
        // As many digits as any size may need that there is room for.
        let digits = left.ilog2() as usize / 4 + 1;
        let line = match self.framing {
            Framing::Chunks => digits + 2,
            Framing::Close => 0,
        };
        bytes.resize(begin + line, b'\n');
        let fill = turn
            .app
            .fill(&mut self.stream, &mut ChunkBuf::new(bytes, left));
        let bytes = &mut turn.out.bytes;
        let came = bytes.len() - begin - line;
        if self.framing == Framing::Chunks {
            if came == 0 {
                bytes.truncate(begin);
            } else {
                // A chunk that is shorter than it might be moves forward.
                let size = format!("{came:x}\r\n");
                bytes.copy_within(begin + line.., begin + size.len());
                bytes.truncate(begin + size.len() + came);
                bytes[begin..begin + size.len()].copy_from_slice(size.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            if fill == Fill::End {
                self.end(bytes);
            }
        }
        if let Some(sending) = &mut self.sending {
            sending.bytes += (turn.out.bytes.len() - begin) as u64;
        }
        self.waits = fill == Fill::Wait;
        fill
    }

    /// The worker will end soon.
    pub(super) fn leave(&mut self) {
        self.stream.leave();
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(b"0\r\n");
        for (name, value) in self.stream.trailers() {
            let ours = NO_TRAILERS
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours));
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            if is_name && !ours && !value.bytes().any(|byte| byte.is_ascii_control()) {
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(b": ");
                bytes.extend_from_slice(value.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes.extend_from_slice(b"\r\n");
    }
}
