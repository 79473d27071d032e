//! One thread of the load: an epoll loop over its share of the clients.
//!
//! ```text
//! links    connecting, losing, connecting again     Shut -> Opening -> Open
//! traffic  sending what is due, reading replies               (Open only)
//! here     time: what is due when, and when it is over
//! ```
//!
//! Invariant: `owed` is the sum of what the connections are owed, and every
//! request that was sent ends as a reply or as one counted fault.

mod links;
mod traffic;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::StressError;
use super::connection::Connection;
use super::fault::Kind;
use super::load::{End, Load, Pace};
use super::schedule::Schedule;
use super::shared::Shared;
use super::stats::Stats;
use crate::sys::epoll::{Epoll, Events};

/// How often to look for what is overdue; also how soon an end is noticed.
const SWEEP: Duration = Duration::from_millis(50);

/// Bytes of one read.
const READ_SIZE: usize = 256 * 1024;

/// Events of one wait.
const EVENTS: usize = 256;

/// A client: its connection, and what it did.
struct Slot {
    link: Link,
    /// Requests that it sent.
    issued: u64,
    /// Requests that it is to send; `u64::MAX`: as many as there is time for.
    quota: u64,
    /// Connections in a row that had no good reply.
    failures: u32,
}

enum Link {
    Shut,
    /// Begun at this time.
    Opening(OwnedFd, Instant),
    Open(Connection),
}

