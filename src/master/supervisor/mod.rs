//! Decides what happens to the workers; does none of it.
//!
//! The master feeds [`Event`]s in and carries the [`Action`]s out. There is no
//! fork, no signal and no clock in here, so every rule is tested in
//! microseconds.
//!
//! ```text
//!                  ready                     told to leave
//! Forking --> Starting --> Serving ----------------------------> Leaving
//!    ^          |  | late     |                                     |
//!    |          |  v          | died                                | died
//!    |          | Overdue     |                                     v
//!    |          v  v          v                                  (free)
//!    +------ BackingOff <-----+   at once after a second of service
//! ```
//!
//! Invariants:
//! - The current generation has exactly as many slots that live or back off as
//!   workers are wanted; a slot is never forked into twice.
//! - A new generation takes over when *all* its workers are ready, or not at
//!   all. Until then the one before it is supervised as ever.
//! - No retry is the eleventh fork of its slot within five seconds.
//! - No more than `generations_max` generations live: a new one is not forked
//!   before enough of those that drain have gone.
//! - What makes progress is cut by an operator's word alone: nobody who drains
//!   because others serve has a deadline.

mod backoff;
mod event;
mod generations;
mod rows;
mod slot;
mod upgrade;

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;

pub use backoff::{FIRST, FORKS, LONGEST, WINDOW};
pub use event::{
    Action, Command, Event, Failure, NewMasterEvent, OldMasterEvent, PLACES_MIN, Refusal,
};
pub use generations::ROOM_WITHIN;
pub use rows::Rows;
pub use slot::{Generation, KILL_GRACE, SERVED, SlotId, Stage, Status};
pub use upgrade::{Setback, TAKE_OVER};

use std::time::{Duration, Instant};

use crate::sys::process::{Cause, Pid};
use backoff::{Backoff, Jitter};
use generations::Postponed;
use slot::{Leave, Slot, State};
use upgrade::{OldMaster, Reign, Upgrade};

/// The limits that the supervisor keeps.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Slots in all, for all living generations: rows of the shared memory.
    pub slots: usize,
    /// How long a drain may take after `stop`.
    pub shutdown_timeout: Duration,
    /// How long a worker may take to be ready.
    pub ready_timeout: Duration,
    /// Generations that may live at a time, from 2: the one that serves, the
    /// one that starts, those that drain.
    pub generations_max: usize,
    /// How long a new binary may take to be ready.
    pub upgrade_timeout: Duration,
    /// Whether the master is process 1, which nobody can replace.
    pub is_first_process: bool,
    /// Where the jitter of the back-off starts; any number.
    pub seed: u64,
}

/// Orders to stop that follow each other so soon count once. A process group and
/// its supervisor send the same one twice, and so do two operators; who means a
/// second one waits. Nothing else that can be ordered means more the second time,
/// but for one worker more or fewer, of which each is meant.
pub const REPEAT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
    /// By when, if there is a deadline.
    Stopping(Option<Instant>),
    Exited,
}

/// The whole policy of the master.
#[derive(Debug)]
pub struct Supervisor {
    policy: Policy,
    slots: Vec<Option<Slot>>,
    phase: Phase,
    /// When a stop was ordered that counted.
    stop_ordered: Option<Instant>,
    /// The generation that serves; `None` before the first and after `Winch`.
    current: Option<Generation>,
    /// The generation that is being started.
    incoming: Option<Generation>,
    /// That it waits for older ones to go.
    postponed: Option<Postponed>,
    /// The last generation that was begun.
    newest: Generation,
    upgrade: Upgrade,
    reign: Reign,
    /// The master before this one, until it is gone.
    old_master: Option<OldMaster>,
    /// Rows of workers of a new program that did not become the master.
    reserved: Rows,
    /// Generations and rows that the master behind this one was told to drain here.
    drains_told: (usize, Rows),
    jitter: Jitter,
    /// What [`Self::on_event`] is about to return.
    actions: Vec<Action>,
}

