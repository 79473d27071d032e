//! The upgrade of the binary: one master rules, and another one comes up beside
//! it. The elder is the one that rules at first; the heir is the new program.
//!
//! ```text
//! elder:            launched           ready            took over
//!   None --> Launching --> Starting ---------> TakingOver ---------> Done
//!    ^                        |  late, stop       |  late, died        |
//!    |                        v                   v                    v
//!    +------ gone -------- Ending <---------------+             drains, leaves
//!
//! heir:       all workers ready         told to take over
//!   Starting ----------------> Ready ---------------------> Ruling
//!      |                         |                             ^
//!      +-- the elder died -------+-----------------------------+
//! ```
//!
//! Invariants:
//! - The elder rules until the heir has said that it does. Whatever happens to
//!   the heir before leaves the elder and its workers as they are.
//! - An heir rules when it was told to, or when nobody else is left to.
//! - No two workers are ever in one row: the heir is given the rows that the
//!   elder does not use, the elder takes no further ones meanwhile, and rows of
//!   processes that nobody here is the parent of are left alone until told free.

use std::fmt;
use std::time::{Duration, Instant};

use super::event::{Action, ElderEvent, HeirEvent, Refusal};
use super::rows::Rows;
use super::slot::{Generation, KILL_GRACE, Leave, SlotId};
use super::{Phase, Policy, Supervisor};
use crate::sys::process::{Cause, Pid};

/// How long an heir may take that was told to take over: a few system calls.
pub const TAKE_OVER: Duration = Duration::from_secs(5);

/// What became of the new program, as the elder knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Upgrade {
    None,
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

/// Whether this master rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reign {
    /// Its workers are not all ready. `alone`: the elder is gone.
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
}

impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotLaunch => f.write_str("the new binary could not be started"),
            Self::Died(cause) => write!(f, "the new binary {cause} before it took over"),
            Self::NotReady => f.write_str("the new binary was not ready within upgrade_timeout"),
            Self::Overruled => f.write_str("ordered to stop meanwhile"),
        }
    }
}

impl Supervisor {
    /// The supervisor of an heir: its generations are counted behind
    /// `generation`, and `taken` are rows of the elder's workers.
    #[must_use]
    pub fn heir(policy: Policy, generation: Generation, taken: Rows) -> Self {
        Self {
            newest: generation,
            reserved: taken,
            reign: Reign::Starting { alone: false },
            has_elder: true,
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
    pub fn is_heir(&self) -> bool {
        self.reign != Reign::Ruling
    }

    /// Whether another master rules since an upgrade.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        matches!(self.upgrade, Upgrade::Done { .. })
    }

    /// Whether the master before this one still drains.
    #[must_use]
    pub fn has_elder(&self) -> bool {
        self.has_elder
    }

    /// The process that is being started as the next master, or is it.
    #[must_use]
    pub fn successor(&self) -> Option<Pid> {
        match self.upgrade {
            Upgrade::None | Upgrade::Launching => None,
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
        if self.has_elder {
            return Err(Refusal::ElderDrains);
        }
        if self.reserved != Rows::default() {
            return Err(Refusal::RollingBack);
        }
        Ok(())
    }

    /// The rows that this master's workers use or will use.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.occupied().map(|(id, _)| id).collect()
    }

    /// The last generation that was begun.
    #[must_use]
    pub fn newest(&self) -> Generation {
        self.newest
    }

    /// Begins an upgrade, unless it has to be refused.
    pub(super) fn begin_upgrade(&mut self) {
        if self.may_upgrade().is_ok() {
            self.upgrade = Upgrade::Launching;
            self.actions.push(Action::Launch);
        }
    }

    /// What the elder hears of its heir.
    pub(super) fn of_heir(&mut self, event: HeirEvent, now: Instant) {
        match (event, self.upgrade) {
            (HeirEvent::Launched { pid }, Upgrade::Launching) => {
                let by = now + self.policy.upgrade_timeout;
                let listens = false;
                self.upgrade = Upgrade::Starting { pid, by, listens };
                if self.phase != Phase::Running {
                    self.end_heir(Setback::Overruled, now);
                }
            }
            (HeirEvent::NotLaunched, Upgrade::Launching) => {
                self.upgrade = Upgrade::None;
                let failed = Action::UpgradeFailed(Setback::CannotLaunch);
                self.actions.push(failed);
            }
            (HeirEvent::Listens, Upgrade::Starting { pid, by, .. }) => {
                let listens = true;
                self.upgrade = Upgrade::Starting { pid, by, listens };
            }
            (HeirEvent::Ready, Upgrade::Starting { pid, .. }) => {
                let by = now + TAKE_OVER;
                self.upgrade = Upgrade::TakingOver { pid, by };
                self.actions.push(Action::Promote);
            }
            (HeirEvent::TookOver, Upgrade::TakingOver { pid, .. }) => {
                self.upgrade = Upgrade::Done { pid };
                self.actions.push(Action::Resign { pid });
                self.stop(now);
            }
            (HeirEvent::Gone { cause, used }, _) => self.heir_gone(cause, used),
            (HeirEvent::Hurry { by }, Upgrade::Done { .. }) => {
                for index in 0..self.slots.len() {
                    self.dismiss(SlotId(index), Leave::By(Some(by)), now);
                }
            }
            // Late words of one that is being ended, or nonsense.
            (_, _) => {}
        }
    }

    fn heir_gone(&mut self, cause: Cause, used: Rows) {
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
            Upgrade::None | Upgrade::Launching => return,
        }
        self.reserved.add(used);
    }

