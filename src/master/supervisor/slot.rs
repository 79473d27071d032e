//! One place for a worker, and what is going on in it.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, Jitter};
use crate::sys::process::{Cause, Pid};

/// Index of a slot: the row of the shared memory that its worker writes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotId(pub usize);

/// Counts the configurations that workers were started with, from 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u64);

/// A worker that was ready for so long is replaced at once.
pub const SERVED: Duration = Duration::from_secs(1);

/// A worker is killed so long after its drain deadline: closing thousands of
/// connections at the deadline takes a moment.
pub const KILL_GRACE: Duration = Duration::from_secs(1);

/// What a slot is doing. Every state but `BackingOff` is, or is about to be, a
/// living process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// The fork was ordered. `leave`: what to tell the worker as soon as it has
    /// a pid, because it is no longer wanted.
    Forking { leave: Option<Leave> },
    /// Lives, and has not said that it is ready.
    Starting { pid: Pid, ready_by: Instant },
    /// Was not ready in time and is being killed; will be replaced.
    Overdue { pid: Pid },
    /// Ready.
    Serving { pid: Pid },
    /// Was told to leave; will not be replaced.
    Leaving { pid: Pid, leave: Leave },
    /// Waits before the next fork.
    BackingOff { until: Instant },
}

/// How a worker has to leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Leave {
    /// Drain; no later than this, if at all.
    By(Option<Instant>),
    /// Drain, for as long as it makes progress: others serve.
    Replaced,
    /// Killed already.
    Now,
}

impl Leave {
    /// Whether `self` gives less time than `other`.
    pub(super) fn is_sooner_than(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Now) | (Self::By(None) | Self::Replaced, _) => false,
            (Self::Now, _) | (Self::By(Some(_)), Self::By(None) | Self::Replaced) => true,
            (Self::By(Some(new)), Self::By(Some(old))) => new < old,
        }
    }
}

/// One place for a worker.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) generation: Generation,
    /// Which of its generation's workers, from 0; kept over replacements.
    pub(super) number: usize,
    pub(super) state: State,
    /// When the state began.
    pub(super) since: Instant,
    pub(super) restarts: u64,
    pub(super) last_exit: Option<Cause>,
    pub(super) backoff: Backoff,
}

impl Slot {
    pub(super) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Starting { pid, .. }
            | State::Overdue { pid }
            | State::Serving { pid }
            | State::Leaving { pid, .. } => Some(pid),
            State::Forking { .. } | State::BackingOff { .. } => None,
        }
    }

    /// Whether it counts among the workers that its generation is to have.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(
            self.state,
            State::Leaving { .. } | State::Forking { leave: Some(_) }
        )
    }

    pub(super) fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    /// When the replacement of the worker that just ended may be forked.
    pub(super) fn ended(&mut self, cause: Cause, now: Instant, jitter: &mut Jitter) -> Instant {
        let served = matches!(self.state, State::Serving { .. })
            && now.saturating_duration_since(self.since) >= SERVED;
        self.restarts += 1;
        self.last_exit = Some(cause);
        if served {
            self.backoff.served();
            return now;
        }
        self.backoff.after_death(now, jitter)
    }

    /// When something has to happen here if nothing else does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { ready_by, .. } => Some(ready_by),
            State::BackingOff { until } => Some(until),
            State::Leaving {
                leave: Leave::By(by),
                ..
            } => by.map(|by| by + KILL_GRACE),
            State::Forking { .. }
            | State::Overdue { .. }
            | State::Serving { .. }
            | State::Leaving {
                leave: Leave::Now | Leave::Replaced,
                ..
            } => None,
        }
    }
}

/// What `status` tells about one slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// The slot, and the row of its worker.
    pub slot: SlotId,
    /// Which of its generation's workers, from 0.
    pub number: usize,
    /// Which configuration the worker runs.
    pub generation: Generation,
    /// The living process, if there is one.
    pub pid: Option<Pid>,
    /// Whether it counts among the workers that its generation is to have.
    pub is_wanted: bool,
    /// What is going on.
    pub stage: Stage,
    /// When that began.
    pub since: Instant,
    /// Workers that ended here and were replaced.
    pub restarts: u64,
    /// How the last one of them ended.
    pub last_exit: Option<Cause>,
    /// When the stage ends by itself: the end of the back-off, the latest time
    /// to be ready, or the drain deadline.
    pub until: Option<Instant>,
}

/// What is going on in a slot, in the words of `status`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Forked or about to be, and not ready.
    Starting,
    /// Ready.
    Serving,
    /// Told to leave.
    Draining,
    /// Killed; not gone yet.
    Ending,
    /// Dead, and waits before the next fork.
    BackingOff,
}

impl Stage {
    /// The word for people and for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Ending => "ending",
            Self::BackingOff => "backing off",
        }
    }
}

impl Slot {
    pub(super) fn status(&self, slot: SlotId) -> Status {
        let (stage, until) = match self.state {
            State::Forking { .. } => (Stage::Starting, None),
            State::Starting { ready_by, .. } => (Stage::Starting, Some(ready_by)),
            State::Serving { .. } => (Stage::Serving, None),
            State::Leaving {
                leave: Leave::By(by),
                ..
            } => (Stage::Draining, by),
            State::Leaving {
                leave: Leave::Replaced,
                ..
            } => (Stage::Draining, None),
            State::Overdue { .. }
            | State::Leaving {
                leave: Leave::Now, ..
            } => (Stage::Ending, None),
            State::BackingOff { until } => (Stage::BackingOff, Some(until)),
        };
        Status {
            slot,
            number: self.number,
            generation: self.generation,
            pid: self.pid(),
            is_wanted: self.is_wanted(),
            stage,
            since: self.since,
            restarts: self.restarts,
            last_exit: self.last_exit,
            until,
        }
    }
}
