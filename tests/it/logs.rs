//! The log of many processes: every line whole, none lost.

use std::collections::HashMap;
use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Client, wait_until};
use crate::instance::{Instance, busy, pid_of, signal};

/// Lines that each worker writes.
const LINES: usize = 100_000;
const WORKERS: usize = 8;

#[test]
fn lines_of_eight_workers_stay_whole_and_are_counted_over_a_reopen() {
    let _busy = busy();
    let instance = Instance::subject("workers = 8");
    instance.must("start");
    // One client of each worker.
    let mut clients: HashMap<u32, Client> = HashMap::new();
    let mut others = Vec::new();
    while clients.len() < WORKERS {
        let (client, pid, _) = instance.acquaint();
        // Those that are too many stay open, so that the others have fewer.
        others.extend(clients.insert(pid, client));
    }
    let count = LINES.to_string();
    for client in clients.values_mut() {
        client.send(&crate::harness::comm(3, count.as_bytes()));
    }
    let master = instance.master().unwrap();
    wait_until("the workers write", || instance.log().len() > 1_000_000);
    fs::rename(instance.path("log"), instance.path("log.1")).unwrap();
    instance.must("reopen");
    wait_until("they write to the new file", || {
        instance.log().contains(" worker-")
    });
    fs::rename(instance.path("log"), instance.path("log.2")).unwrap();
    signal(master, Signal::SIGUSR1);
    for client in clients.values_mut() {
        assert_eq!(client.comm(), (3, count.clone().into_bytes()));
    }
    let mut found: HashMap<String, Vec<usize>> = HashMap::new();
    for name in ["log.1", "log.2", "log"] {
        for line in fs::read_to_string(instance.path(name)).unwrap().lines() {
            let (head, text) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            let time = head.split_whitespace().next().unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
            let Some((number, rest)) = text
                .strip_prefix("line ")
                .and_then(|text| text.split_once(' '))
            else {
                continue;
            };
            // Behind the text stands whose handler said it.
            let (rest, conn) = rest.rsplit_once(" conn=").expect(line);
            assert_eq!(rest, "of 100000, here to be found whole", "{line}");
            assert_eq!(conn.split('.').count(), 4, "{line}");
            let who = head
                .split_whitespace()
                .skip(2)
                .collect::<Vec<_>>()
                .join(" ");
            found.entry(who).or_default().push(number.parse().unwrap());
        }
    }
    assert_eq!(found.len(), WORKERS, "{:?}", found.keys());
    for (who, numbers) in found {
        assert!(numbers.into_iter().eq(0..LINES), "{who}");
    }
    let status = instance.status();
    let workers = status["workers"].as_array().unwrap();
    assert!(workers.iter().all(|one| clients.contains_key(&pid_of(one))));
}

/// A close at each login, of an earlier connection that mostly is not there.
#[test]
fn a_close_that_finds_nobody_says_nothing() {
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let (mut first, _, name) = instance.acquaint();
    let mut second = Client::connect(instance.address);
    for closed in [b"1", b"0", b"0"] {
        assert_eq!(second.call(11, &name.to_be_bytes()).1, closed);
        if closed == b"1" {
            first.until_closed();
        }
    }
    instance.must("stop");
    let log = instance.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("as asked"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("close 1 connections: as asked"), "{log}");
}
