//! A stream whose bytes come from other threads.
//!
//! ```text
//!   StreamSender::send --> queue, bounded --fill--> connection
//!   (any thread)              |                        |
//!                             +------ "look" ----------+
//! ```
//!
//! Invariant: between two looks of the connection it is woken once at most, so
//! a sender that outruns its reader fills the queue and nothing else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::Id;
use crate::dispatch::{Listening, Waker};
use crate::protocol::http::{ChunkBuf, Fill, Source, Stream};
use crate::sys::clock::coarse_millis;
use crate::sys::sync::{Mutex, lock};

/// Bytes that wait for a connection.
const QUEUE: usize = 64 * 1024;

/// Memory that an empty queue may keep.
const KEEP: usize = 4 * 1024;

/// A sign of life for those between us and the client, who cut what is silent.
const BEAT: &[u8] = b":\n\n";

/// Sends into a streamed response, from any thread. The response ends when the
/// last of its senders is dropped.
pub struct StreamSender(Arc<Channel>);

/// Why something was not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsent {
    /// The client reads too slowly: 64 KiB wait for it beside what waits in the
    /// connection. Leave this out, try again, or drop the sender.
    Full,
    /// The client is gone, or the response has ended: drop the sender.
    Gone,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the client reads too slowly",
            Self::Gone => "the client is gone",
        })
    }
}

impl std::error::Error for Unsent {}

struct Channel {
    inner: Mutex<Inner>,
    waker: Waker,
}

struct Inner {
    queue: Vec<u8>,
    /// What was said to the rooms of the stream, and is no bytes of it yet.
    heard: Vec<(Id, Bytes)>,
    /// Bytes of that.
    heard_bytes: usize,
    senders: usize,
    /// The connection was woken and has not looked yet.
    woken: bool,
    gone: bool,
    /// The reader is too slow: what waits is the last of it.
    cut: bool,
}

/// A sender and its stream, which sends a sign of life after each `beat` of
/// silence.
pub(super) fn channel(waker: Waker, beat: Option<Duration>) -> (StreamSender, Stream) {
    let (sender, receiver) = ends(waker, beat);
    (sender, Stream::new(receiver))
}

/// Makes bytes of a message; `None`: it is none of the stream's.
pub(super) type Write = Box<dyn FnMut(Id, &Bytes) -> Option<String> + Send>;

/// As [`channel`], of what is heard in the rooms where `listen` listens, written by
/// `write`, which runs in the stream's turn.
pub(super) fn hearing(
    waker: Waker,
    beat: Duration,
    write: Write,
    listen: impl FnOnce(&StreamSender) -> Vec<Listening>,
) -> Stream {
    let (sender, mut receiver) = ends(waker, Some(beat));
    receiver.write = Some(write);
    receiver.rooms = listen(&sender);
    Stream::new(receiver)
}

fn ends(waker: Waker, beat: Option<Duration>) -> (StreamSender, Receiver) {
    let inner = Inner {
        queue: Vec::new(),
        heard: Vec::new(),
        heard_bytes: 0,
        senders: 1,
        woken: false,
        gone: false,
        cut: false,
    };
    let channel = Arc::new(Channel {
        inner: Mutex::new(inner),
        waker,
    });
    let receiver = Receiver {
        channel: Arc::clone(&channel),
        beat: beat.map(Beat::new),
        leaves: false,
        write: None,
        rooms: Vec::new(),
    };
    (StreamSender(channel), receiver)
}

