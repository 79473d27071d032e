//! What the threads of a worker share: atomic words, mailboxes, queues.

use std::fmt::{self, Display};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use super::connection::mailbox::FollowUp;
use super::connection::parts::Common;
use super::connection::{Connection, Item};
use super::limits::Limits;
use super::limits::admission::Admission;
use super::queues::letters::{Letters, ToReactor, ToRecycler, ToSender};
use super::queues::run_queue::RunQueue;
use super::queues::timers::Heartbeat;
use crate::bus::{Bus, Member};
use crate::log::{self, Limiter};
use crate::net::{ConnId, Pool};
use crate::protocol::CloseMode;
use crate::scoreboard::{Counter, Row};
use crate::sys::clock::{coarse_millis, millis};
use crate::sys::epoll::Epoll;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket::Peer;
use crate::sys::sync::{AtomicBool, Mutex, Ordering, lock};

/// Lines that each kind of peer's fault gets in the log.
const FAULTS_PER_SECOND: u32 = 10;

/// What a business thread can be asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Take this connection's turn.
    Turn(Arc<Connection>),
    /// Run this periodic job.
    Tick(usize),
    /// Run what the program is to hear of.
    News,
    /// The worker drains: run what the program wants done at the beginning.
    Draining,
}

/// One worker, seen from any of its threads.
pub(crate) struct Shared {
    pub(crate) row: Row,
    /// Its place among the workers; `None`: there are no others.
    pub(crate) bus: Option<Arc<Member>>,
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
    pub(crate) pool: Pool<Connection>,
    pub(crate) queue: RunQueue<Job>,
    pub(crate) parts: Mutex<Common>,
    pub(crate) to_reactor: Letters<ToReactor>,
    pub(crate) to_sender: Letters<ToSender>,
    pub(crate) to_recycler: Letters<ToRecycler>,
    pub(crate) heartbeat: Heartbeat,
    /// Tells the sender who has room; anyone registers, the sender waits.
    pub(crate) writable_epoll: Epoll,
    /// The reactor has no slot to accept into and wants to hear of one.
    pub(crate) wants_vacancy: AtomicBool,
    relief_asked: AtomicBool,
    /// The program's own beginning of a drain waits or runs.
    pub(crate) announcing: AtomicBool,
    /// A peer can cause a fault with every packet; the log must bear that.
    faults: Limiter,
    ending: AtomicBool,
    /// The thread of the reactor, once it runs.
    pub(crate) event_loop: OnceLock<ThreadId>,
}

impl Shared {
    /// # Errors
    ///
    /// Out of descriptors or memory: the worker cannot serve.
    pub(crate) fn new(
        row: Row,
        number: u8,
        epoch: u16,
        bus: Option<&Bus>,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let member = |bus| Member::new(bus, number, epoch, row.clone(), limits.bus_backlog);
        let (initial, max) = (limits.connections_initial, limits.connections_max);
        Ok(Self {
            admission: Admission::new(&row, &limits)?,
            bus: bus.map(member).map(Arc::new),
            row,
            limits,
            pool: Pool::new(number, epoch, initial, max, Connection::vacant),
            queue: RunQueue::new(),
            parts: Mutex::new(Common::default()),
            to_reactor: Letters::new()?,
            to_sender: Letters::new()?,
            to_recycler: Letters::new()?,
            heartbeat: Heartbeat::default(),
            writable_epoll: Epoll::new()?,
            wants_vacancy: AtomicBool::new(false),
            relief_asked: AtomicBool::new(false),
            announcing: AtomicBool::new(false),
            faults: Limiter::new(Counter::ALL.len(), FAULTS_PER_SECOND),
            ending: AtomicBool::new(false),
            event_loop: OnceLock::new(),
        })
    }

    /// Carries out what a mailbox asked for.
    pub(crate) fn follow(&self, conn: &Arc<Connection>, after: FollowUp) {
        if after.schedule && self.queue.push(Job::Turn(Arc::clone(conn))) {
            self.row.count(Counter::Wakes);
        }
        if after.resume {
            self.to_reactor.post(ToReactor::Resume(conn.id));
        }
    }

    /// Posts `item` to `id`; false: nobody will serve it. Counts nothing.
    pub(crate) fn post(&self, id: ConnId, item: Item) -> bool {
        let Some(conn) = self.pool.find(id) else {
            return false;
        };
        let urgency = item.urgency();
        conn.mailbox.post(item, urgency).is_some_and(|after| {
            self.follow(&conn, after);
            true
        })
    }

    /// Asks the reactor to end `id`.
    pub(crate) fn ask_end(&self, id: ConnId, mode: CloseMode, counter: Option<Counter>) {
        self.to_reactor.post(ToReactor::End(id, mode, counter));
    }

    /// A connection speaks what makes it a session: the other workers count it.
    pub(crate) fn session_came(&self, conn: &Connection) {
        let Some(bus) = &self.bus else { return };
        if conn.protocol().is_session() && !conn.is_session.swap(true, Ordering::SeqCst) {
            bus.session_came();
            // It may have been removed meanwhile.
            if conn.is_dead() {
                self.session_went(conn);
            }
        }
    }

    /// It has left its slot.
    pub(crate) fn session_went(&self, conn: &Connection) {
        if let Some(bus) = &self.bus
            && conn.is_session.swap(false, Ordering::SeqCst)
        {
            bus.session_went();
        }
    }

