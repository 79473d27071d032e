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
use super::patience::{self, Deed, Signs};
use super::room;
use super::shared::{Job, Shared};
use crate::net::ConnId;
use crate::protocol::{CloseMode, Event, Refusal};
use crate::scoreboard::Counter;
use crate::sys::clock::coarse_millis;
use crate::sys::sync::{AtomicU64, Ordering, lock};

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

    /// Has `id` looked at in its turn, at `at`.
    pub(crate) fn wake(&self, id: ConnId, at: u64) {
        self.change(|state| state.deadlines.add(at, Due::Wake(id)));
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
            Due::Wake(id) => {
                shared.post(id, Item::Wake);
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
    let Some((at, deed)) = patience::next(&signs(&conn, now), &shared.limits) else {
        return;
    };
    if at > now {
        return shared.heartbeat.watch(slot, at);
    }
    match deed {
        Deed::Close(counter) => return close(shared, &conn, counter),
        Deed::Refuse(counter) if !refuse(shared, &conn, counter) => {
            return close(shared, &conn, Some(counter));
        }
        Deed::Unstall if room::is_stuck(&conn) => {
            return shared.decide(id, CloseMode::Abort, Some(Counter::SendStalled));
        }
        Deed::Ping => {
            conn.pulse.pinged.store(now, Ordering::Relaxed);
            if shared.post(id, Item::from(Event::Ping)) {
                shared.row.count(Counter::Pings);
            }
        }
        Deed::Refuse(_) | Deed::Unstall | Deed::Look => {}
    }
    if let Some((at, _)) = patience::next(&signs(&conn, now), &shared.limits) {
        shared.heartbeat.watch(slot, at.max(now + 1));
    }
}

fn close(shared: &Shared, conn: &Connection, counter: Option<Counter>) {
    // Bytes that are stuck would hold an orderly close for ever.
    let mode = if conn.is_full(0) {
        CloseMode::Abort
    } else {
        CloseMode::Flush
    };
    shared.decide(conn.id, mode, counter);
}

/// Has the peer told that its message is late, in the connection's turn. False:
/// there is nothing to say, or no room for it.
fn refuse(shared: &Shared, conn: &Connection, counter: Counter) -> bool {
    let answer = conn.protocol().late();
    if answer.is_empty() || conn.unsent() > 0 {
        return false;
    }
    let refusal = Refusal {
        counter,
        detail: counter.help().to_owned(),
        answer,
    };
    shared.post(conn.id, Item::from(Event::Refused(refusal)))
}

/// What is known of a connection.
fn signs(conn: &Connection, now: u64) -> Signs {
    // A file that is on its way has the time of any other reply.
    let last_words = conn.unsent() > 0 && !conn.is_in_file();
    let closing = last_words && lock(&conn.outbound).flush_then_close;
    let (pulse, read) = (&conn.pulse, |word: &AtomicU64| word.load(Ordering::Relaxed));
    Signs {
        now,
        opened: conn.opened,
        heard: read(&conn.heard),
        beat: read(&pulse.beat),
        spoken: read(&pulse.spoken),
        served: read(&pulse.served),
        thawed: read(&pulse.thawed),
        pinged: read(&pulse.pinged),
        started: read(&pulse.started),
        arrived: u64::from(pulse.arrived.load(Ordering::Relaxed)),
        progress: read(&pulse.progress),
        closing,
        busy: conn.mailbox.is_busy() || pulse.delayed.load(Ordering::Relaxed),
    }
}
