//! Reading: from the socket to whole messages, to a handler or the mailbox.
//!
//! ```text
//!   recv --> scratch --cut--> whole messages --> inline handlers, in place
//!                        |                  \--> one chunk into the mailbox
//!                        +--> the start of a message stays with the connection
//! ```

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Reactor;
use super::cutters::Unfinished;
use super::flood_guard::{self, Admitted, Came};
use crate::config::Trigger;
use crate::dispatch::CloseReason;
use crate::net::ConnId;
use crate::protocol::{CloseMode, Event, Then};
use crate::scoreboard::Counter;
use crate::sys::epoll::Interest;
use crate::sys::socket;
use crate::sys::sync::Ordering;
use crate::worker::connection::mailbox::Posted;
use crate::worker::connection::{Connection, Item};
use crate::worker::queues::letters::ToReactor;
use crate::worker::shared::Shared;

/// A started message up to this length is put in front of the next read; a
/// longer one is read into memory of its own.
const SHORT: usize = 16 * 1024;

/// More bytes than a read can take: it filled the room.
const ALL: usize = usize::MAX;

/// Sends what the cutter has answered, unless the peer takes nothing: then it has
/// enough to answer to already.
fn reply_at_once(shared: &Shared, conn: &Arc<Connection>, reply: Option<Vec<u8>>) {
    let Some(reply) = reply else { return };
    // One read answers no more than it is long.
    if conn.unsent() <= shared.limits.outbound_high {
        let _or_it_closes = shared.put_sign(Arc::clone(conn), reply.into());
        shared.to_sender.call();
    }
}

