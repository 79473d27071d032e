//! Draining, on the reactor: nothing new is accepted, what was received is
//! answered, and every connection leaves, to another worker or for good.
//!
//! ```text
//!          busy: tried again          no successor, or it cannot go
//!   Open --------------------> Open ------------------------------> Warned, Never
//!    |  ^ undone                                                     |
//!    v  |                                                            v silent, or late
//!   Offered --> taken over: gone                                    Told
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::drain_report::DrainReport;
use super::{Accepting, End, Reactor};
use crate::dispatch::CloseReason;
use crate::protocol::{CloseMode, Error, Event};
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::Ordering;
use crate::worker::connection::Connection;
use crate::worker::connection::mailbox::Wait;
use crate::worker::shared::Job;

/// How often a draining reactor looks whether it is done.
pub(super) const DRAIN: Duration = Duration::from_millis(20);

/// Milliseconds for the answers on their way when a drain is cut short; below
/// the second after which the master kills.
const LAST_WORDS: u64 = 300;

/// Milliseconds from the end of patience, when who waits for a reply gets an error,
/// to the end of the connections.
const FAREWELL: u64 = 200;

/// Bytes that a draining worker reads from one connection before it stops.
const LAST_READ: usize = 4 * 1024 * 1024;

/// How far a drain has come.
#[derive(Debug)]
pub(super) struct Drain {
    /// What there was to be done when it began.
    pub(super) report: DrainReport,
    until: Option<u64>,
    /// When those who still talk are told as well.
    talk_until: u64,
    /// When to look again who is silent, and who is idle.
    look_at: u64,
    /// By slot. Nobody moves in again.
    fates: Vec<Fate>,
    /// The program has said what it wanted to say before anybody else.
    announced: bool,
    /// Time was up.
    cut: Option<Cut>,
    /// Who was still there when the loop ended.
    pub(super) left: Vec<Arc<Connection>>,
}

/// Connections that are left when time is up.
#[derive(Clone, Copy, Debug)]
struct Cut {
    connections: usize,
    /// When nobody waits for their last words any more.
    at: u64,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It goes to another worker as soon as it is idle.
    Open,
    /// As [`Open`](Self::Open), if another worker comes; none is there.
    Warned,
    /// It cannot go to another worker.
    Never,
    /// Another worker was asked to take it.
    Offered,
    /// It was told to close.
    Told,
}

impl Drain {
    pub(super) fn fate(&self, slot: usize) -> Fate {
        self.fates.get(slot).copied().unwrap_or(Fate::Warned)
    }

    pub(super) fn set(&mut self, slot: usize, fate: Fate) {
        // Whoever awaited a PROXY header has a slot that was empty at the start.
        if self.fates.len() <= slot {
            self.fates.resize(slot + 1, Fate::Warned);
        }
        self.fates[slot] = fate;
    }

    /// Has everybody looked at in this turn of the loop.
    pub(super) fn hurry(&mut self) {
        self.look_at = 0;
    }
}

