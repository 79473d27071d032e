//! Leaving at once: the end of a connection that nobody but the reactor has to
//! do anything for.
//!
//! ```text
//!   end of file, or the close that a client asked for
//!               --> owed, remembered, unsent, told of? --> business thread --> recycler
//!               \-> nothing of all that: close(2) behind this batch of events
//! ```
//!
//! Most connections end so: their peer has its reply and closes. The other way
//! wakes two threads, which costs more than the whole connection did.

use std::sync::Arc;

use super::Reactor;
use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket;
use crate::sys::sync::{Ordering, try_lock};
use crate::worker::connection::{Connection, Item};
use crate::worker::queues::letters::ToRecycler;
use crate::worker::reactor::drain::Fate;
use crate::worker::turn;

impl Reactor<'_> {
    /// Ends a connection: nobody finds it any more, nothing is read, its last
    /// turn is scheduled. Asked twice, it does nothing.
    pub(super) fn end_connection(&mut self, id: ConnId, mode: CloseMode, counter: Option<Counter>) {
        if self.fate(id.slot()) == Some(Fate::Offered) {
            return self.close_when_known(id, mode, counter);
        }
        let Some(conn) = self
            .inbound
            .get_mut(id.slot())
            .and_then(|inbound| inbound.vacate(id))
        else {
            return;
        };
        let inbound = &mut self.inbound[id.slot()];
        let watched = std::mem::take(&mut inbound.reading);
        let partial = inbound.forget();
        self.shared.unbuffered(partial);
        self.shared.pool.evict(id);
        conn.bury();
        kill_point(Spot::Decided);
        if mode == CloseMode::Abort {
            conn.peer_done.store(true, Ordering::SeqCst);
            socket::abort(conn.socket());
        } else if mode == CloseMode::Done && partial == 0 && !socket::has_unread(conn.socket()) {
            // It has kept its word so far.
            conn.peer_done.store(true, Ordering::SeqCst);
        }
        if conn.peer_done.load(Ordering::SeqCst) {
            // The peer may be back before the recycler has come to this one,
            // which waits for nobody but a handler that runs.
            self.shared.admission.leave(conn.uncount());
        }
        self.live -= 1;
        self.count_end(&conn, counter);
        self.leave(conn, watched);
    }

    fn count_end(&self, conn: &Connection, counter: Option<Counter>) {
        let row = &self.shared.row;
        row.add(Counter::Quarantined, 1);
        row.subtract(Counter::Live, 1);
        row.count(Counter::Closed);
        if let Some(counter) = counter {
            row.count(counter);
            if !matches!(
                counter,
                Counter::Broken | Counter::ClosedByHandler | Counter::Kicked
            ) {
                self.shared
                    .peer_fault(conn.id, conn.peer, counter, counter.help());
            }
        }
    }

    /// Whether the end of its peer's stream is the end of this connection:
    /// nothing waits or runs, nothing is remembered, nothing is unsent. A
    /// server that is idle answers that event with a close, see
    /// [`Server::is_idle`](crate::protocol::Server::is_idle).
    pub(super) fn is_done(&self, conn: &Connection) -> bool {
        !conn.mailbox.is_busy() && remembers_nothing(conn)
    }

    /// The mailbox is given its last item, the end: whoever has a part in it
    /// follows. This thread alone, if it can. `watched`: the epoll still has
    /// it.
    pub(super) fn leave(&mut self, conn: Arc<Connection>, watched: bool) {
        let mine = !self.service.sees_off() && conn.mailbox.begin_last();
        let (dropped, after) = conn.mailbox.end(Item::Ended);
        drop(dropped);
        let is_over = mine && remembers_nothing(&conn);
        if is_over {
            turn::write_off(self.shared, &conn);
        }
        if is_over && conn.peer_done.load(Ordering::SeqCst) {
            // Closing takes it out of the epoll: a system call less.
            return self.left.push(conn);
        }
        if watched {
            let _gone = self.epoll.delete(conn.socket());
        }
        if is_over {
            // Lingers.
            self.shared.to_recycler.post(ToRecycler::Left(conn));
        } else if mine {
            self.give_up_inline(&conn);
        } else {
            self.follow(&conn, after);
        }
    }

    /// Closes those who have left. Behind a batch of events, as whoever read
    /// the end still holds the connection.
    pub(super) fn close_left(&mut self) {
        let mut left = std::mem::take(&mut self.left);
        for conn in left.drain(..) {
            match self.shared.give_back(conn) {
                Ok(true) => self.accept_again(),
                Ok(false) => {}
                // Held by somebody who looked it up: the recycler waits for
                // that.
                Err(conn) => {
                    let _gone = self.epoll.delete(conn.socket());
                    self.shared.to_recycler.post(ToRecycler::Left(conn));
                }
            }
        }
        self.left = left;
    }
}

/// Whether its parts rest, and all that it was told is sent. Somebody who holds
/// a lock may be about to change that.
fn remembers_nothing(conn: &Connection) -> bool {
    let rests = try_lock(&conn.turn).is_some_and(|kept| kept.is_none());
    rests && conn.unsent() == 0 && try_lock(&conn.outbound).is_some_and(|out| out.is_at_rest())
}
