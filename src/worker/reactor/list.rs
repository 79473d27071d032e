//! What the worker tells an operator about its connections. On the reactor,
//! which alone knows them all: about a microsecond for each that is listed.

use super::Reactor;
use super::inbound::Inbound;
use crate::net::{ConnId, UserName};
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::socket::{self, Peer};
use crate::worker::{Listed, Live};

/// Connections that are listed at most.
const LISTED_MAX: usize = 1000;

impl Reactor<'_> {
    /// The connections that live: all of them, or those for whom most waits.
    pub(super) fn list(&self) -> Listed {
        let mut all: Vec<(usize, u64, usize)> = (self.inbound.iter().enumerate())
            .filter_map(|(slot, inbound)| {
                let conn = inbound.conn()?;
                let idle = self.now.saturating_sub(conn.last_heard());
                Some((conn.unsent(), idle, slot))
            })
            .collect();
        let total = all.len();
        if total > LISTED_MAX {
            all.select_nth_unstable_by(LISTED_MAX, |a, b| b.cmp(a));
            all.truncate(LISTED_MAX);
        }
        let live = all.into_iter().filter_map(|(queued, idle, slot)| {
            let inbound = &self.inbound[slot];
            let conn = inbound.conn()?;
            Some(Live {
                id: conn.named().name.word(),
                peer: match conn.peer {
                    Peer::Tcp(peer) => Some(peer),
                    Peer::Unix => None,
                },
                local: socket::local_address(conn.socket())
                    .map_or_else(|_| String::new(), |address| address.to_string()),
                age: self.now.saturating_sub(conn.opened),
                idle,
                bytes: socket::bytes_moved(conn.socket()),
                queued,
                user: (self.service.user_of(conn.id))
                    .map(|user| user.chars().take(UserName::MAX).collect()),
            })
        });
        let live = live.collect();
        Listed { live, total }
    }

    /// The same, of all connections of a user; tells how many those were.
    pub(super) fn kick_user(&mut self, user: &str) -> usize {
        let conns = self.service.conns_of(user);
        conns.into_iter().filter(|conn| self.kick(*conn)).count()
    }

    /// Closes a connection because an operator wants it; false: nobody has
    /// that name.
    pub(super) fn kick(&mut self, id: ConnId) -> bool {
        let mut lives = self.inbound.iter().filter_map(Inbound::conn);
        let Some(conn) = lives.find(|conn| conn.named().name == id) else {
            return false;
        };
        self.end_connection(conn.id, CloseMode::Flush, Some(Counter::Kicked));
        true
    }
}
