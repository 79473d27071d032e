//! The worker as handlers see it: ways to reach connections from any thread.

use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::connection::inbox::Put;
use super::connection::{Connection, Item};
use super::queues::letters::ToSender;
use super::shared::{Job, Shared};
use crate::config::Overflow;
use crate::dispatch::service::{Pushed, WorkerHandle};
use crate::log::access_log;
use crate::net::ConnId;
use crate::protocol::{Answer, CloseMode, Event, Media, Push, Wire};
use crate::scoreboard::Counter;
use crate::sys::clock::{coarse_millis, millis};
use crate::sys::sync::Ordering;

thread_local! {
    /// Whether this thread hears other workers, and calls the sender behind the last
    /// of what it has read.
    static HEARS: Cell<bool> = const { Cell::new(false) };
}

impl WorkerHandle for Shared {
    fn send(
        &self,
        to: &[ConnId],
        own: Option<(ConnId, usize)>,
        (id, body, media): (u32, Bytes, Media),
    ) -> Pushed {
        let mut encoded = Encoded {
            id,
            body,
            media,
            wires: Vec::new(),
        };
        let mut pushed = Pushed::default();
        let now = coarse_millis();
        for &receiver in to {
            let Some(conn) = self.pool.find(receiver) else {
                self.row.count(Counter::Stale);
                continue;
            };
            let own = own.filter(|(own, _)| *own == receiver);
            let more = own.map_or(0, |(_, waits)| waits);
            let bytes = encoded.for_wire(&conn);
            let Some(bytes) = bytes.filter(|bytes| self.has_room(&conn, more + bytes.len())) else {
                self.row.count(Counter::PushesDropped);
                continue;
            };
            if own.is_some() {
                pushed.own = Some(bytes);
            } else if !self.put_push(conn, bytes, now) {
                continue;
            }
            pushed.reached += 1;
            self.row.count(Counter::Pushed);
        }
        // What other workers say comes in numbers.
        if pushed.reached > 0 && !HEARS.get() {
            self.to_sender.call();
        }
        pushed
    }

    fn close(&self, to: &[ConnId], mode: CloseMode, code: Option<u16>) -> usize {
        let close = |id: &&ConnId| match mode {
            CloseMode::Flush | CloseMode::Done => self.post(**id, Item::Close(mode, code)),
            CloseMode::Abort => {
                let known = self.pool.find(**id).is_some();
                self.ask_end(**id, mode, None);
                known
            }
        };
        let closed = to.iter().filter(close).count();
        self.row.add(Counter::ClosedByHandler, closed as u64);
        self.row.add(Counter::Stale, (to.len() - closed) as u64);
        closed
    }

    fn answer(&self, to: ConnId, token: u64, answer: Answer) -> bool {
        let awaited = self.post(to, Item::from(Event::Reply(token, answer)));
        if !awaited {
            self.row.count(Counter::Stale);
        }
        awaited
    }

    fn after(&self, to: ConnId, after: Duration, token: u64) {
        self.heartbeat
            .timer(to, token, coarse_millis().saturating_add(millis(after)));
    }

    fn cancel(&self, token: u64) {
        self.heartbeat.cancel(token);
    }

    fn run(&self, to: ConnId, task: Box<dyn Any + Send>) -> bool {
        let conn = self.pool.find(to);
        let is_session = conn.is_some_and(|conn| conn.protocol().is_session());
        is_session && self.post(to, Item::from(Event::Run(task)))
    }

    fn clock(&self) -> u64 {
        coarse_millis()
    }

    fn wake(&self, to: ConnId, after: Duration) {
        if after.is_zero() {
            self.post(to, Item::Wake);
        } else {
            let at = coarse_millis().saturating_add(millis(after));
            self.heartbeat.wake(to, at);
        }
    }

    fn writable(&self, to: ConnId) -> bool {
        self.pool
            .find(to)
            .is_some_and(|conn| conn.unsent() <= self.limits.outbound_high)
    }