impl Reactor<'_> {
    /// Stops accepting, reads what has arrived, and has every connection closed
    /// behind its last answer, unless another worker takes it: no later than
    /// `limit` from now, and those who go on talking after `talk`.
    pub(super) fn begin_drain(&mut self, limit: Option<Duration>, talk: Option<Duration>) {
        let at = |time: Duration| self.now.saturating_add(millis(time));
        let (until, talk_until) = (limit.map(at), talk.map_or(u64::MAX, at));
        if let Some(drain) = &mut self.drain {
            // Cut short, by a stop or by the reloads that came behind it: still
            // nobody is cut off before the answers to what was read.
            let last = self.now.saturating_add(LAST_WORDS);
            drain.until = until.map(|until| until.max(last));
            drain.talk_until = drain.talk_until.min(until.unwrap_or(talk_until));
            drain.look_at = 0;
            return;
        }
        let fate = if self.has_successor() {
            Fate::Open
        } else {
            Fate::Warned
        };
        self.pause_accepting(Accepting::Over);
        if fate == Fate::Warned && self.accept_mode.is_left_by_all() {
            self.empty_backlogs();
        }
        self.drain = Some(Drain {
            report: DrainReport::open(&self.shared.row, self.live, self.now),
            until,
            talk_until,
            look_at: 0,
            fates: vec![fate; self.inbound.len()],
            announced: false,
            cut: None,
            left: Vec::new(),
        });
        if self.service.announces() {
            self.shared.announcing.store(true, Ordering::SeqCst);
            self.shared.queue.push(Job::Draining);
        }
        kill_point(Spot::Draining);
        self.take_no_more();
        self.remember_origins();
        self.listeners.clear();
    }

    /// Whether the program has said what it wants to say first. Then those who do
    /// not go to another worker are warned. It is waited for as long as for who
    /// still talks.
    fn has_announced(&mut self) -> bool {
        let (now, announcing) = (self.now, self.shared.announcing.load(Ordering::SeqCst));
        let Some(drain) = &mut self.drain else {
            return false;
        };
        if drain.announced {
            return true;
        }
        if announcing && now < drain.talk_until {
            return false;
        }
        drain.announced = true;
        for slot in 0..self.inbound.len() {
            if self.fate(slot) == Some(Fate::Warned) {
                self.warn(slot);
            }
        }
        true
    }

    /// What becomes of the connection in `slot`.
    pub(super) fn fate(&self, slot: usize) -> Option<Fate> {
        self.drain.as_ref().map(|drain| drain.fate(slot))
    }

    pub(super) fn set_fate(&mut self, slot: usize, fate: Fate) {
        if let Some(drain) = &mut self.drain {
            drain.set(slot, fate);
        }
    }

    /// The connection in `slot` cannot go to another worker: it leaves as if
    /// there were none.
    pub(super) fn keep_here(&mut self, slot: usize, reason: Counter) {
        self.shared.row.count(reason);
        self.set_fate(slot, Fate::Never);
        self.warn(slot);
    }

    /// There is nobody to go to any more.
    pub(super) fn warn_the_open(&mut self) {
        for slot in 0..self.inbound.len() {
            if self.fate(slot) == Some(Fate::Open) {
                self.set_fate(slot, Fate::Warned);
                self.warn(slot);
            }
        }
    }

    /// Says good-bye to those who have been silent for a while. Who has just
    /// connected, or asks again and again, has a request on its way, which it
    /// would never see answered; half of the time is theirs.
    fn dismiss_silent(&mut self) {
        let Some(drain) = self
            .drain
            .as_mut()
            .filter(|drain| drain.look_at <= self.now)
        else {
            return;
        };
        drain.look_at = self.now + u64::try_from(DRAIN.as_millis()).unwrap_or(u64::MAX);
        let (is_late, ends) = (drain.talk_until <= self.now, drain.until.is_some());
        self.look_for_idle();
        self.tell_what_holds();
        for slot in 0..self.inbound.len() {
            let Some((conn, fate)) = self.inbound[slot].conn().zip(self.fate(slot)) else {
                continue;
            };
            // What has begun to arrive is waited for; how slow it may be, says
            // `receive_rate`.
            let arrives = self.inbound[slot].unfinished.is_some();
            if arrives && !(is_late && ends) {
                continue;
            }
            match fate {
                Fate::Open if is_late => {
                    self.shared.row.count(Counter::NotHandedBusy);
                    self.warn(slot);
                }
                Fate::Warned | Fate::Never if is_late || self.is_silent(conn) => {}
                Fate::Open | Fate::Warned | Fate::Never | Fate::Offered | Fate::Told => continue,
            }
            self.set_fate(slot, Fate::Told);
            self.say_goodbye(slot);
        }
    }

    /// Says in the scoreboard what this worker is still there for.
    fn tell_what_holds(&self) {
        let (mut files, mut streams, mut uploads, mut replies) = (0, 0, 0, 0);
        for inbound in &self.inbound {
            let Some(conn) = inbound.conn() else { continue };
            let is_owed = conn.clocks.replies.load(Ordering::Relaxed) > 0;
            match conn.mailbox.awaits() {
                _ if conn.is_in_file() => files += 1,
                _ if inbound.unfinished.is_some() => uploads += 1,
                _ if is_owed => replies += 1,
                Some(Wait::Event | Wait::Writable) => streams += 1,
                Some(Wait::Reply) => replies += 1,
                None if conn.mailbox.is_busy() => replies += 1,
                None => {}
            }
        }
        let row = &self.shared.row;
        row.set(Counter::LeavingFiles, files);
        row.set(Counter::LeavingStreams, streams);
        row.set(Counter::LeavingUploads, uploads);
        row.set(Counter::LeavingReplies, replies);
    }

    fn is_silent(&self, conn: &Connection) -> bool {
        let idle = u64::try_from(self.shared.limits.drain_idle.as_millis()).unwrap_or(u64::MAX);
        let last = conn.last_heard();
        last.saturating_add(idle) <= self.now && !conn.is_busy()
    }

    /// The worker drains: tells a peer whose format has words for it, so that
    /// it stops asking and comes back elsewhere.
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
        conn.ends_by(CloseReason::GoingAway);
        let forgotten = self.inbound[slot].forget();
        self.shared.unbuffered(forgotten);
        self.stop_reading(&conn);
        self.post_event(&conn, Event::GoAway);
    }

    pub(super) fn drained(&mut self) -> Option<End> {
        self.drain.as_ref()?;
        let has_announced = self.has_announced();
        if has_announced {
            self.hand_over_idle();
            self.dismiss_silent();
        }
        let drain = self.drain.as_ref()?;
        let is_empty = self.live == 0 && self.proxy_wait.is_empty() && !self.has_limbo();
        if has_announced && is_empty && self.shared.row.read(Counter::Quarantined) == 0 {
            let cut = drain.cut.filter(|cut| cut.connections > 0);
            return Some(cut.map_or(End::Drained, |cut| End::Cut(cut.connections)));
        }
        match drain.cut {
            Some(cut) => (self.now >= cut.at).then_some(End::Cut(cut.connections)),
            None if drain.until.is_some_and(|until| self.now >= until) => {
                self.cut_short();
                None
            }
            None => None,
        }
    }

    /// Time is up: who waits for a reply gets an error, and everybody the good-bye.
    fn cut_short(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.cut = Some(Cut {
                connections: self.live,
                at: self.now.saturating_add(FAREWELL),
            });
        }
        for slot in 0..self.inbound.len() {
            let Some((conn, fate)) = self.inbound[slot].conn().cloned().zip(self.fate(slot)) else {
                continue;
            };
            if fate == Fate::Offered {
                continue;
            }
            conn.ends_by(CloseReason::GoingAway);
            if fate == Fate::Open {
                self.warn(slot);
            }
            if conn.is_busy() {
                let error = Error::new(503, "the server is going away");
                self.post_event(&conn, Event::GiveUp(error));
            }
            if fate != Fate::Told {
                self.set_fate(slot, Fate::Told);
                self.say_goodbye(slot);
            }
        }
    }

    /// The loop has ended: so do the connections that are left. Their last turns
    /// are whoever's that ends the worker.
    pub(in crate::worker) fn end_all(&mut self, end: End) {
        let reason = match end {
            End::Drained | End::Cut(_) => CloseReason::GoingAway,
            End::ThreadDied => CloseReason::ServerError,
        };
        let each = self.inbound.iter().filter_map(|inbound| inbound.conn());
        let left: Vec<_> = each.cloned().collect();
        for conn in &left {
            conn.ends_by(reason);
            // A thread may have died while it changed this one.
            let end = || self.end_connection(conn.id, CloseMode::Flush, None);
            let _ended = catch_unwind(AssertUnwindSafe(end));
        }
        self.schedule_ready();
        if let Some(drain) = &mut self.drain {
            drain.left = left;
        }
    }
}
