//! The master's eye on its workers: looks at them, and does what the watch
//! says.
//!
//! All that it asks is in shared memory and in `/proc`: a worker that hangs, or
//! was stopped, could answer nothing.

use std::time::{Duration, Instant};

use super::Master;
use crate::config::{Accept, Config};
use crate::log;
use crate::master::supervisor::Stage;
use crate::master::watchdog::{Periods, Sample, Verdict};
use crate::scoreboard::Counter;
use crate::scoreboard::activity::{ACTIVITIES, ThreadActivity, Work};
use crate::sys::clock::coarse_millis;
use crate::sys::process::{self, Pid};
use crate::sys::threads;

/// Lines about slow handlers that the log gets: with a database that does not
/// answer, every handler is slow.
pub(super) const SLOW_PER_SECOND: u32 = 10;

/// How often the accept mutex is looked at. Whoever is about to move it takes
/// less, unless it is stopped there.
const MUTEX_LOOK: Duration = Duration::from_secs(1);

impl From<&Config> for Periods {
    fn from(config: &Config) -> Self {
        Self {
            turn: config.watchdog,
            abort: config.watchdog_abort,
            slow: config.slow_handler,
        }
    }
}

impl Master<'_> {
    /// When to look again, if at all.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let workers = self.watch.pace().map(|_| self.watch_at);
        let mutex = self.has_mutex().then_some(self.mutex_at);
        workers.into_iter().chain(mutex).min()
    }

    fn has_mutex(&self) -> bool {
        let cycle = self.current.as_ref();
        cycle.is_some_and(|cycle| cycle.config.accept == Accept::Mutex)
    }

    /// Sees to it that the accept mutex is with somebody who accepts.
    pub(super) fn look_at_mutex(&mut self, now: Instant) {
        if !self.has_mutex() || now < self.mutex_at {
            return;
        }
        self.mutex_at = now + MUTEX_LOOK;
        if self.accept_mutex.repair(&mut self.mutex_word) {
            self.board.count(Counter::MutexRepaired);
            log::warn!("the accept mutex was with nobody who accepts: put right");
        }
    }

    /// Looks at the workers when it is time to. However late that is, it is one
    /// look: what the master slept through, it cannot blame on others.
    pub(super) fn watch(&mut self, now: Instant) {
        let Some(pace) = self.watch.pace().filter(|_| now >= self.watch_at) else {
            return;
        };
        self.watch_at = now + pace;
        let samples = self.samples();
        for (pid, verdict) in self.watch.look(&samples) {
            let sample = samples.iter().find(|sample| sample.pid == pid);
            self.carry_out(sample.expect("verdicts are about samples"), verdict);
        }
    }

    /// Everybody who has an event loop.
    fn samples(&mut self) -> Vec<Sample> {
        let slots = self.supervisor.status();
        let runs = slots.filter(|slot| matches!(slot.stage, Stage::Serving | Stage::Draining));
        let samples = runs.filter_map(|slot| {
            let member = self.workers.with_pid(slot.pid?)?;
            let owner = member.owner;
            Some(Sample {
                pid: member.pid,
                number: slot.number,
                owner,
                awake_in: self.accept_mutex.awake_in(owner),
                activities: self.board.activities(owner.row.into()),
            })
        });
        samples.collect()
    }

    fn carry_out(&mut self, sample: &Sample, verdict: Verdict) {
        let Sample {
            pid, number, owner, ..
        } = *sample;
        let row = self.board.row(owner.row.into());
        match verdict {
            Verdict::Stuck { first } => {
                let had_it = self.accept_mutex.holder() == Some(owner);
                self.accept_mutex.take_from(owner);
                // One that sleeps, and whose word for that somebody else wrote
                // over, says so again.
                self.accept_mutex.wake(owner);
                if first {
                    row.count(Counter::Stuck);
                    let then = if had_it { ": another one accepts" } else { "" };
                    log::warn!("worker {number}, pid {pid}, does not go on{then}");
                }
            }
            Verdict::Slow(activity, time) => {
                row.count(Counter::Slow);
                if let Some(suppressed) = self.slow.admit(0, coarse_millis()) {
                    let thread = thread_name(pid, activity.thread);
                    let work = self.name(activity);
                    log::warn!(
                        "worker {number}, pid {pid}, {thread}: {work} has been running for \
                         {time:?}{suppressed}"
                    );
                }
            }
            Verdict::Exhausted(time) => {
                log::warn!(
                    "worker {number}, pid {pid}: every business thread has been in one handler \
                     for {time:?}; no other one is served"
                );
                self.tell_threads(sample);
            }
            Verdict::Abort(time) => self.abort(sample, time),
            Verdict::Kill => {
                log::error!("worker {number}, pid {pid}, was aborted and is still there: killed");
                self.end(sample, process::kill);
            }
        }
    }

    /// Ends a worker that hangs, unless somebody looks into it already.
    fn abort(&mut self, sample: &Sample, time: Duration) {
        let Sample { pid, number, .. } = *sample;
        if let Some(debugger) = threads::tracer(pid) {
            log::warn!(
                "worker {number}, pid {pid}, has not gone on for {time:?}: process {debugger} \
                 debugs it, so it is left alone"
            );
            return self.watch.spare(pid);
        }
        log::error!(
            "worker {number}, pid {pid}, has not gone on for {time:?}: it is aborted and replaced"
        );
        self.tell_threads(sample);
        self.end(sample, process::abort);
    }

    fn end(&self, sample: &Sample, how: impl Fn(Pid) -> std::io::Result<()>) {
        if let Err(error) = how(sample.pid) {
            log::error!("end worker {}: {error}", sample.number);
        }
    }

    /// Says in the log what each thread of a worker is doing.
    fn tell_threads(&self, sample: &Sample) {
        let Sample { pid, number, .. } = *sample;
        // As many as a worker of ours has.
        let threads = match threads::of(pid, ACTIVITIES) {
            Ok(threads) => threads,
            Err(error) => return log::error!("look at worker {number}, pid {pid}: {error}"),
        };
        for mut thread in threads {
            thread.name = thread_name(pid, thread.id);
            let activity = sample
                .activities
                .iter()
                .find(|activity| activity.thread == thread.id);
            let work = activity.filter(|activity| activity.work().is_some());
            let work = work.map_or("no handler".to_owned(), |activity| self.name(*activity));
            log::error!("worker {number}, pid {pid}, thread {thread}, {work}");
        }
    }

    /// What a thread is doing, for people.
    fn name(&self, activity: ThreadActivity) -> String {
        let Some(work) = activity.work() else {
            return String::new();
        };
        let route = match work {
            Work::Route(number) => self.plan.application.route(number),
            Work::Message(_)
            | Work::Unnumbered
            | Work::Job(_)
            | Work::Opened
            | Work::Timer
            | Work::Closed => None,
        };
        route.unwrap_or_else(|| work.to_string())
    }
}

/// The first thread of a process has the name of the program.
fn thread_name(pid: Pid, thread: i32) -> String {
    if thread == pid.raw() {
        return "reactor".to_owned();
    }
    threads::name(pid, thread).unwrap_or_default()
}
