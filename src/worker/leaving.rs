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

use super::connection::{Connection, Item};
use super::letters::ToRecycler;
use super::reactor::Reactor;
use super::recycler;
use super::turn;
use crate::sys::sync::{Ordering, try_lock};

impl Reactor<'_> {
    /// Whether the end of its peer's stream is the end of this connection:
    /// nothing waits or runs, nothing is remembered, nothing is unsent. A server
    /// that rests answers that event with a close, see
    /// [`Server::rests`](crate::protocol::Server::rests).
    pub(super) fn is_done(&self, conn: &Connection) -> bool {
        !conn.mailbox.is_busy() && remembers_nothing(conn)
    }

    /// The mailbox is given its last item, the end: whoever has a part in it
    /// follows. This thread alone, if it can. `watched`: the epoll still has it.
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

    /// Closes those who have left. Behind a batch of events, as whoever read the
    /// end still holds the connection.
    pub(super) fn see_out(&mut self) {
        let mut left = std::mem::take(&mut self.left);
        for conn in left.drain(..) {
            match recycler::give_back(self.shared, conn) {
                Ok(true) => self.accept_again(),
                Ok(false) => {}
                // Held by somebody who looked it up: the recycler waits for that.
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