/// A thread's share of the run.
pub(super) struct Lane<'a> {
    load: &'a Load,
    shared: &'a Shared,
    number: usize,
    /// Client of the first slot.
    first: u32,
    slots: Vec<Slot>,
    epoll: Epoll,
    events: Events,
    /// When a slot is to connect.
    wakeups: BinaryHeap<Reverse<(Instant, usize)>>,
    opening: usize,
    schedule: Option<Schedule>,
    /// The request that is due next: which one of which slot.
    next: (u64, usize),
    /// `None` while connecting.
    start: Option<Instant>,
    /// No new requests any more.
    closing: bool,
    owed: usize,
    stats: Stats,
    /// Faults since the last good reply, and when that was.
    failures: usize,
    last_good: Instant,
    /// Why the server refused what is sent first.
    refused: Option<String>,
    swept: Instant,
    /// The kernel waits to the microsecond.
    exact: bool,
    /// Memory that is used again and again.
    ready: Vec<usize>,
    scratch: Box<[u8]>,
    body: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> Lane<'a> {
    /// The share of thread `number`.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor left.
    pub(super) fn new(
        number: u32,
        load: &'a Load,
        shared: &'a Shared,
        with_timeline: bool,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let clients = load.clients(number);
        let first = clients.start;
        let slots = clients.map(|client| Slot {
            link: Link::Shut,
            issued: 0,
            quota: load.requests_of(client).unwrap_or(u64::MAX),
            failures: 0,
        });
        Ok(Self {
            load,
            shared,
            number: number as usize,
            first,
            slots: slots.collect(),
            epoll: Epoll::new()?,
            events: Events::with_capacity(EVENTS),
            wakeups: BinaryHeap::new(),
            opening: 0,
            schedule: load.schedule(),
            next: (0, 0),
            start: None,
            closing: false,
            owed: 0,
            stats: Stats::new(with_timeline),
            failures: 0,
            last_good: now,
            refused: None,
            swept: now,
            exact: true,
            ready: Vec::with_capacity(EVENTS),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            body: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Runs the load; returns what was measured.
    ///
    /// # Errors
    ///
    /// [`StressError::Connect`] when nobody ever got a connection.
    pub(super) fn run(mut self) -> Result<Stats, StressError> {
        let ramp = self.load.ramp;
        for at in 0..self.slots.len() {
            let later = ramp.mul_f64(f64::from(self.client(at)) / f64::from(self.load.connections));
            self.wakeups.push(Reverse((self.swept + later, at)));
        }
        // A closed loop grows with its ramp. An open one has its rate from the
        // start, and so needs all its connections.
        let grows = !ramp.is_zero() && self.load.pace == Pace::Closed;
        let connected = if grows { Ok(()) } else { self.connect_all() };
        let start = if grows {
            self.shared.begin()
        } else {
            self.shared.begin_together()
        };
        connected?;
        self.start = Some(start);
        self.last_good = start;
        for at in 0..self.slots.len() {
            self.pump(at, Instant::now());
        }
        while !self.is_over(Instant::now()) {
            self.turn()?;
        }
        Ok(self.result())
    }

    /// Gives every slot a connection, or the time to get one.
    fn connect_all(&mut self) -> Result<(), StressError> {
        let is_open = |link: &Link| match link {
            Link::Open(connection) => connection.is_greeted(),
            Link::Shut | Link::Opening(..) => false,
        };
        let settled = |slot: &Slot| is_open(&slot.link) || slot.failures > 0;
        let patience = Instant::now() + self.load.ramp + 2 * self.load.timeout;
        while !self.slots.iter().all(settled) {
            if self.shared.is_ending() || Instant::now() > patience {
                break;
            }
            self.turn()?;
        }
        Ok(())
    }

    fn client(&self, at: usize) -> u32 {
        self.first + u32::try_from(at).expect("as many slots as clients")
    }

    /// Does what is due, waits for events, and obeys them.
    fn turn(&mut self) -> Result<(), StressError> {
        let now = Instant::now();
        self.open_due(now)?;
        self.issue_due(now);
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now)?;
        }
        self.wait(self.until_next(now))
            .map_err(|error| StressError::System("wait for events", error))?;
        for n in 0..self.ready.len() {
            self.obey(self.ready[n])?;
        }
        if let Some(why) = self.refused.take() {
            return Err(StressError::First(why));
        }
        let progress = self.shared.progress(self.number);
        progress.set(self.stats.replies, self.stats.faults.total());
        Ok(())
    }

    /// Open loop: sends what has become due.
    fn issue_due(&mut self, now: Instant) {
        let (Some(schedule), Some(start)) = (self.schedule, self.start) else {
            return;
        };
        loop {
            let (turn, at) = self.next;
            if turn == u64::MAX || start + schedule.due(self.client(at), turn) > now {
                return;
            }
            self.pump(at, now);
            self.next = if at + 1 < self.slots.len() {
                (turn, at + 1)
            } else {
                (turn + 1, 0)
            };
            // The first slots have as many requests as any other, or one more.
            if self.next.1 == 0 && self.next.0 >= self.slots[0].quota {
                self.next.0 = u64::MAX;
            }
        }
    }

    /// How long nothing will be due.
    fn until_next(&self, now: Instant) -> Duration {
        let mut until = self.swept + SWEEP;
        if let Some(Reverse((at, _))) = self.wakeups.peek() {
            until = until.min(*at);
        }
        if let (Some(schedule), Some(start), (turn, at)) = (self.schedule, self.start, self.next)
            && turn != u64::MAX
        {
            until = until.min(start + schedule.due(self.client(at), turn));
        }
        if let (Some(start), End::After(time)) = (self.start, self.load.end) {
            let end = start + time;
            if end > now {
                until = until.min(end);
            }
        }
        until.saturating_duration_since(now)
    }

    /// Leaves the slots that have something to do in `ready`.
    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        self.ready.clear();
        let slot = |event: crate::sys::epoll::Event| usize::try_from(event.token).ok();
        if self.exact {
            match self.epoll.wait_exactly(&mut self.events, limit) {
                Ok(events) => self.ready.extend(events.filter_map(slot)),
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => self.exact = false,
                Err(error) => return Err(error),
            }
        } else {
            let events = self.epoll.wait(&mut self.events, Some(limit))?;
            self.ready.extend(events.filter_map(slot));
        }
        Ok(())
    }

    fn obey(&mut self, at: usize) -> Result<(), StressError> {
        let now = Instant::now();
        match self.slots[at].link {
            Link::Opening(..) => self.opened(at, now),
            Link::Open(_) => {
                self.receive(at, now);
                Ok(())
            }
            Link::Shut => Ok(()),
        }
    }

    /// Whether nothing more is to be done, or nothing more can be.
    fn is_over(&mut self, now: Instant) -> bool {
        let Some(start) = self.start else {
            return false;
        };
        let elapsed = now.saturating_duration_since(start);
        let patience = match (self.load.end, self.schedule) {
            (End::After(time), None) => time,
            // What is late by more than the timeout is not worth sending.
            (End::After(time), Some(_)) => time + self.load.timeout,
            (End::Count(_), _) => Duration::MAX,
        };
        self.closing |= self.shared.is_ending() || elapsed >= patience;
        let done = |slot: &Slot| slot.issued >= slot.quota;
        let idle = self.owed == 0 && (self.closing || self.slots.iter().all(done));
        if idle || self.shared.is_ending_at_once() {
            return true;
        }
        self.stats.gave_up = self.is_hopeless(now);
        self.stats.gave_up
    }

    /// Every client failed twice since the last good reply, which is long ago.
    fn is_hopeless(&self, now: Instant) -> bool {
        self.failures >= 2 * self.slots.len()
            && now.saturating_duration_since(self.last_good) > self.load.timeout
    }

    fn result(mut self) -> Stats {
        for at in 0..self.slots.len() {
            let (issued, quota) = (self.slots[at].issued, self.slots[at].quota);
            let lost = self.shut(at);
            if self.shared.is_ending() {
                // What the operator cut short is no fault of the server's.
                continue;
            }
            self.stats.faults.add_untold(Kind::Lost, lost as u64);
            self.stats.silent += u64::from(issued == 0);
            if quota != u64::MAX {
                self.stats.faults.add_untold(Kind::Unsent, quota - issued);
            }
        }
        self.stats
    }
}
