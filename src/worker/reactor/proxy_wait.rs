//! Connections whose proxy has not said yet whom it speaks for.
//!
//! They have a slot of the pool reserved, whose name is their token in the
//! reactor's epoll, but do not live in it: nobody finds them, no handler hears of
//! them, and no limit counts them, before the header is whole and the peer is
//! known. All of it on the reactor thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Reactor;
use super::accept::{Guest, Listened};
use crate::net::{ConnId, Vacancy};
use crate::protocol::proxy::{self, Header, Origin};
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::socket::{self, Peer};
use crate::worker::connection::Connection;
use crate::worker::limits::Trigger;

/// Who waits, by name.
#[derive(Default)]
pub(super) struct Lobby {
    waiting: HashMap<ConnId, Arrival>,
    /// When to look at whom, in that order: all wait equally long. Those who
    /// left are still in it.
    due: VecDeque<(u64, ConnId)>,
}

/// Somebody who waits.
struct Arrival {
    guest: Guest,
    listened: Listened,
    until: u64,
    /// What came of the header.
    partial: Vec<u8>,
}

impl Lobby {
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

    fn enter(&mut self, arrival: Arrival) {
        let id = arrival.guest.id();
        self.due.push_back((arrival.until, id));
        self.waiting.insert(id, arrival);
    }

    /// Somebody whose time is up.
    fn late(&mut self, now: u64) -> Option<Arrival> {
        if self.waiting.is_empty() {
            self.due.clear();
        }
        while let Some((until, id)) = self.due.pop_front_if(|(until, _)| *until <= now) {
            // A slot may be another's by now.
            if (self.waiting.get(&id)).is_some_and(|arrival| arrival.until == until) {
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
        let Some(guest) = self.register(vacancy, socket, peer) else {
            return;
        };
        let wait = millis(self.shared.limits.proxy_header);
        self.lobby.enter(Arrival {
            guest,
            listened,
            until: self.now.saturating_add(wait),
            partial: Vec::new(),
        });
    }

    /// The socket of `id` is readable. False: it does not wait for a header.
    pub(super) fn read_header(&mut self, id: ConnId, ends: bool) -> bool {
        // Asked for every event of every connection; most servers have no proxy.
        if self.lobby.is_empty() {
            return false;
        }
        let Some(mut arrival) = self.lobby.waiting.remove(&id) else {
            return false;
        };
        let kept = arrival.partial.len();
        self.scratch[..kept].copy_from_slice(&arrival.partial);
        self.shared.row.add_alone(Counter::Reads, 1);
        let came = match socket::receive(&arrival.guest.socket, &mut self.scratch[kept..]) {
            Ok(came @ 1..) => came,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.lobby.waiting.insert(id, arrival);
                return true;
            }
            // How a proxy looks whether we live; not worth a line.
            Ok(0) | Err(_) => {
                self.shared.row.count(Counter::EndedBeforeHeader);
                self.discard(arrival.guest);
                return true;
            }
        };
        self.shared.row.add_alone(Counter::BytesIn, came as u64);
        let all = kept + came;
        match proxy::parse(&self.scratch[..all]) {
            Ok(Header::Incomplete) => {
                arrival.partial.clear();
                arrival.partial.extend_from_slice(&self.scratch[..all]);
                self.lobby.waiting.insert(id, arrival);
            }
            Ok(Header::Complete { len, origin }) => self.introduce(arrival, origin, len..all, ends),
            Err(malformed) => {
                self.turn_away(arrival.guest, Counter::RefusedHeader, &malformed);
            }
        }
        true
    }

    /// The peer is known: lets it in, and goes on with what it has sent, which
    /// stands behind the header in the scratch.
    fn introduce(
        &mut self,
        arrival: Arrival,
        origin: Origin,
        sent: std::ops::Range<usize>,
        ends: bool,
    ) {
        let Arrival {
            mut guest,
            listened,
            ..
        } = arrival;
        match origin {
            Origin::Unknown => {}
            Origin::Tcp(address) => guest.peer = Peer::Tcp(address),
            Origin::Unix => guest.peer = Peer::Unix,
        }
        let id = guest.id();
        let Some(conn) = self.admit(guest, listened) else {
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
        while let Some(arrival) = self.lobby.late(self.now) {
            let counter = Counter::RefusedLate;
            self.turn_away(arrival.guest, counter, &counter.reason());
        }
    }
}
