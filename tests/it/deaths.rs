//! Workers and masters that die, stop or crash: what that costs, and whom.

use std::fs;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, Over, busy, lives, pid_of, signal, under_load};

#[test]
fn a_killed_worker_costs_its_own_connections_alone_and_is_replaced() {
    let instance = Instance::started("workers = 3");
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(instance.address)).collect();
    for client in &mut clients {
        assert_eq!(client.call(1, b"a"), (1, b"a".to_vec()));
    }
    instance.settle();
    let status = instance.status();
    let victim = &status["workers"][1];
    let lost = victim["live"].as_u64().unwrap();
    signal(
        u32::try_from(victim["pid"].as_u64().unwrap()).unwrap(),
        Signal::SIGKILL,
    );
    wait_until("it is replaced", || {
        let status = instance.status();
        status["workers"][1]["restarts"] == 1 && instance.serves_with(3)
    });
    let is_dead = |client: &Client| {
        let request = comm(1, b"b");
        let mut reply = vec![0; request.len()];
        let mut socket = &client.0;
        let sent = socket.write_all(&request);
        sent.and_then(|()| socket.read_exact(&mut reply)).is_err()
    };
    let dead = clients.iter().filter(|client| is_dead(client)).count();
    assert_eq!(dead as u64, lost);
    let status = instance.status();
    assert_eq!(status["workers"][1]["last_exit"], "killed by SIGKILL");
    assert_eq!(status["counters"]["connections_live"], 60 - lost);
    instance.echo();
}

/// Of what the runtime says, not what the program logs.
#[test]
fn what_a_worker_writes_past_the_log_is_a_line_of_it_and_why_it_died() {
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let line = |text: &str| {
        let log = instance.log();
        log.lines()
            .find(|line| line.ends_with(text))
            .map(str::to_owned)
    };
    let mut client = Client::connect(instance.address);
    let pid = client.who().0;
    client.call(9, b"one \x1b[1m\ntw");
    client.call(9, b"o\n");
    for text in ["one \\u{1b}[1m", "two"] {
        let text = format!("worker 0, pid {pid}, wrote: {text}");
        wait_until(&text, || line(&text).is_some());
    }
    client.send(&comm(10, b""));
    wait_until("it has died", || !lives(pid));
    let why = "memory allocation of 1152921504606846976 bytes failed";
    wait_until("both lines are there", || {
        instance.log().matches(why).count() == 2
    });
    let log = instance.log();
    let mut lines = log.lines().filter(|line| line.ends_with(why));
    for part in [
        format!(": worker 0, pid {pid}, wrote: "),
        format!(": worker 0 of generation 1, pid {pid}, killed by SIGABRT"),
    ] {
        let line = lines.next().unwrap();
        assert!(line.starts_with("20") && line.contains(&part), "{line}");
    }
}

#[test]
fn workers_that_die_during_failing_reloads_are_replaced() {
    let instance = Instance::started("workers = 2");
    instance.settle();
    let before = instance.workers();
    instance.configure("workers = 0");
    let reload = || instance.refused(&["reload"]).0;
    assert_eq!(reload(), 78);
    before.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
    assert_eq!(reload(), 78);
    wait_until("others serve", || {
        let is_new = |pid: &u32| !before.contains(pid);
        instance.workers().iter().all(is_new) && instance.serves_with(2)
    });
    instance.echo();
}

#[test]
fn without_a_master_workers_leave_and_a_start_succeeds() {
    let instance = Instance::started("workers = 2");
    let (master, workers) = (instance.master().unwrap(), instance.workers());
    let mut client = Client::connect(instance.address);
    client.send(&comm(1, b"last"));
    signal(master, Signal::SIGKILL);
    assert_eq!(client.rest(), comm(1, b"last"));
    instance.must("start");
    wait_until("the orphans left", || {
        !workers.iter().any(|&pid| lives(pid))
    });
    assert_ne!(instance.master(), Some(master));
    instance.echo();
}

