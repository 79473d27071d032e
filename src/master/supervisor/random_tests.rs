//! The supervisor's invariants, over random histories.

use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// One step of a history. Numbers pick a living worker or an amount of time.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u16),
    ToTheDeadline,
    Ready(u8),
    AllReady,
    Die(u8),
    /// The new program goes one step further, or dies.
    NewMaster(bool),
    /// What a dead new master has left is gone.
    Freed,
    /// Forks fail from now on, or work again.
    Forks(bool),
    Order(Command),
}

fn step() -> impl Strategy<Value = Step> {
    use Command::{MakeRoom, Quit, Reopen, Stop, Winch};
    let order = prop_oneof![
        6 => (0_usize..4).prop_map(|workers| Command::NewGeneration { workers }),
        4 => (0_usize..16).prop_map(|count| Command::Workers { count }),
        2 => Just(Command::Upgrade),
        5 => prop::sample::select(vec![MakeRoom, Quit, Reopen, Stop, Winch]),
    ];
    prop_oneof![
        3 => (0_u16..3000).prop_map(Step::Wait),
        3 => Just(Step::ToTheDeadline),
        4 => any::<u8>().prop_map(Step::Ready),
        3 => Just(Step::AllReady),
        6 => any::<u8>().prop_map(Step::Die),
        1 => any::<bool>().prop_map(Step::Forks),
        2 => order.prop_map(Step::Order),
        2 => prop::bool::weighted(0.6).prop_map(Step::NewMaster),
        1 => Just(Step::Freed),
    ]
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NewMasterStep {
    Started,
    Listens,
    Ready,
    Promoted,
    Rules,
}

/// What the outside world knows.
struct World {
    supervisor: Supervisor,
    now: Instant,
    living: Vec<(Pid, SlotId)>,
    ready: HashMap<Pid, Instant>,
    forks_work: bool,
    next_pid: i32,
    /// Workers that the current generation is to have.
    wanted: usize,
    requested: usize,
    /// The generation that took over last.
    serves: Option<Generation>,
    end_ordered: bool,
    exited: bool,
    /// The new program that lives, and how far it is.
    new_master: Option<(Pid, NewMasterStep)>,
    /// Rows that are not to be touched.
    lent: Rows,
    /// Rows that were ours when the new program was started.
    ours: Rows,
    /// Times of the forks of each slot since it was last taken up.
    forks: HashMap<SlotId, VecDeque<Instant>>,
    /// Slots whose last worker served: their next fork is no retry.
    served: HashSet<SlotId>,
    first_forks: HashSet<(SlotId, Generation)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let policy = Policy {
            shutdown_timeout: Duration::from_secs(4),
            ready_timeout: Duration::from_secs(3),
            upgrade_timeout: Duration::from_secs(2),
            seed,
            ..tests::MASTER_OF
        };
        Self {
            supervisor: Supervisor::new(policy),
            now: Instant::now(),
            living: Vec::new(),
            ready: HashMap::new(),
            forks_work: true,
            next_pid: 1,
            wanted: 0,
            requested: 0,
            serves: None,
            end_ordered: false,
            exited: false,
            new_master: None,
            lent: Rows::default(),
            ours: Rows::default(),
            forks: HashMap::new(),
            served: HashSet::new(),
            first_forks: HashSet::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait(millis) => {
                self.now += Duration::from_millis(millis.into());
                self.tell(Event::Tick);
            }
            Step::ToTheDeadline => {
                if let Some(deadline) = self.supervisor.next_deadline() {
                    self.now = self.now.max(deadline);
                }
                self.tell(Event::Tick);
            }
            Step::Ready(pick) => {
                if let Some(pid) = self.pick(pick) {
                    self.be_ready(pid);
                }
            }
            Step::AllReady => {
                for (pid, _) in self.living.clone() {
                    self.be_ready(pid);
                }
            }
            Step::Die(pick) => {
                if let Some(pid) = self.pick(pick) {
                    self.die(pid);
                }
            }
            Step::NewMaster(goes_on) => self.new_master_step(goes_on),
            Step::Freed if self.new_master.is_none() => {
                let rows = std::mem::take(&mut self.lent);
                self.tell(Event::Freed(rows));
            }
            Step::Freed => {}
            Step::Forks(work) => self.forks_work = work,
            Step::Order(command) => self.order(command),
        }
    }

    fn new_master_step(&mut self, goes_on: bool) {
        let Some((pid, step)) = self.new_master else {
            return;
        };
        if !goes_on {
            self.new_master_dies();
            return;
        }
        let (step, event) = match step {
            NewMasterStep::Started => (NewMasterStep::Listens, NewMasterEvent::Listens),
            NewMasterStep::Listens => (NewMasterStep::Ready, NewMasterEvent::Ready),
            NewMasterStep::Promoted => (NewMasterStep::Rules, NewMasterEvent::TookOver),
            NewMasterStep::Ready | NewMasterStep::Rules => return,
        };
        self.new_master = Some((pid, step));
        self.tell(Event::NewMaster(event));
    }

    fn new_master_dies(&mut self) {
        let Some((_, step)) = self.new_master.take() else {
            return;
        };
        // It was told at its start which rows are not its own, those of workers
        // that are to be replaced among them.
        let used = [10, 11].map(SlotId).into_iter();
        let used: Rows = used.filter(|slot| !self.ours.contains(*slot)).collect();
        let cause = Cause::Exited(1);
        if step != NewMasterStep::Rules {
            self.lent.add(used);
        }
        self.tell(Event::NewMaster(NewMasterEvent::Gone { cause, used }));
    }

    fn pick(&self, pick: u8) -> Option<Pid> {
        let count = self.living.len().max(1);
        self.living
            .get(usize::from(pick) % count)
            .map(|&(pid, _)| pid)
    }

    fn be_ready(&mut self, pid: Pid) {
        self.ready.entry(pid).or_insert(self.now);
        self.tell(Event::Ready { pid });
    }

    fn order(&mut self, command: Command) {
        let may_change = self.supervisor.may_change().is_ok();
        let stable = may_change
            && self.supervisor.current().is_some()
            && self.supervisor.incoming().is_none();
        let is_free = |slot: &SlotId| {
            let is_taken = self.supervisor.status().any(|status| status.slot == *slot);
            !is_taken && !self.lent.contains(*slot)
        };
        let room = (0..12).map(SlotId).filter(is_free).count();
        match command {
            Command::NewGeneration { workers }
                if may_change && self.supervisor.incoming().is_none() =>
            {
                self.requested = workers;
            }
            Command::Workers { count } if stable => {
                self.wanted = count.clamp(1, self.wanted + room);
            }
            Command::Stop | Command::Quit => {
                self.end_ordered = true;
                self.wanted = 0;
            }
            Command::Winch if may_change => self.wanted = 0,
            Command::Winch
            | Command::Upgrade
            | Command::MakeRoom
            | Command::NewGeneration { .. }
            | Command::Workers { .. }
            | Command::Reopen => {}
        }
        self.tell(Event::Ordered(command));
    }

    fn die(&mut self, pid: Pid) {
        let index = self.living.iter().position(|(living, _)| *living == pid);
        let (_, slot) = self.living.swap_remove(index.unwrap());
        let ready = self.ready.remove(&pid);
        if ready.is_some_and(|since| self.now - since >= SERVED) {
            self.served.insert(slot);
        } else {
            self.served.remove(&slot);
        }
        let cause = Cause::Exited(1);
        let actions = self
            .supervisor
            .on_event(Event::Exited { pid, cause }, self.now);
        assert_eq!(actions.first(), Some(&Action::Bury(pid)), "buried first");
        self.carry_out(actions);
    }

    fn tell(&mut self, event: Event) {
        let actions = self.supervisor.on_event(event, self.now);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Fork {
                    slot, generation, ..
                } => self.fork(slot, generation),
                Action::TakeOver { generation } => {
                    self.serves = Some(generation);
                    self.wanted = self.requested;
                }
                Action::ReloadDone { generation } => assert_eq!(self.serves, Some(generation)),
                Action::Kill(pid)
                    if self
                        .new_master
                        .is_some_and(|(new_master, _)| new_master == pid) =>
                {
                    self.new_master_dies();
                }
                Action::Launch => self.launch(),
                Action::Promote => {
                    let new_master = self.new_master.as_mut().expect("somebody is promoted");
                    new_master.1 = NewMasterStep::Promoted;
                }
                Action::Resign { pid } => {
                    assert_eq!(self.new_master, Some((pid, NewMasterStep::Rules)));
                    self.end_ordered = true;
                    self.wanted = 0;
                }
                Action::EndNewMaster => assert!(self.new_master.is_some(), "nobody is to end"),
                Action::UpgradeFailed(_) => assert!(!self.supervisor.is_replaced()),
                Action::TellReady | Action::Rule | Action::HurryOldMaster { .. } => {
                    panic!("{action:?} is not for an old master")
                }
                Action::Drain { pid, .. }
                | Action::Retire(pid)
                | Action::Kill(pid)
                | Action::TellReopen(pid) => {
                    self.current();
                    let lives = self.living.iter().any(|(living, _)| *living == pid);
                    assert!(lives, "{action:?} addresses the dead");
                }
                Action::Exit => {
                    assert!(self.end_ordered, "exit without an order");
                    assert!(self.living.is_empty(), "exit with living workers");
                    let rules = |(_, step)| step == NewMasterStep::Rules;
                    let is_left = self.new_master.is_none_or(rules);
                    assert!(is_left, "exit with a child that does not rule");
                    assert!(!self.exited, "exit twice");
                    self.exited = true;
                }
                Action::Bury(_)
                | Action::TellDrains { .. }
                | Action::CutShort { .. }
                | Action::ReloadFailed { .. }
                | Action::ReloadRefused(_) => {}
            }
        }
    }

    /// Whoever carries an action out knows the generation that the supervisor
    /// decided it for.
    fn current(&self) -> Option<Generation> {
        let current = self.supervisor.current();
        assert!(current.is_none() || current == self.serves, "{current:?}");
        current
    }

    fn launch(&mut self) {
        assert!(self.new_master.is_none(), "two new programs");
        if !self.forks_work {
            self.tell(Event::NewMaster(NewMasterEvent::NotLaunched));
            return;
        }
        let pid = Pid::new(self.next_pid).unwrap();
        self.next_pid += 1;
        self.ours = self.supervisor.rows();
        self.new_master = Some((pid, NewMasterStep::Started));
        self.tell(Event::NewMaster(NewMasterEvent::Launched { pid }));
    }

    fn fork(&mut self, slot: SlotId, generation: Generation) {
        assert!(!self.lent.contains(slot), "{slot:?} is another master's");
        let occupied = self.living.iter().any(|(_, taken)| *taken == slot);
        assert!(!occupied, "{slot:?} forked twice");
        self.check_rate(slot, generation);
        if !self.forks_work {
            self.tell(Event::ForkFailed { slot });
            return;
        }
        let pid = Pid::new(self.next_pid).unwrap();
        self.next_pid += 1;
        self.living.push((pid, slot));
        self.tell(Event::Started { slot, pid });
    }

    fn check_rate(&mut self, slot: SlotId, generation: Generation) {
        let is_first = self.first_forks.insert((slot, generation));
        let forks = self.forks.entry(slot).or_default();
        if is_first {
            forks.clear();
        }
        forks.push_back(self.now);
        let is_retry = !is_first && !self.served.contains(&slot);
        let recent = forks.iter().filter(|at| self.now - **at < WINDOW).count();
        assert!(!is_retry || recent <= FORKS, "{recent} forks in {WINDOW:?}");
    }

    fn check(&self) {
        let known: HashSet<(Pid, SlotId)> = self
            .supervisor
            .status()
            .filter_map(|status| Some((status.pid?, status.slot)))
            .collect();
        let living: HashSet<(Pid, SlotId)> = self.living.iter().copied().collect();
        assert_eq!(known, living, "a process is lost or invented");

        let generations = self.supervisor.status().map(|status| status.generation);
        let generations: HashSet<Generation> = generations.collect();
        assert!(generations.len() <= 4, "{generations:?} live");

        let current = self.current();
        let leaving = |pid: Option<Pid>| {
            let is_draining =
                |status: &Status| status.pid == pid && status.stage == Stage::Draining;
            pid.is_some() && self.supervisor.status().any(|status| is_draining(&status))
        };
        // Killed ones that will be replaced count, as do those that wait.
        let serving: HashSet<usize> = self
            .supervisor
            .status()
            .filter(|status| Some(status.generation) == current && !leaving(status.pid))
            .map(|status| status.number)
            .collect();
        assert!(serving.len() >= self.wanted, "workers are missing");
        let alive_or_waiting = self
            .supervisor
            .status()
            .filter(|status| Some(status.generation) == current)
            .filter(|status| !matches!(status.stage, Stage::Draining | Stage::Ending))
            .count();
        assert!(alive_or_waiting <= self.wanted, "too many workers");

        if let Some(deadline) = self.supervisor.next_deadline() {
            assert!(deadline > self.now, "a deadline in the past would spin");
        }
    }

    /// Whatever happened before, the end can be reached.
    fn end(&mut self) {
        self.order(Command::Stop);
        self.order(Command::Stop);
        while let Some(&(pid, _)) = self.living.first() {
            self.die(pid);
        }
        if !self.supervisor.is_replaced() {
            self.new_master_dies();
        }
        assert!(self.exited, "no exit after the last worker");
        assert_eq!(self.supervisor.status().count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_invariants(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(seed);
        world.order(Command::NewGeneration { workers: 3 });
        world.take(Step::AllReady);
        for step in steps {
            world.take(step);
            world.check();
        }
        world.end();
    }

    #[test]
    fn a_crash_loop_of_any_rhythm_stays_within_the_bound(
        seed in any::<u64>(),
        gaps in prop::collection::vec(0_u16..1500, 1..300),
    ) {
        let mut world = World::new(seed);
        world.order(Command::NewGeneration { workers: 1 });
        world.take(Step::AllReady);
        for gap in gaps {
            world.take(Step::Wait(gap));
            world.take(Step::Die(0));
            world.check();
        }
        world.end();
    }
}
