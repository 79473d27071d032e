//! What an operator does to a server that runs: more and fewer workers, other
//! log levels, drains, single connections, and what it all leaves behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::children;
use crate::harness::{Client, comm, resident, wait_until};
use crate::instance::{Instance, busy, lives, signal, under_load};

/// Does what has to succeed; gives what it prints.
fn told(instance: &Instance, arguments: &[&str]) -> String {
    let output = instance.ask(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn workers_come_and_go_under_load_and_no_request_fails() {
    for mode in ["mutex", "exclusive", "reuseport"] {
        let instance = Instance::started(&format!("workers = 2\naccept = \"{mode}\""));
        let served = under_load(&instance, || {
            for (change, count) in [("+1", 3), ("-1", 2), ("4", 4), ("1", 1), ("+1", 2)] {
                let text = told(&instance, &["workers", change]);
                assert!(text.contains(&format!("{count} workers serve")), "{text}");
                wait_until("the surplus ones left", || instance.serves_with(count));
            }
        });
        assert!(served > 0);
        assert_eq!(instance.status()["generation"], 1, "{mode}");
    }
}

/// Whoever waits at a listener of a worker that leaves would wait for ever.
#[test]
fn with_reuseport_the_sockets_of_missing_workers_are_accepted_from_by_the_others() {
    let instance = Instance::started("workers = 4\naccept = \"reuseport\"");
    let all_are_served = || (0..40).for_each(|_| instance.echo());
    for workers in ["2", "1", "3", "1", "4", "1"] {
        told(&instance, &["workers", workers]);
        wait_until("the surplus ones left", || {
            instance.serves_with(workers.parse().unwrap())
        });
        all_are_served();
    }
    // One that is forked anew has them as well.
    instance.settle();
    signal(instance.workers()[0], Signal::SIGKILL);
    all_are_served();
    instance.must("drain");
    told(&instance, &["workers", "2"]);
    all_are_served();
    for workers in [1, 3, 2] {
        instance.configure(&format!("workers = {workers}\naccept = \"reuseport\""));
        instance.must("reload");
        wait_until("the old ones left", || instance.serves_with(workers));
        all_are_served();
    }
}

#[test]
fn reloads_to_fewer_and_more_workers_under_load_fail_nothing() {
    for mode in ["mutex", "reuseport"] {
        let top = |workers| format!("workers = {workers}\naccept = \"{mode}\"");
        let instance = Instance::started(&top(4));
        let served = under_load(&instance, || {
            for workers in [2, 4].repeat(5) {
                instance.configure(&top(workers));
                instance.must("reload");
            }
        });
        assert!(served > 0);
        assert_eq!(instance.status()["generation"], 11);
    }
}

#[test]
fn a_number_of_workers_lasts_until_the_next_reload() {
    let instance = Instance::started("workers = 1");
    told(&instance, &["workers", "3"]);
    assert!(instance.serves_with(3));
    instance.must("reload");
    wait_until("one serves", || instance.serves_with(1));
}

#[test]
fn a_number_of_workers_that_cannot_be_is_refused_with_its_reason() {
    let instance = Instance::started("workers = 1");
    for (wanted, code, expected) in [
        ("-1", 64, "-1 of 1 workers leaves none: that is `drain`"),
        ("17", 75, "17 workers wanted, and there is room for 16"),
        ("0", 64, "none of N, +N and -N"),
    ] {
        let (found, text) = instance.refused(&["workers", wanted]);
        assert_eq!(found, code, "{text}");
        assert!(text.contains(expected), "{text}");
        assert!(instance.serves_with(1));
    }
    instance.must("drain");
    let (code, text) = instance.refused(&["workers", "-1"]);
    assert_eq!(code, 64, "{text}");
}

#[test]
fn a_drained_master_stays_and_a_reload_or_a_number_brings_workers_back() {
    let instance = Instance::started("workers = 2\n[worker]\ndrain_idle = \"0s\"");
    let master = instance.master().unwrap();
    for back in [&["reload"][..], &["workers", "3"], &["workers", "+1"]] {
        let mut client = Client::connect(instance.address);
        client.call(1, b"hello");
        let workers = instance.workers();
        let text = told(&instance, &["drain"]);
        assert!(text.contains("no workers are left"), "{text}");
        assert!(!workers.iter().any(|&pid| lives(pid)));
        assert_eq!(client.rest(), b"");
        assert!(instance.status()["generation"].is_null());
        told(&instance, &["drain"]);
        // It waits in the kernel's queue and loses nothing.
        let mut early = Client::connect(instance.address);
        early.send(&comm(1, b"early"));
        told(&instance, back);
        assert_eq!(early.comm(), (1, b"early".to_vec()), "{back:?}");
        assert_eq!(instance.master(), Some(master));
    }
    assert!(instance.serves_with(1));
}

#[test]
fn winch_drains_and_hup_brings_back() {
    let instance = Instance::started("workers = 1\n[worker]\ndrain_idle = \"0s\"");
    let master = instance.master().unwrap();
    signal(master, Signal::SIGWINCH);
    wait_until("nobody is left", || instance.serves_with(0));
    signal(master, Signal::SIGHUP);
    wait_until("one serves", || instance.serves_with(1));
    instance.echo();
}

#[test]
fn a_log_level_holds_in_every_process_until_the_next_reload() {
    let instance = Instance::started("workers = 1");
    let has = |text: &str| instance.log().contains(text);
    let (code, text) = instance.refused(&["log-level", "loud"]);
    assert!(code == 64 && text.contains("expected off"), "{text}");
    assert!(told(&instance, &["log-level", "error"]).contains("log level error"));
    // One more is forked with it.
    told(&instance, &["workers", "2"]);
    assert!(!has("2 workers instead of 1"), "{}", instance.log());
    instance.must("reload");
    assert!(has("generation 2 serves"), "{}", instance.log());
}

#[test]
fn connections_are_listed_with_what_they_did_and_can_be_kicked() {
    let instance = Instance::started("workers = 2");
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(instance.address)).collect();
    for client in &mut clients {
        for _ in 0..3 {
            client.call(1, b"hello");
        }
    }
    let list = || -> serde_json::Value {
        let text = told(&instance, &["connections", "--json"]);
        serde_json::from_str(&text).unwrap()
    };
    let listed = list();
    assert_eq!(listed["total"], 5);
    let ours = |client: &Client| client.0.local_addr().unwrap().to_string();
    let all = listed["connections"].as_array().unwrap();
    for client in &clients {
        let peer = ours(client);
        let one = all.iter().find(|one| one["peer"] == peer).unwrap();
        assert_eq!(one["local"], instance.address.to_string());
        assert_eq!(one["bytes_received"], 3 * (8 + 5));
        assert_eq!(one["bytes_queued"], 0);
    }
    let text = told(&instance, &["connections"]);
    assert!(text.ends_with("5 connections\n"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 120), "{text}");

    let peer = ours(&clients[0]);
    let id = all.iter().find(|one| one["peer"] == peer).unwrap()["id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(told(&instance, &["kick", id]), format!("closed {id}\n"));
    assert_eq!(clients.remove(0).rest(), b"");
    for nobody in [id, "200.0.0.0", "0.999.0.0"] {
        let (code, text) = instance.refused(&["kick", nobody]);
        assert_eq!(code, 1, "{text}");
        assert!(
            text.contains(&format!("no connection has the id {nobody}")),
            "{text}"
        );
    }
    assert_eq!(list()["total"], 4);
    assert_eq!(instance.counter("connections_closed_kicked"), 1);
    clients
        .iter_mut()
        .for_each(|client| drop(client.call(1, b"still here")));
}

/// The master must not wait for it, and the operator not for ever.
#[test]
fn a_worker_that_does_not_answer_is_named() {
    let instance = Instance::started("workers = 2");
    let stopped = instance.workers()[0];
    signal(stopped, Signal::SIGSTOP);
    let asked = Instant::now();
    let text = told(&instance, &["connections"]);
    assert!(text.contains("did not answer"), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(8));
    signal(stopped, Signal::SIGCONT);
}

/// What the log says about each worker's drain: received, answered, refused.
pub(crate) fn drains(log: &str) -> Vec<[u64; 3]> {
    let lines = log.lines().filter(|line| line.contains(": drained in "));
    let numbers = lines.map(|line| {
        assert!(!line.contains("unaccounted"), "{line}");
        let (_, messages) = line.split_once(" connections; ").unwrap();
        let numbers: Vec<u64> = messages
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        <[u64; 3]>::try_from(numbers).unwrap()
    });
    numbers
        .inspect(|[received, answered, refused]| assert_eq!(*received, answered + refused))
        .collect()
}

/// One of the numbers that the master logs last.
pub(crate) fn counted(log: &str, name: &str) -> u64 {
    let line = log
        .lines()
        .rfind(|line| line.contains("counted: "))
        .unwrap();
    let found = line
        .split(' ')
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.map_or(0, |number| number.parse().unwrap())
}

#[test]
fn a_stop_under_load_answers_every_message_that_was_received() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let _busy = busy();
    let instance = Instance::subject("workers = 2\nshutdown_timeout = \"4s\"");
    instance.must("start");
    let master = instance.master().unwrap();
    // On the event loop, and on the business threads.
    let requests = [comm(1, b"inline").repeat(20), comm(3, b"0").repeat(20)];
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ended = std::thread::scope(|scope| {
        for n in 0..8 {
            let (instance, request) = (&instance, &requests[n % 2]);
            let (asked, answered) = (&asked, &answered);
            scope.spawn(move || {
                let mut client = Client::connect(instance.address);
                let one = request.len() / 20;
                let mut replies = vec![0; request.len()];
                loop {
                    asked.fetch_add(20, Ordering::Relaxed);
                    client.0.write_all(request).unwrap();
                    let mut came = 0;
                    while came < replies.len() {
                        match client.0.read(&mut replies[came..]).unwrap() {
                            0 => {
                                assert_eq!(came % one, 0, "part of a reply");
                                answered.fetch_add(came / one, Ordering::Relaxed);
                                return;
                            }
                            count => came += count,
                        }
                    }
                    assert_eq!(&replies, request);
                    answered.fetch_add(20, Ordering::Relaxed);
                }
            });
        }
        wait_until("all are served", || {
            answered.load(Ordering::Relaxed) > 10_000
        });
        let ordered = Instant::now();
        signal(master, Signal::SIGTERM);
        wait_until("the master is gone", || !lives(master));
        ordered.elapsed()
    });
    // Those that keep talking have half of the time.
    assert!(ended < DEADLINE * 2, "{ended:?}");
    let (log, answered) = (instance.log(), answered.into_inner() as u64);
    let drains = drains(&log);
    assert_eq!(drains.len(), 2, "{log}");
    let during: u64 = drains.iter().map(|[received, ..]| received).sum();
    assert!(during > 0, "{log}");
    assert!(drains.iter().all(|[_, _, refused]| *refused == 0), "{log}");
    assert_eq!(counted(&log, "messages_handled"), answered);
    assert_eq!(counted(&log, "messages_received"), answered);
    assert!(!log.contains("were cut"), "{log}");
}

#[test]
fn a_drain_accounts_for_what_it_refuses() {
    let instance = Instance::started("workers = 1\n[worker]\ndrain_idle = \"60s\"");
    let mut client = Client::connect(instance.address);
    client.call(1, b"before");
    signal(instance.master().unwrap(), Signal::SIGQUIT);
    // The master says so first; who is refused is so by the worker.
    wait_until("it drains", || {
        instance.status()["stopping"] == true && TcpStream::connect(instance.address).is_err()
    });
    client.call(1, b"during");
    let mut wrong = comm(1, b"wrong");
    *wrong.last_mut().unwrap() ^= 1;
    client.send(&[comm(1, b"good"), wrong, comm(1, b"behind")].concat());
    assert_eq!(client.comm(), (1, b"good".to_vec()));
    client.until_closed();
    drop(client);
    wait_until("it is gone", || instance.master().is_none());
    // Three in the last batch, and the one before.
    assert_eq!(drains(&instance.log()), [[4, 2, 2]]);
}

#[test]
fn many_reloads_leave_the_master_as_it_was() {
    let instance = Instance::started("workers = 1\n[worker]\ndrain_idle = \"0s\"");
    let master = instance.master().unwrap();
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{master}/fd"))
            .unwrap()
            .count()
    };
    let mut measured = Vec::new();
    for count in [20, 60] {
        while instance.status()["generation"] != count {
            instance.must("reload");
        }
        wait_until("the old ones left", || instance.serves_with(1));
        measured.push((descriptors(), resident(master)));
    }
    let [(few, small), (many, large)] = measured[..] else {
        panic!("two were measured");
    };
    assert_eq!(few, many, "descriptors");
    assert!(large <= small + small / 20, "{small} grew to {large} bytes");
}

