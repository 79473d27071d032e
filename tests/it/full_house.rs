//! Servers with no place or no descriptor left: whoever is there stays, orders
//! are heard, and what must go on does.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::RawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
use crate::harness::{Client, comm, either, serve_with, wait_for, wait_until};
use crate::http::{HTTP, ask};
use crate::instance::{Instance, busy};

/// Takes the numbers of all descriptors from a process that it does not use now.
fn leave_no_descriptor(pid: u32) {
    let used: BTreeSet<RawFd> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    let free = (0..).find(|number| !used.contains(number)).unwrap();
    let limited = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={free}:")])
        .status();
    assert!(limited.unwrap().success());
}

#[test]
fn a_worker_without_a_free_descriptor_hears_every_order_and_loses_nobody() {
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(instance.address)).collect();
    clients
        .iter_mut()
        .for_each(|client| assert_ne!(client.who().0, 0));
    let worker = instance.workers()[0];
    leave_no_descriptor(worker);
    let listed = instance.ask(&["connections"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("20 connections"), "{text}");
    fs::rename(instance.path("log"), instance.path("old_log")).unwrap();
    instance.must("reopen");
    // The third message has the worker write to its log.
    wait_until("the worker writes to the new file", || {
        clients[0].call(3, b"1");
        fs::read_to_string(instance.path("log"))
            .unwrap()
            .contains("worker-0")
    });
    assert_eq!(instance.workers(), [worker]);
    instance.must("reload");
    wait_until("the old one has left", || instance.serves_with(1));
    for client in &mut clients {
        assert_ne!(client.who().0, worker);
    }
    assert_eq!(instance.counter("connections_closed"), 0);
}

/// A limit of 100 that the server cannot raise, and 100 clients.
#[test]
fn clients_leave_some_descriptors_to_the_files_that_they_ask_for() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("hello.txt"), "hello\n").unwrap();
    fs::set_permissions(site.path(), Permissions::from_mode(0o755)).unwrap();
    let script = "ulimit -n 100; drop=; \
                  [ $(id -u) = 0 ] && drop='setpriv --bounding-set=-sys_resource'; \
                  exec $drop \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let root = site.path().to_str().unwrap();
    let daemon = Daemon::by(
        command,
        &[("listener.0.protocol", "http"), ("listener.0.root", root)],
    );
    let mut clients: Vec<Client> = (0..100)
        .map(|_| Client::connect(daemon.address()))
        .collect();
    for client in &mut clients {
        client.send(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    let mut served = 0;
    while served < 100 {
        // Some are let in, others when these have left.
        let mut inside = 0;
        for client in &mut clients {
            client
                .0
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            let mut first = [0; 15];
            if client.0.read_exact(&mut first).is_ok() {
                assert_eq!(&first, b"HTTP/1.1 200 OK");
                inside += 1;
            } else {
                break;
            }
        }
        assert!(inside > 10, "{inside} of {}", clients.len());
        served += inside;
        drop(clients.drain(..inside));
    }
}

/// The kernel has a table up to the highest of them, in each worker.
#[test]
fn a_worker_uses_no_descriptor_far_above_those_that_it_needs() {
    let instance = Instance::subject("workers = 1\nworker.connections_max = 10");
    instance.must("start");
    let all = fs::read_dir(format!("/proc/{}/fd", instance.workers()[0])).unwrap();
    let numbers = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let highest = numbers.map(|number| number.parse::<u32>().unwrap()).max();
    assert!(highest < Some(10 + 10 + 64), "{highest:?}");
}

#[test]
fn whoever_has_a_place_keeps_it_over_reloads_of_full_workers() {
    let _busy = busy();
    let (places, count) = either((1000, 1780), (9000, 17_000_u64));
    let instance = Instance::mover(&format!("workers = 2\nworker.connections_max = {places}"));
    instance.must("start");
    let mut clients: Vec<Client> = (0..count)
        .map(|_| Client::connect(instance.address))
        .collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.call(1, b"here"), (1, b"here".to_vec()));
        }
        instance.must("reload");
        wait_until("the old ones have left", || instance.serves_with(2));
    }
    for client in &mut clients {
        assert_eq!(client.call(1, b"here"), (1, b"here".to_vec()));
    }
    assert_eq!(instance.counter("connections_closed"), 0);
    assert_eq!(instance.counter("connections_handed_over"), 3 * count);
}

/// Each was served once, and holds its place for the price of a request now and
/// then.
#[test]
fn a_house_full_of_idle_clients_over_http_lets_others_in() {
    let web = Web::<()>::new().get("/", |_, (): ()| "hello");
    let keys = [
        HTTP[0],
        ("worker.connections_max", "50"),
        ("limits.make_room", "100ms"),
    ];
    let server = serve_with(App::new().web(web), &keys);
    let mut idle: Vec<Client> = (0..50)
        .map(|_| {
            let mut client = Client::to(&server);
            assert_eq!(ask(&mut client, "GET", "/").1, b"hello");
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    // The first asks again, and has been idle for less long than all others.
    assert_eq!(ask(&mut idle[0], "GET", "/").1, b"hello");
    let mut late: Vec<Client> = (0..5).map(|_| Client::to(&server)).collect();
    for client in &mut late {
        assert_eq!(ask(client, "GET", "/").1, b"hello");
    }
    assert_eq!(server.read(Counter::MadeRoom), 5);
    assert_eq!(ask(&mut idle[0], "GET", "/").1, b"hello");
}

#[test]
fn a_house_full_of_sessions_stays_as_it_is() {
    let app = App::<()>::new().on_inline(1, |_, body: Bytes| body);
    let keys = [
        ("worker.connections_max", "5"),
        ("limits.make_room", "10ms"),
    ];
    let server = serve_with(app, &keys);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::to(&server)).collect();
    for client in &mut clients {
        client.call(1, b"hello");
    }
    let mut late = Client::to(&server);
    late.send(&comm(1, b"late"));
    wait_for(&server, Counter::PoolFull, 1);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.read(Counter::MadeRoom), 0);
    drop(clients.pop());
    assert_eq!(late.comm(), (1, b"late".to_vec()));
}

/// Whoever finds a short backlog full asks again after a second: it must not
/// fill up because one worker alone accepts.
#[test]
fn a_storm_of_resets_gets_in_with_the_mutex_as_it_does_without() {
    let _busy = busy();
    let storm = |accept: &str| {
        let instance = Instance::new(&format!("workers = 4\naccept = \"{accept}\""));
        let text = fs::read_to_string(instance.path("conf")).unwrap();
        instance.write(&text.replace("[log]", "backlog = 16\n[log]"));
        instance.must("start");
        let until = Instant::now() + Duration::from_secs(2);
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    while Instant::now() < until {
                        let patience = Duration::from_millis(200);
                        let client = TcpStream::connect_timeout(&instance.address, patience);
                        if let Ok(client) = client {
                            purlin::sys::socket::reset(client.into());
                        }
                    }
                });
            }
        });
        instance.counter("connections_accepted")
    };
    let (mut with, mut without) = (0, 0);
    for _ in 0..3 {
        with += storm("mutex");
        without += storm("exclusive");
    }
    println!("{with} with the mutex, {without} without");
    assert!(
        with * 2 > without,
        "{with} with the mutex, {without} without"
    );
}
