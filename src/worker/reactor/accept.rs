//! Accepting: from the kernel's backlog into a slot of the pool.
//!
//! ```text
//! accept --> a proxy, whose header is awaited: proxy_wait --\
//!        \----------------------------------------------------> admitted --> placed
//!                                                            \-> turned away: a reset
//! ```
//!
//! Allocates nothing once a slot was used before: the connection stays with the
//! slot, and its cutter and its parts are lent to it only while it is read and
//! served. Whoever is turned away is reset: the client sees an error rather than
//! an empty answer, and the kernel keeps nothing. On the reactor.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::{Accepting, Reactor};
use crate::dispatch::service::Origin;
use crate::net::per_ip::Hash;
use crate::net::{ConnId, Vacancy};
use crate::protocol::Protocol;
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket::{self, Peer};
use crate::sys::sync::{Ordering, lock};
use crate::worker::connection::items::Items;
use crate::worker::connection::mailbox::Urgency;
use crate::worker::connection::{Connection, Item};
use crate::worker::limits::admission::{Entrance, Greeting};
use crate::worker::setup::Listening;

/// Connections let in from one backlog before its listener is closed: new ones
/// may come as fast.
const LAST_ACCEPTS: usize = 4096;

impl Reactor<'_> {
    /// Takes connections from the backlog of a listener.
    pub(super) fn accept(&mut self, listener: usize) {
        self.shared.row.count(Counter::AcceptEvents);
        for taken in 0..self.accept_mode.batch() {
            if !self.may_accept() {
                return;
            }
            let Some(vacancy) = self.vacancy(taken == 0) else {
                return;
            };
            kill_point(Spot::BeforeAccept);
            match socket::accept(self.listeners[listener].socket.as_fd()) {
                Ok(Some((socket, peer))) => {
                    kill_point(Spot::Accepted);
                    let was_last = self.reserve.is_touched_by(socket.as_fd());
                    self.welcome(vacancy, listener, socket, peer);
                    self.accepted_one();
                    if was_last {
                        return self
                            .out_of_descriptors(listener, &"the last descriptors are in reserve");
                    }
                }
                Ok(None) => {
                    self.shared.row.count(Counter::AcceptsEmpty);
                    return self.shared.pool.return_vacancy(vacancy);
                }
                Err(error) => {
                    self.shared.pool.return_vacancy(vacancy);
                    return self.out_of_descriptors(listener, &error);
                }
            }
        }
    }

    /// Nobody will accept any more: lets in whoever waits in the backlogs,
    /// before the listeners are closed. The kernel may have had their requests
    /// for long.
    pub(super) fn empty_backlogs(&mut self) {
        for listener in 0..self.listeners.len() {
            for _ in 0..LAST_ACCEPTS {
                let Some(vacancy) = self.shared.pool.vacancy() else {
                    return;
                };
                let Ok(Some((socket, peer))) =
                    socket::accept(self.listeners[listener].socket.as_fd())
                else {
                    self.shared.pool.return_vacancy(vacancy);
                    break;
                };
                self.welcome(vacancy, listener, socket, peer);
            }
        }
    }

    /// The server stops: lets in whoever waits in the backlogs, and has the
    /// kernel refuse the others instead of letting them wait for nothing.
    pub(super) fn refuse_clients(&mut self) {
        self.pause_accepting(Accepting::Over);
        self.empty_backlogs();
        self.listeners.iter().for_each(Listening::refuse);
    }

    /// A slot to accept into. If there is none, accepting pauses before a
    /// connection is taken, so that it waits in the backlog instead of being
    /// turned away. `announced`: one waits for sure; otherwise the listeners
    /// stay watched until one does.
    fn vacancy(&mut self, announced: bool) -> Option<Vacancy<Connection>> {
        if let Some(vacancy) = self.shared.pool.vacancy() {
            return Some(vacancy);
        }
        self.close_left();
        self.shared.wants_vacancy.store(true, Ordering::SeqCst);
        // Looked at again: the recycler may have freed one before it could see
        // that it is wanted.
        if let Some(vacancy) = self.shared.pool.vacancy() {
            return Some(vacancy);
        }
        if announced {
            self.shared.row.count(Counter::PoolFull);
            let until = self.make_room();
            self.pause_accepting(Accepting::PoolFull { until });
        }
        None
    }

    fn out_of_descriptors(&mut self, listener: usize, error: &dyn Display) {
        if self.shared.row.read(Counter::OutOfDescriptors) == 0 {
            let address = &self.listeners[listener].address;
            ::log::error!(
                "accept on {address}: {error}; clients wait in the backlog until descriptors \
                 are free; raise `ulimit -n` or lower worker.connections_max"
            );
        }
        self.shared.row.count(Counter::OutOfDescriptors);
        // Somebody waits, as in a full pool.
        let _tried_again_anyway = self.make_room();
        // The next connection that closes frees one.
        self.shared.wants_vacancy.store(true, Ordering::SeqCst);
        self.pause_accepting(Accepting::out_of_descriptors(self.now));
    }

    /// Somebody has connected: asks for the header of a proxy, or lets it in.
    fn welcome(
        &mut self,
        vacancy: Vacancy<Connection>,
        listener: usize,
        socket: OwnedFd,
        peer: Peer,
    ) {
        let listened = Listened::new(&self.listeners[listener]);
        match listened.entrance.greeting(peer) {
            Greeting::Client => {}
            Greeting::Header => return self.await_header(vacancy, listened, socket, peer),
            Greeting::Untrusted => {
                let counter = Counter::RefusedUntrusted;
                self.shared.refused(peer, counter, &counter.reason());
                socket::reset(socket);
                return self.shared.pool.return_vacancy(vacancy);
            }
        }
        // Asked first: whoever is turned away costs no registration.
        let admission = &self.shared.admission;
        match admission.admit(&listened.entrance, peer, self.now) {
            Err(counter) => {
                self.shared.refused(peer, counter, &counter.reason());
                socket::reset(socket);
                self.shared.pool.return_vacancy(vacancy);
            }
            Ok(address) => {
                kill_point(Spot::AddressCounted);
                match self.register(vacancy, socket, peer) {
                    Some(accepted) => {
                        kill_point(Spot::Registered);
                        self.let_in(accepted, listened, address);
                    }
                    None => admission.leave(address),
                }
            }
        }
    }

    /// Lets in somebody whose socket is registered already, or turns it away.
    pub(super) fn admit(
        &mut self,
        accepted: Accepted,
        listened: Listened,
    ) -> Option<Arc<Connection>> {
        let entrance = &listened.entrance;
        match (self.shared.admission).admit(entrance, accepted.peer, self.now) {
            Ok(address) => Some(self.let_in(accepted, listened, address)),
            Err(counter) => {
                self.turn_away(accepted, counter, &counter.reason());
                None
            }
        }
    }

    /// Has the kernel tell when there is something to read.
    pub(super) fn register(
        &mut self,
        vacancy: Vacancy<Connection>,
        socket: OwnedFd,
        peer: Peer,
    ) -> Option<Accepted> {
        let interest = self.shared.limits.interest();
        if (self.epoll)
            .add(&socket, interest, vacancy.id().word())
            .is_err()
        {
            self.shared.row.count(Counter::AcceptFailed);
            self.shared.pool.return_vacancy(vacancy);
            return None;
        }
        Some(Accepted {
            vacancy,
            socket,
            peer,
        })
    }

    /// Closes somebody who does not get in, and says so in the log.
    pub(super) fn turn_away(&mut self, accepted: Accepted, counter: Counter, reason: &dyn Display) {
        self.shared.refused(accepted.peer, counter, reason);
        self.discard(accepted);
    }

    /// Resets a connection that never moved into its slot.
    pub(super) fn discard(&mut self, accepted: Accepted) {
        let _gone = self.epoll.delete(&accepted.socket);
        socket::reset(accepted.socket);
        self.shared.pool.return_vacancy(accepted.vacancy);
        // As when the recycler frees one.
        if self.shared.wants_vacancy.swap(false, Ordering::SeqCst) {
            self.accept_again();
        }
    }

    /// A connection that was admitted begins.
    fn let_in(
        &mut self,
        accepted: Accepted,
        listened: Listened,
        address: Option<Hash>,
    ) -> Arc<Connection> {
        let Accepted {
            mut vacancy,
            socket,
            peer,
        } = accepted;
        let conn = listened.prepare(&mut vacancy, socket, peer, address);
        conn.opened = self.now;
        let conn = self.place(vacancy, Counter::Accepted);
        kill_point(Spot::Settled);
        self.watch_silence(conn.id.slot());
        if conn.protocol().is_session() {
            self.greet(&conn);
        }
        conn
    }

    /// A connection, of which nothing was served yet, speaks `protocol` from
    /// now on. False: it ends already.
    pub(super) fn turn_into(
        &mut self,
        conn: &Arc<Connection>,
        protocol: &Arc<dyn Protocol>,
    ) -> bool {
        if !conn.mailbox.begin_inline() {
            return false;
        }
        let before = Arc::clone(conn.protocol());
        conn.turn_into(protocol, None);
        self.shared.session_came(conn);
        *lock(&conn.turn) = None;
        let mut unfinished = self.cutters.acquire(protocol, false);
        if let Some(mut old) = self.inbound[conn.id.slot()].unfinished.take() {
            std::mem::swap(&mut unfinished.partial, &mut old.partial);
            self.cutters.release(&before, old);
        }
        self.inbound[conn.id.slot()].unfinished = Some(unfinished);
        let high = self.shared.limits.mailbox_high;
        let after = conn.mailbox.requeue(0, high, Items::default());
        self.follow(conn, after);
        if protocol.is_session() {
            self.greet(conn);
        }
        true
    }

    /// Has `opened` run, if there is one. If not, it is as if it had.
    fn greet(&mut self, conn: &Arc<Connection>) {
        if !self.service.greets() {
            return conn.opened_it();
        }
        if let Some(after) = conn.mailbox.post(Item::Opened, Urgency::Event) {
            self.follow(conn, after);
        }
    }

    /// Has the heartbeat thread look at the slot when its peer may first have
    /// been silent too long.
    fn watch_silence(&self, slot: usize) {
        if let Some(limit) = self.shared.limits.first_look() {
            self.shared
                .heartbeat
                .watch(slot, self.now.saturating_add(millis(limit)));
        }
    }
}

