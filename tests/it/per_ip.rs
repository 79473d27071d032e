//! Limits for each address: counted over all workers, over their deaths, and over
//! a reload.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
use crate::harness::{Client, address, comm, wait_for, wait_until};
use crate::http::response;
use crate::websocket;

/// A client that got in, as its reply shows; `None`: it was turned away.
pub(crate) fn try_connect(to: SocketAddr) -> Option<Client> {
    let mut client = Client::try_connect(to)?;
    let request = comm(1, b"let me in");
    let mut reply = vec![0; request.len()];
    let sent = client.0.write_all(&request);
    match sent.and_then(|()| client.0.read_exact(&mut reply)) {
        Ok(()) => {
            assert_eq!(reply, request);
            Some(client)
        }
        Err(_) => None,
    }
}

/// Connects until nobody gets in any more; at most twice the limit.
pub(crate) fn fill(to: SocketAddr, limit: usize) -> Vec<Client> {
    (0..2 * limit).map_while(|_| try_connect(to)).collect()
}

#[test]
fn eight_racing_clients_never_hold_more_than_the_limit_over_eight_workers() {
    const LIMIT: usize = 12;
    for mode in ["mutex", "exclusive", "reuseport"] {
        let limit = LIMIT.to_string();
        let daemon = Daemon::start(&[
            ("workers", "8"),
            ("accept", mode),
            ("limits.connections_per_ip", &limit),
            ("worker.business_threads", "1"),
        ]);
        let to = daemon.address();
        // Counted by the clients: up after the reply, down before the close.
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let race = |n: usize| {
            let mut mine = Vec::new();
            for step in 0..60 {
                if let Some(client) = try_connect(to) {
                    let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    mine.push(client);
                }
                if mine.len() > (step + n) % 5 {
                    held.fetch_sub(1, Ordering::SeqCst);
                    mine.remove(0);
                }
            }
            mine
        };
        let kept: Vec<Vec<Client>> = thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|n| scope.spawn(move || race(n))).collect();
            racers.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(most.load(Ordering::SeqCst) <= LIMIT, "{mode}: {most:?}");
        let mut kept: Vec<Client> = kept.into_iter().flatten().collect();
        assert!(kept.len() <= LIMIT, "{mode}");
        // What the others left is free again, to the last one.
        wait_until("the address has as many as it may", || {
            kept.extend(try_connect(to));
            assert!(kept.len() <= LIMIT, "{mode}");
            kept.len() == LIMIT
        });
        for _ in 0..20 {
            assert!(try_connect(to).is_none(), "{mode}: one more got in");
        }
        drop(kept);
        let counters = daemon.stop();
        assert!(counters["connections_refused_per_ip"] >= 20, "{mode}");
        assert_eq!(counters.get("connections_live"), None, "{mode}");
    }
}

#[test]
fn what_killed_workers_had_counted_is_gone_with_them() {
    const LIMIT: usize = 5;
    let daemon = Daemon::start(&[
        ("workers", "4"),
        ("limits.connections_per_ip", "5"),
        ("worker.business_threads", "1"),
    ]);
    let clients = fill(daemon.address(), LIMIT);
    assert_eq!(clients.len(), LIMIT);
    let killed: HashSet<u32> = daemon.workers().into_iter().collect();
    assert_eq!(killed.len(), 4);
    for &pid in &killed {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    }
    drop(clients);
    wait_until("all are replaced", || {
        let workers = daemon.workers();
        workers.len() == 4 && workers.iter().all(|pid| !killed.contains(pid))
    });
    let again = fill(daemon.address(), LIMIT);
    assert_eq!(again.len(), LIMIT, "each of them at the first try");
}