    /// Rolls back, if there is an heir that does not rule yet.
    pub(super) fn end_heir(&mut self, reason: Setback, now: Instant) {
        let (pid, by) = match self.upgrade {
            // It may have to drain workers that were ready before the others.
            Upgrade::Starting {
                pid, listens: true, ..
            } => {
                let grace = self.policy.shutdown_timeout + 2 * KILL_GRACE;
                self.actions.push(Action::EndHeir);
                (pid, Some(now + grace))
            }
            // It would not hear, or could rule at any moment: only a dead one
            // surely does not.
            Upgrade::Starting { pid, .. } | Upgrade::TakingOver { pid, .. } => {
                self.actions.push(Action::Kill(pid));
                (pid, None)
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
            Upgrade::Starting { by, .. } | Upgrade::TakingOver { by, .. } if by <= now => {
                self.end_heir(Setback::NotReady, now);
            }
            Upgrade::Ending { pid, by: Some(by) } if by <= now => {
                self.upgrade = Upgrade::Ending { pid, by: None };
                self.actions.push(Action::Kill(pid));
            }
            Upgrade::None
            | Upgrade::Launching
            | Upgrade::Starting { .. }
            | Upgrade::TakingOver { .. }
            | Upgrade::Ending { .. }
            | Upgrade::Done { .. } => {}
        }
    }

    pub(super) fn upgrade_deadline(&self) -> Option<Instant> {
        match self.upgrade {
            Upgrade::Starting { by, .. } | Upgrade::TakingOver { by, .. } => Some(by),
            Upgrade::Ending { by, .. } => by,
            Upgrade::None | Upgrade::Launching | Upgrade::Done { .. } => None,
        }
    }

    /// What the heir hears of its elder.
    pub(super) fn of_elder(&mut self, event: ElderEvent, now: Instant) {
        match (event, self.reign) {
            (ElderEvent::Promoted | ElderEvent::Silent, Reign::Ready) => self.rule(),
            (ElderEvent::Silent, Reign::Starting { .. }) => {
                self.reign = Reign::Starting { alone: true };
            }
            (ElderEvent::Ended, Reign::Starting { .. } | Reign::Ready) => self.stop(now),
            (ElderEvent::Left { rows }, _) => {
                self.has_elder = false;
                self.reserved.remove(rows);
            }
            (ElderEvent::Promoted | ElderEvent::Ended | ElderEvent::Silent, _) => {}
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

    /// An elder that drains ends with its heir: at the same time at the latest.
    pub(super) fn hurry_elder(&mut self, by: Instant) {
        if self.has_elder && self.reign == Reign::Ruling {
            self.actions.push(Action::HurryElder { by });
        }
    }

    /// Until when the end waits for the elder's; `None` when it does not.
    pub(super) fn waits_for_elder(&self) -> Option<Option<Instant>> {
        let Phase::Stopping(by) = self.phase else {
            return None;
        };
        let waits = self.has_elder && self.reign == Reign::Ruling;
        waits.then(|| by.map(|by| by + 2 * KILL_GRACE))
    }

    /// Whether nothing but the order to leave is missing.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        let has_heir = matches!(
            self.upgrade,
            Upgrade::Launching
                | Upgrade::Starting { .. }
                | Upgrade::TakingOver { .. }
                | Upgrade::Ending { .. }
        );
        let waits = self.waits_for_elder();
        let waits = waits.is_some_and(|until| until.is_none_or(|until| until > now));
        !has_heir && !waits && self.occupied().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Event};
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

    fn the_heir() -> Pid {
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

        fn elder() -> Self {
            Self::of(Supervisor::new(POLICY)).0
        }

        /// As [`Self::elder`], and an upgrade goes on.
        fn upgrading() -> Self {
            let mut play = Self::elder();
            let launch = play.tell(Event::Ordered(Command::Upgrade));
            assert_eq!(launch, [Action::Launch]);
            assert_eq!(play.heir(HeirEvent::Launched { pid: the_heir() }), []);
            assert_eq!(play.heir(HeirEvent::Listens), []);
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

        fn heir(&mut self, event: HeirEvent) -> Vec<Action> {
            self.tell(Event::Heir(event))
        }

        fn gone(&mut self, used: &[usize]) -> Vec<Action> {
            let used = rows(used);
            self.heir(HeirEvent::Gone {
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
    fn the_elder_steps_down_when_the_heir_rules_and_leaves_after_its_last_worker() {
        let mut play = Play::upgrading();
        assert_eq!(play.heir(HeirEvent::Ready), [Action::Promote]);
        assert!(!play.supervisor.is_ruling());
        let expected = [
            Action::Resign { pid: the_heir() },
            play.drains(100),
            play.drains(101),
        ];
        assert_eq!(play.heir(HeirEvent::TookOver), expected);
        assert!(play.supervisor.is_replaced());
        assert_eq!(play.exited(100).len(), 1, "buried, not replaced");
        // Even when the new master dies.
        assert_eq!(play.gone(&[3]), []);
        assert_eq!(play.exited(101).last(), Some(&Action::Exit));
    }

    #[test]
    fn one_that_dies_before_it_took_over_changes_nothing() {
        for is_promoted in [false, true] {
            let mut play = Play::upgrading();
            if is_promoted {
                play.heir(HeirEvent::Ready);
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
        assert_eq!(play.wait(SECOND), [Action::EndHeir, failed]);
        assert_eq!(play.heir(HeirEvent::Ready), [], "too late");
        assert_eq!(play.supervisor.may_change(), Err(Refusal::RollingBack));
        assert_eq!(
            play.wait(POLICY.shutdown_timeout + 2 * KILL_GRACE),
            [Action::Kill(the_heir())]
        );
        assert_eq!(play.gone(&[]), []);
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn one_that_does_not_listen_is_killed_at_once() {
        let mut play = Play::elder();
        play.tell(Event::Ordered(Command::Upgrade));
        play.heir(HeirEvent::Launched { pid: the_heir() });
        let failed = Action::UpgradeFailed(Setback::NotReady);
        let late = play.wait(POLICY.upgrade_timeout);
        assert_eq!(late, [Action::Kill(the_heir()), failed]);
        play.gone(&[]);
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn one_that_was_told_to_rule_and_does_not_is_killed_at_once() {
        let mut play = Play::upgrading();
        play.heir(HeirEvent::Ready);
        let failed = Action::UpgradeFailed(Setback::NotReady);
        assert_eq!(play.wait(TAKE_OVER), [Action::Kill(the_heir()), failed]);
        assert_eq!(play.heir(HeirEvent::TookOver), [], "it is dead");
        assert_eq!(play.gone(&[]), []);
        assert!(!play.supervisor.is_replaced());
    }

    #[test]
    fn one_that_cannot_be_started_is_told_at_once() {
        let mut play = Play::elder();
        play.tell(Event::Ordered(Command::Upgrade));
        let failed = Action::UpgradeFailed(Setback::CannotLaunch);
        assert_eq!(play.heir(HeirEvent::NotLaunched), [failed]);
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
            (None, Action::EndHeir),
            (Some(HeirEvent::Ready), Action::Kill(the_heir())),
        ] {
            let mut play = Play::upgrading();
            event.map(|event| play.heir(event));
            let actions = play.tell(Event::Ordered(Command::Stop));
            let failed = Action::UpgradeFailed(Setback::Overruled);
            assert_eq!(actions[..2], [ends, failed]);
            play.exited(100);
            assert_eq!(play.exited(101).len(), 1, "the new one lives");
            assert_eq!(play.gone(&[]), [Action::Exit]);
        }
    }

    #[test]
    fn rows_of_a_dead_heirs_workers_are_left_alone_until_they_are_free() {
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
        let mut play = Play::elder();
        let is_first_process = true;
        play.supervisor.set_policy(Policy {
            is_first_process,
            ..POLICY
        });
        assert_eq!(play.supervisor.may_upgrade(), Err(Refusal::FirstProcess));
        assert_eq!(play.tell(Event::Ordered(Command::Upgrade)), []);
        assert!(!Refusal::FirstProcess.is_passing());
    }

    /// The heir of a master whose workers are in rows 0 and 2.
    fn heir() -> (Play, Vec<Action>) {
        Play::of(Supervisor::heir(POLICY, Generation(7), rows(&[0, 2])))
    }

    #[test]
    fn an_heir_keeps_to_free_rows_says_that_it_is_ready_and_rules_when_told() {
        let (mut play, actions) = heir();
        let generation = Generation(8);
        assert_eq!(
            actions,
            [Action::ReloadDone { generation }, Action::TellReady]
        );
        assert_eq!(play.supervisor.rows(), rows(&[1, 3]));
        assert_eq!(play.supervisor.may_change(), Err(Refusal::Upgrading));
        let promoted = play.tell(Event::Elder(ElderEvent::Promoted));
        assert_eq!(promoted, [Action::Rule]);
        assert_eq!(play.supervisor.may_change(), Ok(()));
        assert_eq!(play.supervisor.may_upgrade(), Err(Refusal::ElderDrains));
        let left = ElderEvent::Left {
            rows: rows(&[0, 2]),
        };
        play.tell(Event::Elder(left));
        assert_eq!(play.supervisor.may_upgrade(), Ok(()));
    }

    #[test]
    fn an_heir_rules_when_nobody_else_is_left_to() {
        let (mut play, _) = heir();
        assert_eq!(play.tell(Event::Elder(ElderEvent::Silent)), [Action::Rule]);

        let supervisor = Supervisor::heir(POLICY, Generation(7), rows(&[0]));
        let mut orphan = supervisor;
        let now = Instant::now();
        assert_eq!(orphan.on_event(Event::Elder(ElderEvent::Silent), now), []);
        let (_, actions) = Play::of(orphan);
        assert_eq!(actions.last(), Some(&Action::Rule));
    }

    #[test]
    fn an_heir_that_is_not_wanted_ends_without_waiting_for_the_elder() {
        let (mut play, _) = heir();
        let drains = play.tell(Event::Elder(ElderEvent::Ended));
        assert_eq!(drains, [play.drains(100), play.drains(101)]);
        play.exited(100);
        assert_eq!(play.exited(101).last(), Some(&Action::Exit));
    }

    #[test]
    fn a_stop_is_over_when_the_elder_has_left_or_is_late() {
        for waits in [true, false] {
            let (mut play, _) = heir();
            play.tell(Event::Elder(ElderEvent::Promoted));
            let stopping = play.tell(Event::Ordered(Command::Stop));
            let by = play.now + POLICY.shutdown_timeout;
            assert!(
                stopping.contains(&Action::HurryElder { by }),
                "{stopping:?}"
            );
            play.exited(100);
            assert_eq!(play.exited(101).len(), 1, "the elder lives");
            if waits {
                let left = Event::Elder(ElderEvent::Left {
                    rows: rows(&[0, 2]),
                });
                assert_eq!(play.tell(left), [Action::Exit]);
            } else {
                let late = play.supervisor.next_deadline().unwrap();
                assert_eq!(late, by + 2 * KILL_GRACE);
                assert_eq!(play.wait(late - play.now), [Action::Exit]);
            }
        }
    }

    #[test]
    fn an_elder_ends_with_its_heir_at_the_latest() {
        let mut play = Play::upgrading();
        play.heir(HeirEvent::Ready);
        play.heir(HeirEvent::TookOver);
        let by = play.now + SECOND;
        let hurried = play.heir(HeirEvent::Hurry { by });
        let drain = |raw| {
            let deadline = Some(by);
            let pid = Pid::new(raw).unwrap();
            Action::Drain { pid, deadline }
        };
        assert_eq!(hurried, [drain(100), drain(101)]);
    }
}
