//! The reactor: the worker's main thread. It alone reads open connections,
//! accepts new ones, and decides which of them live.
//!
//! ```text
//!   epoll --> accept --> place in a slot of the pool
//!         --> read ----> whole messages --> inline handler, or the mailbox
//!         --> letters -> resume reading, end a connection
//!         --> control -> drain, end
//! ```
//!
//! Level-triggered, unless `worker.trigger` says `edge`. One large buffer is read into for all connections; only the
//! start of an unfinished message stays with its connection, so an idle one
//! holds no buffer.

mod accept;
pub(super) mod accept_mutex;
mod close;
mod cutters;
mod drain;
pub(super) mod drain_report;
mod evict;
mod flood_guard;
mod handover;
mod inbound;
mod inline;
mod list;
mod proxy_wait;
mod read;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::connection::mailbox::FollowUp;
use super::queues::letters::ToReactor;
use super::setup::{Control, Listening, Order};
use super::shared::{Job, Shared};
use super::turn::lend::Lender;
use crate::config::Yield;
use crate::dispatch::service::Service;
use crate::net::ConnId;
use crate::scoreboard::Counter;
use crate::sys::clock::coarse_millis;
use crate::sys::epoll::{Epoll, Event, Events, Interest};
use crate::sys::reserve::Reserve;
use crate::sys::{process, socket};
use accept_mutex::AcceptMode;
use cutters::Cutters;
use drain::{DRAIN, Drain};
use drain_report::Drained;
use evict::Candidates;
use handover::{Predecessor, Successors};
use inbound::Inbound;
use proxy_wait::ProxyWait;

/// Events taken from the kernel at once.
const BATCH: usize = 512;

/// Bytes read from one connection before the others get their turn.
const SCRATCH: usize = 256 * 1024;

/// How soon another business thread is woken while jobs wait and one sleeps.
const NUDGE: Duration = Duration::from_millis(1);

/// Milliseconds after which accepting is tried again when the system was out
/// of descriptors.
const RETRY: u64 = 100;

const BELL: u64 = u64::MAX;
const CONTROL: u64 = u64::MAX - 1;
const ACCEPT_BELL: u64 = u64::MAX - 2;
/// Every line to another worker.
const HANDOVER: u64 = u64::MAX - 3;
/// Listener `n` has this token less `n`. No connection has such a name: the
/// last row is never given to a worker.
const LISTENER: u64 = u64::MAX - 4;

/// The state of the reactor thread.
pub(super) struct Reactor<'a> {
    shared: &'a Arc<Shared>,
    service: &'a dyn Service,
    epoll: Epoll,
    listeners: Vec<Listening>,
    /// What only the reactor knows of each connection, by slot.
    inbound: Vec<Inbound>,
    cutters: Cutters,
    lender: Lender,
    /// Who has not been introduced by a proxy yet.
    proxy_wait: ProxyWait,
    scratch: Vec<u8>,
    buffer: Vec<u8>,
    /// Turns to hand to the business threads after this batch of events.
    ready: Vec<Job>,
    /// Who may have more to read than one read took, with edges.
    again: Vec<(ConnId, bool)>,
    /// Who has left, and is closed behind this batch of events.
    left: Vec<Arc<Connection>>,
    accepting: Accepting,
    /// In a full pool, who has kept the server waiting, and who is idle.
    candidates: [Candidates; 2],
    accept_mode: AcceptMode,
    control: &'a mut dyn Control,
    drain: Option<Drain>,
    /// Those to whom connections go when this worker drains.
    successors: Successors,
    /// Lines to those who drain.
    predecessors: Vec<Predecessor>,
    /// The descriptors that new clients do not get; who moves in from another
    /// worker has one already.
    reserve: Reserve,
    now: u64,
    live: usize,
}

/// Whether new connections are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Accepting {
    /// The listeners are in the epoll.
    Yes,
    /// Another worker does, or nobody is ready yet.
    NotHolder,
    /// Every slot is taken: the recycler tells when one is free, and at this
    /// time one may be made free.
    PoolFull { until: u64 },
    /// No descriptors: tried again when one is closed, or at this time.
    OutOfDescriptors { until: u64 },
    /// The worker drains.
    Over,
}

