//! The supervisor's rules, one sentence each.

use super::*;

pub(super) const MASTER_OF: Policy = Policy {
    slots: 12,
    shutdown_timeout: Duration::from_secs(30),
    ready_timeout: Duration::from_secs(10),
    generations_max: 4,
    upgrade_timeout: Duration::from_secs(20),
    is_first_process: false,
    seed: 1,
};
const EXITED: Cause = Cause::Exited(1);
const KILLED: Cause = Cause::Killed {
    signal: 9,
    core: false,
};
const SECOND: Duration = Duration::from_secs(1);

/// Carries actions out the way the master does, with processes that are numbers.
struct Play {
    supervisor: Supervisor,
    now: Instant,
    next_pid: i32,
}

impl Play {
    fn new() -> Self {
        Self {
            supervisor: Supervisor::new(MASTER_OF),
            now: Instant::now(),
            next_pid: 100,
        }
    }

    /// Two workers, pids 100 and 101, ready.
    fn with_two_workers() -> Self {
        let mut play = Self::new();
        play.start_generation(2);
        let done = play.get_ready(&[100, 101]);
        assert_eq!(done, serves(1, &[]));
        play
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut all = self.supervisor.on_event(event, self.now);
        let mut next = 0;
        while next < all.len() {
            if let Action::Fork { slot, .. } = all[next] {
                let pid = pid(self.next_pid);
                self.next_pid += 1;
                let more = self
                    .supervisor
                    .on_event(Event::Started { slot, pid }, self.now);
                all.extend(more);
            }
            next += 1;
        }
        all
    }

    fn order(&mut self, command: Command) -> Vec<Action> {
        self.tell(Event::Ordered(command))
    }

    fn start_generation(&mut self, workers: usize) -> Vec<Action> {
        self.order(Command::NewGeneration { workers })
    }

    fn get_ready(&mut self, pids: &[i32]) -> Vec<Action> {
        let ready = |&raw: &i32| self.tell(Event::Ready { pid: pid(raw) });
        pids.iter().flat_map(ready).collect()
    }

    fn die(&mut self, raw: i32) -> Vec<Action> {
        let (pid, cause) = (pid(raw), KILLED);
        self.tell(Event::Exited { pid, cause })
    }

    fn wait(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.tell(Event::Tick)
    }

    fn stages(&self) -> Vec<(Option<i32>, Stage)> {
        let row = |status: Status| (status.pid.map(Pid::raw), status.stage);
        self.supervisor.status().map(row).collect()
    }

    fn drain(&self, raw: i32, within: Option<Duration>) -> Action {
        Action::Drain {
            pid: pid(raw),
            deadline: within.map(|within| self.now + within),
        }
    }
}

fn pid(raw: i32) -> Pid {
    Pid::new(raw).unwrap()
}

fn forks(actions: &[Action]) -> usize {
    let is_fork = |action: &&Action| matches!(action, Action::Fork { .. });
    actions.iter().filter(is_fork).count()
}

fn fork(slot: usize, number: usize, generation: u64) -> Action {
    Action::Fork {
        slot: SlotId(slot),
        number,
        generation: Generation(generation),
    }
}

/// A generation that takes over from workers which are told to drain.
fn serves(generation: u64, drains: &[Action]) -> Vec<Action> {
    let generation = Generation(generation);
    let mut actions = vec![Action::TakeOver { generation }];
    actions.extend(drains);
    actions.push(Action::ReloadDone { generation });
    actions
}

const TIMEOUT: Option<Duration> = Some(MASTER_OF.shutdown_timeout);

#[test]
fn the_first_generation_is_the_start_and_done_when_all_are_ready() {
    let mut play = Play::new();
    assert_eq!(play.start_generation(2), [fork(0, 0, 1), fork(1, 1, 1)]);
    assert_eq!(play.get_ready(&[101]), []);
    assert_eq!(play.supervisor.current(), None);
    assert_eq!(play.get_ready(&[100]), serves(1, &[]));
    assert_eq!(play.supervisor.current(), Some(Generation(1)));
}

#[test]
fn a_worker_that_served_a_second_is_replaced_at_once_every_time() {
    let mut play = Play::with_two_workers();
    for dead in (101..).take(50) {
        play.wait(SECOND);
        assert_eq!(
            play.die(dead),
            [Action::Bury(pid(dead)), fork(1, 1, 1)],
            "pid {dead}"
        );
        play.get_ready(&[dead + 1]);
    }
    let status: Vec<Status> = play.supervisor.status().collect();
    assert_eq!(
        (status[1].restarts, status[1].last_exit),
        (50, Some(KILLED))
    );
    assert_eq!(status[0].restarts, 0);
}

