//! A worker is not trusted: what one does to its master that somebody else's
//! code runs in. The master goes on, answers, and replaces it; its siblings serve.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Client, PATIENCE, comm, wait_until};
use crate::instance::{Instance, lives, signal};

/// Ten times what the master may take to answer; other tests run beside.
const ANSWER: Duration = Duration::from_secs(1);

const TOP: &str = "workers = 2\naccept = \"mutex\"";

fn hostile() -> Instance {
    let instance = Instance::hostile(TOP);
    instance.must("start");
    instance
}

/// Asks the master itself, without a program in between; gives how long that
/// took, too.
fn ask(instance: &Instance) -> (Value, Duration) {
    let begun = Instant::now();
    let mut socket = UnixStream::connect(instance.path("purlin.ctl")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"{\"command\":\"status\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    (answer["json"].clone(), begun.elapsed())
}

/// Has the worker of this client do something; what it says about that.
fn attack(client: &mut Client, command: &str) -> String {
    let (id, said) = client.call(3, command.as_bytes());
    assert_eq!(id, 3);
    String::from_utf8(said).unwrap()
}

/// The master lives, answers, and the next client is served.
fn goes_on(instance: &Instance, master: u32) {
    let (status, took) = ask(instance);
    assert!(took < 10 * ANSWER, "{took:?}");
    assert_eq!(status["pid"], master);
    wait_until("both serve", || instance.serves_with(2));
    instance.echo();
    assert_eq!(instance.master(), Some(master));
}

#[test]
fn a_mutex_word_that_names_no_row_is_put_right() {
    let instance = hostile();
    let master = instance.master().unwrap();
    for word in [1_u64 << 32 | 254 << 16 | 1, u64::MAX, 1] {
        let (mut client, pid, _) = instance.acquaint();
        assert_eq!(attack(&mut client, &format!("mutex {word}")), "true");
        goes_on(&instance, master);
        assert_eq!(attack(&mut client, &format!("mutex {word}")), "true");
        signal(pid, Signal::SIGKILL);
        wait_until("it is gone", || !lives(pid));
        goes_on(&instance, master);
    }
    assert!(instance.counter("accept_mutex_repaired") > 0);
}

#[test]
fn a_bus_full_of_nonsense_holds_up_neither_master_nor_siblings() {
    let instance = hostile();
    let master = instance.master().unwrap();
    for seed in 1..=3 {
        let (mut client, pid, _) = instance.acquaint();
        assert_eq!(attack(&mut client, &format!("scribble {seed}")), "true");
        goes_on(&instance, master);
        signal(pid, Signal::SIGKILL);
        wait_until("it is gone", || !lives(pid));
        goes_on(&instance, master);
    }
    instance.must("reload");
    goes_on(&instance, master);
    instance.must("stop");
}

#[test]
fn full_bells_that_block_hold_nobody() {
    let instance = hostile();
    let master = instance.master().unwrap();
    let (mut client, pid, _) = instance.acquaint();
    let filled: usize = attack(&mut client, "bells").parse().unwrap();
    assert!(filled >= 2, "{filled}");
    signal(pid, Signal::SIGKILL);
    wait_until("it is gone", || !lives(pid));
    goes_on(&instance, master);
    instance.must("stop");
}

#[test]
fn a_lingering_socket_does_not_reach_the_master() {
    let instance = hostile();
    let master = instance.master().unwrap();
    let (mut client, pid, _) = instance.acquaint();
    assert_eq!(attack(&mut client, "linger"), "0", "lines that took it");
    signal(pid, Signal::SIGKILL);
    wait_until("it is gone", || !lives(pid));
    goes_on(&instance, master);
}

#[test]
fn what_masters_alone_write_a_worker_can_only_read() {
    let instance = hostile();
    let (mut client, ..) = instance.acquaint();
    assert_eq!(attack(&mut client, "ledger"), "1 1 false");
    assert!(ask(&instance).1 < 10 * ANSWER);
}

#[test]
fn a_worker_that_says_what_none_says_is_ended_with_one_line() {
    for command in [
        "say 2 dance",
        "say 2 ready",
        "say 2 listed",
        "say 2 kicked 0.1.0.0",
        "say 2 kicked-user 1 ann",
        "say 99 ready",
        "ring 2000000",
    ] {
        let instance = hostile();
        let master = instance.master().unwrap();
        instance.settle();
        let (mut client, pid, _) = instance.acquaint();
        // It may not live to answer.
        client.send(&comm(3, command.as_bytes()));
        wait_until(command, || !lives(pid));
        goes_on(&instance, master);
        let log = instance.log();
        let lines = log.matches("says what no worker says").count();
        assert_eq!(lines, 1, "{command}: {log}");
    }
}

#[test]
fn a_worker_that_is_stopped_without_end_does_not_fill_the_log() {
    let instance = hostile();
    let master = instance.master().unwrap();
    let (mut client, ..) = instance.acquaint();
    let begun = Instant::now();
    assert_eq!(attack(&mut client, "stops 100000"), "true");
    goes_on(&instance, master);
    let log = instance.log();
    let lines = log.matches("was stopped").count() + log.matches("goes on").count();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(
        (1..=50 * (seconds + 2)).contains(&lines),
        "{lines} in {seconds} s"
    );
}

#[test]
fn a_worker_that_writes_without_end_does_not_fill_the_log() {
    let instance = hostile();
    let master = instance.master().unwrap();
    let (mut client, ..) = instance.acquaint();
    let begun = Instant::now();
    assert_eq!(attack(&mut client, "write 10000"), "10000");
    goes_on(&instance, master);
    let lines = instance.log().matches(", wrote: xxx").count();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(
        (1..=200 * (seconds + 2)).contains(&lines),
        "{lines} in {seconds} s"
    );
}

/// Ten seconds of anything, again and again in whatever is forked in its place.
#[test]
fn a_minute_with_a_hostile_worker_costs_its_sibling_nothing() {
    let seconds = std::env::var("PURLIN_HOSTILE_SECONDS").map_or(10, |text| text.parse().unwrap());
    let instance = hostile();
    let master = instance.master().unwrap();
    instance.settle();
    let (mut sibling, honest, _) = instance.acquaint();
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut seed, mut infected, mut took) = (1, Vec::new(), Vec::new());
    while Instant::now() < until {
        if infected.last().is_none_or(|pid| !lives(*pid)) {
            infected.extend(infect(&instance, honest, seed));
            seed += 1;
        }
        assert_eq!(sibling.call(1, b"still here").1, b"still here");
        let (status, time) = ask(&instance);
        assert_eq!(status["pid"], master);
        took.push(time);
    }
    took.sort_unstable();
    let (slow, slowest) = (took[took.len() * 9 / 10], took[took.len() - 1]);
    assert!(
        slow < ANSWER && slowest < 10 * ANSWER,
        "{slow:?}, {slowest:?}"
    );
    assert!(lives(honest), "the sibling was ended");
    if let Some(&pid) = infected.last() {
        signal(pid, Signal::SIGKILL);
        wait_until("the last one is gone", || !lives(pid));
    }
    goes_on(&instance, master);
    let lines = instance.log().lines().count();
    let most = 200 + 50 * infected.len() + 20 * took.len().min(1000);
    assert!(lines < most, "{lines} lines of log");
    assert!(!infected.is_empty(), "nobody was hostile");
}

/// Turns a worker other than `honest` hostile, if a client gets there now.
fn infect(instance: &Instance, honest: u32, seed: u64) -> Option<u32> {
    let mut client = Client::connect(instance.address);
    // One that is hostile already may take it and say nothing.
    client
        .0
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    client.0.write_all(&comm(2, b"")).ok()?;
    let mut reply = [0; 8 + 16];
    client.0.read_exact(&mut reply).ok()?;
    let pid = u64::from_be_bytes(reply[8..16].try_into().unwrap());
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != honest)?;
    let command = format!("anything {seed}");
    client.0.write_all(&comm(3, command.as_bytes())).ok()?;
    client.0.read_exact(&mut reply[..8]).ok()?;
    Some(pid)
}