impl Supervisor {
    /// A supervisor without workers: order the first generation to start.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            slots: vec![None; policy.slots],
            phase: Phase::Running,
            stop_ordered: None,
            current: None,
            incoming: None,
            postponed: None,
            newest: Generation(0),
            upgrade: Upgrade::None,
            reign: Reign::Ruling,
            old_master: None,
            reserved: Rows::default(),
            drains_told: (1, Rows::default()),
            jitter: Jitter(policy.seed),
            actions: Vec::new(),
        }
    }

    /// Obeys these limits from now on, as a reload brings them. The number of
    /// slots is that of the start and stays.
    pub fn set_policy(&mut self, policy: Policy) {
        let slots = self.policy.slots;
        self.policy = Policy { slots, ..policy };
    }

    /// Takes note of `event` at time `now`; returns what to do about it.
    ///
    /// # Panics
    ///
    /// When a start or a failed fork is reported for a slot that was not told
    /// to fork: the caller lost track of a process.
    #[must_use]
    pub fn on_event(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Started { slot, pid } => self.started(slot, pid, now),
            Event::ForkFailed { slot } => self.fork_failed(slot, now),
            Event::Ready { pid } => self.ready(pid, now),
            Event::Exited { pid, cause } => self.exited(pid, cause, now),
            Event::Ordered(Command::Stop) => self.stop(now),
            Event::Ordered(Command::Quit) if self.phase == Phase::Running => {
                self.end_new_master(Setback::Overruled, now);
                self.leave_all(Leave::By(None), now);
                self.phase = Phase::Stopping(None);
            }
            Event::Ordered(Command::Winch)
                if self.phase == Phase::Running && self.may_change().is_ok() =>
            {
                self.leave_all(self.drained_by(now), now);
            }
            Event::Ordered(Command::NewGeneration { workers }) => self.begin(workers, now),
            Event::Ordered(Command::Workers { count }) => self.become_so_many(count, now),
            Event::Ordered(Command::Reopen) => {
                let pids: Vec<Pid> = self.occupied().filter_map(|(_, slot)| slot.pid()).collect();
                self.actions
                    .extend(pids.into_iter().map(Action::TellReopen));
            }
            Event::Ordered(Command::MakeRoom) => self.make_room(now),
            Event::Ordered(Command::Upgrade) => self.begin_upgrade(now),
            Event::NewMaster(event) => self.of_new_master(event, now),
            Event::OldMaster(event) => self.of_old_master(event, now),
            Event::Freed(rows) => self.reserved.remove(rows),
            Event::Ordered(Command::Quit | Command::Winch) | Event::Tick => {}
        }
        self.carry_out_what_is_due(now);
        self.hasten_if_deserted(now);
        self.start_postponed(now);
        self.carry_upgrade_on(now);
        self.take_over_if_ready(now);
        self.tell_what_drains();
        if matches!(self.phase, Phase::Stopping(_)) && self.is_empty(now) {
            self.phase = Phase::Exited;
            self.actions.push(Action::Exit);
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let slots = self.occupied().filter_map(|(_, slot)| slot.deadline());
        let old_master = self.waits_for_old_master().flatten();
        let postponed = self.postponed.map(|postponed| postponed.by);
        let others = self.upgrade_deadline().into_iter().chain(old_master);
        slots.chain(others).chain(postponed).min()
    }

    /// How many more workers there is room for.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free_rows().count()
    }

    /// Every slot that is in use, in the order of their ids.
    pub fn status(&self) -> impl Iterator<Item = Status> {
        self.occupied().map(|(id, slot)| slot.status(id))
    }

    /// The generation that serves, if one does.
    #[must_use]
    pub fn current(&self) -> Option<Generation> {
        self.current
    }

    /// The generation that is being started, if one is.
    #[must_use]
    pub fn incoming(&self) -> Option<Generation> {
        self.incoming
    }

    /// Whether the end was ordered.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    fn started(&mut self, id: SlotId, pid: Pid, now: Instant) {
        let ready_by = now + self.policy.ready_timeout;
        let slot = self.slots[id.0].as_mut();
        let slot = slot.expect("a slot that forks is in use until the fork is reported");
        let State::Forking { leave } = slot.state else {
            panic!("slot {} started {pid} unasked", id.0);
        };
        let Some(leave) = leave else {
            slot.enter(State::Starting { pid, ready_by }, now);
            return;
        };
        slot.enter(State::Leaving { pid, leave }, now);
        self.actions.push(farewell(pid, leave));
    }

    fn fork_failed(&mut self, id: SlotId, now: Instant) {
        let slot = self.slots[id.0].as_mut();
        let slot = slot.expect("a slot that forks is in use until the fork is reported");
        let (generation, number) = (slot.generation, slot.number);
        assert!(
            matches!(slot.state, State::Forking { .. }),
            "slot {} did not fork unasked",
            id.0
        );
        if !slot.is_wanted() {
            self.slots[id.0] = None;
        } else if self.incoming == Some(generation) {
            self.slots[id.0] = None;
            self.give_up(Failure::CannotFork { number }, now);
        } else {
            let until = slot.backoff.wait(now, &mut self.jitter);
            slot.enter(State::BackingOff { until }, now);
        }
    }

    fn ready(&mut self, pid: Pid, now: Instant) {
        let slot = self.slots.iter_mut().flatten();
        for slot in slot.filter(|slot| slot.pid() == Some(pid)) {
            if matches!(slot.state, State::Starting { .. }) {
                slot.enter(State::Serving { pid }, now);
            }
        }
    }

    fn exited(&mut self, pid: Pid, cause: Cause, now: Instant) {
        let Some(id) = self.find(pid) else { return };
        let Some(slot) = &mut self.slots[id.0] else {
            return;
        };
        self.actions.push(Action::Bury(pid));
        let (generation, number) = (slot.generation, slot.number);
        if !slot.is_wanted() {
            self.slots[id.0] = None;
        } else if self.incoming == Some(generation) {
            self.slots[id.0] = None;
            self.give_up(Failure::Died { number, cause }, now);
        } else {
            // Forked by `carry_out_what_is_due` if that is at once.
            let until = slot.ended(cause, now, &mut self.jitter);
            slot.enter(State::BackingOff { until }, now);
        }
    }

    fn stop(&mut self, now: Instant) {
        let is_repeat = |at| now.saturating_duration_since(at) < REPEAT;
        if self.stop_ordered.is_some_and(is_repeat) {
            return;
        }
        self.stop_ordered = Some(now);
        match self.phase {
            Phase::Running | Phase::Stopping(None) => {
                self.end_new_master(Setback::Overruled, now);
                let leave = self.drained_by(now);
                self.leave_all(leave, now);
                let by = now + self.policy.shutdown_timeout;
                self.hurry_old_master(by);
                self.phase = Phase::Stopping(Some(by));
            }
            Phase::Stopping(Some(_)) => {
                self.leave_all(Leave::Now, now);
                self.hurry_old_master(now);
                self.phase = Phase::Stopping(Some(now));
            }
            Phase::Exited => {}
        }
    }

    /// Tells the worker of a slot to leave, unless it has to sooner already.
    fn dismiss(&mut self, id: SlotId, leave: Leave, now: Instant) {
        let Some(slot) = &mut self.slots[id.0] else {
            return;
        };
        match slot.state {
            State::BackingOff { .. } => self.slots[id.0] = None,
            State::Overdue { pid } => {
                let leave = Leave::Now;
                slot.enter(State::Leaving { pid, leave }, now);
            }
            State::Forking { leave: Some(old) } | State::Leaving { leave: old, .. }
                if !leave.is_sooner_than(old) => {}
            State::Forking { .. } => slot.state = State::Forking { leave: Some(leave) },
            State::Leaving { pid, .. } => {
                slot.state = State::Leaving { pid, leave };
                self.actions.push(farewell(pid, leave));
            }
            State::Starting { pid, .. } | State::Serving { pid } => {
                slot.enter(State::Leaving { pid, leave }, now);
                self.actions.push(farewell(pid, leave));
            }
        }
    }

    fn carry_out_what_is_due(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else {
                continue;
            };
            if slot.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let (generation, number) = (slot.generation, slot.number);
            match slot.state {
                State::BackingOff { .. } => self.fork(SlotId(index), now),
                State::Leaving { .. } => self.dismiss(SlotId(index), Leave::Now, now),
                State::Starting { .. } if self.incoming == Some(generation) => {
                    self.dismiss(SlotId(index), Leave::Now, now);
                    self.give_up(Failure::NotReady { number }, now);
                }
                State::Starting { pid, .. } => {
                    slot.enter(State::Overdue { pid }, now);
                    self.actions.push(Action::Kill(pid));
                }
                State::Forking { .. } | State::Overdue { .. } | State::Serving { .. } => {}
            }
        }
    }

    /// With nobody left to serve, somebody tries every second: a pause that grows
    /// is there for the sake of those who serve. One at a time, since what one
    /// lacks, all lack.
    fn hasten_if_deserted(&mut self, now: Instant) {
        let current = self.current;
        let mut wanted = self.slots.iter_mut().flatten();
        let mut next: Option<(Instant, &mut Slot)> = None;
        for slot in wanted.by_ref().filter(|slot| slot.is_wanted()) {
            let State::BackingOff { until } = slot.state else {
                return;
            };
            let soon = slot.backoff.window_opens(now).max(now + FIRST).min(until);
            if Some(slot.generation) == current && next.as_ref().is_none_or(|(at, _)| soon < *at) {
                next = Some((soon, slot));
            }
        }
        if let Some((until, slot)) = next {
            slot.state = State::BackingOff { until };
        }
    }

    /// Puts a new worker into a free slot.
    fn occupy(&mut self, generation: Generation, number: usize, now: Instant) {
        let index = self.free_rows().next();
        let index = index.expect("the caller counted the free slots");
        self.slots[index] = Some(Slot {
            generation,
            number,
            state: State::Forking { leave: None },
            since: now,
            restarts: 0,
            last_exit: None,
            backoff: Backoff::default(),
        });
        self.fork(SlotId(index), now);
    }

    fn free_rows(&self) -> impl Iterator<Item = usize> {
        let strangers = self.strangers();
        let is_free =
            move |&index: &usize| self.slots[index].is_none() && !strangers.contains(SlotId(index));
        (0..self.slots.len()).filter(is_free)
    }

    fn fork(&mut self, id: SlotId, now: Instant) {
        let Some(slot) = &mut self.slots[id.0] else {
            return;
        };
        slot.enter(State::Forking { leave: None }, now);
        slot.backoff.forked(now);
        self.actions.push(Action::Fork {
            slot: id,
            number: slot.number,
            generation: slot.generation,
        });
    }

    fn drained_by(&self, now: Instant) -> Leave {
        Leave::By(Some(now + self.policy.shutdown_timeout))
    }

    fn occupied(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((SlotId(index), slot.as_ref()?)))
    }

    fn find(&self, pid: Pid) -> Option<SlotId> {
        let mut slots = self.occupied();
        slots.find_map(|(id, slot)| (slot.pid() == Some(pid)).then_some(id))
    }
}

fn farewell(pid: Pid, leave: Leave) -> Action {
    match leave {
        Leave::By(deadline) => Action::Drain { pid, deadline },
        Leave::Replaced => Action::Retire(pid),
        Leave::Now => Action::Kill(pid),
    }
}