#[test]
fn a_crash_loop_ends_in_back_off_while_the_other_slot_serves() {
    let mut play = Play::with_two_workers();
    let mut forked = 1;
    let mut dead = 101;
    while forks(&play.die(dead)) == 1 {
        dead = play.next_pid - 1;
        forked += 1;
    }
    assert_eq!(forked, FORKS);
    assert_eq!(
        play.stages(),
        [(Some(100), Stage::Serving), (None, Stage::BackingOff)]
    );
    let until = play.supervisor.next_deadline().unwrap();
    assert!(until > play.now);
    play.now = until - Duration::from_nanos(1);
    assert_eq!(play.tell(Event::Tick), []);
    play.now = until;
    assert_eq!(play.tell(Event::Tick), [fork(1, 1, 1)]);
}

#[test]
fn a_good_reload_ends_every_back_off() {
    let mut play = Play::with_two_workers();
    while forks(&play.die(play.next_pid - 1)) == 1 {}
    play.start_generation(2);
    let pids = [play.next_pid - 2, play.next_pid - 1];
    let actions = play.get_ready(&pids);
    assert_eq!(actions, serves(2, &[Action::Retire(pid(100))]));
    assert_eq!(forks(&play.die(pids[0])), 1, "a fresh slot has no history");
}

#[test]
fn a_fork_that_fails_is_tried_again_after_a_while() {
    let mut play = Play::with_two_workers();
    play.wait(SECOND);
    let (dead, slot) = (pid(101), SlotId(1));
    let gone = Event::Exited {
        pid: dead,
        cause: EXITED,
    };
    let actions = play.supervisor.on_event(gone, play.now);
    assert_eq!(actions, [Action::Bury(dead), fork(1, 1, 1)]);
    let actions = play
        .supervisor
        .on_event(Event::ForkFailed { slot }, play.now);
    assert_eq!(actions, []);
    assert_eq!(play.wait(SECOND), [fork(1, 1, 1)]);
}

#[test]
fn a_worker_that_never_gets_ready_is_killed_and_replaced() {
    let mut play = Play::with_two_workers();
    play.wait(SECOND);
    play.die(101);
    assert_eq!(play.wait(MASTER_OF.ready_timeout), [Action::Kill(pid(102))]);
    assert_eq!(
        play.stages(),
        [(Some(100), Stage::Serving), (Some(102), Stage::Ending)]
    );
    assert_eq!(play.get_ready(&[102]), [], "too late");
    assert_eq!(play.die(102), [Action::Bury(pid(102)), fork(1, 1, 1)]);
}

#[test]
fn the_old_generation_drains_only_when_all_of_the_new_one_are_ready() {
    let mut play = Play::with_two_workers();
    assert_eq!(
        play.start_generation(3),
        [fork(2, 0, 2), fork(3, 1, 2), fork(4, 2, 2)]
    );
    assert_eq!(play.get_ready(&[102, 104]), []);
    let drains = [Action::Retire(pid(100)), Action::Retire(pid(101))];
    assert_eq!(play.get_ready(&[103]), serves(2, &drains));
    assert_eq!(play.die(100), [Action::Bury(pid(100))], "not replaced");
}

#[test]
fn a_reload_fails_with_its_first_death_and_the_old_ones_serve_on() {
    let generation = Generation(2);
    let number = 1;
    let died = |cause| Failure::Died { number, cause };
    let mut play = Play::with_two_workers();
    play.start_generation(2);
    play.get_ready(&[102]);
    assert_eq!(
        play.die(103),
        [
            Action::Bury(pid(103)),
            Action::ReloadFailed {
                generation,
                reason: died(KILLED)
            },
            Action::Retire(pid(102)),
        ]
    );
    assert_eq!(play.supervisor.current(), Some(Generation(1)));
    assert_eq!(play.die(102), [Action::Bury(pid(102))]);
    assert_eq!(
        play.stages(),
        [(Some(100), Stage::Serving), (Some(101), Stage::Serving)]
    );
}