#[test]
fn two_generations_count_together() {
    const LIMIT: usize = 5;
    let daemon = Daemon::start(&[
        ("workers", "2"),
        ("limits.connections_per_ip", "5"),
        ("worker.business_threads", "1"),
        // The old workers keep their clients until those leave.
        ("handover", "false"),
        ("worker.drain_idle", "60s"),
        ("shutdown_timeout", "300s"),
    ]);
    let to = daemon.address();
    let old: Vec<Client> = (0..3).filter_map(|_| try_connect(to)).collect();
    assert_eq!(old.len(), 3);
    let before = daemon.workers();
    assert!(daemon.ask("reload").status.success());
    let new = fill(to, LIMIT);
    assert_eq!(new.len(), 2, "beside the three of the old generation");
    assert!(before.iter().any(|pid| daemon.workers().contains(pid)));
    drop(old);
    let mut new = new;
    wait_until("the old ones' places are free", || {
        new.extend(try_connect(to));
        assert!(new.len() <= LIMIT);
        new.len() == LIMIT
    });
    assert!(try_connect(to).is_none());
}

#[test]
fn a_reload_cannot_go_beyond_what_can_be_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conf");
    let configure = |max: u32, per_ip: u32| {
        let text =
            format!("[worker]\nconnections_max = {max}\n[limits]\nconnections_per_ip = {per_ip}\n");
        std::fs::write(&file, text).unwrap();
    };
    configure(100, 5);
    let daemon = Daemon::configured(&file);
    for (max, per_ip, code) in [(100_000, 5, 78), (100_000, 0, 0), (50, 5, 0)] {
        configure(max, per_ip);
        let output = daemon.ask("reload");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert_eq!(
            text.contains("connections_max is over 128"),
            code > 0,
            "{text}"
        );
    }
    assert_eq!(fill(daemon.address(), 5).len(), 5);
}

#[test]
fn the_log_names_who_was_refused_at_a_bounded_pace() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let daemon = Daemon::start(&[
        ("limits.connections_per_ip", "1"),
        ("log.file", log.to_str().unwrap()),
    ]);
    let held = try_connect(daemon.address()).unwrap();
    let since = Instant::now();
    for _ in 0..200 {
        if let Some(mut refused) = Client::try_connect(daemon.address()) {
            refused.until_closed();
        }
    }
    let seconds = since.elapsed().as_secs();
    drop(held);
    let counters = daemon.stop();
    assert_eq!(counters["connections_refused_per_ip"], 200);
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = (text.lines())
        .filter(|line| line.contains("refuse 127.0.0.1:"))
        .collect();
    assert!(
        lines[0].contains("(connections_refused_per_ip)"),
        "{lines:?}"
    );
    let count = u64::try_from(lines.len()).unwrap();
    assert!(count <= 10 * (seconds + 2), "{count} in {seconds} s");
}

fn echo() -> App<()> {
    App::<()>::new().on_inline(1, |_, body: Bytes| body)
}

fn server(keys: &[(&str, &str)]) -> Server {
    Server::configured(echo(), keys).unwrap()
}

#[test]
fn who_is_over_the_limit_sees_a_reset_and_may_come_when_another_has_left() {
    let server = server(&[("limits.connections_per_ip", "2")]);
    let to = address(&server);
    let mut inside = fill(to, 2);
    assert_eq!(inside.len(), 2);
    if let Some(mut third) = Client::try_connect(to) {
        let error = third.0.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    // The probe of `fill`, and the third.
    wait_for(&server, Counter::RefusedPerIp, 2);
    assert_eq!(server.read(Counter::Accepted), 2);
    for _ in 0..20 {
        drop(inside.pop());
        wait_for(&server, Counter::Live, 1);
        inside.extend(try_connect(to));
        assert_eq!(inside.len(), 2);
    }
}

#[test]
fn clients_of_a_unix_socket_are_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    let server = server(&[
        ("listener.0.address", &address),
        ("listener.0.allow", "10.0.0.0/8"),
        ("limits.connections_per_ip", "1"),
        ("limits.accept_rate_per_ip", "1"),
        ("limits.accept_burst_per_ip", "1"),
    ]);
    let clients: Vec<_> = (0..5)
        .map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap())
        .collect();
    wait_for(&server, Counter::Accepted, 5);
    drop(clients);
}