/// A connection that has a slot reserved and its socket in the epoll under the
/// slot's name.
pub(super) struct Accepted {
    vacancy: Vacancy<Connection>,
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
}

impl Accepted {
    pub(super) fn id(&self) -> ConnId {
        self.vacancy.id()
    }
}

/// What a connection takes from its listener, which may be closed before the
/// connection moves in.
pub(super) struct Listened {
    protocol: Arc<dyn Protocol>,
    origin: Origin,
    entrance: Arc<Entrance>,
}

impl Listened {
    pub(super) fn new(listening: &Listening) -> Self {
        Self {
            protocol: Arc::clone(&listening.protocol),
            origin: listening.origin,
            entrance: Arc::clone(&listening.entrance),
        }
    }

    /// Makes a connection of `socket`, counted under `address`, in the slot
    /// that is reserved for it. Nobody finds it before it is placed.
    pub(super) fn prepare(
        self,
        vacancy: &mut Vacancy<Connection>,
        socket: OwnedFd,
        peer: Peer,
        address: Option<Hash>,
    ) -> &mut Connection {
        let id = vacancy.id();
        let conn = vacancy.tenant();
        conn.fd = Some(socket);
        conn.id = id;
        conn.accepted_from = peer;
        conn.protocol = Some(self.protocol);
        conn.origin = self.origin;
        conn.count(address);
        conn
    }
}