#[test]
fn a_reload_fails_when_a_worker_is_not_ready_in_time() {
    let mut play = Play::with_two_workers();
    play.start_generation(2);
    play.get_ready(&[102]);
    let actions = play.wait(MASTER_OF.ready_timeout);
    let (generation, number) = (Generation(2), 1);
    let reason = Failure::NotReady { number };
    assert_eq!(
        actions,
        [
            Action::Kill(pid(103)),
            Action::ReloadFailed { generation, reason },
            Action::Retire(pid(102)),
        ]
    );
}

#[test]
fn a_reload_fails_when_a_worker_cannot_be_forked() {
    let mut play = Play::with_two_workers();
    let workers = 2;
    let order = Event::Ordered(Command::NewGeneration { workers });
    let actions = play.supervisor.on_event(order, play.now);
    assert_eq!(actions, [fork(2, 0, 2), fork(3, 1, 2)]);
    let slot = SlotId(2);
    let (generation, number) = (Generation(2), 0);
    let reason = Failure::CannotFork { number };
    assert_eq!(
        play.supervisor
            .on_event(Event::ForkFailed { slot }, play.now),
        [Action::ReloadFailed { generation, reason }]
    );
    let (slot, pid) = (SlotId(3), pid(200));
    assert_eq!(
        play.supervisor
            .on_event(Event::Started { slot, pid }, play.now),
        [play.drain(200, Some(Duration::ZERO))]
    );
}

#[test]
fn workers_are_replaced_while_a_reload_goes_on() {
    let mut play = Play::with_two_workers();
    play.wait(SECOND);
    play.start_generation(2);
    assert_eq!(play.die(100), [Action::Bury(pid(100)), fork(0, 0, 1)]);
    assert_eq!(play.die(101), [Action::Bury(pid(101)), fork(1, 1, 1)]);
}

/// Four generations live, as many as may.
fn full_house() -> Play {
    let mut play = Play::with_two_workers();
    for first in [102, 104, 106] {
        assert_eq!(forks(&play.start_generation(2)), 2);
        play.get_ready(&[first, first + 1]);
    }
    play
}

#[test]
fn a_generation_that_drains_for_others_has_no_deadline() {
    let play = full_house();
    assert_eq!(play.supervisor.next_deadline(), None);
    let until = play.supervisor.status().filter_map(|status| status.until);
    assert_eq!(until.count(), 0);
}

#[test]
fn before_there_are_too_many_generations_a_reload_waits_and_is_refused() {
    let mut play = full_house();
    assert_eq!(play.start_generation(2), []);
    assert_eq!(play.supervisor.incoming(), Some(Generation(5)));
    let (generation, reason) = (Generation(5), Failure::NoGenerationLeft);
    assert_eq!(
        play.wait(ROOM_WITHIN),
        [Action::ReloadFailed { generation, reason }]
    );
    assert_eq!(play.supervisor.current(), Some(Generation(4)));
    assert_eq!(play.supervisor.next_deadline(), None);
    assert_eq!(play.start_generation(2), []);
    assert_eq!(play.die(100), [Action::Bury(pid(100))]);
    let started = [Action::Bury(pid(101)), fork(0, 0, 6), fork(1, 1, 6)];
    assert_eq!(play.die(101), started, "the oldest has left");
}

#[test]
fn with_as_many_generations_as_may_live_an_upgrade_waits_as_well() {
    let mut play = full_house();
    assert_eq!(play.order(Command::Upgrade), []);
    let refused = Action::UpgradeFailed(Setback::NoGenerationLeft);
    assert_eq!(play.wait(ROOM_WITHIN), [refused]);
    play.order(Command::Upgrade);
    play.die(100);
    assert_eq!(
        play.die(101),
        [Action::Bury(pid(101)), Action::Launch],
        "the oldest has left"
    );
}

#[test]
fn an_operator_can_have_the_oldest_generation_end() {
    let mut play = full_house();
    let (now, generation) = (Some(Duration::ZERO), Generation(1));
    assert_eq!(
        play.order(Command::MakeRoom),
        [
            Action::CutShort { generation },
            play.drain(100, now),
            play.drain(101, now),
        ]
    );
    assert_eq!(play.start_generation(2), []);
    assert_eq!(play.die(100), [Action::Bury(pid(100))]);
    let kill = [Action::Kill(pid(101))];
    assert_eq!(play.wait(KILL_GRACE), kill);
    let started = [Action::Bury(pid(101)), fork(0, 0, 5), fork(1, 1, 5)];
    assert_eq!(play.die(101), started);
    assert_eq!(play.order(Command::MakeRoom), [], "a reload goes on");
}

