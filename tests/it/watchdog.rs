//! Workers that hang, handlers that are slow, and a master that was away itself.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, lives, pid_of, signal};

/// Sleeps on the event loop.
const BLOCK: u16 = 6;
/// Never ends, on the event loop.
const SPIN: u16 = 7;
/// Sleeps on a business thread.
const SLEEP: u16 = 8;

fn subject(top: &str) -> Instance {
    let instance = Instance::subject(top);
    instance.must("start");
    instance
}

/// Lines of the log that say what threads of `pid` do.
fn threads_in_log(instance: &Instance, pid: u32) -> Vec<String> {
    let log = instance.log();
    let is_it = |line: &&str| line.contains(&format!("pid {pid}, thread "));
    log.lines().filter(is_it).map(str::to_owned).collect()
}

fn wait_for_log(instance: &Instance, text: &str) {
    wait_until(&format!("the log says {text:?}"), || {
        instance.log().contains(text)
    });
}

#[test]
fn an_endless_loop_costs_the_accept_turn_and_then_the_worker() {
    for accept in ["mutex", "exclusive"] {
        let instance = subject(&format!(
            "workers = 2\naccept = \"{accept}\"\nwatchdog = \"200ms\"\nwatchdog_abort = \"3s\""
        ));
        instance.settle();
        let (mut victim, pid, _) = instance.acquaint();
        victim.send(&comm(SPIN, b""));
        let begun = Instant::now();
        let (_, other, _) = instance.acquaint();
        println!("{accept}: accepted again after {:?}", begun.elapsed());
        assert_ne!(other, pid, "{accept}");
        wait_until("the worker is replaced", || {
            !instance.workers().contains(&pid) && instance.serves_with(2)
        });
        assert!(!lives(pid));
        let status = instance.status();
        let workers = status["workers"].as_array().unwrap();
        let replaced = workers.iter().find(|one| one["restarts"] == 1).unwrap();
        let exit = replaced["last_exit"].as_str().unwrap();
        assert!(exit.starts_with("killed by SIGABRT"), "{exit}");
        assert!(instance.counter("reactor_stuck") > 0, "{accept}");
        let threads = threads_in_log(&instance, pid);
        let all = threads.join("\n");
        for thread in ["business-1", "sender", "recycler", "heartbeat"] {
            let line = threads.iter().find(|line| line.contains(thread));
            let line = line.unwrap_or_else(|| panic!("{thread} is not in\n{all}"));
            assert!(line.contains(", state S, wchan "), "{line}");
            assert!(line.ends_with(", no handler"), "{line}");
        }
        let reactor = threads.iter().find(|line| line.contains("thread reactor "));
        let reactor = reactor.unwrap_or_else(|| panic!("no reactor is in\n{all}"));
        assert!(reactor.contains(", state R, wchan -"), "{reactor}");
        assert!(reactor.ends_with(", message 7"), "{reactor}");
        instance.echo();
    }
}

#[test]
fn a_worker_that_stays_stopped_is_replaced() {
    let instance = subject("workers = 2\nwatchdog_abort = \"2s\"");
    instance.settle();
    let pid = pid_of(&instance.holder().unwrap());
    signal(pid, Signal::SIGSTOP);
    let (_, other, _) = instance.acquaint();
    assert_ne!(other, pid);
    wait_until("the worker is replaced", || {
        !instance.workers().contains(&pid) && instance.serves_with(2)
    });
    let threads = threads_in_log(&instance, pid);
    assert!(threads.len() >= 8, "{threads:?}");
    assert!(
        threads
            .iter()
            .all(|line| line.contains(", state T, wchan ")),
        "{threads:?}"
    );
}

#[test]
fn whoever_blocks_for_a_while_loses_the_turn_for_a_while_when_nothing_is_aborted() {
    let instance = subject("workers = 2\nwatchdog = \"100ms\"\nwatchdog_abort = \"0s\"");
    let (mut slow, pid, _) = instance.acquaint();
    slow.send(&comm(BLOCK, b"1500"));
    assert_ne!(instance.acquaint().1, pid);
    assert_eq!(slow.comm(), (BLOCK, b"1500".to_vec()));
    assert_eq!(slow.who().0, pid);
    assert!(
        instance
            .log()
            .contains("does not go on: another one accepts")
    );
    assert_eq!(threads_in_log(&instance, pid), [] as [String; 0]);
}