/// Kills the holder of the accept mutex again and again; gives how long the
/// next reply took each time.
fn kill_holders(times: usize) -> Vec<Duration> {
    let instance = Instance::subject("workers = 4\naccept = \"mutex\"");
    instance.must("start");
    let (mut took, mut gone, mut asked_in_the_same_row) = (Vec::new(), Vec::new(), 0);
    while took.len() < times {
        wait_until(
            "the holder has served a second, and all others serve",
            || {
                let old = |one: &serde_json::Value| one["for"].as_u64() >= Some(1);
                instance.serves_with(4) && instance.holder().is_some_and(|one| old(&one))
            },
        );
        let (victim, pid, conn) = instance.acquaint();
        assert_eq!(pid, pid_of(&instance.holder().unwrap()));
        let before = instance.workers();
        gone.push(conn);
        let killed = Instant::now();
        signal(pid, Signal::SIGKILL);
        let (mut client, survivor, own) = instance.acquaint();
        took.push(killed.elapsed());
        assert!(
            survivor != pid && before.contains(&survivor),
            "{pid}, {survivor}"
        );
        victim.0.set_nonblocking(false).unwrap();
        // Until the master has seen a death the dead one counts.
        wait_until("the master has seen it", || {
            client.call(4, &conn.to_be_bytes()) == (4, b"0".to_vec())
        });
        // In the row of a dead one lives another, with the same slots.
        for &stranger in &gone {
            asked_in_the_same_row += usize::from(stranger >> 56 == own >> 56);
            let reply = client.call(4, &stranger.to_be_bytes());
            assert_eq!(reply, (4, b"0".to_vec()), "{stranger:x} from {own:x}");
        }
    }
    wait_until("nobody is counted any more", || {
        let status = instance.status();
        let workers = status["workers"].as_array().unwrap();
        workers.iter().all(|one| one["live"] == 0) && instance.serves_with(4)
    });
    assert!(asked_in_the_same_row > 0);
    assert_eq!(instance.counter("connections_live"), 0);
    took
}

#[test]
fn fifty_killed_holders_of_the_turn_are_followed_by_a_living_one_at_once() {
    let took = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let mine = kill_holders(10);
                took.lock().unwrap().extend(mine);
            });
        }
    });
    let mut took = took.into_inner().unwrap();
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("killed holder to next reply: median {median:?}, longest {longest:?}");
    assert_eq!(took.len(), 50);
}

#[test]
fn each_worker_that_is_killed_under_load_ends_its_own_connections_alone() {
    let _busy = busy();
    let instance = Instance::subject("workers = 3");
    instance.must("start");
    let mut open: Vec<(Client, u32, u64)> = (0..60).map(|_| instance.acquaint()).collect();
    for number in 0..3 {
        instance.settle();
        let victim = pid_of(&instance.status()["workers"][number]);
        let others = instance.workers().into_iter().filter(|&pid| pid != victim);
        let others: Vec<u32> = others.collect();
        let over = AtomicBool::new(false);
        let ended = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for clients in open.chunks_mut(20) {
                scope.spawn(|| {
                    let mut clients: Vec<&mut (Client, u32, u64)> = clients.iter_mut().collect();
                    // Each is asked once more when it is over.
                    let mut is_last = false;
                    while !is_last {
                        is_last = over.load(Ordering::Relaxed);
                        clients.retain(|(client, pid, _)| {
                            let request = comm(1, b"load");
                            let mut reply = vec![0; request.len()];
                            let mut socket = &client.0;
                            let sent = socket.write_all(&request);
                            let served = sent.and_then(|()| socket.read_exact(&mut reply)).is_ok();
                            if !served {
                                ended.lock().unwrap().push(*pid);
                            }
                            served
                        });
                    }
                });
            }
            let _when_done_or_panicking = Over(&over);
            signal(victim, Signal::SIGKILL);
            wait_until("it is replaced", || {
                instance.serves_with(3) && !instance.workers().contains(&victim)
            });
        });
        let own = open.iter().filter(|(_, pid, _)| *pid == victim).count();
        assert_eq!(ended.into_inner().unwrap(), vec![victim; own]);
        assert!(own > 0);
        assert!(others.iter().all(|&pid| lives(pid)));
        open.retain(|(_, pid, _)| *pid != victim);
        open.extend((0..own).map(|_| instance.acquaint()));
    }
    drop(open);
    wait_until("nobody is counted any more", || {
        instance.counter("connections_live") == 0
    });
}

