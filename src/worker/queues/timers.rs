//! What the heartbeat thread waits for: deadlines of connections, timers of
//! handlers, periodic jobs. Any thread adds; that thread alone takes.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::deadlines::{Deadlines, Due};
use crate::net::ConnId;
use crate::sys::clock::{coarse_millis, millis};
use crate::sys::sync::Ordering;

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

    /// Timer `token` is not run, and soon forgotten.
    pub(crate) fn cancel(&self, token: u64) {
        self.lock().deadlines.cancel(token);
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

    /// Whether a periodic job that `is_wanted` may run, its last run being over; then
    /// it is marked as running. It is due again at `next` in any case.
    pub(crate) fn begin_tick(&self, job: usize, is_wanted: bool, next: u64) -> bool {
        let running = Arc::clone(&self.lock().running[job]);
        let may_run = is_wanted && !running.swap(true, Ordering::SeqCst);
        self.change(|state| state.deadlines.add(next, Due::Tick(job)));
        may_run
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

    /// Sleeps until something is due; `None`: the worker ends.
    pub(crate) fn next(&self) -> Option<Due> {
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
