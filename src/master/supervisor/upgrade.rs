//! The upgrade of the binary: one master rules, and another one comes up beside
//! it. The old master is the one that rules at first; the new master is the new
//! program.
//!
//! ```text
//! old master:       launched           ready            took over
//!   None (--> Awaiting) --> Launching --> Starting ---------> TakingOver ---------> Done
//!    ^                        |  late, stop       |  late, died        |
//!    |                        v                   v                    v
//!    +------ gone -------- Ending <---------------+             drains, leaves
//!
//! new master: all workers ready         told to take over
//!   Starting ----------------> Ready ---------------------> Ruling
//!      |                         |                             ^
//!      +-- the old master died -------+-----------------------------+
//! ```
//!
//! Invariants:
//! - The old master rules until the new master has said that it does. Whatever
//!   happens to the new master before leaves the old master and its workers as
//!   they are.
//! - A new master rules when it was told to, or when nobody else is left to.
//! - No two workers are ever in one row: the new master is given the rows that
//!   neither the old master uses nor those before it, the old master takes no
//!   further ones meanwhile, and rows of processes that nobody here is the parent
//!   of are left alone until told free.
//! - Masters that drain are a chain: each waits for the one before it, and tells
//!   the one behind it how many generations drain from it on.

use std::fmt;
use std::time::{Duration, Instant};

use super::event::{Action, NewMasterEvent, OldMasterEvent, Refusal};
use super::generations::ROOM_WITHIN;
use super::rows::Rows;
use super::slot::{Generation, KILL_GRACE, Leave, SlotId};
use super::{Phase, Policy, Supervisor};
use crate::sys::process::{Cause, Pid};

/// How long a new master may take that was told to take over: a few system
/// calls.
pub const TAKE_OVER: Duration = Duration::from_secs(5);

/// What became of the new program, as the old master knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Upgrade {
    None,
    /// Waits for older generations, or the master before, to go.
    Awaiting {
        by: Instant,
    },
    Launching,
    /// `listens`: it is a master of ours, and obeys.
    Starting {
        pid: Pid,
        by: Instant,
        listens: bool,
    },
    TakingOver {
        pid: Pid,
        by: Instant,
    },
    /// Told to end; `None` when it was killed.
    Ending {
        pid: Pid,
        by: Option<Instant>,
    },
    Done {
        pid: Pid,
    },
}

/// What is known of the master before this one, and of those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldMaster {
    /// Where their workers are.
    rows: Rows,
    /// How many of their generations drain.
    drains: usize,
}

/// Whether this master rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reign {
    /// Its workers are not all ready. `alone`: the old master is gone.
    Starting {
        alone: bool,
    },
    Ready,
    Ruling,
}

/// Why an upgrade was rolled back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setback {
    /// The new program could not be started.
    CannotLaunch,
    /// It ended before it took over.
    Died(Cause),
    /// It was not ready in time.
    NotReady,
    /// This master was ordered to stop meanwhile.
    Overruled,
    /// As many generations live as may, and none left within [`ROOM_WITHIN`].
    NoGenerationLeft,
}

impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotLaunch => f.write_str("the new binary could not be started"),
            Self::Died(cause) => write!(f, "the new binary {cause} before it took over"),
            Self::NotReady => f.write_str("the new binary was not ready within upgrade_timeout"),
            Self::Overruled => f.write_str("ordered to stop meanwhile"),
            Self::NoGenerationLeft => f.write_str("those before still drain"),
        }
    }
}

impl Supervisor {
    /// The supervisor of a new master: its generations are counted behind
    /// `generation`, and `taken` are rows of the old master's workers.
    #[must_use]
    pub fn new_master(policy: Policy, generation: Generation, taken: Rows) -> Self {
        Self {
            newest: generation,
            reign: Reign::Starting { alone: false },
            old_master: Some(OldMaster {
                rows: taken,
                drains: 1,
            }),
            ..Self::new(policy)
        }
    }

    /// Whether this master rules: it alone takes orders and names itself.
    #[must_use]
    pub fn is_ruling(&self) -> bool {
        self.reign == Reign::Ruling
            && !matches!(
                self.upgrade,
                Upgrade::TakingOver { .. } | Upgrade::Done { .. }
            )
    }

    /// Whether this one came up beside another master and does not rule yet.
    #[must_use]
    pub fn is_new_master(&self) -> bool {
        self.reign != Reign::Ruling
    }