#[test]
fn a_crash_loop_is_bounded_costs_nobody_else_and_ends_with_a_good_reload() {
    let instance = Instance::subject("workers = 3");
    instance.must("start");
    instance.settle();
    fs::write(instance.path("crash"), "1").unwrap();
    signal(pid_of(&instance.status()["workers"][1]), Signal::SIGKILL);
    wait_until("the loop has had to wait twice", || {
        instance.echo();
        let crashes = fs::read_to_string(instance.path("crashes")).unwrap_or_default();
        crashes.lines().count() > 11
    });
    let slots = instance.status()["workers"].clone();
    for (number, state) in [(0, "serving"), (2, "serving")] {
        assert_eq!(slots[number]["state"], state);
        assert_eq!(slots[number]["restarts"], 0);
    }
    assert_eq!(slots[1]["last_exit"], "exited with code 3");
    let crashes = fs::read_to_string(instance.path("crashes")).unwrap();
    let times: Vec<u64> = crashes.lines().map(|line| line.parse().unwrap()).collect();
    for eleven in times.windows(11) {
        // Their clock and the master's may differ by a little of scheduling.
        assert!(eleven[10] - eleven[0] > 4_000, "{times:?}");
    }
    fs::remove_file(instance.path("crash")).unwrap();
    let begun = Instant::now();
    instance.must("reload");
    wait_until("all three serve", || instance.serves_with(3));
    println!(
        "out of a crash loop by a reload within {:?}",
        begun.elapsed()
    );
    instance.echo();
}

#[test]
fn a_holder_that_is_stopped_in_its_sleep_loses_the_turn_until_it_goes_on() {
    let instance = Instance::subject("workers = 2\naccept = \"mutex\"\nwatchdog_abort = \"0s\"");
    instance.must("start");
    for _ in 0..3 {
        let (mut kept, pid, _) = instance.acquaint();
        signal(pid, Signal::SIGSTOP);
        let (_, other, _) = instance.acquaint();
        assert_ne!(other, pid);
        let has_turn = |pid: u32| instance.holder().is_some_and(|one| pid_of(&one) == pid);
        assert!(has_turn(other));
        signal(pid, Signal::SIGCONT);
        assert_eq!(kept.who().0, pid);
        // Only one that is trusted again gets it.
        signal(other, Signal::SIGSTOP);
        wait_until("the accept mutex is back", || has_turn(pid));
        assert_eq!(instance.acquaint().1, pid);
        signal(other, Signal::SIGCONT);
        wait_until("the other goes on", || {
            instance.log().matches("goes on").count().is_multiple_of(2)
        });
    }
}

#[test]
fn workers_that_are_all_stopped_serve_whoever_waited_when_they_go_on() {
    let instance = Instance::subject("workers = 2\naccept = \"mutex\"\nwatchdog_abort = \"0s\"");
    instance.must("start");
    let workers = instance.workers();
    workers.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
    wait_until("nobody has the accept mutex", || {
        instance.holder().is_none()
    });
    let mut client = Client::connect(instance.address);
    client.send(&comm(1, b"patience"));
    signal(workers[1], Signal::SIGCONT);
    assert_eq!(client.comm(), (1, b"patience".to_vec()));
    signal(workers[0], Signal::SIGCONT);
}

#[test]
fn supervision_and_service_go_on_while_every_reload_fails() {
    let _busy = busy();
    let instance = Instance::started("workers = 2");
    instance.settle();
    instance.configure("workers = 0");
    let before = instance.workers();
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| (0..50).all(|_| instance.refused(&["reload"]).0 == 78));
        before.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
        wait_until("others serve", || {
            let is_new = |pid: &u32| !before.contains(pid);
            instance.workers().iter().all(is_new) && instance.serves_with(2)
        });
        assert!(under_load(&instance, || assert!(failing.join().unwrap())) > 0);
    });
}
