//! Workers of the real daemon that end while they owe replies: every `closed`
//! once, in the order that is promised, and an account that adds up.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Client, comm, rpc, wait_until};
use crate::instance::{Instance, signal};
use crate::operate::drains;

/// Clients of each round.
const CLIENTS: usize = 3;

/// Peers who wait for something that does not come.
struct Waiting {
    frame: &'static str,
    is_http: bool,
    request: Vec<u8>,
    /// What the last of them is told when time is up.
    farewell: &'static str,
    /// Of the messages of a drain.
    refused: u64,
}

fn all() -> [Waiting; 4] {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let one = |frame, is_http, request| Waiting {
        frame,
        is_http,
        request,
        farewell: "going away",
        refused: CLIENTS as u64,
    };
    [
        one("comm", false, comm(3, b"x")),
        one("rpc", false, rpc(3, 7, b"x")),
        one("comm", true, get("/later")),
        Waiting {
            farewell: "\r\n0\r\n\r\n",
            refused: 0,
            ..one("comm", true, get("/events"))
        },
    ]
}

/// A daemon that owes something to each of these clients, and the pid of its worker.
fn owing(waiting: &Waiting) -> (Instance, Vec<Client>, u32) {
    let top = "workers = 1\ngenerations_max = 2\nshutdown_timeout = \"1s\"";
    let instance = Instance::owing(top);
    let text = fs::read_to_string(instance.path("conf")).unwrap();
    let protocol = if waiting.is_http { "http" } else { "frame" };
    let frame = waiting.frame;
    let keys = format!("protocol = \"{protocol}\"\nframe = \"{frame}\"\n[log]");
    instance.write(&text.replacen("[log]", &keys, 1));
    instance.must("start");
    let worker = instance.workers()[0];
    let clients = (0..CLIENTS).map(|_| {
        let mut client = Client::connect(instance.address);
        client.send(&waiting.request);
        client
    });
    let clients = clients.collect();
    wait_until("all wait", || {
        let noted = noted(&instance, worker);
        noted.iter().filter(|note| *note == "owed").count() == CLIENTS
    });
    (instance, clients, worker)
}

/// What this worker has noted, in its order.
fn noted(instance: &Instance, worker: u32) -> Vec<String> {
    let ends = fs::read_to_string(instance.path("ends")).unwrap_or_default();
    let pid = format!("{worker} ");
    let of_it = ends.lines().filter_map(|line| line.strip_prefix(&pid));
    of_it.map(str::to_owned).collect()
}

/// How often `opened` ran.
fn opened(waiting: &Waiting) -> usize {
    if waiting.is_http { 0 } else { CLIENTS }
}

fn ends_in_order(by: impl Fn(&Instance)) {
    for waiting in all() {
        let (instance, mut clients, worker) = owing(&waiting);
        by(&instance);
        for client in &mut clients {
            let came = client.rest();
            let text = String::from_utf8_lossy(&came);
            assert!(text.contains(waiting.farewell), "{text}");
        }
        wait_until("the old one has left", || {
            !instance.workers().contains(&worker) && instance.serves_with(1)
        });
        let mut noted = noted(&instance, worker);
        let since = noted.iter().position(|note| note == "draining");
        let before = noted.drain(..since.expect("it drained"));
        let count = before.filter(|note| note == "opened").count();
        assert_eq!(count, opened(&waiting));
        let mut expected = vec!["draining"];
        expected.extend(vec!["closed GoingAway"; count]);
        expected.push("stopping");
        assert_eq!(noted, expected, "{}", instance.log());
        let drains = drains(&instance.log());
        let refused: u64 = drains.iter().map(|[_, _, refused]| *refused).sum();
        assert_eq!(refused, waiting.refused, "{}", instance.log());
        assert_eq!(instance.counter("replies_owed"), 0);
        assert_eq!(instance.counter("connections_live"), 0);
    }
}

/// Changes the workers, which ends nobody, and then again by force.
fn force(instance: &Instance, command: &str) {
    instance.must(command);
    let output = instance.ask(&[command, "--force"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_forced_reload_ends_who_waits_for_a_reply_in_the_order_that_is_promised() {
    ends_in_order(|instance| force(instance, "reload"));
}

#[test]
fn a_forced_upgrade_ends_who_waits_for_a_reply_in_the_order_that_is_promised() {
    ends_in_order(|instance| force(instance, "upgrade"));
}

#[test]
fn a_killed_worker_runs_no_hook_and_owes_nothing_any_more() {
    for waiting in all() {
        let (instance, mut clients, worker) = owing(&waiting);
        signal(worker, Signal::SIGKILL);
        clients.iter_mut().for_each(|client| {
            let came = client.until_closed();
            let text = String::from_utf8_lossy(&came);
            assert!(!text.contains(waiting.farewell), "{text}");
        });
        wait_until("it is replaced", || {
            !instance.workers().contains(&worker) && instance.serves_with(1)
        });
        let noted = noted(&instance, worker);
        let count = noted.iter().filter(|note| *note == "opened").count();
        assert_eq!(count, opened(&waiting));
        assert_eq!(noted.len(), count + CLIENTS, "{noted:?}");
        assert_eq!(instance.counter("replies_owed"), 0);
        assert_eq!(instance.counter("connections_live"), 0);
        // The one in its place ends as ever.
        let successor = instance.workers()[0];
        instance.must("stop");
        assert_eq!(self::noted(&instance, successor), ["draining", "stopping"]);
    }
}