    /// Whether another master rules since an upgrade.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        matches!(self.upgrade, Upgrade::Done { .. })
    }

    /// Whether the master before this one still drains.
    #[must_use]
    pub fn has_old_master(&self) -> bool {
        self.old_master.is_some()
    }

    /// Rows of workers that are not ours.
    pub(super) fn strangers(&self) -> Rows {
        let mut rows = self.old_master.map_or(Rows::default(), |one| one.rows);
        rows.add(self.reserved);
        rows
    }

    /// Generations that drain at the masters before this one. While it does not
    /// rule, they serve.
    pub(super) fn drain_elsewhere(&self) -> usize {
        let one = self.old_master.filter(|_| !self.is_new_master());
        one.map_or(0, |one| one.drains)
    }

    /// Has the master that rules count what drains here. A master that only waits for
    /// those before it takes a place as well: else there would be ever more of them.
    pub(super) fn tell_what_drains(&mut self) {
        let drains = (
            self.draining().len().max(1) + self.drain_elsewhere(),
            self.rows(),
        );
        if self.is_replaced() && drains != self.drains_told {
            self.drains_told = drains;
            let (generations, rows) = drains;
            self.actions.push(Action::TellDrains { generations, rows });
        }
    }

    /// The process that is being started as the next master, or is it.
    #[must_use]
    pub fn successor(&self) -> Option<Pid> {
        match self.upgrade {
            Upgrade::None | Upgrade::Awaiting { .. } | Upgrade::Launching => None,
            Upgrade::Starting { pid, .. }
            | Upgrade::TakingOver { pid, .. }
            | Upgrade::Ending { pid, .. }
            | Upgrade::Done { pid } => Some(pid),
        }
    }

    /// Whether what runs may be changed now: reloads, reopened logs, more or
    /// fewer workers.
    ///
    /// # Errors
    ///
    /// [`Refusal`], while two masters are about to take turns.
    pub fn may_change(&self) -> Result<(), Refusal> {
        match self.upgrade {
            Upgrade::None if self.reign == Reign::Ruling => Ok(()),
            Upgrade::None
            | Upgrade::Awaiting { .. }
            | Upgrade::Launching
            | Upgrade::Starting { .. }
            | Upgrade::TakingOver { .. } => Err(Refusal::Upgrading),
            Upgrade::Ending { .. } => Err(Refusal::RollingBack),
            Upgrade::Done { .. } => Err(Refusal::Stopping),
        }
    }

    /// Whether an upgrade may begin now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why not.
    pub fn may_upgrade(&self) -> Result<(), Refusal> {
        if self.policy.is_first_process {
            return Err(Refusal::FirstProcess);
        }
        if self.phase != Phase::Running {
            return Err(Refusal::Stopping);
        }
        self.may_change()?;
        if self.incoming.is_some() {
            return Err(Refusal::Busy);
        }
        if self.reserved != Rows::default() {
            return Err(Refusal::RollingBack);
        }
        Ok(())
    }

    /// The rows that workers use or will use: this master's, and those of the
    /// masters before it.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let mut rows = self.strangers();
        rows.add(self.occupied().map(|(id, _)| id).collect());
        rows
    }

    /// The last generation that was begun.
    #[must_use]
    pub fn newest(&self) -> Generation {
        self.newest
    }

    /// Begins an upgrade, unless it has to be refused.
    pub(super) fn begin_upgrade(&mut self, now: Instant) {
        if self.may_upgrade().is_ok() {
            let by = now + ROOM_WITHIN;
            self.upgrade = Upgrade::Awaiting { by };
        }
    }

    /// What the old master hears of its new one.
    pub(super) fn of_new_master(&mut self, event: NewMasterEvent, now: Instant) {
        match (event, self.upgrade) {
            (NewMasterEvent::Launched { pid }, Upgrade::Launching) => {
                let by = now + self.policy.upgrade_timeout;
                let listens = false;
                self.upgrade = Upgrade::Starting { pid, by, listens };
                if self.phase != Phase::Running {
                    self.end_new_master(Setback::Overruled, now);
                }
            }
            (NewMasterEvent::NotLaunched, Upgrade::Launching) => {
                self.upgrade = Upgrade::None;
                let failed = Action::UpgradeFailed(Setback::CannotLaunch);
                self.actions.push(failed);
            }
            (NewMasterEvent::Listens, Upgrade::Starting { pid, by, .. }) => {
                let listens = true;
                self.upgrade = Upgrade::Starting { pid, by, listens };
            }
            (NewMasterEvent::Ready, Upgrade::Starting { pid, .. }) => {
                let by = now + TAKE_OVER;
                self.upgrade = Upgrade::TakingOver { pid, by };
                self.actions.push(Action::Promote);
            }
            (NewMasterEvent::TookOver, Upgrade::TakingOver { pid, .. }) => {
                self.upgrade = Upgrade::Done { pid };
                self.actions.push(Action::Resign { pid });
                self.leave_all(Leave::Replaced, now);
                self.phase = Phase::Stopping(None);
                // What it was told at its start, or counts for it.
                self.drains_told = (1, self.rows());
            }
            (NewMasterEvent::Gone { cause, used }, _) => self.new_master_gone(cause, used),
            (NewMasterEvent::Hurry { by }, Upgrade::Done { .. }) => {
                for index in 0..self.slots.len() {
                    self.dismiss(SlotId(index), Leave::By(Some(by)), now);
                }
                self.hurry_old_master(by);
                // As a stop: one that follows at once is the same.
                self.stop_ordered = Some(now);
                self.phase = match self.phase {
                    Phase::Stopping(Some(before)) => Phase::Stopping(Some(before.min(by))),
                    Phase::Running | Phase::Stopping(None) => Phase::Stopping(Some(by)),
                    Phase::Exited => Phase::Exited,
                };
            }
            // Late words of one that is being ended, or nonsense.
            (_, _) => {}
        }
    }

    fn new_master_gone(&mut self, cause: Cause, used: Rows) {
        match std::mem::replace(&mut self.upgrade, Upgrade::None) {
            Upgrade::Starting { .. } | Upgrade::TakingOver { .. } => {
                let failed = Action::UpgradeFailed(Setback::Died(cause));
                self.actions.push(failed);
            }
            // Told already.
            Upgrade::Ending { .. } => {}
            // A master that died: its workers drain, as ours do.
            done @ Upgrade::Done { .. } => {
                self.upgrade = done;
                return;
            }
            before @ (Upgrade::None | Upgrade::Awaiting { .. } | Upgrade::Launching) => {
                self.upgrade = before;
                return;
            }
        }
        self.reserved.add(used);
    }

    /// Rolls back, if there is a new master that does not rule yet.
    pub(super) fn end_new_master(&mut self, reason: Setback, now: Instant) {
        let (pid, by) = match self.upgrade {
            // It may have to drain workers that were ready before the others.
            Upgrade::Starting {
                pid, listens: true, ..
            } => {
                let grace = self.policy.shutdown_timeout + 2 * KILL_GRACE;
                self.actions.push(Action::EndNewMaster);
                (pid, Some(now + grace))
            }
            // It would not hear, or could rule at any moment: only a dead one
            // surely does not.
            Upgrade::Starting { pid, .. } | Upgrade::TakingOver { pid, .. } => {
                self.actions.push(Action::Kill(pid));
                (pid, None)
            }
            Upgrade::Awaiting { .. } => {
                self.upgrade = Upgrade::None;
                self.actions.push(Action::UpgradeFailed(reason));
                return;
            }
            Upgrade::None | Upgrade::Launching | Upgrade::Ending { .. } | Upgrade::Done { .. } => {
                return;
            }
        };
        self.upgrade = Upgrade::Ending { pid, by };
        self.actions.push(Action::UpgradeFailed(reason));
    }

    /// What is due of the upgrade.
    pub(super) fn carry_upgrade_on(&mut self, now: Instant) {
        match self.upgrade {
            Upgrade::Awaiting { .. } if !self.has_no_room() => {
                self.upgrade = Upgrade::Launching;
                self.actions.push(Action::Launch);
            }
            Upgrade::Awaiting { by } if by <= now => {
                self.end_new_master(Setback::NoGenerationLeft, now);
            }
            Upgrade::Starting { by, .. } | Upgrade::TakingOver { by, .. } if by <= now => {
                self.end_new_master(Setback::NotReady, now);
            }
            Upgrade::Ending { pid, by: Some(by) } if by <= now => {
                self.upgrade = Upgrade::Ending { pid, by: None };
                self.actions.push(Action::Kill(pid));
            }
            Upgrade::None
            | Upgrade::Awaiting { .. }
            | Upgrade::Launching
            | Upgrade::Starting { .. }
            | Upgrade::TakingOver { .. }
            | Upgrade::Ending { .. }
            | Upgrade::Done { .. } => {}
        }
    }

    pub(super) fn upgrade_deadline(&self) -> Option<Instant> {
        match self.upgrade {
            Upgrade::Awaiting { by }
            | Upgrade::Starting { by, .. }
            | Upgrade::TakingOver { by, .. } => Some(by),
            Upgrade::Ending { by, .. } => by,
            Upgrade::None | Upgrade::Launching | Upgrade::Done { .. } => None,
        }
    }

    /// What the new master hears of its old one.
    pub(super) fn of_old_master(&mut self, event: OldMasterEvent, now: Instant) {
        match (event, self.reign) {
            (OldMasterEvent::Promoted | OldMasterEvent::Silent, Reign::Ready) => self.rule(),
            (OldMasterEvent::Silent, Reign::Starting { .. }) => {
                self.reign = Reign::Starting { alone: true };
            }
            (OldMasterEvent::Ended, Reign::Starting { .. } | Reign::Ready) => self.stop(now),
            (OldMasterEvent::Left, _) => self.old_master = None,
            (OldMasterEvent::Drains { generations, rows }, _) => {
                if let Some(old_master) = &mut self.old_master {
                    old_master.drains = generations;
                    // Rows that it never had are not its to give.
                    old_master.rows.keep(rows);
                }
            }
            (OldMasterEvent::Promoted | OldMasterEvent::Ended | OldMasterEvent::Silent, _) => {}
        }
    }

    /// All workers of the first generation are ready.
    pub(super) fn report_for_duty(&mut self) {
        match self.reign {
            Reign::Starting { alone: false } => {
                self.reign = Reign::Ready;
                self.actions.push(Action::TellReady);
            }
            Reign::Starting { alone: true } => self.rule(),
            Reign::Ready | Reign::Ruling => {}
        }
    }

    fn rule(&mut self) {
        self.reign = Reign::Ruling;
        self.actions.push(Action::Rule);
    }

    /// An old master that drains ends with its new one: at the same time at the
    /// latest.
    pub(super) fn hurry_old_master(&mut self, by: Instant) {
        if self.has_old_master() && self.reign == Reign::Ruling {
            self.actions.push(Action::HurryOldMaster { by });
        }
    }

    /// Until when the end waits for the old master's; `None` when it does not.
    pub(super) fn waits_for_old_master(&self) -> Option<Option<Instant>> {
        let Phase::Stopping(by) = self.phase else {
            return None;
        };
        let waits = self.has_old_master() && self.reign == Reign::Ruling;
        waits.then(|| by.map(|by| by + 2 * KILL_GRACE))
    }

    /// Whether nothing but the order to leave is missing.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        let has_new_master = matches!(
            self.upgrade,
            Upgrade::Launching
                | Upgrade::Starting { .. }
                | Upgrade::TakingOver { .. }
                | Upgrade::Ending { .. }
        );
        let waits = self.waits_for_old_master();
        let waits = waits.is_some_and(|until| until.is_none_or(|until| until > now));
        !has_new_master && !waits && self.occupied().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Event, Failure};
    use super::*;

    const POLICY: Policy = Policy {
        slots: 8,
        shutdown_timeout: Duration::from_secs(30),
        ready_timeout: Duration::from_secs(10),
        upgrade_timeout: Duration::from_secs(20),
        generations_max: 4,
        is_first_process: false,
        seed: 1,
    };
    const SECOND: Duration = Duration::from_secs(1);

    const EXITED: Cause = Cause::Exited(3);

    fn the_new_master() -> Pid {
        Pid::new(500).unwrap()
    }

    fn rows(rows: &[usize]) -> Rows {
        rows.iter().copied().map(SlotId).collect()
    }

    struct Play {
        supervisor: Supervisor,
        now: Instant,
        next_pid: i32,
    }

    impl Play {
        /// A master with two workers that are ready.
        fn of(supervisor: Supervisor) -> (Self, Vec<Action>) {
            let mut play = Self {
                supervisor,
                now: Instant::now(),
                next_pid: 100,
            };
            play.tell(Event::Ordered(Command::NewGeneration { workers: 2 }));
            let actions = (100..102).flat_map(|raw| {
                let pid = Pid::new(raw).unwrap();
                play.tell(Event::Ready { pid })
            });
            let actions = actions.collect();
            (play, actions)
        }

        fn old_master() -> Self {
            Self::of(Supervisor::new(POLICY)).0
        }

        /// As [`Self::old_master`], and an upgrade goes on.
        fn upgrading() -> Self {
            let mut play = Self::old_master();
            let launch = play.tell(Event::Ordered(Command::Upgrade));
            assert_eq!(launch, [Action::Launch]);
            assert_eq!(
                play.new_master(NewMasterEvent::Launched {
                    pid: the_new_master()
                }),
                []
            );
            assert_eq!(play.new_master(NewMasterEvent::Listens), []);
            play
        }

        fn tell(&mut self, event: Event) -> Vec<Action> {
            let mut all = self.supervisor.on_event(event, self.now);
            let mut next = 0;
            while next < all.len() {
                if let Action::Fork { slot, .. } = all[next] {
                    let pid = Pid::new(self.next_pid).unwrap();
                    self.next_pid += 1;
                    let started = Event::Started { slot, pid };
                    all.extend(self.supervisor.on_event(started, self.now));
                }
                next += 1;
            }
            all
        }

        fn new_master(&mut self, event: NewMasterEvent) -> Vec<Action> {
            self.tell(Event::NewMaster(event))
        }

        fn gone(&mut self, used: &[usize]) -> Vec<Action> {
            let used = rows(used);
            self.new_master(NewMasterEvent::Gone {
                cause: EXITED,
                used,
            })
        }

        fn wait(&mut self, time: Duration) -> Vec<Action> {
            self.now += time;
            self.tell(Event::Tick)
        }

        fn exited(&mut self, raw: i32) -> Vec<Action> {
            let pid = Pid::new(raw).unwrap();
            self.tell(Event::Exited { pid, cause: EXITED })
        }

        fn drains(&self, raw: i32) -> Action {
            let deadline = Some(self.now + POLICY.shutdown_timeout);
            let pid = Pid::new(raw).unwrap();
            Action::Drain { pid, deadline }
        }
    }

    #[test]
    fn the_old_master_steps_down_when_the_new_master_rules_and_leaves_after_its_last_worker() {
        let mut play = Play::upgrading();
        assert_eq!(play.new_master(NewMasterEvent::Ready), [Action::Promote]);
        assert!(!play.supervisor.is_ruling());
        let expected = [
            Action::Resign {
                pid: the_new_master(),
            },
            Action::Retire(Pid::new(100).unwrap()),
            Action::Retire(Pid::new(101).unwrap()),
        ];
        assert_eq!(play.new_master(NewMasterEvent::TookOver), expected);
        assert_eq!(play.supervisor.next_deadline(), None, "as long as it takes");
        assert!(play.supervisor.is_replaced());
        let drains = |rows| Action::TellDrains {
            generations: 1,
            rows,
        };
        assert_eq!(play.exited(100)[1..], [drains(rows(&[1]))], "not replaced");
        // Even when the new master dies.
        assert_eq!(play.gone(&[3]), []);
        assert_eq!(play.exited(101).last(), Some(&Action::Exit));
    }

    #[test]
    fn one_that_dies_before_it_took_over_changes_nothing() {
        for is_promoted in [false, true] {
            let mut play = Play::upgrading();
            if is_promoted {
                play.new_master(NewMasterEvent::Ready);
            }
            let failed = Action::UpgradeFailed(Setback::Died(EXITED));
            assert_eq!(play.gone(&[]), [failed]);
            assert!(play.supervisor.is_ruling());
            assert_eq!(play.supervisor.may_upgrade(), Ok(()));
        }
    }

    #[test]
    fn a_late_one_is_asked_to_end_and_then_killed() {
        let mut play = Play::upgrading();
        assert_eq!(play.wait(POLICY.upgrade_timeout - SECOND), []);
        let failed = Action::UpgradeFailed(Setback::NotReady);
        assert_eq!(play.wait(SECOND), [Action::EndNewMaster, failed]);
        assert_eq!(play.new_master(NewMasterEvent::Ready), [], "too late");
        assert_eq!(play.supervisor.may_change(), Err(Refusal::RollingBack));
        assert_eq!(
            play.wait(POLICY.shutdown_timeout + 2 * KILL_GRACE),
            [Action::Kill(the_new_master())]
        );
        assert_eq!(play.gone(&[]), []);
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn one_that_does_not_listen_is_killed_at_once() {
        let mut play = Play::old_master();
        play.tell(Event::Ordered(Command::Upgrade));
        play.new_master(NewMasterEvent::Launched {
            pid: the_new_master(),
        });
        let failed = Action::UpgradeFailed(Setback::NotReady);
        let late = play.wait(POLICY.upgrade_timeout);
        assert_eq!(late, [Action::Kill(the_new_master()), failed]);
        play.gone(&[]);
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn one_that_was_told_to_rule_and_does_not_is_killed_at_once() {
        let mut play = Play::upgrading();
        play.new_master(NewMasterEvent::Ready);
        let failed = Action::UpgradeFailed(Setback::NotReady);
        assert_eq!(
            play.wait(TAKE_OVER),
            [Action::Kill(the_new_master()), failed]
        );
        assert_eq!(play.new_master(NewMasterEvent::TookOver), [], "it is dead");
        assert_eq!(play.gone(&[]), []);
        assert!(!play.supervisor.is_replaced());
    }

    #[test]
    fn one_that_cannot_be_started_is_told_at_once() {
        let mut play = Play::old_master();
        play.tell(Event::Ordered(Command::Upgrade));
        let failed = Action::UpgradeFailed(Setback::CannotLaunch);
        assert_eq!(play.new_master(NewMasterEvent::NotLaunched), [failed]);
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn meanwhile_the_dead_are_replaced_and_nothing_else_is_changed() {
        let mut play = Play::upgrading();
        for command in [
            Command::Upgrade,
            Command::Workers { count: 5 },
            Command::Workers { count: 1 },
            Command::Winch,
        ] {
            assert_eq!(play.tell(Event::Ordered(command)), [], "{command:?}");
        }
        let reload = Event::Ordered(Command::NewGeneration { workers: 1 });
        let refused = Action::ReloadRefused(Refusal::Upgrading);
        assert_eq!(play.tell(reload), [refused]);
        play.now += SECOND;
        let forks = play.exited(100);
        assert!(
            matches!(
                forks[1],
                Action::Fork {
                    slot: SlotId(0),
                    ..
                }
            ),
            "{forks:?}"
        );
    }

    #[test]
    fn stop_ends_the_new_one_first_and_waits_for_it() {
        for (event, ends) in [
            (None, Action::EndNewMaster),
            (Some(NewMasterEvent::Ready), Action::Kill(the_new_master())),
        ] {
            let mut play = Play::upgrading();
            event.map(|event| play.new_master(event));
            let actions = play.tell(Event::Ordered(Command::Stop));
            let failed = Action::UpgradeFailed(Setback::Overruled);
            assert_eq!(actions[..2], [ends, failed]);
            play.exited(100);
            assert_eq!(play.exited(101).len(), 1, "the new one lives");
            assert_eq!(play.gone(&[]), [Action::Exit]);
        }
    }

    #[test]
    fn rows_of_a_dead_new_masters_workers_are_left_alone_until_they_are_free() {
        let mut play = Play::upgrading();
        play.gone(&[2, 3, 4, 5, 6]);
        assert_eq!(play.supervisor.may_upgrade(), Err(Refusal::RollingBack));
        let reload = |workers| Event::Ordered(Command::NewGeneration { workers });
        let refused = |wanted, free| Action::ReloadRefused(Refusal::NoRoom { wanted, free });
        assert_eq!(play.tell(reload(2)), [refused(2, 1)]);
        let forks = play.tell(reload(1));
        assert!(
            matches!(
                forks[0],
                Action::Fork {
                    slot: SlotId(7),
                    ..
                }
            ),
            "{forks:?}"
        );
        play.tell(Event::Ready {
            pid: Pid::new(102).unwrap(),
        });
        play.tell(Event::Freed(rows(&[2, 3, 4, 5, 6])));
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn process_one_is_never_upgraded() {
        let mut play = Play::old_master();
        let is_first_process = true;
        play.supervisor.set_policy(Policy {
            is_first_process,
            ..POLICY
        });
        assert_eq!(play.supervisor.may_upgrade(), Err(Refusal::FirstProcess));
        assert_eq!(play.tell(Event::Ordered(Command::Upgrade)), []);
        assert!(!Refusal::FirstProcess.is_passing());
    }

    /// The new master of a master whose workers are in rows 0 and 2.
    fn new_master() -> (Play, Vec<Action>) {
        Play::of(Supervisor::new_master(POLICY, Generation(7), rows(&[0, 2])))
    }

    #[test]
    fn a_new_master_keeps_to_free_rows_says_that_it_is_ready_and_rules_when_told() {
        let (mut play, actions) = new_master();
        let generation = Generation(8);
        let expected = [
            Action::TakeOver { generation },
            Action::ReloadDone { generation },
            Action::TellReady,
        ];
        assert_eq!(actions, expected);
        assert_eq!(play.supervisor.rows(), rows(&[0, 1, 2, 3]));
        assert_eq!(play.supervisor.may_change(), Err(Refusal::Upgrading));
        let promoted = play.tell(Event::OldMaster(OldMasterEvent::Promoted));
        assert_eq!(promoted, [Action::Rule]);
        assert_eq!(play.supervisor.may_change(), Ok(()));
        play.tell(Event::OldMaster(OldMasterEvent::Left));
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    /// A new master that rules while the old one drains.
    fn replaced() -> Play {
        let (mut play, _) = new_master();
        play.tell(Event::OldMaster(OldMasterEvent::Promoted));
        play
    }

    /// As [`replaced`], and so much drains at the old master that nothing more may.
    fn full() -> Play {
        let mut play = replaced();
        let (generations, rows) = (POLICY.generations_max - 1, rows(&[0, 2]));
        let drains = OldMasterEvent::Drains { generations, rows };
        play.tell(Event::OldMaster(drains));
        play
    }

    #[test]
    fn what_an_old_master_drains_counts_and_one_too_many_is_refused() {
        let reload = Event::Ordered(Command::NewGeneration { workers: 1 });
        let mut play = replaced();
        assert_ne!(
            play.tell(reload),
            [],
            "there is room beside the one it drains"
        );
        assert_eq!(
            replaced().tell(Event::Ordered(Command::Upgrade)),
            [Action::Launch]
        );

        let mut play = full();
        assert_eq!(play.tell(Event::Ordered(Command::Upgrade)), [], "it waits");
        let by = Some(play.now + ROOM_WITHIN);
        assert_eq!(play.supervisor.next_deadline(), by);
        let refused = Action::UpgradeFailed(Setback::NoGenerationLeft);
        assert_eq!(play.wait(ROOM_WITHIN), [refused]);
        assert_eq!(play.supervisor.may_change(), Ok(()));
        assert_eq!(play.supervisor.next_deadline(), None);

        assert_eq!(play.tell(reload), []);
        let (generation, reason) = (Generation(9), Failure::NoGenerationLeft);
        let refused = Action::ReloadFailed { generation, reason };
        assert_eq!(play.wait(ROOM_WITHIN), [refused]);

        assert_eq!(play.tell(reload), []);
        let (generations, rows) = (POLICY.generations_max - 2, rows(&[2, 7]));
        let drains = OldMasterEvent::Drains { generations, rows };
        let started = play.tell(Event::OldMaster(drains));
        assert_ne!(started, [], "one of them has left");
        let left: Rows = [2].map(SlotId).into_iter().collect();
        assert_eq!(play.supervisor.strangers(), left, "7 was never theirs");
    }

    #[test]
    fn an_upgrade_begins_when_there_is_room_or_it_was_made() {
        for force in [false, true] {
            let mut play = full();
            let made = match force {
                true => vec![Action::HurryOldMaster { by: play.now }],
                false => Vec::new(),
            };
            let hurried = force.then(|| play.tell(Event::Ordered(Command::MakeRoom)));
            assert_eq!(hurried.unwrap_or_default(), made);
            assert_eq!(play.tell(Event::Ordered(Command::Upgrade)), []);
            let launched = play.tell(Event::OldMaster(OldMasterEvent::Left));
            assert_eq!(launched, [Action::Launch]);
        }
        let mut play = replaced();
        assert_eq!(
            play.tell(Event::Ordered(Command::MakeRoom)),
            [],
            "there is room"
        );
    }

    /// Between an old master and the one that rules.
    fn between() -> Play {
        let mut play = replaced();
        assert_eq!(play.supervisor.rows(), rows(&[0, 1, 2, 3]), "given on");
        play.tell(Event::Ordered(Command::Upgrade));
        let pid = the_new_master();
        for event in [
            NewMasterEvent::Launched { pid },
            NewMasterEvent::Listens,
            NewMasterEvent::Ready,
        ] {
            play.new_master(event);
        }
        let told = play.new_master(NewMasterEvent::TookOver);
        let (generations, rows) = (2, rows(&[0, 1, 2, 3]));
        let drains = Action::TellDrains { generations, rows };
        assert_eq!(
            told.last(),
            Some(&drains),
            "its own and that of the old one"
        );
        play
    }

    #[test]
    fn masters_that_drain_wait_for_those_before_them() {
        let mut play = between();
        play.exited(100);
        let tells = |generations, rows| Action::TellDrains { generations, rows };
        let told = play.exited(101);
        // Its own place it keeps as long as it is there.
        assert_eq!(told[1..], [tells(2, rows(&[0, 2]))]);
        assert_eq!(play.supervisor.next_deadline(), None, "as long as it takes");
        let (generations, rows) = (3, rows(&[2]));
        let drains = OldMasterEvent::Drains { generations, rows };
        let told = play.tell(Event::OldMaster(drains));
        assert_eq!(told, [tells(4, rows)]);
        let left = play.tell(Event::OldMaster(OldMasterEvent::Left));
        assert_eq!(left.last(), Some(&Action::Exit));
    }

    #[test]
    fn who_hurries_a_master_that_drains_hurries_those_before_it() {
        let mut play = between();
        let by = play.now + SECOND;
        let hurried = play.new_master(NewMasterEvent::Hurry { by });
        assert_eq!(hurried.last(), Some(&Action::HurryOldMaster { by }));
        play.exited(100);
        assert_ne!(play.exited(101).last(), Some(&Action::Exit));
        let late = play.supervisor.next_deadline().unwrap();
        assert_eq!(
            play.wait(late - play.now),
            [Action::Exit],
            "it does not come"
        );
    }

    #[test]
    fn an_upgrade_that_waits_ends_with_its_master() {
        let mut play = full();
        play.tell(Event::Ordered(Command::Upgrade));
        let actions = play.tell(Event::Ordered(Command::Stop));
        let over = Action::UpgradeFailed(Setback::Overruled);
        assert_eq!(actions.first(), Some(&over));
        assert_eq!(play.supervisor.successor(), None);
    }

    #[test]
    fn a_new_master_rules_when_nobody_else_is_left_to() {
        let (mut play, _) = new_master();
        assert_eq!(
            play.tell(Event::OldMaster(OldMasterEvent::Silent)),
            [Action::Rule]
        );

        let supervisor = Supervisor::new_master(POLICY, Generation(7), rows(&[0]));
        let mut orphan = supervisor;
        let now = Instant::now();
        assert_eq!(
            orphan.on_event(Event::OldMaster(OldMasterEvent::Silent), now),
            []
        );
        let (_, actions) = Play::of(orphan);
        assert_eq!(actions.last(), Some(&Action::Rule));
    }

    #[test]
    fn a_new_master_that_is_not_wanted_ends_without_waiting_for_the_old_master() {
        let (mut play, _) = new_master();
        let drains = play.tell(Event::OldMaster(OldMasterEvent::Ended));
        assert_eq!(drains, [play.drains(100), play.drains(101)]);
        play.exited(100);
        assert_eq!(play.exited(101).last(), Some(&Action::Exit));
    }

    #[test]
    fn a_stop_is_over_when_the_old_master_has_left_or_is_late() {
        for waits in [true, false] {
            let (mut play, _) = new_master();
            play.tell(Event::OldMaster(OldMasterEvent::Promoted));
            let stopping = play.tell(Event::Ordered(Command::Stop));
            let by = play.now + POLICY.shutdown_timeout;
            assert!(
                stopping.contains(&Action::HurryOldMaster { by }),
                "{stopping:?}"
            );
            play.exited(100);
            assert_eq!(play.exited(101).len(), 1, "the old master lives");
            if waits {
                let left = Event::OldMaster(OldMasterEvent::Left);
                assert_eq!(play.tell(left), [Action::Exit]);
            } else {
                let late = play.supervisor.next_deadline().unwrap();
                assert_eq!(late, by + 2 * KILL_GRACE);
                assert_eq!(play.wait(late - play.now), [Action::Exit]);
            }
        }
    }

    #[test]
    fn an_old_master_ends_with_its_new_master_at_the_latest() {
        let mut play = Play::upgrading();
        play.new_master(NewMasterEvent::Ready);
        play.new_master(NewMasterEvent::TookOver);
        let by = play.now + SECOND;
        let hurried = play.new_master(NewMasterEvent::Hurry { by });
        let drain = |raw| {
            let deadline = Some(by);
            let pid = Pid::new(raw).unwrap();
            Action::Drain { pid, deadline }
        };
        assert_eq!(hurried, [drain(100), drain(101)]);
    }
}
