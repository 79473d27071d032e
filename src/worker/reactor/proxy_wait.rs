//! Connections whose proxy has not said yet whom it speaks for.
//!
//! They have a slot of the pool reserved, whose name is their token in the
//! reactor's epoll, but do not live in it: nobody finds them, no handler hears
//! of them, and no limit counts them, before the header is whole and the peer
//! is known. All of it on the reactor thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Reactor;
use super::accept::{Accepted, Listened};
use crate::config::Trigger;
use crate::net::{ConnId, Vacancy};
use crate::protocol::proxy::{self, Header, Origin};
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::socket::{self, Peer};
use crate::worker::connection::Connection;

/// Who waits, by name.
#[derive(Default)]
pub(super) struct ProxyWait {
    waiting: HashMap<ConnId, Waiting>,
    /// When to look at whom, in that order: all wait equally long. Those who
    /// left are still in it.
    due: VecDeque<(u64, ConnId)>,
}

/// Somebody who waits.
struct Waiting {
    accepted: Accepted,
    listened: Listened,
    until: u64,
    /// What came of the header.
    partial: Vec<u8>,
}

impl ProxyWait {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long the reactor may sleep that wanted to sleep for `timeout`.
    pub(super) fn shorten(&self, timeout: Option<Duration>, now: u64) -> Option<Duration> {
        let Some((until, _)) = self.due.front() else {
            return timeout;
        };
        let wait = Duration::from_millis(until.saturating_sub(now).max(1));
        Some(timeout.map_or(wait, |timeout| timeout.min(wait)))
    }

    fn enter(&mut self, waiting: Waiting) {
        let id = waiting.accepted.id();
        self.due.push_back((waiting.until, id));
        self.waiting.insert(id, waiting);
    }

    /// Somebody whose time is up.
    fn late(&mut self, now: u64) -> Option<Waiting> {
        if self.waiting.is_empty() {
            self.due.clear();
        }
        while let Some((until, id)) = self.due.pop_front_if(|(until, _)| *until <= now) {
            // A slot may be another's by now.
            if (self.waiting.get(&id)).is_some_and(|waiting| waiting.until == until) {
                return self.waiting.remove(&id);
            }
        }
        None
    }
}

impl Reactor<'_> {
    /// A proxy has connected: waits for its header.
    pub(super) fn await_header(
        &mut self,
        vacancy: Vacancy<Connection>,
        listened: Listened,
        socket: OwnedFd,
        peer: Peer,
    ) {
        let Some(accepted) = self.register(vacancy, socket, peer) else {
            return;
        };
        let wait = millis(self.shared.limits.proxy_header);
        self.proxy_wait.enter(Waiting {
            accepted,
            listened,
            until: self.now.saturating_add(wait),
            partial: Vec::new(),
        });
    }

    /// The socket of `id` is readable. False: it does not wait for a header.
    pub(super) fn read_header(&mut self, id: ConnId, ends: bool) -> bool {
        // Asked for every event of every connection; most servers have no
        // proxy.
        if self.proxy_wait.is_empty() {
            return false;
        }
        let Some(mut waiting) = self.proxy_wait.waiting.remove(&id) else {
            return false;
        };
        let kept = waiting.partial.len();
        self.scratch[..kept].copy_from_slice(&waiting.partial);
        self.shared.row.add_alone(Counter::Reads, 1);
        let came = match socket::receive(&waiting.accepted.socket, &mut self.scratch[kept..]) {
            Ok(came @ 1..) => came,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.proxy_wait.waiting.insert(id, waiting);
                return true;
            }
            // How a proxy looks whether we live; not worth a line.
            Ok(0) | Err(_) => {
                self.shared.row.count(Counter::EndedBeforeHeader);
                self.discard(waiting.accepted);
                return true;
            }
        };
        self.shared.row.add_alone(Counter::BytesIn, came as u64);
        let all = kept + came;
        match proxy::parse(&self.scratch[..all]) {
            Ok(Header::Incomplete) => {
                waiting.partial.clear();
                waiting.partial.extend_from_slice(&self.scratch[..all]);
                self.proxy_wait.waiting.insert(id, waiting);
            }
            Ok(Header::Complete { len, origin }) => self.introduce(waiting, origin, len..all, ends),
            Err(malformed) => {
                self.turn_away(waiting.accepted, Counter::RefusedHeader, &malformed);
            }
        }
        true
    }

    /// The peer is known: lets it in, and goes on with what it has sent, which
    /// stands behind the header in the scratch.
    fn introduce(
        &mut self,
        waiting: Waiting,
        origin: Origin,
        sent: std::ops::Range<usize>,
        ends: bool,
    ) {
        let Waiting {
            mut accepted,
            listened,
            ..
        } = waiting;
        match origin {
            Origin::Unknown => {}
            Origin::Tcp(address) => accepted.peer = Peer::Tcp(address),
            Origin::Unix => accepted.peer = Peer::Unix,
        }
        let id = accepted.id();
        let Some(conn) = self.admit(accepted, listened) else {
            return;
        };
        let filled = sent.end == self.scratch.len();
        let count = sent.len();
        self.scratch.copy_within(sent, 0);
        if count > 0 {
            self.received(&conn, 0, count);
        }
        // As behind any read: with edges, nobody tells again.
        if (filled || ends) && self.shared.limits.trigger == Trigger::Edge {
            self.again.push((id, ends));
        }
    }

    /// Closes those who have kept us waiting for too long.
    pub(super) fn dismiss_late(&mut self) {
        while let Some(waiting) = self.proxy_wait.late(self.now) {
            let counter = Counter::RefusedLate;
            self.turn_away(waiting.accepted, counter, &counter.reason());
        }
    }
}