    /// `bytes` more are held for `conn` until they are sent.
    pub(crate) fn queued(&self, conn: &Connection, bytes: usize) {
        conn.queued.fetch_add(bytes, Ordering::SeqCst);
        self.buffered(bytes);
    }

    /// `bytes` less wait to be sent to `conn`.
    pub(crate) fn unqueued(&self, conn: &Connection, bytes: usize) {
        conn.queued.fetch_sub(bytes, Ordering::SeqCst);
        self.unbuffered(bytes);
    }

    /// The worker holds `bytes` more; asks for relief when that is too much.
    pub(crate) fn buffered(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.row.add(Counter::Buffered, bytes as u64);
        if self.row.read(Counter::Buffered) > self.limits.buffered_max as u64
            && !self.relief_asked.swap(true, Ordering::SeqCst)
        {
            self.to_reactor.post(ToReactor::Relieve);
        }
    }

    /// The worker holds `bytes` less.
    pub(crate) fn unbuffered(&self, bytes: usize) {
        self.row.subtract(Counter::Buffered, bytes as u64);
    }

    /// Sees to it that a connection that closes when everything is sent does
    /// not wait for ever for a peer that reads nothing.
    pub(crate) fn watch_flush(&self, id: ConnId) {
        self.heartbeat
            .watch(id.slot(), coarse_millis() + millis(self.limits.linger));
    }

    /// Says in the log what a peer did wrong, and that it is closed for it.
    pub(crate) fn peer_fault(&self, id: ConnId, peer: Peer, counter: Counter, detail: &str) {
        if let Some(suppressed) = self.faults.admit(counter as usize, coarse_millis()) {
            let name = counter.name();
            log::warn!("serve {peer} as {id}: {detail}; connection closed ({name}){suppressed}");
        }
    }

    /// Counts somebody who does not get in, and says so in the log.
    pub(crate) fn refused(&self, peer: Peer, counter: Counter, reason: &dyn Display) {
        self.row.count(counter);
        if let Some(suppressed) = self.faults.admit(counter as usize, coarse_millis()) {
            let name = counter.name();
            log::warn!("refuse {peer}: {reason} ({name}){suppressed}");
        }
    }

    /// Holds a business thread back while the worker holds too much and the
    /// reactor has not closed the largest holder yet, or much waits for other workers
    /// that catch up: its next replies and pushes would only add to it.
    pub(crate) fn wait_for_relief(&self) {
        while self.relief_asked.load(Ordering::SeqCst) && !self.is_ending() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.bus.iter().for_each(|bus| bus.let_catch_up());
    }

    /// Says in the log what the server did about a peer that it goes on
    /// serving.
    pub(crate) fn peer_curbed(
        &self,
        conn: &Connection,
        counter: Counter,
        what: fmt::Arguments<'_>,
    ) {
        if let Some(suppressed) = self.faults.admit(counter as usize, coarse_millis()) {
            let (id, peer, name) = (conn.named().name, conn.peer(), counter.name());
            log::warn!("serve {peer} as {id}: {what} ({name}){suppressed}");
        }
    }

    /// The reactor has heard the call for relief.
    pub(crate) fn relieving(&self) {
        self.relief_asked.store(false, Ordering::SeqCst);
    }

    /// Closes the descriptor and makes the slot free; tells whether the reactor
    /// waits for one.
    ///
    /// # Errors
    ///
    /// The connection, while somebody else holds it.
    pub(crate) fn give_back(&self, conn: Arc<Connection>) -> Result<bool, Arc<Connection>> {
        kill_point(Spot::Recycling);
        let clean = |conn: &mut Connection| {
            conn.clean();
            // Behind `close(2)`: who lingers still counts.
            self.admission.leave(conn.uncount());
        };
        self.pool.give_back(conn.id, conn, clean)?;
        self.row.count(Counter::Recycled);
        self.row.subtract(Counter::Quarantined, 1);
        Ok(self.wants_vacancy.swap(false, Ordering::SeqCst))
    }

    /// Tells every thread to return.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.queue.end();
        self.bus.iter().for_each(|bus| bus.end());
        self.to_sender.call();
        self.to_recycler.call();
        self.heartbeat.end();
    }

    /// Nobody serves any more: closes every connection that is left, also those
    /// on their way from one thread to another. Each may hold handlers that hold
    /// this worker: without it a server among the threads of a program would
    /// leave clients behind that wait for an answer for ever.
    pub(crate) fn dissolve(&self) {
        self.queue.dissolve();
        self.to_sender.clear();
        self.to_recycler.clear();
        *lock(&self.parts) = Common::default();
        self.pool.clear();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_held_is_given_back() {
        let row = Row::alone().unwrap();
        let shared = Shared::new(row, 0, 1, None, Limits::from(&Config::default())).unwrap();
        let conn = Connection::vacant();
        let held = || shared.row.read(Counter::Buffered);
        shared.buffered(5);
        shared.queued(&conn, 7);
        assert_eq!((held(), conn.unsent()), (12, 7));
        shared.unqueued(&conn, 7);
        shared.unbuffered(2);
        assert_eq!((held(), conn.unsent()), (3, 0));
        shared.unbuffered(0);
        shared.unbuffered(3);
        assert_eq!(held(), 0);
    }
}
