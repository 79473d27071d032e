//! The daemon's listeners: shared fairly, Unix paths cleaned up, clients warned
//! before the end.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signal::Signal;

use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, lives, signal};

fn each(instance: &Instance, counter: &str) -> Vec<u64> {
    let status = instance.status();
    let workers = status["workers"].as_array().unwrap().iter();
    let counted = workers.map(|one| one["counters"][counter].as_u64().unwrap());
    counted.collect()
}

#[test]
fn idle_connections_and_churn_are_spread_over_four_workers() {
    let instance = Instance::started("workers = 4\naccept = \"mutex\"");
    for n in 0..800_u32 {
        let mut client = Client::connect(instance.address);
        assert_eq!(client.call(1, &n.to_be_bytes()).1, n.to_be_bytes());
    }
    let accepted = each(&instance, "connections_accepted");
    assert_eq!(accepted.iter().sum::<u64>(), 800);
    println!("churn: {accepted:?} of 800 connections");
    // Rounds of at most 64 go to whoever has the fewest; on a busy machine that
    // is not always the next in line, because ends are noticed late.
    let shares = accepted.iter().all(|share| (1..=400).contains(share));
    assert!(shares, "{accepted:?}");
    wait_until("those are gone", || {
        each(&instance, "connections_live") == [0; 4]
    });
    let clients: Vec<Client> = (0..800)
        .map(|_| Client::connect(instance.address))
        .collect();
    wait_until("all are accepted", || {
        each(&instance, "connections_live").iter().sum::<u64>() == 800
    });
    let live = each(&instance, "connections_live");
    // The mean is 200; 220 are 1.10 of it.
    assert!(live.iter().all(|&live| live <= 220), "{live:?}");
    assert_eq!(each(&instance, "accepts_empty"), [0; 4]);
    drop(clients);
}

fn configure(instance: &Instance, paths: &[&str]) {
    let listeners = paths
        .iter()
        .map(|path| format!("[[listener]]\naddress = \"unix:{path}\"\n"));
    let listeners: String = listeners.collect();
    instance.write(&format!("workers = 2\n{listeners}[log]\nfile = \"log\"\n"));
}

fn echo(instance: &Instance, path: &str) {
    let mut socket = UnixStream::connect(instance.path(path)).unwrap();
    let request = comm(1, b"path");
    socket.write_all(&request).unwrap();
    let mut reply = vec![0; request.len()];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(reply, request);
}

#[test]
fn a_reload_makes_a_removed_socket_file_anew() {
    for accept in ["mutex", "reuseport"] {
        let instance = Instance::new("");
        let listener = "[[listener]]\naddress = \"unix:a\"\nmode = \"0600\"\n";
        let top = format!("workers = 2\naccept = \"{accept}\"\n");
        instance.write(&format!("{top}{listener}[log]\nfile = \"log\"\n"));
        instance.must("start");
        let mut before = UnixStream::connect(instance.path("a")).unwrap();
        fs::remove_file(instance.path("a")).unwrap();
        instance.must("reload");
        for _ in 0..8 {
            echo(&instance, "a");
        }
        let mode = fs::metadata(instance.path("a")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        // Who was there goes on.
        let request = comm(1, b"before");
        before.write_all(&request).unwrap();
        let mut reply = vec![0; request.len()];
        before.read_exact(&mut reply).unwrap();
        assert_eq!(reply, request);
        // What somebody else has put there is left alone.
        fs::remove_file(instance.path("a")).unwrap();
        fs::write(instance.path("a"), "somebody's").unwrap();
        instance.must("reload");
        instance.must("stop");
        let found = fs::read_to_string(instance.path("a")).unwrap();
        assert_eq!(found, "somebody's", "{accept}");
    }
}

#[test]
fn unix_paths_go_with_those_who_made_them() {
    let instance = Instance::new("");
    configure(&instance, &["a", "b"]);
    let there = |path: &str| instance.path(path).exists();
    // One that was left behind is replaced, one that lives is not.
    drop(UnixListener::bind(instance.path("a")).unwrap());
    let holder = UnixListener::bind(instance.path("b")).unwrap();
    let (code, text) = instance.refused(&["start"]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("unix:b"), "{text}");
    assert!(
        !there("a") && there("b"),
        "what it made is gone, the other's is not"
    );
    drop(holder);
    instance.must("start");
    echo(&instance, "a");
    echo(&instance, "b");
    // A reload keeps what it keeps, drops what it drops, and makes what is new.
    configure(&instance, &["a", "c"]);
    instance.must("reload");
    assert!(there("a") && !there("b") && there("c"));
    echo(&instance, "a");
    echo(&instance, "c");
    // A reload that fails leaves nothing.
    let holder = UnixListener::bind(instance.path("e")).unwrap();
    configure(&instance, &["a", "c", "d", "e"]);
    assert_eq!(instance.refused(&["reload"]).0, 69);
    assert!(there("a") && there("c") && !there("d") && there("e"));
    drop(holder);
    echo(&instance, "a");
    // The end of one worker is no end of the path.
    instance.settle();
    let workers = instance.workers();
    signal(workers[0], Signal::SIGKILL);
    wait_until("it is replaced", || {
        instance.serves_with(2) && instance.workers() != workers
    });
    echo(&instance, "a");
    configure(&instance, &["a", "c"]);
    instance.must("stop");
    assert!(!there("a") && !there("c") && there("e"));
}

#[test]
fn a_killed_master_leaves_paths_that_the_next_start_takes_over() {
    let instance = Instance::new("");
    configure(&instance, &["a"]);
    instance.must("start");
    let (master, workers) = (instance.master().unwrap(), instance.workers());
    signal(master, Signal::SIGKILL);
    // As soon as it is dead: its workers still live then.
    wait_until("it is dead", || !lives(master));
    instance.must("start");
    wait_until("the orphans left", || {
        !workers.iter().any(|&pid| lives(pid))
    });
    echo(&instance, "a");
    instance.must("stop");
    assert!(!instance.path("a").exists());
}

#[test]
fn clients_are_warned_at_the_beginning_of_a_drain_where_configured() {
    let instance = Instance::new("");
    let write = |id: u32| {
        let address = instance.address;
        instance.write(&format!(
            "workers = 1\nhandover = false\n\
             [[listener]]\naddress = \"{address}\"\ngoing_away_id = {id}\n\
             [worker]\ndrain_idle = \"0s\"\n[log]\nfile = \"log\"\n"
        ));
    };
    write(70_000);
    let (code, text) = instance.refused(&["start"]);
    assert_eq!(code, 78, "{text}");
    assert!(
        text.contains("conf:5:17: listener.0.going_away_id is 70000"),
        "{text}"
    );
    write(77);
    instance.must("start");
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(instance.address)).collect();
    for client in &mut clients {
        client.send(&comm(1, b"last"));
        assert_eq!(client.comm(), (1, b"last".to_vec()));
    }
    instance.must("reload");
    for mut client in clients {
        assert_eq!(client.comm(), (77, Vec::new()));
        assert_eq!(client.rest(), b"");
    }
    instance.echo();
    assert!(fs::metadata(instance.path("log")).unwrap().len() > 0);
}