impl Reactor<'_> {
    /// The socket of `id` is readable: reads once. With edges, comes back to it
    /// in the next turn of the loop if there may be more: nobody tells again.
    pub(super) fn read(&mut self, id: ConnId, ends: bool) {
        let Some(conn) = self
            .inbound
            .get(id.slot())
            .and_then(|inbound| inbound.find(id))
        else {
            return;
        };
        if !self.inbound[id.slot()].reading {
            return;
        }
        let came = self.read_once(&conn);
        // A read that leaves room has emptied the socket (epoll(7)); what comes
        // later is a new edge. Behind the last bytes the end is still unread.
        let may_have_more = came == ALL || (ends && came > 0);
        if may_have_more && self.shared.limits.trigger == Trigger::Edge {
            self.again.push((id, ends));
        }
    }

    /// Goes on with those who may have more than one read took.
    pub(super) fn read_again(&mut self) {
        for (id, ends) in std::mem::take(&mut self.again) {
            self.read(id, ends);
        }
    }

    /// Reads once; tells how many bytes came, none at the end or an error,
    /// [`ALL`] when they filled the room.
    pub(super) fn read_once(&mut self, conn: &Arc<Connection>) -> usize {
        let partial = self.inbound[conn.id.slot()].partial();
        let kept = if partial.len() <= SHORT {
            partial.len()
        } else {
            0
        };
        self.scratch[..kept].copy_from_slice(&partial[..kept]);
        self.shared.row.add_alone(Counter::Reads, 1);
        match socket::receive(conn.socket(), &mut self.scratch[kept..]) {
            Ok(0) => {
                self.end_of_file(conn);
                0
            }
            Ok(came) => {
                self.shared.row.add_alone(Counter::BytesIn, came as u64);
                self.received(conn, kept, came);
                if kept + came == self.scratch.len() {
                    ALL
                } else {
                    came
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.end_connection(conn.id, CloseMode::Abort, Some(Counter::Broken));
                0
            }
        }
    }

    /// Cuts once more what has come: it did so in another worker, which may not have
    /// served all of its messages.
    pub(super) fn cut_again(&mut self, conn: &Arc<Connection>) {
        let partial = self.inbound[conn.id.slot()].partial();
        if partial.is_empty() {
            return;
        }
        let kept = if partial.len() <= SHORT {
            partial.len()
        } else {
            0
        };
        self.scratch[..kept].copy_from_slice(&partial[..kept]);
        self.received(conn, kept, 0);
    }

    /// `came` bytes arrived behind `kept` bytes that were put in front.
    pub(super) fn received(&mut self, conn: &Arc<Connection>, kept: usize, came: usize) {
        if kept == self.inbound[conn.id.slot()].partial().len() {
            self.received_short(conn, kept + came);
        } else {
            self.received_long(conn, came);
        }
    }

    /// The message that has begun, or will with the next byte.
    fn unfinished(&mut self, conn: &Connection) -> Box<Unfinished> {
        let inbound = &mut self.inbound[conn.id.slot()];
        let unfinished = inbound.unfinished.take();
        unfinished.unwrap_or_else(|| self.cutters.acquire(conn.protocol(), inbound.begun))
    }

    /// Keeps it with the connection, if it is a message at all.
    fn keep(&mut self, conn: &Connection, unfinished: Box<Unfinished>) {
        let inbound = &mut self.inbound[conn.id.slot()];
        if unfinished.partial.is_empty() && unfinished.cutter.is_idle() {
            inbound.begun = true;
            self.cutters.release(conn.protocol(), unfinished);
        } else {
            inbound.unfinished = Some(unfinished);
        }
    }

    /// Everything unread by the cutter stands at the start of the scratch.
    fn received_short(&mut self, conn: &Arc<Connection>, len: usize) {
        let mut unfinished = self.unfinished(conn);
        let inbound = &mut self.inbound[conn.id.slot()];
        let Unfinished { cutter, partial } = &mut *unfinished;
        let forgotten = partial.len();
        let bytes = &self.scratch[..len];
        let mut cut = cutter.cut(bytes);
        let serve = flood_guard::admit(
            self.shared,
            conn,
            inbound,
            &**cutter,
            bytes,
            &mut cut,
            self.now,
        );
        reply_at_once(self.shared, conn, cut.reply.take());
        let units = &bytes[..cut.units];
        flood_guard::hear(self.shared, conn, &**cutter, units, cut.messages, self.now);
        let keep = !matches!(cut.then, Then::Refuse(_));
        let rest = if keep { &bytes[cut.units..] } else { &[] };
        partial.clear();
        partial.extend_from_slice(rest);
        let kept = rest.len();
        let came = Came::new(len - forgotten.min(len), kept, &cut);
        flood_guard::keep(self.shared, conn, inbound, came, self.now);
        self.shared.unbuffered(forgotten);
        self.shared.buffered(kept);
        self.keep(conn, unfinished);
        if serve.units > 0 {
            self.take_units(conn, serve);
        }
        match cut.then {
            // The same bytes again: they still stand in the scratch.
            Then::Become(protocol) if self.turn_into(conn, &protocol) => {
                self.received_short(conn, len);
            }
            then @ (Then::Read | Then::ReadOn | Then::Become(_) | Then::Hold | Then::Refuse(_)) => {
                self.then(conn, then);
            }
        }
    }

    /// Everything unread by the cutter stands in the connection's own buffer,
    /// but for what `came`.
    fn received_long(&mut self, conn: &Arc<Connection>, came: usize) {
        let mut unfinished = self.unfinished(conn);
        let inbound = &mut self.inbound[conn.id.slot()];
        let Unfinished { cutter, partial } = &mut *unfinished;
        partial.extend_from_slice(&self.scratch[..came]);
        self.shared.buffered(came);
        let mut cut = cutter.cut(partial);
        let serve = flood_guard::admit(
            self.shared,
            conn,
            inbound,
            &**cutter,
            partial,
            &mut cut,
            self.now,
        );
        reply_at_once(self.shared, conn, cut.reply.take());
        let units = &partial[..cut.units];
        flood_guard::hear(self.shared, conn, &**cutter, units, cut.messages, self.now);
        let mut whole = Vec::new();
        if cut.units > 0 {
            let rest = partial.split_off(cut.units);
            whole = std::mem::replace(partial, rest);
            whole.truncate(serve.units);
            self.shared.unbuffered(cut.units);
        }
        let came = Came::new(came, partial.len(), &cut);
        flood_guard::keep(self.shared, conn, inbound, came, self.now);
        self.keep(conn, unfinished);
        if !whole.is_empty() {
            self.post_units(conn, Bytes::from(whole), serve.messages);
        }
        self.then(conn, cut.then);
    }

    fn then(&mut self, conn: &Arc<Connection>, then: Then) {
        match then {
            // Not before the first message, or the connection ends already.
            Then::Become(_) => self.end_connection(conn.id, CloseMode::Abort, None),
            Then::Read | Then::ReadOn => self.delay(conn),
            Then::Hold => {
                self.hold(conn);
                self.delay(conn);
            }
            Then::Refuse(refusal) => {
                let forgotten = self.inbound[conn.id.slot()].forget();
                self.shared.unbuffered(forgotten);
                self.stop_reading(conn);
                self.post_event(conn, Event::Refused(refusal));
            }
        }
    }

    /// Whole messages stand at the start of the scratch: runs them here if
    /// their handlers may, and leaves the rest to the business threads.
    fn take_units(&mut self, conn: &Arc<Connection>, admitted: Admitted) {
        if !self.serve_inline(conn, admitted) {
            let chunk = Bytes::copy_from_slice(&self.scratch[..admitted.units]);
            self.post_units(conn, chunk, admitted.messages);
        }
    }

    /// Leaves whole messages, which are so many, to the business threads.
    fn post_units(&mut self, conn: &Arc<Connection>, chunk: Bytes, messages: usize) {
        let bytes = chunk.len();
        let high = self.shared.limits.mailbox_high;
        match conn.mailbox.post_units(Item::Units(chunk), bytes, high) {
            Posted::Waits { schedule, pause } => {
                conn.owe(messages);
                self.shared.buffered(bytes);
                self.follow(
                    conn,
                    crate::worker::connection::mailbox::FollowUp {
                        schedule,
                        resume: false,
                    },
                );
                if pause {
                    self.pause_reading(conn);
                }
            }
            Posted::Refused => {
                self.shared.row.add(Counter::Dropped, messages as u64);
                self.stop_reading(conn);
            }
        }
    }

    pub(super) fn post_event(&mut self, conn: &Arc<Connection>, event: Event) {
        let item = Item::from(event);
        let urgency = item.urgency();
        if let Some(after) = conn.mailbox.post(item, urgency) {
            self.follow(conn, after);
        }
    }

    fn end_of_file(&mut self, conn: &Arc<Connection>) {
        conn.peer_done.store(true, Ordering::SeqCst);
        conn.ends_by(CloseReason::PeerClosed);
        conn.clocks.finished.store(self.now, Ordering::Relaxed);
        let truncated = self.inbound[conn.id.slot()].forget();
        if truncated > 0 {
            self.shared.unbuffered(truncated);
            self.shared.row.count(Counter::Truncated);
        }
        if self.is_done(conn) {
            return self.end_connection(conn.id, CloseMode::Flush, None);
        }
        self.stop_reading(conn);
        // Its limits go on, whatever it waits for.
        self.shared.heartbeat.watch(conn.id.slot(), self.now);
        self.post_event(conn, Event::Eof);
    }

    /// Reads no more of this connection, ever. What is still heard is that it is
    /// reset or gone: who waits for a reply may leave without a word.
    pub(super) fn stop_reading(&mut self, conn: &Arc<Connection>) {
        let inbound = &mut self.inbound[conn.id.slot()];
        inbound.over = true;
        if std::mem::take(&mut inbound.reading) {
            let heard = (self.epoll).rearm(conn.socket(), Interest::HangUp, conn.id.word());
            inbound.listening = heard.is_ok();
        }
    }

    /// The socket of `id` is broken, or closed in both directions. Where that is
    /// not left to a read, the connection ends; tells whether it did.
    pub(super) fn hang_up(&mut self, id: ConnId) -> bool {
        let inbound = self.inbound.get_mut(id.slot());
        let gone = inbound.is_some_and(|inbound| inbound.find(id).is_some() && inbound.listening);
        if gone {
            self.end_connection(id, CloseMode::Abort, Some(Counter::Broken));
        }
        gone
    }

    /// Reads no more until the mailbox asks for it. By deletion: with an empty
    /// interest a level-triggered epoll would report a reset for ever.
    fn pause_reading(&mut self, conn: &Arc<Connection>) {
        let inbound = &mut self.inbound[conn.id.slot()];
        inbound.paused = true;
        if std::mem::take(&mut inbound.reading) {
            self.shared.row.count(Counter::ReadPaused);
            let _gone = self.epoll.delete(conn.socket());
        }
    }

    /// Reads no more until the flood guard's delay is over, if there is one.
    fn delay(&mut self, conn: &Arc<Connection>) {
        let inbound = &mut self.inbound[conn.id.slot()];
        if inbound.delay == 0 || inbound.over || inbound.find(conn.id).is_none() {
            return;
        }
        if std::mem::take(&mut inbound.reading) {
            let _gone = self.epoll.delete(conn.socket());
        }
        conn.clocks.delayed.store(true, Ordering::Relaxed);
        let until = self.now.saturating_add(u64::from(inbound.delay));
        self.shared.heartbeat.thaw(conn.id, until);
    }

    /// The flood guard's delay is over.
    pub(super) fn thaw(&mut self, id: ConnId) {
        if let Some(inbound) = self.inbound.get_mut(id.slot())
            && inbound.find(id).is_some()
        {
            inbound.delay = 0;
            self.read_on(id);
        }
    }

    /// The mailbox has room again.
    pub(super) fn resume(&mut self, id: ConnId) {
        if let Some(inbound) = self.inbound.get_mut(id.slot())
            && inbound.find(id).is_some()
            && std::mem::take(&mut inbound.paused)
            && !inbound.over
        {
            self.shared.row.count(Counter::ReadResumed);
            self.cut_held(id);
            self.read_on(id);
        }
    }

    /// Reads no more, and cuts nothing that follows, until all messages are served:
    /// the last one may make something else of the connection.
    fn hold(&mut self, conn: &Arc<Connection>) {
        if self.inbound[conn.id.slot()].find(conn.id).is_none() {
            return;
        }
        self.inbound[conn.id.slot()].held = true;
        self.pause_reading(conn);
        if !conn.mailbox.hold() {
            // By a letter, so that a client with many such requests is not served
            // by as many calls within each other.
            self.shared.to_reactor.post(ToReactor::Resume(conn.id));
        }
    }

    /// Cuts what was held back, as what the connection speaks now.
    fn cut_held(&mut self, id: ConnId) {
        let inbound = &mut self.inbound[id.slot()];
        if !std::mem::take(&mut inbound.held) {
            return;
        }
        // Its cutter stood between two messages, and may be another protocol's.
        let held = inbound.unfinished.take();
        let Some((conn, held)) = inbound.find(id).zip(held) else {
            return;
        };
        let len = held.partial.len();
        self.shared.unbuffered(len);
        match self.scratch.get_mut(..len) {
            Some(room) => room.copy_from_slice(&held.partial),
            None => return self.end_connection(id, CloseMode::Abort, None),
        }
        self.received_short(&conn, len);
    }

    /// Reads again, unless there is another reason not to.
    fn read_on(&mut self, id: ConnId) {
        let inbound = &mut self.inbound[id.slot()];
        let Some(conn) = inbound.find(id) else { return };
        if inbound.reading || inbound.over || inbound.paused || inbound.delay > 0 {
            return;
        }
        inbound.reading = true;
        conn.clocks.thaw(self.now);
        conn.clocks.delayed.store(false, Ordering::Relaxed);
        if self
            .epoll
            .add(conn.socket(), self.shared.limits.interest(), id.word())
            .is_err()
        {
            self.inbound[id.slot()].reading = false;
            self.end_connection(id, CloseMode::Abort, Some(Counter::Broken));
        }
    }
}
