//! The heartbeat thread: whatever happens because time passed.
//!
//! It sleeps until the earliest deadline. Registering a later one does not wake
//! it, so a connection that is accepted and closed costs it nothing.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::connection::{Connection, Item};
use super::deadlines::{Deadlines, Due};
use super::letters::ToReactor;
use super::shared::{Job, Shared};
use crate::net::ConnId;
use crate::protocol::{CloseMode, Event};
use crate::scoreboard::Counter;
use crate::sys::clock::coarse_millis;
use crate::sys::sync::{Ordering, lock};

/// The deadlines, and the bell of their thread.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    deadlines: Deadlines,
    ended: bool,
    /// For each periodic job whether its last run is over.
    running: Vec<Arc<AtomicBool>>,
}

impl Heartbeat {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("a thread died while it changed the deadlines")
    }

    fn change(&self, f: impl FnOnce(&mut State) -> bool) {
        let earliest = f(&mut self.lock());
        if earliest {
            self.changed.notify_one();
        }
    }

    /// Looks at `slot` no later than `at`.
    pub(crate) fn watch(&self, slot: usize, at: u64) {
        self.change(|state| state.deadlines.watch(slot, at));
    }

    /// Runs timer `token` of `id` at `at`.
    pub(crate) fn timer(&self, id: ConnId, token: u64, at: u64) {
        self.change(|state| state.deadlines.add(at, Due::Timer(id, token)));
    }

    /// Has the reactor read `id` again at `at`.
    pub(crate) fn thaw(&self, id: ConnId, at: u64) {
        self.change(|state| state.deadlines.add(at, Due::Thaw(id)));
    }

    /// Begins the periodic jobs.
    pub(crate) fn jobs(&self, periods: &[Duration]) {
        let now = coarse_millis();
        self.change(|state| {
            for (job, period) in periods.iter().enumerate() {
                state.running.push(Arc::default());
                state.deadlines.add(now + millis(*period), Due::Tick(job));
            }
            true
        });
    }

    /// A periodic job is over and may be started again.
    pub(crate) fn ticked(&self, job: usize) {
        self.lock().running[job].store(false, Ordering::SeqCst);
    }

    /// Sends the thread home.
    pub(crate) fn end(&self) {
        self.change(|state| {
            state.ended = true;
            true
        });
    }

    /// Sleeps until something is due.
    fn next(&self) -> Option<Due> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            let now = coarse_millis();
            if let Some(due) = state.deadlines.pop(now) {
                return Some(due);
            }
            state = match state.deadlines.next() {
                None => self.changed.wait(state).expect("as in lock"),
                Some(at) => {
                    let wait = Duration::from_millis(at - now);
                    self.changed
                        .wait_timeout(state, wait)
                        .expect("as in lock")
                        .0
                }
            };
        }
    }
}

/// Milliseconds, at least one: a period of zero would never sleep.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// The loop of the heartbeat thread. `periods` are those of the periodic jobs.
pub(crate) fn run(shared: &Arc<Shared>, periods: &[Duration]) {
    shared.heartbeat.jobs(periods);
    while let Some(due) = shared.heartbeat.next() {
        shared.row.count(Counter::Deadlines);
        match due {
            Due::Silence(slot) => look_at(shared, slot),
            Due::Thaw(id) => shared.to_reactor.post(ToReactor::Thaw(id)),
            Due::Timer(id, token) => {
                shared.post(id, Item::from(Event::Timer(token)));
            }
            Due::Tick(job) => tick(shared, job, periods[job]),
        }
    }
}

/// Queues a periodic job, unless its last run is not over yet: a slow job must
/// not pile up behind itself.
fn tick(shared: &Shared, job: usize, period: Duration) {
    let running = Arc::clone(&shared.heartbeat.lock().running[job]);
    if !running.swap(true, Ordering::SeqCst) {
        shared.queue.push(Job::Tick(job));
    }
    let next = coarse_millis() + millis(period);
    shared
        .heartbeat
        .change(|state| state.deadlines.add(next, Due::Tick(job)));
}

fn look_at(shared: &Arc<Shared>, slot: usize) {
    let Some((id, conn)) = shared.pool.at(slot) else {
        return;
    };
    let now = coarse_millis();
    let Some((at, verdict)) = verdict(shared, &conn, now) else {
        return;
    };
    if at > now {
        return shared.heartbeat.watch(slot, at);
    }
    // Bytes that are stuck would hold an orderly close for ever.
    let mode = if conn.unsent() > 0 {
        CloseMode::Abort
    } else {
        CloseMode::Flush
    };
    shared.decide(id, mode, verdict);
}

/// When this connection has been silent too long, and how that is counted.
fn verdict(shared: &Shared, conn: &Connection, now: u64) -> Option<(u64, Option<Counter>)> {
    if conn.unsent() > 0 {
        let outbound = lock(&conn.outbound);
        if outbound.flush_then_close {
            return Some((outbound.progress + millis(shared.limits.linger), None));
        }
    }
    let heard = conn.heard.load(Ordering::Relaxed);
    if heard == 0
        && let Some(limit) = shared.limits.first_message
    {
        return Some((
            conn.opened + millis(limit),
            Some(Counter::FirstMessageTimeout),
        ));
    }
    let limit = millis(shared.limits.idle?);
    // Whoever we owe a reply, or do not read, has reason to be silent.
    let since = if conn.mailbox.is_busy() {
        now
    } else {
        heard.max(conn.opened)
    };
    Some((since + limit, Some(Counter::IdleTimeout)))
}
