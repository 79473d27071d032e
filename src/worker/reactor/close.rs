//! The begin and the end of a connection, on the reactor: each comes into its
//! slot by `place` and leaves it by `remove`, whether it is accepted and closed
//! here or comes from and goes to another worker.
//!
//! How one ends:
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
use super::inbound::Inbound;
use crate::dispatch::CloseReason;
use crate::net::{ConnId, Vacancy};
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket;
use crate::sys::sync::{Ordering, try_lock};
use crate::worker::connection::{Connection, Item};
use crate::worker::queues::letters::ToRecycler;
use crate::worker::reactor::drain::Fate;
use crate::worker::turn;

/// A connection that has left its slot.
pub(super) struct Removed {
    conn: Arc<Connection>,
    /// The epoll still has its socket.
    watched: bool,
    /// Bytes of a message that will not become whole.
    partial: usize,
}

impl Reactor<'_> {
    /// A connection, which is whole, comes into its slot: from now on it is
    /// found. Counted under `came`.
    pub(super) fn place(&mut self, vacancy: Vacancy<Connection>, came: Counter) -> Arc<Connection> {
        let slot = vacancy.id().slot();
        if self.inbound.len() <= slot {
            self.inbound.resize_with(slot + 1, Inbound::default);
        }
        let conn = self.shared.pool.place(vacancy);
        self.inbound[slot].place(Arc::clone(&conn));
        self.live += 1;
        self.shared.row.count(came);
        self.shared.row.count(Counter::Live);
        self.shared.session_came(&conn);
        conn
    }

    /// A connection leaves its slot: nobody finds it any more, nothing of it is
    /// read or written, and it is in quarantine until the recycler has it.
    /// `None`: it has left before.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Removed> {
        let inbound = self.inbound.get_mut(id.slot())?;
        let conn = inbound.vacate(id)?;
        let reading = std::mem::take(&mut inbound.reading);
        let watched = std::mem::take(&mut inbound.listening) || reading;
        let partial = inbound.forget();
        self.shared.unbuffered(partial);
        self.shared.pool.evict(id);
        conn.bury();
        self.shared.session_went(&conn);
        if conn.named().has_moved() {
            self.service.departed(conn.named());
        }
        self.live -= 1;
        self.shared.row.count(Counter::Quarantined);
        self.shared.row.subtract(Counter::Live, 1);
        Some(Removed {
            conn,
            watched,
            partial,
        })
    }

    /// Ends a connection: nobody finds it any more, nothing is read, its last
    /// turn is scheduled. Asked twice, it does nothing.
    pub(super) fn end_connection(&mut self, id: ConnId, mode: CloseMode, counter: Option<Counter>) {
        if self.fate(id.slot()) == Some(Fate::Offered) {
            return self.close_when_known(id, mode, counter);
        }
        let Some(Removed {
            conn,
            watched,
            partial,
        }) = self.remove(id)
        else {
            return;
        };
        kill_point(Spot::Decided);
        conn.ends_by(counter.map_or(CloseReason::Program, CloseReason::of));
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
        self.count_end(&conn, counter);
        self.leave(conn, watched);
    }

    /// As [`Self::end_connection`], at once: there are too many, or too much is held.
    /// A peer whose protocol has words for that is told, if nothing is before them.
    pub(super) fn end_for_room(&mut self, id: ConnId, counter: Counter) {
        let inbound = self.inbound.get(id.slot());
        let conn = inbound.and_then(|inbound| inbound.find(id));
        let is_told = conn.is_some_and(|conn| {
            let words = conn.protocol().overloaded();
            let is_told = !words.is_empty() && turn::write::last_words(self.shared, &conn, words);
            // Where somebody else waits for its place nobody waits for its end, though
            // what it still sends then takes the words away from it.
            let at_once = is_told && counter == Counter::MadeRoom;
            conn.peer_done.fetch_or(at_once, Ordering::SeqCst);
            is_told
        });
        let mode = if is_told {
            CloseMode::Done
        } else {
            CloseMode::Abort
        };
        self.end_connection(id, mode, Some(counter));
    }

    fn count_end(&self, conn: &Connection, counter: Option<Counter>) {
        let row = &self.shared.row;
        row.count(Counter::Closed);
        if let Some(counter) = counter {
            row.count(counter);
            let is_told = !matches!(
                counter,
                Counter::Broken | Counter::ClosedByHandler | Counter::Kicked
            );
            if counter == Counter::KeepAliveTimeout {
                // Each browser that is left open ends so: nobody's fault.
                let (peer, id, name) = (conn.peer(), conn.named().name, counter.name());
                let reason = counter.reason();
                log::debug!("serve {peer} as {id}: {reason}; connection closed ({name})");
            } else if is_told {
                let reason = counter.reason();
                let name = conn.named().name;
                self.shared.peer_fault(name, conn.peer(), counter, reason);
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::bus::Read;
    use crate::config::Config;
    use crate::dispatch::service::{Dispatcher, Named, Service};
    use crate::protocol::{Cut, Cutter};
    use crate::scoreboard::Row;
    use crate::worker::limits::Limits;
    use crate::worker::reactor::accept_mutex::AcceptMode;
    use crate::worker::reactor::cutters::Unfinished;
    use crate::worker::setup::{Accept, Control, Order};
    use crate::worker::shared::Shared;

    /// Has nothing to do.
    struct Quiet;

    impl Service for Quiet {
        fn dispatcher(&self) -> Box<dyn Dispatcher> {
            unreachable!("nothing is served")
        }

        fn periods(&self) -> Vec<Duration> {
            Vec::new()
        }

        fn is_wanted(&self, _: usize) -> bool {
            true
        }

        fn tick(&self, _: usize) {}

        fn hear(&self, _: crate::bus::Message) {}

        fn news(&self) {}

        fn has_heard(&self) {}

        fn arrives(&self, _: Named) {}

        fn arrived(&self, _: Named, _: &Arc<[Read]>) {}

        fn departed(&self, _: Named) {}

        fn greets(&self) -> bool {
            false
        }

        fn sees_off(&self) -> bool {
            false
        }

        fn is_stateless(&self) -> bool {
            true
        }

        fn outline(&self, _: ConnId, _: usize) -> (Option<String>, Vec<String>) {
            (None, Vec::new())
        }

        fn conns_of(&self, _: &str) -> Vec<ConnId> {
            Vec::new()
        }

        fn arrival(&self) -> Option<Box<dyn std::any::Any + Send>> {
            None
        }

        fn last_words(&self, _: &str) -> Box<dyn std::any::Any + Send> {
            Box::new(())
        }

        fn announces(&self) -> bool {
            false
        }

        fn draining(&self) {}

        fn stopping(&self) {}
    }

    /// Orders nothing.
    struct Silent(UnixStream);

    impl Control for Silent {
        fn descriptor(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        fn order(&mut self) -> Option<Order> {
            None
        }
    }

    /// Cuts nothing.
    struct Blunt;

    impl Cutter for Blunt {
        fn cut(&mut self, _: &[u8]) -> Cut {
            unreachable!("nothing is read")
        }

        fn reset(&mut self) {}
    }

    fn unfinished() -> Box<Unfinished> {
        Box::new(Unfinished {
            cutter: Box::new(Blunt),
            partial: vec![0; 3],
        })
    }

    #[test]
    fn whoever_was_placed_is_found_and_counted_until_it_is_removed() {
        let limits = Limits::from(&Config::default());
        let shared = Shared::new(Row::alone().unwrap(), 0, 1, None, limits).unwrap();
        let shared = Arc::new(shared);
        let (own, _other) = UnixStream::pair().unwrap();
        let mut control = Silent(own);
        let mode = AcceptMode::new(Accept::Exclusive, 0, 1);
        let mut reactor = Reactor::new(&shared, &Quiet, Vec::new(), mode, &mut control).unwrap();
        let gauges = |reactor: &Reactor<'_>| {
            let counters = [Counter::Live, Counter::Quarantined, Counter::Buffered];
            (reactor.live, counters.map(|gauge| shared.row.read(gauge)))
        };
        for (n, came) in (0..).zip([Counter::Accepted, Counter::TakenOver]) {
            let mut vacancy = shared.pool.vacancy().expect("a slot is free");
            let id = vacancy.id();
            vacancy.tenant().id = id;
            let conn = reactor.place(vacancy, came);
            shared.buffered(3);
            reactor.inbound[id.slot()].unfinished = Some(unfinished());
            assert_eq!(shared.row.read(came), 1);
            assert_eq!(gauges(&reactor), (1, [1, n, 3]));
            assert!(shared.pool.find(id).is_some() && !conn.is_dead());

            let removed = reactor.remove(id).expect("it is there");
            assert!(removed.watched && removed.partial == 3);
            assert_eq!(gauges(&reactor), (0, [0, n + 1, 0]));
            assert!(shared.pool.find(id).is_none() && conn.is_dead());
            assert!(reactor.remove(id).is_none(), "it has left before");
            assert_eq!(gauges(&reactor), (0, [0, n + 1, 0]));
        }
    }
}
