//! What only the reactor knows of a connection: how far its stream was read.

use std::sync::Arc;

use super::cutters::Unfinished;
use crate::net::ConnId;
use crate::sys::sync::Ordering;
use crate::worker::connection::Connection;
use crate::worker::limits::flood::Meter;

/// One slot of the reactor's own table.
#[derive(Default)]
pub(super) struct Inbound {
    conn: Option<Arc<Connection>>,
    /// The start of a message, and whoever knows how far it was looked at;
    /// nothing between two messages.
    pub(super) unfinished: Option<Box<Unfinished>>,
    /// A message has been seen to its end: the next bytes are not the first.
    pub(super) begun: bool,
    /// The socket is in the reactor's epoll.
    pub(super) reading: bool,
    /// The socket is in the reactor's epoll, which tells of its end alone.
    pub(super) listening: bool,
    /// The mailbox has asked for a pause.
    pub(super) paused: bool,
    /// What follows the last message is cut when that was served.
    pub(super) held: bool,
    /// What the flood guard has seen.
    pub(super) meter: Meter,
    /// For so many milliseconds the flood guard wants nothing read; 0: read on.
    pub(super) delay: u32,
    /// Until then the heartbeat thread will look at the connection.
    pub(super) watched: u64,
    /// Nothing more will be read: end-of-file, refused, or draining.
    pub(super) over: bool,
}

impl Inbound {
    pub(super) fn conn(&self) -> Option<&Arc<Connection>> {
        self.conn.as_ref()
    }

    /// The connection, if it is still `id`.
    pub(super) fn find(&self, id: ConnId) -> Option<Arc<Connection>> {
        self.conn.as_ref().filter(|conn| conn.id == id).cloned()
    }

    /// Takes the connection out, if it is still `id`.
    pub(super) fn vacate(&mut self, id: ConnId) -> Option<Arc<Connection>> {
        self.conn.take_if(|conn| conn.id == id)
    }

    /// A connection moves in.
    pub(super) fn place(&mut self, conn: Arc<Connection>) {
        *self = Self {
            conn: Some(conn),
            reading: true,
            ..Self::default()
        };
    }

    /// The start of an unfinished message.
    pub(super) fn partial(&self) -> &[u8] {
        self.unfinished
            .as_ref()
            .map_or(&[], |unfinished| &unfinished.partial)
    }

    /// Forgets the stream; tells how many bytes of it were kept.
    pub(super) fn forget(&mut self) -> usize {
        if let Some(conn) = &self.conn {
            conn.clocks.started.store(0, Ordering::Relaxed);
        }
        let forgotten = self.unfinished.take();
        forgotten.map_or(0, |unfinished| unfinished.partial.len())
    }

    /// Bytes that the worker holds for this connection.
    pub(super) fn held(&self, conn: &Connection) -> usize {
        let unfinished = self.unfinished.as_ref();
        let partial = unfinished.map_or(0, |unfinished| unfinished.partial.capacity());
        partial + conn.mailbox.bytes() + conn.unsent()
    }
}
