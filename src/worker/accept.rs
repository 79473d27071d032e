//! Accepting: from the kernel's backlog into a slot of the pool.
//!
//! Allocates nothing once a slot was used before: the connection, its cutter
//! and its parts stay with the slot.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::connection::{Connection, Item, Parts};
use super::heartbeat::millis;
use super::inbound::Inbound;
use super::reactor::{Accepting, Reactor};
use crate::net::Vacancy;
use crate::protocol::{Cutter, Event};
use crate::scoreboard::Counter;
use crate::sys::socket::{self, Peer};
use crate::sys::sync::Ordering;

impl Reactor<'_> {
    /// Takes connections from the backlog of a listener.
    pub(super) fn accept(&mut self, listener: usize) {
        for taken in 0..self.share.batch() {
            if !self.may_accept() {
                return;
            }
            let Some(vacancy) = self.vacancy(taken == 0) else {
                return;
            };
            match socket::accept(self.listeners[listener].socket.as_fd()) {
                Ok(Some((socket, peer))) => {
                    self.settle(vacancy, listener, socket, peer);
                    self.accepted_one();
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

    /// A slot to accept into. If there is none, accepting pauses before a
    /// connection is taken, so that it waits in the backlog instead of being
    /// turned away. `announced`: one waits for sure; otherwise the listeners
    /// stay watched until one does.
    fn vacancy(&mut self, announced: bool) -> Option<Vacancy<Connection>> {
        if let Some(vacancy) = self.shared.pool.vacancy() {
            return Some(vacancy);
        }
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

    fn out_of_descriptors(&mut self, listener: usize, error: &std::io::Error) {
        if self.shared.row.read(Counter::OutOfDescriptors) == 0 {
            let address = &self.listeners[listener].address;
            ::log::error!(
                "accept on {address}: {error}; clients wait in the backlog until descriptors \
                 are free; raise `ulimit -n` or lower worker.connections_max"
            );
        }
        self.shared.row.count(Counter::OutOfDescriptors);
        // The next connection that closes frees one.
        self.shared.wants_vacancy.store(true, Ordering::SeqCst);
        self.pause_accepting(Accepting::out_of_descriptors(self.now));
    }

    fn settle(
        &mut self,
        mut vacancy: Vacancy<Connection>,
        listener: usize,
        socket: OwnedFd,
        peer: Peer,
    ) {
        socket::no_delay(&socket);
        if self
            .epoll
            .add(
                &socket,
                self.shared.limits.trigger.interest(),
                vacancy.id().word(),
            )
            .is_err()
        {
            self.shared.row.count(Counter::AcceptFailed);
            return self.shared.pool.return_vacancy(vacancy);
        }
        let slot = vacancy.id().slot();
        if self.inbound.len() <= slot {
            self.inbound.resize_with(slot + 1, Inbound::default);
        }
        let cutter = self.prepare(&mut vacancy, listener, socket, peer);
        let conn = self.shared.pool.settle(vacancy);
        self.inbound[slot].settle(Arc::clone(&conn), listener, cutter);
        self.live += 1;
        self.shared.row.count(Counter::Accepted);
        self.shared.row.count(Counter::Live);
        self.watch_silence(slot);
        if self.service.greets()
            && let Some(after) = conn.mailbox.post(Item::from(Event::Opened))
        {
            self.follow(&conn, after);
        }
    }

    /// Fills in the connection; gives a cutter if the slot needs another one.
    fn prepare(
        &mut self,
        vacancy: &mut Vacancy<Connection>,
        listener: usize,
        socket: OwnedFd,
        peer: Peer,
    ) -> Option<Box<dyn Cutter>> {
        let (id, now) = (vacancy.id(), self.now);
        let fits = self.inbound[id.slot()].fits(listener);
        let Listened {
            protocol,
            unknown_id,
        } = Listened::from(&self.listeners[listener]);
        let conn = vacancy.tenant();
        conn.fd = Some(socket);
        conn.id = id;
        conn.peer = peer;
        conn.opened = now;
        let parts = conn.turn.get_mut().expect("nobody else ever held it");
        let mut cutter = None;
        if parts.is_none() || !fits {
            let (fresh, server) = protocol.open();
            cutter = Some(fresh);
            let app = parts
                .take()
                .map_or_else(|| self.service.seat(), |parts| parts.app);
            *parts = Some(Parts { server, app });
        }
        if let Some(parts) = parts {
            parts.app.take(id, peer, unknown_id);
        }
        conn.protocol = Some(Arc::clone(protocol));
        cutter
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

/// What a connection takes from its listener.
struct Listened<'a> {
    protocol: &'a Arc<dyn crate::protocol::Protocol>,
    unknown_id: crate::dispatch::outlet::UnknownId,
}

impl<'a> From<&'a super::setup::Listening> for Listened<'a> {
    fn from(listening: &'a super::setup::Listening) -> Self {
        Self {
            protocol: &listening.protocol,
            unknown_id: listening.unknown_id,
        }
    }
}
