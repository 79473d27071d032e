//! One connection, and the bytes that wait for room in the kernel's buffer.
//!
//! ```text
//! caller --> outgoing --(nobody writes: writes itself)--> socket
//!                    \--(the kernel is full: the reader, when there is room)
//! ```
//!
//! Nobody ever blocks in a write, the reader least of all: it must go on
//! reading, or a server that writes before it reads would wait for us for ever.
//! Whoever finds `outgoing` over [`ROOM`] waits for room, or does without.

use std::io::ErrorKind::WouldBlock;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::Why;
use crate::protocol::websocket::client::{self, Masks};
use crate::sys::socket;

/// Bytes that may wait; the message of each caller that goes over it is his last.
const ROOM: usize = 256 << 10;

/// Batches that one caller writes; the rest is the reader's.
const BATCHES: usize = 2;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: OwnedFd,
    outgoing: Mutex<Outgoing>,
    has_room: Condvar,
}

#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// Each message goes in one of a WebSocket.
    masks: Option<Masks>,
    /// So many of them are out.
    done: usize,
    /// Who wait for room.
    waiters: usize,
    /// Somebody writes, and will write what is added meanwhile.
    busy: bool,
    /// The reader goes on, when the kernel has room; it took nothing since then.
    stuck: Option<Instant>,
    /// Nothing goes out any more.
    ended: bool,
}

/// What became of bytes that were given to a link.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Flushed {
    /// The kernel has them, or will get them from whoever writes now.
    Gone,
    /// The kernel is full: the reader has to be told.
    Stuck,
    /// The connection broke.
    Broken(Why),
}

impl Link {
    /// `is_websocket`: messages go in those of one.
    pub(super) fn new(socket: OwnedFd, is_websocket: bool) -> Self {
        let outgoing = Outgoing {
            masks: is_websocket.then(Masks::default),
            ..Outgoing::default()
        };
        Self {
            socket,
            outgoing: Mutex::new(outgoing),
            has_room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing
            .lock()
            .expect("nothing under this lock panics")
    }

    /// Waits until less than [`ROOM`] waits; `false` when it did not come to
    /// that before `deadline`. At an end there is room.
    pub(super) fn wait_for_room(&self, deadline: Instant) -> bool {
        let mut outgoing = self.lock();
        while outgoing.bytes.len() - outgoing.done >= ROOM && !outgoing.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            outgoing.waiters += 1;
            let waited = self.has_room.wait_timeout(outgoing, left);
            outgoing = waited.expect("nothing under this lock panics").0;
            outgoing.waiters -= 1;
        }
        true
    }

    /// Puts a message behind what waits. Writes nothing: see [`Self::flush`].
    pub(super) fn push(&self, message: &[u8]) {
        let mut outgoing = self.lock();
        let Outgoing { bytes, masks, .. } = &mut *outgoing;
        match masks {
            Some(masks) => client::write(message, masks.another(), bytes),
            None => bytes.extend_from_slice(message),
        }
    }

    /// As [`Self::push`], of what goes out as it is.
    pub(super) fn push_plain(&self, bytes: &[u8]) {
        self.lock().bytes.extend_from_slice(bytes);
    }

    /// Writes what waits, unless somebody does, or the kernel is full and this
    /// is not `the_reader`, who knows when it is no more.
    pub(super) fn flush(&self, the_reader: bool) -> Flushed {
        let mut outgoing = self.lock();
        if outgoing.busy || outgoing.ended || (outgoing.stuck.is_some() && !the_reader) {
            return Flushed::Gone;
        }
        outgoing.busy = true;
        let mut flushed = Flushed::Gone;
        let mut batches = 0;
        while !outgoing.bytes.is_empty() && flushed == Flushed::Gone {
            if batches == BATCHES {
                // Others add as fast as this writes: not all of that is this
                // caller's to do.
                flushed = Flushed::Stuck;
                break;
            }
            batches += 1;
            let mut bytes = std::mem::take(&mut outgoing.bytes);
            let mut done = std::mem::take(&mut outgoing.done);
            drop(outgoing);
            let sent = socket::send(&self.socket, &bytes[done..]);
            outgoing = self.lock();
            match sent {
                Ok(taken) => {
                    done += taken;
                    outgoing.stuck = None;
                }
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => flushed = Flushed::Broken(Why::Broken(error.kind())),
            }
            if done < bytes.len() && flushed == Flushed::Gone {
                bytes.append(&mut outgoing.bytes);
                (outgoing.bytes, outgoing.done) = (bytes, done);
                flushed = Flushed::Stuck;
            }
        }
        outgoing.busy = false;
        if flushed == Flushed::Stuck {
            outgoing.stuck.get_or_insert_with(Instant::now);
        }
        let awaited = outgoing.waiters > 0;
        drop(outgoing);
        if awaited {
            self.has_room.notify_all();
        }
        flushed
    }

    /// Since when the kernel has taken nothing of what waits.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.lock().stuck
    }

    /// Ends the connection: what waits is lost, and nobody waits for room.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.has_room.notify_all();
        socket::abort(&self.socket);
    }
}