impl StreamSender {
    /// Sends `bytes` behind what was sent before. Never waits.
    ///
    /// # Errors
    ///
    /// [`Unsent`]; nothing of `bytes` is sent.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Result<(), Unsent> {
        let bytes = bytes.as_ref();
        self.put(bytes.len(), |inner| inner.queue.extend_from_slice(bytes))
    }

    /// As [`Self::send`], of a message whose bytes are written in the stream's turn:
    /// whoever says it runs none of its code.
    pub(super) fn hear(&self, id: Id, body: &Bytes) -> Result<(), Unsent> {
        self.put(body.len(), |inner| {
            inner.heard_bytes += body.len();
            inner.heard.push((id, body.clone()));
        })
    }

    fn put(&self, len: usize, put: impl FnOnce(&mut Inner)) -> Result<(), Unsent> {
        let mut inner = lock(&self.0.inner);
        if inner.gone || inner.cut {
            return Err(Unsent::Gone);
        }
        let waiting = inner.queue.len() + inner.heard_bytes;
        if waiting > 0 && waiting + len > QUEUE {
            return Err(Unsent::Full);
        }
        put(&mut inner);
        let wakes = !std::mem::replace(&mut inner.woken, true);
        drop(inner);
        if wakes {
            self.0.waker.wake();
        }
        Ok(())
    }

    /// Ends the response behind what waits, whoever else may send.
    pub(super) fn cut(&self) {
        lock(&self.0.inner).cut = true;
        self.0.waker.wake();
    }

    /// Whether the client is gone. It may be, and nobody knows: a cable that is
    /// pulled says nothing.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        lock(&self.0.inner).gone
    }
}

impl Clone for StreamSender {
    fn clone(&self) -> Self {
        lock(&self.0.inner).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for StreamSender {
    fn drop(&mut self) {
        let mut inner = lock(&self.0.inner);
        inner.senders -= 1;
        let is_last = inner.senders == 0 && !inner.gone;
        drop(inner);
        if is_last {
            self.0.waker.wake();
        }
    }
}

impl fmt::Debug for StreamSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSender({:?})", self.0.waker)
    }
}

/// The connection's end of a channel.
struct Receiver {
    channel: Arc<Channel>,
    beat: Option<Beat>,
    leaves: bool,
    /// Writes what was heard.
    write: Option<Write>,
    /// Where its senders listen, until it is dropped.
    rooms: Vec<Listening>,
}

impl Receiver {
    /// Makes bytes of what was heard. Without the lock: the program's code runs.
    fn write_heard(&mut self) {
        let Some(write) = &mut self.write else {
            return;
        };
        let heard = {
            let mut inner = lock(&self.channel.inner);
            inner.woken = false;
            inner.heard_bytes = 0;
            std::mem::take(&mut inner.heard)
        };
        let all: String = (heard.iter())
            .filter_map(|(id, body)| write(*id, body))
            .collect();
        lock(&self.channel.inner)
            .queue
            .extend_from_slice(all.as_bytes());
    }
}

impl Source for Receiver {
    fn fill(&mut self, room: &mut ChunkBuf<'_>) -> Fill {
        self.write_heard();
        let mut inner = lock(&self.channel.inner);
        inner.woken = false;
        let put = room.put(&inner.queue);
        inner.queue.drain(..put);
        if !inner.queue.is_empty() || !inner.heard.is_empty() {
            return Fill::More;
        }
        inner.queue.shrink_to(KEEP);
        if inner.senders == 0 || inner.cut || self.leaves {
            return Fill::End;
        }
        drop(inner);
        if let Some(beat) = &mut self.beat {
            beat.keep(put > 0, room, &self.channel.waker);
        }
        Fill::Wait
    }

    /// Events go on with another worker. Anything else has an end of its own,
    /// and a part of it must not pass for the whole.
    fn leave(&mut self) {
        self.leaves = self.beat.is_some();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.rooms.clear();
        let mut inner = lock(&self.channel.inner);
        inner.gone = true;
        inner.queue = Vec::new();
        inner.heard = Vec::new();
    }
}

/// Signs of life. Times are milliseconds of the coarse clock.
struct Beat {
    every: u64,
    /// When something was sent.
    last: u64,
    /// When the connection will be woken; 0: not yet asked for.
    due: u64,
}

impl Beat {
    fn new(every: Duration) -> Self {
        Self {
            every: u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1),
            last: coarse_millis(),
            due: 0,
        }
    }

    /// The connection has looked, and something was sent, or not.
    fn keep(&mut self, spoke: bool, room: &mut ChunkBuf<'_>, waker: &Waker) {
        let now = coarse_millis();
        if spoke {
            self.last = now;
        } else if now >= self.last.saturating_add(self.every) && room.left() >= BEAT.len() {
            room.put(BEAT);
            self.last = now;
        }
        if self.due <= now {
            let due = self.last.saturating_add(self.every);
            // Without room for it, it has to wait as long again.
            self.due = if due > now { due } else { now + self.every };
            waker.wake_after(Duration::from_millis(self.due - now));
        }
    }
}
