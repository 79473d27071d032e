//! The recycler: the last steps of a connection, unless it leaves at rest.
//!
//! ```text
//!   Left ---> half-close ---> read and drop until end-of-file ---> close(2) ---> slot free
//!             (skipped when the peer is done or was reset)     only holder
//! ```
//!
//! Lingering matters: closing a socket with unread bytes in it makes the kernel
//! send a reset, which can destroy replies on their way to the peer.
//!
//! The descriptor is closed when the recycler is the only one who holds the
//! connection. That is the quarantine; no time is involved, so no thread can
//! ever write to a descriptor that belongs to somebody else by now.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::net::ConnId;
use crate::scoreboard::Counter;
use crate::sys::clock::coarse_millis;
use crate::sys::epoll::{Epoll, Events, Interest};
use crate::sys::socket;
use crate::sys::sync::{Ordering, lock};
use crate::worker::connection::Connection;
use crate::worker::queues::letters::{ToReactor, ToRecycler};
use crate::worker::shared::Shared;

const BELL: u64 = u64::MAX;

/// How often those are looked at again that somebody still holds.
const HELD: Duration = Duration::from_millis(2);

/// Room for those from the start.
const WAITING: usize = 256;

/// How often the pool is trimmed after a peak.
const TRIM: u64 = 1000;

/// The loop of the recycler thread, with an epoll of its own.
///
/// # Errors
///
/// Those of epoll, none of which the worker can survive.
pub(crate) fn run(shared: &Arc<Shared>, epoll: Epoll) -> io::Result<()> {
    let mut recycler = Recycler {
        shared,
        epoll,
        lingering: HashMap::new(),
        held: Vec::with_capacity(WAITING),
        spare: Vec::with_capacity(WAITING),
        dustbin: vec![0; 64 * 1024],
        trimmed: coarse_millis(),
    };
    recycler
        .epoll
        .add(&shared.to_recycler, Interest::Read, BELL)?;
    let mut events = Events::with_capacity(256);
    let mut tokens: Vec<u64> = Vec::with_capacity(256);
    while !shared.is_ending() {
        let timeout = recycler.timeout();
        let waited = recycler.epoll.wait(&mut events, timeout)?;
        tokens.extend(waited.map(|event| event.token));
        for token in tokens.drain(..) {
            if token == BELL {
                shared.to_recycler.hush();
            } else {
                recycler.read(ConnId::from_word(token));
            }
        }
        while let Some(ToRecycler::Left(conn)) = shared.to_recycler.next() {
            recycler.begin(conn);
        }
        recycler.expire();
        recycler.retry();
        recycler.trim();
    }
    Ok(())
}

struct Recycler<'a> {
    shared: &'a Arc<Shared>,
    epoll: Epoll,
    /// Half-closed, with the time at which patience ends.
    lingering: HashMap<ConnId, (Arc<Connection>, u64)>,
    /// Closed, but somebody still works for them.
    held: Vec<Arc<Connection>>,
    /// Empty: the next `held`.
    spare: Vec<Arc<Connection>>,
    dustbin: Vec<u8>,
    trimmed: u64,
}

impl Recycler<'_> {
    fn timeout(&self) -> Option<Duration> {
        if !self.held.is_empty() {
            return Some(HELD);
        }
        let limits = &self.shared.limits;
        let spare = self.shared.pool.made() > limits.connections_initial;
        (spare || !self.lingering.is_empty())
            .then(|| Duration::from_millis(TRIM).min(limits.linger.max(Duration::from_millis(1))))
    }

    fn begin(&mut self, conn: Arc<Connection>) {
        {
            let mut outbound = lock(&conn.outbound);
            if outbound.armed {
                outbound.armed = false;
                self.shared.row.count(Counter::WriteDisarmed);
                // Explicitly: a child process may hold a copy of the descriptor.
                let _gone = self.shared.writable_epoll.delete(conn.socket());
            }
        }
        let linger = u64::try_from(self.shared.limits.linger.as_millis()).unwrap_or(u64::MAX);
        if conn.peer_done.load(Ordering::SeqCst) || linger == 0 {
            return self.give_back(conn);
        }
        socket::finish(conn.socket());
        if self
            .epoll
            .add(conn.socket(), Interest::Read, conn.id.word())
            .is_err()
        {
            return self.give_back(conn);
        }
        let until = coarse_millis().saturating_add(linger);
        self.lingering.insert(conn.id, (conn, until));
    }

    fn read(&mut self, id: ConnId) {
        let Some((conn, _)) = self.lingering.get(&id) else {
            return;
        };
        match socket::receive(conn.socket(), &mut self.dustbin) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.stop_lingering(id),
        }
    }

    fn stop_lingering(&mut self, id: ConnId) {
        if let Some((conn, _)) = self.lingering.remove(&id) {
            let _gone = self.epoll.delete(conn.socket());
            self.give_back(conn);
        }
    }

    fn expire(&mut self) {
        if self.lingering.is_empty() {
            return;
        }
        let now = coarse_millis();
        let over: Vec<ConnId> = self
            .lingering
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().for_each(|id| self.stop_lingering(id));
    }

    fn retry(&mut self) {
        // Two lists in turn: neither lets go of its memory.
        let mut waited = std::mem::replace(&mut self.held, std::mem::take(&mut self.spare));
        waited.drain(..).for_each(|conn| self.give_back(conn));
        self.spare = waited;
    }

    fn give_back(&mut self, conn: Arc<Connection>) {
        match self.shared.give_back(conn) {
            Err(conn) => self.held.push(conn),
            Ok(true) => self.shared.to_reactor.post(ToReactor::Vacancy),
            Ok(false) => {}
        }
    }

    /// After a peak, gives memory back: an eighth of what is spare a second.
    fn trim(&mut self) {
        let now = coarse_millis();
        let made = self.shared.pool.made();
        if now < self.trimmed + TRIM {
            return;
        }
        self.trimmed = now;
        let live = usize::try_from(self.shared.row.read(Counter::Live)).unwrap_or(usize::MAX);
        let wanted = self
            .shared
            .limits
            .connections_initial
            .max(live.saturating_mul(2));
        let spare = made.saturating_sub(wanted);
        if spare > 0 {
            self.shared.pool.trim(spare.div_ceil(8));
        }
        let slots = self.shared.pool.made() as u64;
        self.shared.row.set(Counter::PoolSlots, slots);
    }
}
