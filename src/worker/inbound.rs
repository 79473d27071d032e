//! What only the reactor knows of a connection: how far its stream was read.

use std::sync::Arc;

use super::connection::Connection;
use super::flood::Meter;
use crate::net::ConnId;
use crate::protocol::Cutter;
use crate::sys::sync::Ordering;

/// One slot of the reactor's own table.
#[derive(Default)]
pub(super) struct Inbound {
    conn: Option<Arc<Connection>>,
    cutter: Option<Box<dyn Cutter>>,
    /// Index of the listener whose protocol the cutter is for.
    pub(super) listener: usize,
    /// The start of an unfinished message; no memory when there is none.
    pub(super) partial: Vec<u8>,
    /// The socket is in the reactor's epoll.
    pub(super) reading: bool,
    /// The mailbox has asked for a pause.
    pub(super) paused: bool,
    /// What the flood guard has seen.
    pub(super) meter: Meter,
    /// For so many milliseconds the flood guard wants nothing read; 0: read on.
    pub(super) delay: u64,
    /// Until then the heartbeat thread will look at the connection.
    pub(super) watched: u64,
    /// Whole messages that came.
    pub(super) messages: u32,
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

    /// A connection moves in, with a cutter of its own if the slot has none
    /// for its listener.
    pub(super) fn settle(
        &mut self,
        conn: Arc<Connection>,
        listener: usize,
        cutter: Option<Box<dyn Cutter>>,
    ) {
        match (cutter, &mut self.cutter) {
            (Some(fresh), slot) => *slot = Some(fresh),
            (None, Some(used)) => used.reset(),
            (None, None) => {}
        }
        self.conn = Some(conn);
        self.listener = listener;
        self.reading = true;
        self.paused = false;
        self.meter = Meter::default();
        self.delay = 0;
        self.watched = 0;
        self.messages = 0;
        self.over = false;
    }

    /// The connection speaks something else than its listener left open; the
    /// slot's next one gets a cutter of its own in any case.
    pub(super) fn turn_into(&mut self, cutter: Box<dyn Cutter>) {
        self.cutter = Some(cutter);
        self.listener = usize::MAX;
    }

    /// Whether the slot's cutter can serve a connection of `listener`.
    pub(super) fn fits(&self, listener: usize) -> bool {
        self.cutter.is_some() && self.listener == listener
    }

    pub(super) fn cutter(&mut self) -> &mut dyn Cutter {
        &mut **self
            .cutter
            .as_mut()
            .expect("a settled connection has a cutter")
    }

    /// Forgets the stream; tells how many bytes of it were kept.
    pub(super) fn forget(&mut self) -> usize {
        if let Some(conn) = &self.conn {
            conn.pulse.started.store(0, Ordering::Relaxed);
        }
        std::mem::take(&mut self.partial).len()
    }

    /// Bytes that the worker holds for this connection.
    pub(super) fn held(&self, conn: &Connection) -> usize {
        self.partial.capacity() + conn.mailbox.bytes() + conn.unsent()
    }
}
