//! The run queue: connections whose turn it is next, and the business threads
//! that wait.
//!
//! A thread takes one job a lock: taking several would make them wait behind a
//! handler that blocks. A sleeper costs its waker 10 µs, so a batch wakes at
//! most one. That leaves one trap: the only awake thread may block with jobs
//! still queued. So while jobs wait and somebody sleeps, the reactor wakes
//! another thread every millisecond ([`RunQueue::wake_if_waiting`]), and
//! everybody else who queues behind others wakes one at once.

use std::collections::VecDeque;

use crate::sys::sync::{Condvar, Mutex, lock};

/// Jobs for the business threads. `J` is a connection's turn or a periodic job.
#[derive(Debug)]
pub(crate) struct RunQueue<J> {
    inner: Mutex<Inner<J>>,
    work: Condvar,
}

#[derive(Debug)]
struct Inner<J> {
    jobs: VecDeque<J>,
    sleepers: usize,
    /// Wakes that are on their way: a sleeper is counted until it runs.
    woken: usize,
    /// Threads go home; what waits is for who ends the worker.
    ended: bool,
    /// Nothing is kept any more.
    dissolved: bool,
}

impl<J> RunQueue<J> {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                jobs: VecDeque::new(),
                sleepers: 0,
                woken: 0,
                ended: false,
                dissolved: false,
            }),
            work: Condvar::new(),
        }
    }

    /// Queues a batch and wakes one sleeper, if nobody is on the way already;
    /// tells whether it did.
    pub(crate) fn push_all(&self, jobs: &mut Vec<J>) -> bool {
        if jobs.is_empty() {
            return false;
        }
        self.change(|inner| {
            inner.jobs.extend(jobs.drain(..));
            inner.woken == 0
        })
    }

    /// Queues one job and wakes a sleeper, if there is one; tells whether.
    pub(crate) fn push(&self, job: J) -> bool {
        self.change(|inner| {
            inner.jobs.push_back(job);
            true
        })
    }

    /// Queues a job of the calling business thread, which will take one next:
    /// a sleeper is woken only when others wait too.
    pub(crate) fn push_own(&self, job: J) -> bool {
        self.change(|inner| {
            let others = !inner.jobs.is_empty();
            inner.jobs.push_back(job);
            others
        })
    }

    /// Wakes one more sleeper if jobs still wait; tells whether it did.
    pub(crate) fn wake_if_waiting(&self) -> bool {
        self.change(|inner| !inner.jobs.is_empty())
    }

    /// Runs `f` under the lock, unless nothing is kept any more; wakes a sleeper,
    /// if there is one left, when it says so.
    fn change(&self, f: impl FnOnce(&mut Inner<J>) -> bool) -> bool {
        let mut inner = lock(&self.inner);
        if inner.dissolved {
            return false;
        }
        let wake = f(&mut inner) && !inner.ended && inner.sleepers > inner.woken;
        inner.woken += usize::from(wake);
        drop(inner);
        if wake {
            self.work.notify_one();
        }
        wake
    }

    /// The next job; sleeps until there is one. `None`: the worker ends.
    pub(crate) fn pop(&self) -> Option<J> {
        let mut inner = lock(&self.inner);
        loop {
            if inner.ended {
                return None;
            }
            if let Some(job) = inner.jobs.pop_front() {
                return Some(job);
            }
            inner.sleepers += 1;
            inner = self
                .work
                .wait(inner)
                .expect("a thread died while it changed the run queue");
            inner.sleepers -= 1;
            inner.woken = inner.woken.saturating_sub(1);
        }
    }

    /// Whether jobs wait although somebody sleeps: look again soon.
    pub(crate) fn is_waiting(&self) -> bool {
        let inner = lock(&self.inner);
        !inner.jobs.is_empty() && inner.sleepers > 0
    }

    /// Sends every thread home, now and ever. Jobs that wait, and those that come
    /// later, are for [`Self::left`].
    pub(crate) fn end(&self) {
        lock(&self.inner).ended = true;
        self.work.notify_all();
    }

    /// The next job that no thread has taken; for who ends the worker.
    pub(crate) fn left(&self) -> Option<J> {
        lock(&self.inner).jobs.pop_front()
    }

    /// Drops the jobs that wait, and those that come later: they hold
    /// connections, and those what holds this.
    pub(crate) fn dissolve(&self) {
        let dropped = {
            let mut inner = lock(&self.inner);
            inner.dissolved = true;
            std::mem::take(&mut inner.jobs)
        };
        drop(dropped);
    }
}