#[test]
fn where_there_is_room_nobody_is_made_to_end() {
    let mut play = Play::with_two_workers();
    play.start_generation(2);
    play.get_ready(&[102, 103]);
    assert_eq!(play.order(Command::MakeRoom), []);
    assert_eq!(forks(&play.start_generation(2)), 2);
}

#[test]
fn a_reload_that_waits_for_the_oldest_generation_can_be_overruled() {
    let mut play = full_house();
    play.start_generation(2);
    let (generation, reason) = (Generation(5), Failure::Overruled);
    let actions = play.order(Command::Winch);
    assert_eq!(actions[0], Action::ReloadFailed { generation, reason });
    (100..107).for_each(|raw| drop(play.die(raw)));
    assert_eq!(play.die(107), [Action::Bury(pid(107))]);
    assert_eq!(play.start_generation(1), [fork(0, 0, 6)]);
}

#[test]
fn a_reload_is_refused_when_it_cannot_begin() {
    let mut play = Play::with_two_workers();
    let free = MASTER_OF.slots - 2;
    for wanted in [0, free + 1] {
        assert_eq!(
            play.start_generation(wanted),
            [Action::ReloadRefused(Refusal::NoRoom { wanted, free })]
        );
    }
    play.start_generation(1);
    let busy = [Action::ReloadRefused(Refusal::Busy)];
    assert_eq!(play.start_generation(1), busy);
    play.order(Command::Quit);
    let stopping = [Action::ReloadRefused(Refusal::Stopping)];
    assert_eq!(play.start_generation(1), stopping);
}

#[test]
fn a_worker_that_does_not_leave_in_time_is_killed_once() {
    let mut play = Play::with_two_workers();
    assert_eq!(
        play.order(Command::Stop),
        [play.drain(100, TIMEOUT), play.drain(101, TIMEOUT)]
    );
    assert_eq!(play.die(100), [Action::Bury(pid(100))]);
    assert_eq!(play.wait(MASTER_OF.shutdown_timeout), [], "grace");
    assert_eq!(play.wait(KILL_GRACE), [Action::Kill(pid(101))]);
    assert_eq!(play.wait(SECOND), []);
    assert_eq!(play.supervisor.next_deadline(), None);
    assert_eq!(play.die(101), [Action::Bury(pid(101)), Action::Exit]);
    assert_eq!(play.wait(SECOND), [], "exit is ordered once");
}

#[test]
fn quit_has_no_deadline_until_a_stop_gives_it_one_and_the_second_stop_kills() {
    let mut play = Play::with_two_workers();
    assert_eq!(
        play.order(Command::Quit),
        [play.drain(100, None), play.drain(101, None)]
    );
    assert_eq!(play.supervisor.next_deadline(), None);
    assert_eq!(play.order(Command::Quit), []);
    assert_eq!(
        play.order(Command::Stop),
        [play.drain(100, TIMEOUT), play.drain(101, TIMEOUT)]
    );
    play.wait(SECOND);
    assert_eq!(
        play.order(Command::Stop),
        [Action::Kill(pid(100)), Action::Kill(pid(101))]
    );
    play.wait(SECOND);
    assert_eq!(play.order(Command::Stop), []);
    play.die(100);
    assert_eq!(play.die(101), [Action::Bury(pid(101)), Action::Exit]);
}

/// As when a process group is signalled and its supervisor signals as well.
#[test]
fn stops_within_a_second_count_once_however_many() {
    let mut play = Play::with_two_workers();
    let drains = [play.drain(100, TIMEOUT), play.drain(101, TIMEOUT)];
    assert_eq!(play.order(Command::Stop), drains);
    for pause in [0, 1, 400, 598] {
        play.wait(Duration::from_millis(pause));
        assert_eq!(play.order(Command::Stop), [], "{pause} ms later");
    }
    play.wait(Duration::from_millis(1));
    let kills = [Action::Kill(pid(100)), Action::Kill(pid(101))];
    assert_eq!(play.order(Command::Stop), kills);
}

