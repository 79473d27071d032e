//! The bus while workers die or stand still.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::time::Instant;

use nix::sys::signal::Signal;
use purlin::prelude::*;
use purlin::{Counter, Server};

use crate::harness::{Client, comm, either, wait_until};
use crate::instance::{Instance, signal};

/// Ids of the mover.
const JOIN: u16 = 11;
const TELL: u16 = 22;
const COUNT: u16 = 26;

fn member(instance: &Instance) -> (u32, Client) {
    let (mut client, pid, _) = instance.acquaint();
    client.call(JOIN, b"lobby");
    (pid, client)
}

/// Nine of them at least, in two workers at least.
fn fill(instance: &Instance, members: &mut Vec<(u32, Client)>) {
    let workers = |members: &[(u32, Client)]| {
        let pids: BTreeSet<u32> = members.iter().map(|(pid, _)| *pid).collect();
        pids.len()
    };
    while members.len() < 9 || workers(members) < 2 {
        members.push(member(instance));
        assert!(members.len() < 1000, "one worker accepts everybody");
    }
}

/// Whether the server has closed it; takes nothing of what came.
fn is_gone(client: &Client) -> bool {
    client.0.set_nonblocking(true).unwrap();
    let looked = client.0.peek(&mut [0]);
    client.0.set_nonblocking(false).unwrap();
    match looked {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// One worker after the other is killed under members and publishers: those that live
/// are all that are counted as soon as the master has seen it, and hear what is said.
#[test]
fn whoever_is_killed_the_others_are_reached_and_counted() {
    let kills = either(10, 100);
    // So that each has some.
    let instance = Instance::mover("workers = 3\naccept = \"reuseport\"\n");
    instance.must("start");
    let mut members: Vec<(u32, Client)> = Vec::new();
    fill(&instance, &mut members);
    let (mut worst_count, mut worst_call) = (Duration::ZERO, Duration::ZERO);
    for round in 0..kills {
        instance.settle();
        let mut workers = instance.workers();
        workers.sort_unstable();
        let victim = workers[round % workers.len()];
        signal(victim, Signal::SIGKILL);
        members.retain(|(pid, _)| *pid != victim);
        wait_until("it is reaped", || !instance.workers().contains(&victim));
        // Exact within 50 ms of that, with the daemon's own answers on the way.
        let (alive, reaped) = (members.len().to_string(), Instant::now());
        let (_, one) = &mut members[0];
        wait_until("only who lives is counted", || {
            one.call(COUNT, b"lobby").1 == alive.as_bytes()
        });
        worst_count = worst_count.max(reaped.elapsed());
        for at in 0..members.len() {
            let text = format!("{round} {at}");
            let asked = Instant::now();
            let (id, reached) = members[at].1.call(TELL, text.as_bytes());
            worst_call = worst_call.max(asked.elapsed());
            let others = members.len() - 1;
            assert_eq!((id, reached), (TELL, others.to_string().into_bytes()));
            for (n, (_, client)) in members.iter_mut().enumerate() {
                if n != at {
                    assert_eq!(client.comm(), (100, text.clone().into_bytes()));
                }
            }
        }
        fill(&instance, &mut members);
    }
    assert!(!members.iter().any(|(_, client)| is_gone(client)));
    assert_eq!(
        instance.counter("bus_lost") + instance.counter("bus_broken"),
        0
    );
    println!("{kills} kills: counts exact after {worst_count:?}, the longest call {worst_call:?}");
    // Ten times the goal, and the daemon's answers.
    assert!(worst_count < Duration::from_secs(1) && worst_call < Duration::from_secs(1));
}

/// What one worker does not read costs the others fifty milliseconds in all; it hears
/// that it has missed something, and what is said afterwards.
#[test]
fn a_worker_that_stands_still_holds_nobody_up_and_hears_of_its_gap() {
    let stands = Duration::from_secs(either(2, 10));
    let instance = Instance::mover(
        "workers = 2\nwatchdog_abort = \"60s\"\nbus.backlog = \"64KiB\"\nbus.ring = \"16KiB\"\n",
    );
    instance.must("start");
    let mut members: BTreeMap<u32, Client> = BTreeMap::new();
    let mut others = Vec::new();
    while members.len() < 2 {
        let (pid, client) = member(&instance);
        if let Some(before) = members.insert(pid, client) {
            others.push(before);
        }
        assert!(others.len() < 1000, "one worker accepts everybody");
    }
    drop(others);
    let mut members = members.into_iter();
    let (Some((_, mut speaker)), Some((still, mut hears))) = (members.next(), members.next())
    else {
        unreachable!("there are two");
    };
    wait_until("only these are there", || {
        speaker.call(COUNT, b"lobby").1 == b"2"
    });
    let text = [b'x'; 4000];
    // How long a call takes while all is well.
    let usual = (0..50).map(|_| timed(&mut speaker, &text)).max().unwrap();
    (0..50).for_each(|_| assert_eq!(hears.comm().1, text));
    signal(still, Signal::SIGSTOP);
    let until = Instant::now() + stands;
    let (mut calls, mut waits, mut worst) = (0, Duration::ZERO, Duration::ZERO);
    let mut held = 0;
    while Instant::now() < until {
        let took = timed(&mut speaker, &text);
        waits += took.saturating_sub(usual);
        worst = worst.max(took);
        held += u64::from(took > Duration::from_millis(20));
        calls += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(still, Signal::SIGCONT);
    println!(
        "{calls} calls in {stands:?}: {waits:?} longer than usual in all, {worst:?} at most, {held} \
         over 20 ms"
    );
    assert!(waits < Duration::from_millis(500), "ten times the goal");
    wait_until("the gap is read", || instance.counter("bus_gaps") > 0);
    let missed = || fs::read_to_string(instance.path("hooks")).unwrap_or_default();
    wait_until("the program hears of it", || {
        missed().contains("missed in [\"lobby\"]\n")
    });
    speaker.call(TELL, b"at last");
    let mut heard = 0;
    while hears.comm().1 != b"at last" {
        heard += 1;
    }
    let lost = instance.counter("bus_lost");
    assert!(
        lost > 0 && heard + lost == calls,
        "{heard} + {lost} of {calls}"
    );
}

/// Handlers on the event loops of two workers fill each other's rings: no loop stands
/// still for that, and nobody of their own misses anything.
#[test]
fn loops_that_push_into_each_others_full_rings_go_on() {
    const PUSHES: usize = 400;
    let app = App::<()>::new()
        .on_inline(1, |c, (): ()| c.conn().to_string())
        .on_inline(2, |c, room: String| {
            c.join(&room);
            ""
        })
        .on_inline(3, |c, (): ()| {
            let text = Bytes::from(vec![b'x'; 4000]);
            for _ in 0..PUSHES {
                c.hub().room("all").send(100, text.clone());
            }
            "said"
        });
    let keys = [
        ("workers", "2"),
        ("listener.0.frame", "comm"),
        ("bus.ring", "16KiB"),
        ("limits.outbound_max", "64MiB"),
        ("limits.buffered_max", "256MiB"),
    ];
    let server = Server::configured(app, &keys).unwrap();
    let mut both: BTreeMap<String, Client> = BTreeMap::new();
    let mut others = Vec::new();
    while both.len() < 2 {
        let mut client = Client::to(&server);
        let name = String::from_utf8(client.call(1, b"").1).unwrap();
        let row = name.split('.').next().unwrap().to_owned();
        others.extend(both.insert(row, client));
        assert!(others.len() < 5000, "one worker accepts everybody");
    }
    drop(others);
    wait_until("the others are gone", || server.read(Counter::Live) == 2);
    let mut both: Vec<Client> = both.into_values().collect();
    both.iter_mut().for_each(|one| _ = one.call(2, b"all"));
    both.iter_mut().for_each(|one| one.send(&comm(3, b"")));
    for client in &mut both {
        let mut heard = 0;
        let mut replied = false;
        while heard < 2 * PUSHES || !replied {
            match client.comm() {
                (100, body) => {
                    assert_eq!(body.len(), 4000);
                    heard += 1;
                }
                (id, body) => {
                    assert_eq!((id, &body[..]), (3, &b"said"[..]));
                    replied = true;
                }
            }
        }
    }
    assert_eq!(server.read(Counter::BusLost), 0);
    assert_eq!(server.read(Counter::LoopVeryLate), 0, "a turn over 100 ms");
}

/// One connection over many reloads keeps its name, in workers that do not grow by it.
#[test]
fn a_connection_over_many_reloads_keeps_its_name() {
    let reloads = either(5, 1000);
    let instance = Instance::mover("workers = 2\n");
    instance.must("start");
    let (mut client, _, name) = instance.acquaint();
    client.call(12, b"ann");
    let mut pids = BTreeSet::new();
    for _ in 0..reloads {
        instance.must("reload");
        wait_until("the old ones have left", || instance.serves_with(2));
        let (pid, same) = client.who();
        assert_eq!(same, name);
        pids.insert(pid);
    }
    assert!(pids.len() > reloads / 2, "it has hardly moved");
    let mut other = Client::connect(instance.address);
    assert_eq!(other.call(14, b"ann").1, b"1", "it is found as its user");
    assert_eq!(client.comm().1, b"ann");
}

fn timed(speaker: &mut Client, text: &[u8]) -> Duration {
    let since = Instant::now();
    speaker.send(&comm(TELL, text));
    assert_eq!(speaker.comm().0, TELL);
    since.elapsed()
}