#[test]
fn with_everything_off_nobody_is_judged() {
    let off = "watchdog = \"0s\"\nwatchdog_abort = \"0s\"\nslow_handler = \"0s\"";
    let instance = subject(&format!("workers = 1\n{off}"));
    let (mut slow, pid, _) = instance.acquaint();
    assert_eq!(slow.call(BLOCK, b"1500"), (BLOCK, b"1500".to_vec()));
    assert_eq!(instance.acquaint().1, pid);
    for counter in ["reactor_stuck", "handlers_slow"] {
        assert_eq!(instance.counter(counter), 0, "{counter}");
    }
}

/// Its clock says that a handler has been running for much longer than allowed;
/// it did not see any of it.
#[test]
fn a_master_that_was_stopped_itself_accuses_nobody() {
    let instance =
        subject("workers = 2\nwatchdog = \"3s\"\nwatchdog_abort = \"3s\"\nslow_handler = \"3s\"");
    let master = instance.master().unwrap();
    let (mut slow, pid, _) = instance.acquaint();
    slow.send(&comm(BLOCK, b"4500"));
    signal(master, Signal::SIGSTOP);
    let until = Instant::now() + Duration::from_secs(4);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    signal(master, Signal::SIGCONT);
    assert_eq!(slow.comm(), (BLOCK, b"4500".to_vec()));
    assert_eq!(slow.who().0, pid);
    for counter in ["reactor_stuck", "handlers_slow"] {
        assert_eq!(instance.counter(counter), 0, "{}", instance.log());
    }
}

#[test]
fn a_slow_handler_is_named_once_with_its_message_and_its_thread() {
    let instance = subject("workers = 1\nslow_handler = \"100ms\"");
    for (id, thread) in [(SLEEP, "business-"), (BLOCK, "reactor")] {
        // A connection of its own: while the turn of an earlier message ends, the
        // pool would serve the next one, whatever its handler says of itself.
        let mut client = Client::connect(instance.address);
        assert_eq!(client.call(id, b"1000"), (id, b"1000".to_vec()));
        let text = format!("message {id} has been running for 100ms");
        wait_for_log(&instance, &text);
        let log = instance.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&text)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(thread), "{lines:?}");
    }
    assert_eq!(instance.counter("handlers_slow"), 2);
}

#[test]
fn a_slow_request_is_named_by_its_route() {
    let instance = Instance::subject("");
    let address = instance.address;
    instance.write(&format!(
        "workers = 1\nslow_handler = \"100ms\"\nuser = \"root\"\nallow_root = true\n\
         [[listener]]\naddress = \"{address}\"\nprotocol = \"http\"\n[log]\nfile = \"log\"\n"
    ));
    instance.must("start");
    let mut client = Client::connect(address);
    client.send(b"GET /sleep/1000 HTTP/1.0\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 2"));
    wait_for_log(&instance, "GET /sleep/:millis has been running for 100ms");
}

#[test]
fn a_pool_in_which_every_thread_blocks_is_told_of_and_lives() {
    let instance = subject(
        "workers = 1\nwatchdog_abort = \"300ms\"\nworker.business_threads = 2\n\
         slow_handler = \"0s\"",
    );
    let mut clients = [instance.acquaint(), instance.acquaint()];
    for (client, ..) in &mut clients {
        client.send(&comm(SLEEP, b"1500"));
    }
    for (client, pid, _) in &mut clients {
        assert_eq!(client.comm(), (SLEEP, b"1500".to_vec()));
        assert_eq!(client.who().0, *pid);
    }
    wait_for_log(
        &instance,
        "every business thread has been in one handler for 300ms",
    );
    let threads = threads_in_log(&instance, clients[0].1);
    let busy = threads.iter().filter(|line| line.ends_with(", message 8"));
    assert_eq!(busy.count(), 2, "{threads:?}");
}
