//! Start, stop and signals, as an operator meets them: the built daemon in the
//! background, in a directory of its own.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Client, wait_until};
use crate::instance::{Instance, lives, signal};

#[test]
fn a_hundred_starts_return_with_everything_ready_and_stops_with_everything_gone() {
    let instance = Instance::new("workers = 2");
    for _ in 0..100 {
        instance.must("start");
        let master = instance.master().unwrap();
        let workers = instance.workers();
        assert!(lives(master));
        assert_eq!(workers.len(), 2);
        assert!(instance.serves_with(2), "{}", instance.status());
        assert_eq!(instance.status()["pid"], master);
        assert_eq!(instance.refused(&["start"]).0, 75);
        assert_eq!(instance.master(), Some(master));
        instance.echo();
        instance.must("stop");
        assert!(!workers.iter().any(|&pid| lives(pid)) && !lives(master));
        assert!(!instance.path("purlin.pid").exists());
        assert!(!instance.path("purlin.ctl").exists());
    }
}

#[test]
fn a_daemon_without_a_log_writes_one_beside_its_pid_file() {
    let instance = Instance::new("");
    let address = instance.address;
    let text = format!("workers = 1\n[[listener]]\naddress = \"{address}\"\n");
    fs::write(instance.path("conf"), text).unwrap();
    instance.must("start");
    let log = fs::read_to_string(instance.path("purlin.log")).unwrap();
    assert!(log.contains(&format!("listening on {address}")), "{log}");
}

#[test]
fn each_way_to_fail_has_its_code() {
    let instance = Instance::new("workers = 1");
    for command in ["stop", "quit", "reload", "reopen", "upgrade", "status"] {
        assert_eq!(instance.refused(&[command]).0, 69, "{command}");
    }
    instance.must("start");
    assert_eq!(instance.refused(&["start"]).0, 75);
    assert_eq!(instance.refused(&["run"]).0, 75);
    assert!(instance.ask(&["-t"]).status.success(), "its own port");
    let other = Instance::new("workers = 1");
    let foreign = format!("listener.0.address={}", instance.address);
    // Who has it now may be gone then.
    for (command, expected) in [("-t", 0), ("start", 69)] {
        let (code, text) = other.refused(&[command, "--set", &foreign]);
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(&instance.address.to_string()), "{text}");
        assert!(expected != 0 || text.contains("warning: "), "{text}");
        assert!(other.master().is_none());
    }
    other.configure("workers = 0");
    let (code, text) = other.refused(&["start"]);
    assert!(
        code == 78 && text.contains("conf:1:11: workers is 0"),
        "{text}"
    );
}

#[test]
fn signals_are_aliases_of_the_commands() {
    let instance = Instance::started("workers = 1");
    let master = instance.master().unwrap();
    signal(master, Signal::SIGHUP);
    wait_until("generation 2 serves", || {
        instance.status()["generation"] == 2
    });
    signal(master, Signal::SIGTTIN);
    wait_until("one more serves", || instance.serves_with(2));
    signal(master, Signal::SIGTTOU);
    wait_until("one fewer serves", || instance.serves_with(1));
    signal(master, Signal::SIGWINCH);
    wait_until("nobody serves", || instance.serves_with(0));
    signal(master, Signal::SIGHUP);
    wait_until("generation 3 serves", || instance.serves_with(1));
    instance.echo();
    signal(master, Signal::SIGQUIT);
    wait_until("the master is gone", || !lives(master));
    assert!(!instance.path("purlin.pid").exists());
}

/// Connections of this port of ours that wait out their time.
fn in_time_wait(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let is_waiting =
        |line: &Vec<&str>| line.len() > 3 && line[1].ends_with(&port) && line[3] == "06";
    lines.filter(is_waiting).count()
}

#[test]
fn clients_in_time_wait_do_not_delay_the_next_start() {
    // Whoever is cut at the end of the time allowed leaves no TIME_WAIT.
    let instance = Instance::started("workers = 2\n[limits]\nlinger = \"500ms\"");
    let clients: Vec<_> = (0..1000)
        .map(|_| Client::connect(instance.address))
        .collect();
    wait_until("all are accepted", || {
        instance.status()["counters"]["connections_live"] == 1000
    });
    instance.must("stop");
    drop(clients);
    let waiting = in_time_wait(instance.address.port());
    instance.must("start");
    instance.echo();
    assert!(waiting > 500, "{waiting} of 1000");
}

#[test]
fn an_error_of_data_or_started_reaches_the_shell() {
    let instance = Instance::subject("workers = 2");
    for file in ["data", "started"] {
        fs::write(instance.path(file), "the database is away").unwrap();
        for command in ["start", "run"] {
            let (code, text) = instance.refused(&[command]);
            assert_eq!(code, 70, "{text}");
            assert!(text.contains("the database is away"), "{command}: {text}");
            assert!(instance.master().is_none());
        }
        fs::remove_file(instance.path(file)).unwrap();
    }
    instance.must("start");
    instance.echo();
    let before = instance.workers();
    for file in ["data", "started"] {
        fs::write(instance.path(file), "the database is away").unwrap();
        let (code, text) = instance.refused(&["reload"]);
        assert_eq!(code, 70, "{text}");
        assert!(text.contains("the database is away"), "{text}");
        fs::remove_file(instance.path(file)).unwrap();
        wait_until("the new ones are gone", || instance.workers() == before);
        instance.echo();
    }
}