impl Accepting {
    /// When to try again unasked.
    const fn until(self) -> Option<u64> {
        match self {
            Self::PoolFull { until: u64::MAX } | Self::Yes | Self::NotHolder | Self::Over => None,
            Self::PoolFull { until } | Self::OutOfDescriptors { until } => Some(until),
        }
    }

    const fn out_of_descriptors(now: u64) -> Self {
        Self::OutOfDescriptors {
            until: now.saturating_add(RETRY),
        }
    }
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Everybody was served and is gone.
    Drained,
    /// Time was up: these connections were cut.
    Cut(usize),
    /// A thread of the worker died.
    ThreadDied,
}

impl<'a> Reactor<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        service: &'a dyn Service,
        listeners: Vec<Listening>,
        accept_mode: AcceptMode,
        control: &'a mut dyn Control,
    ) -> io::Result<Self> {
        for listening in &listeners {
            // Connections inherit it: a system call less for each.
            socket::no_delay(&listening.socket);
        }
        let mut reactor = Self {
            shared,
            service,
            epoll: Epoll::new()?,
            listeners,
            inbound: Vec::new(),
            cutters: Cutters::default(),
            lender: Lender::default(),
            proxy_wait: ProxyWait::default(),
            scratch: vec![0; SCRATCH],
            buffer: Vec::new(),
            ready: Vec::with_capacity(BATCH),
            again: Vec::new(),
            left: Vec::with_capacity(BATCH),
            accepting: Accepting::NotHolder,
            candidates: Default::default(),
            accept_mode,
            control,
            drain: None,
            successors: Successors::default(),
            predecessors: Vec::new(),
            reserve: Reserve::new()?,
            now: coarse_millis(),
            live: 0,
        };
        reactor
            .epoll
            .add(&shared.to_reactor, Interest::Read, BELL)?;
        reactor
            .epoll
            .add(reactor.control.descriptor(), Interest::Read, CONTROL)?;
        reactor.begin_accepting()?;
        Ok(reactor)
    }

    /// The loop of the reactor thread.
    ///
    /// # Errors
    ///
    /// Those of epoll, none of which the worker can survive.
    pub(super) fn run(&mut self) -> io::Result<End> {
        let Some(bus) = self.shared.bus.clone() else {
            return self.take_turns();
        };
        bus.with_turns(|| self.take_turns())
    }

    fn take_turns(&mut self) -> io::Result<End> {
        let mut events = Events::with_capacity(BATCH);
        let mut batch: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            let (timeout, waiting) = self.timeout();
            self.shared.row.fall_asleep();
            batch.extend(self.epoll.wait(&mut events, timeout)?);
            self.shared.row.wake_up();
            self.now = coarse_millis();
            self.check_accept_mutex();
            if batch.is_empty() && waiting && self.shared.queue.wake_if_waiting() {
                self.shared.row.count(Counter::Wakes);
            }
            self.read_again();
            for event in batch.drain(..) {
                if let Some(end) = self.handle(event)? {
                    return Ok(end);
                }
            }
            self.close_left();
            self.retry_accepting();
            self.dismiss_late();
            self.schedule_ready();
            self.shared.bus.iter().for_each(|bus| bus.turn_over());
            self.time_turn();
            if let Some(end) = self.drained() {
                return Ok(end);
            }
        }
    }

    /// Takes note of how long the turn took since the wait: whoever came
    /// meanwhile has waited so long.
    fn time_turn(&self) {
        let took = coarse_millis().saturating_sub(self.now);
        if took == 0 {
            return;
        }
        let row = &self.shared.row;
        row.add_alone(Counter::LoopBusy, took);
        if took > 100 {
            row.add_alone(Counter::LoopVeryLate, 1);
        } else if took > 10 {
            row.add_alone(Counter::LoopLate, 1);
        }
    }

    /// How long to sleep, and whether that is because jobs wait.
    fn timeout(&self) -> (Option<Duration>, bool) {
        let waiting = self.shared.queue.is_waiting();
        let timeout = if !self.again.is_empty() {
            Some(Duration::ZERO)
        } else if waiting {
            Some(NUDGE)
        } else if self.drain.is_some() {
            Some(DRAIN)
        } else {
            let until = self.accepting.until();
            until.map(|until| Duration::from_millis(until.saturating_sub(self.now).max(1)))
        };
        (self.proxy_wait.shorten(timeout, self.now), waiting)
    }

    fn handle(&mut self, event: Event) -> io::Result<Option<End>> {
        match event.token {
            BELL => return Ok(self.read_letters()),
            CONTROL => self.obey(),
            ACCEPT_BELL => self.answer_accept_bell(),
            HANDOVER => self.hear_lines(),
            token if LISTENER - token < self.listeners.len() as u64 => {
                self.accept(usize::try_from(LISTENER - token).unwrap_or(usize::MAX));
            }
            token => {
                let id = ConnId::from_word(token);
                let is_over = event.broken && self.hang_up(id);
                if !is_over && !self.read_header(id, event.ends) {
                    self.read(id, event.ends);
                }
            }
        }
        Ok(None)
    }

    fn read_letters(&mut self) -> Option<End> {
        self.shared.to_reactor.hush();
        while let Some(letter) = self.shared.to_reactor.next() {
            match letter {
                ToReactor::Resume(id) => self.resume(id),
                ToReactor::Thaw(id) => self.thaw(id),
                ToReactor::End(id, mode, counter) => self.end_connection(id, mode, counter),
                ToReactor::Relieve => self.relieve(),
                ToReactor::Vacancy => self.accept_again(),
                ToReactor::ThreadDied => return Some(End::ThreadDied),
            }
        }
        None
    }

    fn obey(&mut self) {
        while let Some(order) = self.control.order() {
            match order {
                Order::Drain(limit) => self.begin_drain(limit, limit.map(|limit| limit / 2)),
                Order::Retire(talk) => self.begin_drain(None, Some(talk)),
                Order::Adopt(like, socket) => self.adopt(like, socket),
                Order::List => {
                    let listed = self.list();
                    self.control.listed(&listed);
                }
                Order::Kick(id, say) => {
                    let had_it = self.kick(id, say.as_ref());
                    self.control.kicked(id, had_it);
                }
                Order::KickUser(user, say) => {
                    let count = self.kick_user(user.as_str(), say.as_ref());
                    self.control.kicked_user(user, count);
                }
                Order::Refuse => self.refuse_clients(),
                Order::CheckAcceptMutex => self.check_accept_mutex(),
                Order::Successor(line, generation) => self.meet_successor(line, generation),
                Order::Predecessor(line) => self.meet_predecessor(line),
            }
        }
    }

    /// Hands the batch to the business threads: one lock, at most one wake, and
    /// the core, so that the woken thread serves the whole batch before the
    /// next one is read.
    fn schedule_ready(&mut self) {
        let handed = !self.ready.is_empty();
        let woke = self.shared.queue.push_all(&mut self.ready);
        if woke {
            self.shared.row.count(Counter::Wakes);
        }
        let give_way = match self.shared.limits.yield_after_handover {
            Yield::Auto => woke,
            Yield::Always => handed,
            Yield::Never => false,
        };
        if give_way {
            self.shared.row.count(Counter::Yields);
            process::yield_now();
        }
    }

    /// As [`Shared::follow`], but schedules with the rest of the batch.
    pub(super) fn follow(&mut self, conn: &Arc<Connection>, after: FollowUp) {
        if after.schedule {
            self.ready.push(Job::Turn(Arc::clone(conn)));
        }
        self.shared.follow(
            conn,
            FollowUp {
                schedule: false,
                ..after
            },
        );
    }

    fn retry_accepting(&mut self) {
        if self
            .accepting
            .until()
            .is_some_and(|until| self.now >= until)
        {
            self.accept_again();
        }
    }

    /// What the drain came to, if there was one; after the other threads have
    /// ended.
    pub(super) fn account(&self) -> Option<Drained> {
        let drain = self.drain.as_ref()?;
        self.tell_left_behind();
        let row = &self.shared.row;
        Some(drain.report.close(row, &drain.left, coarse_millis()))
    }

    /// The worker holds too much: closes whoever holds the most.
    fn relieve(&mut self) {
        self.shared.relieving();
        if self.shared.row.read(Counter::Buffered) <= self.shared.limits.buffered_max as u64 {
            return;
        }
        let largest = self
            .inbound
            .iter()
            .filter_map(|inbound| inbound.conn().map(|conn| (inbound.held(conn), conn.id)))
            // The gauge is anybody's to write: who holds nothing is no relief.
            .filter(|(held, _)| *held > 0)
            .max();
        if let Some((_, id)) = largest {
            self.end_for_room(id, Counter::BufferedOverflow);
        }
    }
}
