//! Whoever starts the server, and in whatever state: it serves, replaces its
//! workers, and ends when it is told to.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::daemon::children;
use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, lives, signal};

/// A server in the foreground, waited for when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ours_until_waited_for = self.0.wait();
    }
}

/// Starts the server of `instance` by `starter`, which becomes it.
fn run(instance: &Instance, starter: &[&str]) -> Started {
    let mut command = Command::new(starter[0]);
    command.args(&starter[1..]).arg(instance.program());
    command.args(["run", "-c", "conf"]);
    command.current_dir(instance.path("."));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Started(command.stderr(Stdio::null()).spawn().unwrap());
    wait_until("the master listens", || {
        instance.ask(&["status"]).status.success()
    });
    started
}

/// The server replaces a worker that was killed, and ends when it is told to.
fn assert_supervises(instance: &Instance, mut started: Started) {
    let master = instance.master().unwrap();
    wait_until("it serves", || instance.serves_with(2));
    instance.echo();
    let workers = children(master);
    signal(workers[0], Signal::SIGKILL);
    wait_until("the dead one is replaced", || {
        let now = children(master);
        now.len() == 2 && !now.contains(&workers[0])
    });
    wait_until("it serves again", || instance.serves_with(2));
    instance.echo();
    signal(master, Signal::SIGTERM);
    assert!(started.0.wait().unwrap().success());
}

#[test]
fn signals_that_the_starter_ignored_or_blocked_are_heard() {
    for starter in [
        &["env", "--ignore-signal=CHLD"][..],
        &["env", "--ignore-signal=CHLD,TERM,HUP,USR1,USR2,QUIT,ABRT"],
        &["env", "--block-signal=CHLD,TERM,HUP,ABRT,INT"],
        &["env", "--block-signal"],
        &["env", "--ignore-signal"],
    ] {
        let instance = Instance::new("workers = 2");
        let started = run(&instance, starter);
        assert_supervises(&instance, started);
    }
}

/// A watchdog could abort no worker that inherited it blocked or ignored.
#[test]
fn workers_have_no_signal_blocked_but_those_of_their_master() {
    let instance = Instance::new("workers = 2");
    let _started = run(&instance, &["env", "--ignore-signal", "--block-signal"]);
    wait_until("it serves", || instance.serves_with(2));
    let masks = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
        };
        (mask("SigBlk:"), mask("SigIgn:"))
    };
    let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
    for pid in [instance.workers(), vec![instance.master().unwrap()]].concat() {
        let (blocked, ignored) = masks(pid);
        // The C library keeps 32 and 33 to itself.
        let ignored = ignored & !(0b11 << 31);
        assert_eq!(ignored, bit(Signal::SIGPIPE), "{pid} ignores {ignored:x}");
        for wanted in [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGALRM] {
            assert_eq!(blocked & bit(wanted), 0, "{pid} blocks {blocked:x}");
        }
    }
}

/// As a process group and its supervisor do: the second one would end at once
/// those that are being served.
#[test]
fn a_term_that_comes_twice_at_once_lets_clients_finish() {
    for (first, second) in [
        (Signal::SIGTERM, Signal::SIGTERM),
        (Signal::SIGINT, Signal::SIGTERM),
        (Signal::SIGTERM, Signal::SIGINT),
    ] {
        let instance = Instance::started("workers = 1\n[worker]\ndrain_idle = \"30s\"");
        let mut client = Client::connect(instance.address);
        let request = comm(1, b"half");
        client.send(&request[..6]);
        wait_until("it was accepted", || {
            instance.counter("connections_live") == 1
        });
        let master = instance.master().unwrap();
        signal(master, first);
        wait_until("it drains", || instance.status()["stopping"] == true);
        signal(master, second);
        assert_eq!(instance.status()["stopping"], true);
        client.send(&request[6..]);
        assert_eq!(client.rest(), request);
        wait_until("it is gone", || !lives(master));
    }
}