/// Without a word of the first one's pause, which may have grown.
#[test]
fn with_nobody_left_a_fork_is_tried_every_second() {
    let mut play = Play::with_two_workers();
    play.wait(SECOND);
    let failed = |play: &mut Play, slot| {
        let slot = SlotId(slot);
        play.supervisor
            .on_event(Event::ForkFailed { slot }, play.now)
    };
    // One of two is gone: its pause grows.
    let dead = Event::Exited {
        pid: pid(101),
        cause: KILLED,
    };
    assert_eq!(forks(&play.supervisor.on_event(dead, play.now)), 1);
    assert_eq!(failed(&mut play, 1), []);
    for _ in 0..8 {
        play.now = play.supervisor.next_deadline().unwrap();
        assert_eq!(
            play.supervisor.on_event(Event::Tick, play.now),
            [fork(1, 1, 1)]
        );
        assert_eq!(failed(&mut play, 1), []);
    }
    let pause = play.supervisor.next_deadline().unwrap() - play.now;
    assert!(pause > LONGEST / 2, "{pause:?}");
    // The other one as well.
    let dead = Event::Exited {
        pid: pid(100),
        cause: KILLED,
    };
    assert_eq!(forks(&play.supervisor.on_event(dead, play.now)), 1);
    assert_eq!(failed(&mut play, 0), []);
    let mut tried = 0;
    let until = play.now + 20 * SECOND;
    loop {
        play.now = play.supervisor.next_deadline().unwrap();
        if play.now > until {
            break;
        }
        let actions = play.supervisor.on_event(Event::Tick, play.now);
        let [
            Action::Fork {
                slot: SlotId(slot), ..
            },
        ] = actions[..]
        else {
            panic!("{actions:?}");
        };
        assert_eq!(failed(&mut play, slot), []);
        tried += 1;
    }
    assert!((19..=27).contains(&tried), "{tried} tries in 20 seconds");
}

#[test]
fn a_stop_overrules_a_reload_and_a_back_off() {
    let mut play = Play::with_two_workers();
    while forks(&play.die(play.next_pid - 1)) == 1 {}
    let new = play.next_pid;
    play.start_generation(1);
    let generation = Generation(2);
    let reason = Failure::Overruled;
    assert_eq!(
        play.order(Command::Stop),
        [
            Action::ReloadFailed { generation, reason },
            play.drain(new, Some(Duration::ZERO)),
            play.drain(100, TIMEOUT),
        ]
    );
    play.die(100);
    assert_eq!(play.die(new), [Action::Bury(pid(new)), Action::Exit]);
}

#[test]
fn without_workers_a_stop_is_immediate() {
    assert_eq!(Play::new().order(Command::Stop), [Action::Exit]);
    assert_eq!(Play::new().order(Command::Quit), [Action::Exit]);
}

#[test]
fn winch_leaves_the_master_alone_until_the_next_generation() {
    let mut play = Play::with_two_workers();
    assert_eq!(
        play.order(Command::Winch),
        [play.drain(100, TIMEOUT), play.drain(101, TIMEOUT)]
    );
    play.die(100);
    assert_eq!(play.die(101), [Action::Bury(pid(101))]);
    assert_eq!(play.order(Command::Workers { count: 3 }), []);
    assert_eq!(play.start_generation(1), [fork(0, 0, 2)]);
    assert_eq!(play.get_ready(&[102]), serves(2, &[]));
}

#[test]
fn workers_come_and_go_but_never_all_and_only_while_there_is_room() {
    let mut play = Play::with_two_workers();
    let workers = |count| Command::Workers { count };
    assert_eq!(play.order(workers(3)), [fork(2, 2, 1)]);
    play.get_ready(&[102]);
    assert_eq!(play.order(workers(3)), []);
    assert_eq!(play.order(workers(2)), [Action::Retire(pid(102))]);
    assert_eq!(play.order(workers(0)), [Action::Retire(pid(101))]);
    assert_eq!(play.order(workers(2)), [fork(3, 1, 1)]);
    // Three of the places are taken by those that leave or stay.
    assert_eq!(forks(&play.order(workers(99))), MASTER_OF.slots - 4);
}

#[test]
fn during_a_reload_its_configuration_says_how_many_workers() {
    let mut play = Play::with_two_workers();
    play.start_generation(1);
    assert_eq!(play.order(Command::Workers { count: 3 }), []);
    assert_eq!(play.order(Command::Workers { count: 1 }), []);
}

#[test]
fn reopened_logs_go_to_everybody_who_lives() {
    let mut play = Play::with_two_workers();
    play.start_generation(1);
    play.get_ready(&[102]);
    let told = [100, 101, 102].map(|raw| Action::TellReopen(pid(raw)));
    assert_eq!(play.order(Command::Reopen), told);
}

#[test]
fn strangers_are_ignored() {
    let mut play = Play::with_two_workers();
    assert_eq!(play.die(7), []);
    assert_eq!(play.get_ready(&[7]), []);
}