#[test]
fn who_waits_in_the_backlog_when_the_server_stops_is_served() {
    for accept in ["mutex", "exclusive", "reuseport"] {
        let instance = Instance::started(&format!(
            "workers = 1\naccept = \"{accept}\"\nwatchdog = \"0s\"\nwatchdog_abort = \"0s\""
        ));
        let worker = instance.workers()[0];
        signal(worker, Signal::SIGSTOP);
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(instance.address)).collect();
        let request = comm(1, b"early enough");
        clients.iter_mut().for_each(|client| client.send(&request));
        signal(instance.master().unwrap(), Signal::SIGTERM);
        wait_until("it drains", || instance.status()["stopping"] == true);
        signal(worker, Signal::SIGCONT);
        for client in &mut clients {
            assert_eq!(client.rest(), request, "{accept}");
        }
    }
}

#[test]
fn frequent_reloads_under_clients_that_stay_pile_up_no_processes() {
    let instance = Instance::started(
        "workers = 2\ngenerations_max = 2\nhandover = false\nworker.drain_idle = \"100ms\"\n\
         limits.linger = \"0s\"",
    );
    let master = instance.master().unwrap();
    let mut sessions = Vec::new();
    for _ in 0..15 {
        sessions.extend((0..4).map(|_| Client::connect(instance.address)));
        // Waits until those before have said good-bye to their idle clients.
        instance.must("reload");
        assert!(children(master).len() <= 4, "{}", instance.status());
    }
    wait_until("the old ones left", || instance.serves_with(2));
    assert_eq!(drains(&instance.log()).len(), 30);
    for session in &mut sessions {
        // The last ones are the new workers' own.
        session.finish();
        session.until_closed();
    }
}

#[test]
fn a_watched_status_prints_a_block_each_time_where_there_is_no_terminal() {
    use std::io::BufRead;
    let instance = Instance::started("workers = 2");
    let mut client = Client::connect(instance.address);
    let mut watching = std::process::Command::new(env!("CARGO_BIN_EXE_purlin"))
        .args(["status", "-w", "0.2", "-c", "conf"])
        .current_dir(instance.path(""))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut blocks = 0;
    for line in lines.map(Result::unwrap) {
        client.call(1, b"hello");
        assert!(line.chars().count() <= 80, "{line}");
        blocks += usize::from(line.starts_with("purlin "));
        // It was timed: the first of a tick is.
        if blocks > 2 && line.split_whitespace().next() == Some("1") {
            break;
        }
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
}