    fn knows(&self, to: ConnId) -> bool {
        self.pool.find(to).is_some()
    }

    fn admits(&self, to: ConnId, bytes: usize) -> bool {
        let conn = self.pool.find(to);
        conn.is_none_or(|conn| self.has_room(&conn, bytes))
    }

    fn queued(&self, to: ConnId) -> usize {
        self.pool.find(to).map_or(0, |conn| conn.unsent())
    }

    fn record(&self, line: &[u8]) {
        access_log::record(line);
    }

    fn has_news(&self) {
        self.queue.push(Job::News);
    }

    fn everybody(&self) -> Vec<ConnId> {
        self.pool
            .everybody()
            .into_iter()
            .filter(|(_, conn)| conn.protocol().is_session())
            .map(|(id, _)| id)
            .collect()
    }

    fn name_of(&self, conn: ConnId) -> ConnId {
        let found = self.pool.find(conn);
        found.map_or(conn, |conn| conn.named().name)
    }

    fn may_wait(&self) -> bool {
        self.event_loop.get() != Some(&std::thread::current().id())
    }
}

impl Shared {
    /// The calling thread hears what other workers say: [`Self::has_heard`] follows.
    pub(crate) fn hears() {
        HEARS.set(true);
    }

    /// Has the sender write what was heard.
    pub(crate) fn has_heard(&self) {
        if !self.to_sender.is_empty() {
            self.to_sender.call();
        }
    }

    /// Leaves a push to whoever writes next; false: the connection closes, and
    /// nothing goes out any more. The caller calls the sender behind the last.
    pub(crate) fn put_push(&self, conn: Arc<Connection>, push: Bytes, now: u64) -> bool {
        conn.clocks.spoken.store(now, Ordering::Relaxed);
        self.put_sign(conn, push)
    }

    /// As [`Self::put_push`], of what is a sign of life and no message.
    pub(crate) fn put_sign(&self, conn: Arc<Connection>, push: Bytes) -> bool {
        let len = push.len();
        self.queued(&conn, len);
        match conn.inbox.put(push) {
            Put::First => self.to_sender.put(ToSender::Pushes(conn)),
            Put::Behind => {}
            Put::Closed => {
                self.unqueued(&conn, len);
                self.row.count(Counter::Stale);
                return false;
            }
        }
        true
    }

    /// Whether a push of `bytes` may wait for this receiver.
    fn has_room(&self, conn: &Connection, bytes: usize) -> bool {
        if conn.unsent() + bytes <= self.limits.outbound_max {
            return true;
        }
        if self.limits.outbound_over == Overflow::Close {
            self.ask_end(conn.id, CloseMode::Abort, Some(Counter::OutboundOverflow));
        }
        false
    }
}

/// A push, encoded at most once for each wire format among its receivers.
struct Encoded {
    id: u32,
    body: Bytes,
    media: Media,
    /// `None`: this format cannot carry the body.
    wires: Vec<(Wire, Option<Bytes>)>,
}

impl Encoded {
    fn for_wire(&mut self, conn: &Connection) -> Option<Bytes> {
        let protocol = conn.protocol();
        let wire = protocol.wire();
        if let Some((_, bytes)) = self.wires.iter().find(|(known, _)| *known == wire) {
            return bytes.clone();
        }
        let mut bytes = Vec::with_capacity(self.body.len() + 32);
        let encoded = match protocol.push(
            Push {
                id: self.id,
                body: &self.body,
                media: self.media,
            },
            &mut bytes,
        ) {
            Ok(()) => Some(Bytes::from(bytes)),
            Err(error) => {
                let to = conn.named().name;
                ::log::warn!("push message {} to {to}: {error}; not sent", self.id);
                None
            }
        };
        self.wires.push((wire, encoded.clone()));
        encoded
    }
}
