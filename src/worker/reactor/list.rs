//! What the worker tells an operator about its connections. On the reactor,
//! which alone knows them all: about a microsecond for each that is listed.

use super::Reactor;
use super::drain::Fate;
use super::inbound::Inbound;
use crate::dispatch::CloseReason;
use crate::net::{ConnId, UserName, Words};
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::socket::{self, Peer};
use crate::worker::connection::Item;
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
            let (user, rooms) = self.service.outline(conn.id, Live::ROOMS_MAX);
            Some(Live {
                id: conn.named().name.word(),
                peer: match conn.peer() {
                    Peer::Tcp(peer) => Some(peer),
                    Peer::Unix => None,
                },
                local: socket::local_address(conn.socket())
                    .map_or_else(|_| String::new(), |address| address.to_string()),
                age: self.now.saturating_sub(conn.opened),
                idle,
                bytes: socket::bytes_moved(conn.socket()),
                queued,
                user: user.map(|user| user.chars().take(UserName::MAX).collect()),
                rooms: rooms
                    .iter()
                    .map(|room| room.chars().take(Live::ROOM_MAX).collect())
                    .collect(),
            })
        });
        let live = live.collect();
        Listed { live, total }
    }

    /// The same, of all connections of a user; tells how many those were.
    pub(super) fn kick_user(&mut self, user: &str, say: Option<&Words>) -> usize {
        let conns = self.service.conns_of(user).into_iter();
        conns.filter(|conn| self.kick(*conn, say)).count()
    }

    /// Closes a connection because an operator wants it; false: nobody has
    /// that name.
    pub(super) fn kick(&mut self, id: ConnId, say: Option<&Words>) -> bool {
        let mut lives = self.inbound.iter().filter_map(Inbound::conn);
        let Some(conn) = lives.find(|conn| conn.named().name == id) else {
            return self.kick_from_limbo(id);
        };
        let id = conn.id;
        // One that is on its way to another worker has no turn here any more.
        let may_speak = conn.protocol().is_session()
            && conn.is_opened()
            && self.fate(id.slot()) != Some(Fate::Offered);
        if let Some(say) = say.filter(|_| may_speak) {
            conn.ends_by(CloseReason::Kicked);
            let task = self.service.last_words(say.as_str());
            // Counted in its turn: who is kicked twice before ends once.
            if self.shared.post(id, Item::Kicked(task)) {
                return true;
            }
        }
        self.end_connection(id, CloseMode::Flush, Some(Counter::Kicked));
        true
    }
}
