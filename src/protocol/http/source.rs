//! Content that comes into being while it is sent.
//!
//! ```text
//!   Source --fill--> ChunkBuf --> out --> peer
//!      ^                                |
//!      +------- asked again when enough is out
//! ```
//!
//! Invariant: nobody asks a source for more than there is room for, so what it
//! holds unsent is bounded by the reader, never by the source.

use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::protocol::Media;

/// What gives the content of a streamed response, bit by bit.
///
/// Runs on business threads, one at a time, and may block for a moment, as a
/// handler may. It is dropped at the end, and as soon as the client is gone.
pub trait Source: Send {
    /// Puts what there is into `room`.
    fn fill(&mut self, room: &mut ChunkBuf<'_>) -> Fill;

    /// Fields behind the content, asked for at its end. Sent only to clients of
    /// HTTP/1.1; those that say how the message is framed are left out.
    fn trailers(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The worker will end soon. A source without an end of its own should come
    /// to one now: its client can come back, to another worker.
    fn leave(&mut self) {}
}

/// What a source came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fill {
    /// It has more, now: ask again when there is room.
    More,
    /// It has nothing now, and wakes the connection when that changes.
    Wait,
    /// That was all.
    End,
    /// It cannot go on: the connection is reset, so that nobody takes a part for
    /// the whole. The reason is for the log.
    Failed(String),
}

/// Where a source puts its bytes.
#[derive(Debug)]
pub struct ChunkBuf<'a> {
    bytes: &'a mut Vec<u8>,
    left: usize,
}

impl<'a> ChunkBuf<'a> {
    /// Behind `bytes`, for `left` more.
    pub(super) const fn new(bytes: &'a mut Vec<u8>, left: usize) -> Self {
        Self { bytes, left }
    }

    /// How many bytes there is room for; at least one when a source is asked.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Takes as much of `bytes` as there is room for; tells how much.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.left);
        self.bytes.extend_from_slice(&bytes[..taken]);
        self.left -= taken;
        taken
    }

    /// Reads once from `reader`, as much as there is room for and a piece of
    /// it at most; tells how much came, 0 at its end.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub fn read(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        let begin = self.bytes.len();
        self.bytes.resize(begin + self.left.min(PIECE), 0);
        let read = reader.read(&mut self.bytes[begin..]);
        let came = read.as_ref().map_or(0, |came| *came);
        self.bytes.truncate(begin + came);
        self.left -= came;
        read
    }
}

/// Bytes asked of a reader at once.
const PIECE: usize = 32 * 1024;

/// Takes what there is room for; full, it takes nothing.
impl Write for ChunkBuf<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.put(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Content that a [`Source`] gives. Over HTTP/1.1 it goes in chunks; over 1.0
/// the connection's end is its end.
pub struct Stream {
    /// `None` only while it is dropped.
    source: Option<Box<dyn Source>>,
    media: Media,
}

impl Stream {
    /// Of this source.
    #[must_use]
    pub fn new(source: impl Source + 'static) -> Self {
        Self {
            source: Some(Box::new(source)),
            media: Media::Bytes,
        }
    }

    /// Says what it is, unless a field `Content-Type` does.
    #[must_use]
    pub fn media(mut self, media: Media) -> Self {
        self.media = media;
        self
    }

    /// What it is.
    pub(super) const fn kind(&self) -> Media {
        self.media
    }

    /// Asks the source.
    pub fn fill(&mut self, room: &mut ChunkBuf<'_>) -> Fill {
        let source = self.source.as_mut();
        source.map_or(Fill::End, |source| source.fill(room))
    }

    pub(super) fn trailers(&mut self) -> Vec<(String, String)> {
        let source = self.source.as_mut();
        source.map_or_else(Vec::new, |source| source.trailers())
    }

    pub(super) fn leave(&mut self) {
        if let Some(source) = &mut self.source {
            source.leave();
        }
    }
}

/// A source is the user's, and may be dropped where no panic may come out.
impl Drop for Stream {
    fn drop(&mut self) {
        let source = self.source.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(source))) {
            ::log::error!("drop the source of a streamed response: panicked");
            // Its own drop might panic again.
            std::mem::forget(payload);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.media.name())
    }
}
