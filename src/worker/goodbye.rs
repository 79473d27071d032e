//! What a draining worker says to its connections, and what it reads of them
//! before. On the reactor.

use super::reactor::Reactor;
use crate::protocol::Event;
use crate::scoreboard::Counter;

/// Bytes that a draining worker reads from one connection before it stops.
const LAST_READ: usize = 4 * 1024 * 1024;

impl Reactor<'_> {
    /// The worker drains: tells a peer whose format has words for it, so that it
    /// stops asking and comes back elsewhere.
    pub(super) fn warn(&mut self, slot: usize) {
        let conn = self.inbound[slot].conn();
        if let Some(conn) = conn.filter(|conn| conn.protocol().warns()).cloned() {
            self.post_event(&conn, Event::Draining);
        }
    }

    /// The worker drains: what has arrived is read, and behind it the
    /// connection is told to close.
    pub(super) fn say_goodbye(&mut self, slot: usize) {
        let Some(conn) = self.inbound[slot].conn().cloned() else {
            return;
        };
        let mut came = 0;
        while came < LAST_READ && self.inbound[slot].reading {
            match self.read_once(&conn) {
                0 => break,
                n => came = came.saturating_add(n.min(self.scratch.len())),
            }
        }
        if self.inbound[slot].find(conn.id).is_none() {
            return;
        }
        let forgotten = self.inbound[slot].forget();
        self.shared
            .row
            .subtract(Counter::Buffered, forgotten as u64);
        self.stop_reading(&conn);
        self.post_event(&conn, Event::GoAway);
    }
}