#[test]
fn an_address_connects_no_faster_than_it_may() {
    let server = server(&[
        ("limits.accept_rate_per_ip", "1"),
        ("limits.accept_burst_per_ip", "4"),
    ]);
    let to = address(&server);
    let admitted = (0..6).filter_map(|_| try_connect(to)).count();
    assert!((4..=5).contains(&admitted), "{admitted}");
    let mut refused = server.read(Counter::RefusedRate);
    assert!(refused >= 1);
    wait_until("a second has passed", || {
        let admitted = try_connect(to).is_some();
        refused += u64::from(!admitted);
        admitted
    });
    assert_eq!(server.read(Counter::RefusedRate), refused);
}

#[test]
fn lists_let_in_and_shut_out() {
    for (allow, deny, expected) in [
        ("", "", true),
        ("127.0.0.0/8", "", true),
        ("10.0.0.0/8", "", false),
        ("", "127.0.0.1", false),
        ("127.0.0.0/8", "127.0.0.1", false),
        ("127.0.0.1", "127.0.0.0/8", true),
    ] {
        let server = server(&[("listener.0.allow", allow), ("listener.0.deny", deny)]);
        let admitted = try_connect(address(&server)).is_some();
        assert_eq!(admitted, expected, "allow {allow}, deny {deny}");
        assert_eq!(server.read(Counter::RefusedDenied), u64::from(!expected));
        assert_eq!(server.read(Counter::Accepted), u64::from(expected));
    }
}

/// What clients of a proxy hold, each by its name: requests in progress, and sockets
/// for good.
#[test]
fn clients_whom_a_proxy_names_are_limited_by_what_they_hold() {
    let web = Web::<()>::new()
        .post("/body", |_, body: Bytes| body)
        .get("/inline", |_, (): ()| "inline")
        .messages("/who", |c, _: Message| c.peer().to_string());
    let server = Server::configured(
        App::<()>::new().web(web),
        &[
            ("listener.0.protocol", "http"),
            ("listener.0.trusted", "127.0.0.0/8"),
            ("http.client_from", "x-forwarded-for"),
            ("limits.connections_per_ip", "2"),
        ],
    )
    .unwrap();
    let by = |client: &str| format!("X-Forwarded-For: 9.9.9.9, {client}\r\n");
    let get = |client: &str| format!("GET /inline HTTP/1.1\r\nHost: x\r\n{}\r\n", by(client));
    let is_served = |one: &mut Client, client: &str| {
        one.send(get(client).as_bytes());
        let (head, _) = response(one);
        let status = head.split(' ').nth(1).unwrap().to_owned();
        assert!(["200", "429"].contains(&&*status), "{head}");
        status == "200"
    };
    let (ann, bob) = ("192.0.2.1", "192.0.2.2");
    // Connections that are kept are nobody's while nothing is asked.
    let mut kept = [(); 5].map(|()| Client::to(&server));
    for one in &mut kept {
        assert!(is_served(one, ann));
    }
    let mut uploads = [(); 2].map(|()| Client::to(&server));
    let upload = format!(
        "POST /body HTTP/1.1\r\nHost: x\r\n{}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        by(ann)
    );
    for one in &mut uploads {
        one.send(upload.as_bytes());
        assert_eq!(one.exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let [one, another, ..] = &mut kept;
    assert!(!is_served(one, ann), "she has two in progress");
    one.until_closed();
    assert!(is_served(another, bob));
    wait_for(&server, Counter::HttpPerIp, 1);
    uploads[0].send(b"body");
    assert!(response(&mut uploads[0]).0.starts_with("HTTP/1.1 200 "));
    assert!(is_served(another, ann), "one is answered");

    let socket = |client: &str| {
        let mut one = Client::to(&server);
        one.send(websocket::request("/who", &by(client)).as_bytes());
        let (status, _) = websocket::head(&mut one);
        status.contains(" 101 ").then_some(one)
    };
    let mut sockets: Vec<Client> = (0..2).map_while(|_| socket(bob)).collect();
    assert_eq!(sockets.len(), 2);
    sockets[1].send(&websocket::frame(0x81, b"who?"));
    assert_eq!(websocket::next(&mut sockets[1]).1, b"192.0.2.2:0");
    assert!(socket(bob).is_none() && socket(ann).is_some());
    assert!(!is_served(another, bob), "they stay his");
    drop(sockets.pop());
    wait_until("one has gone", || socket(bob).is_some());
}
