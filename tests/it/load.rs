//! Real load over HTTP: what a thousand clients of wrk make of a server in many
//! seconds, ten thousand that stay, and a hundred that take more than there is
//! memory for. Not one request may fail.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use crate::daemon::Daemon;
use crate::harness::{Client, PATIENCE, has, resident};
use crate::instance::{busy, subject};

/// Asks for something of which both parameters are read, on the pool.
const TARGET: &str = "/api/v1/stream/?streamname=livestream1&edgename=edge240";

fn serve(keys: &[(&str, &str)]) -> Daemon {
    let http = [("listener.0.protocol", "http")];
    let daemon = Daemon::program(&subject(), &[&http, keys].concat());
    let mut client = Client::connect(daemon.address());
    client.send(format!("GET {TARGET} HTTP/1.0\r\n\r\n").as_bytes());
    let reply = String::from_utf8(client.rest()).unwrap();
    assert!(reply.ends_with("\r\n\r\nlivestream1 at edge240"), "{reply}");
    daemon
}

/// wrk says a line of each kind of error that there was, and else nothing. With
/// `PURLIN_TEST_FULL` in the environment it loads for half a minute.
#[test]
fn a_thousand_clients_of_wrk_see_no_error() {
    if !has("wrk", "wrk") {
        return;
    }
    let full = std::env::var_os("PURLIN_TEST_FULL").is_some();
    let time = if full { "-d30s" } else { "-d5s" };
    let _busy = busy();
    let daemon = serve(&[]);
    let url = format!("http://{}{TARGET}", daemon.address());
    let output = Command::new("wrk")
        .args(["-t4", "-c1000", time, "--latency", &url])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // For whoever runs it by name, with `--nocapture`.
    println!("{said}");
    assert!(output.status.success(), "{said}");
    for error in ["Socket errors", "Non-2xx", "unable"] {
        assert!(!said.contains(error), "{said}");
    }
    assert!(said.contains("1000 connections"), "{said}");
    let counters = daemon.stop();
    // One more asked before, and wrk itself looks who is there.
    let accepted = counters["connections_accepted"];
    assert!((1001..=1002).contains(&accepted), "{accepted}: {said}");
    assert!(counters["messages_handled"] > 3000, "{said}");
}

/// All are there at once, each with a connection of its own that it keeps, and
/// each gets three replies.
#[cfg(feature = "stress")]
#[test]
fn ten_thousand_five_hundred_clients_keep_their_connections() {
    use nix::sys::resource::{Resource, getrlimit};

    const CLIENTS: u64 = 10_500;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < 13_000 && !nix::unistd::geteuid().is_root() {
        crate::harness::skip("10,500 clients need `ulimit -Hn 13000`");
        return;
    }
    let _busy = busy();
    let daemon = serve(&[("worker.connections_max", "12000")]);
    let url = format!("http://{}{TARGET}", daemon.address());
    let output = Command::new(env!("CARGO_BIN_EXE_purlin"))
        .args(["stress", &url, "--json", "--timeout", "60"])
        .args(["-c", &CLIENTS.to_string(), "-n", &(3 * CLIENTS).to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*told), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{report:#}");
    assert_eq!(report["replies"], 3 * CLIENTS);
    assert_eq!(report["statuses"]["200"], 3 * CLIENTS);
    assert_eq!(
        (&report["errors"], &report["silent_clients"]),
        (&0.into(), &0.into())
    );
    assert_eq!(report["connections_opened"], CLIENTS);
    let counters = daemon.stop();
    assert_eq!(counters["connections_accepted"], CLIENTS + 1);
    assert_eq!(counters["messages_handled"], 3 * CLIENTS + 1);
}

const MIB: usize = 1 << 20;

/// Resident memory of a worker while a hundred clients are in the midst of a
/// range of `len` bytes each, in a file of `size` bytes; the most that was seen.
/// All of them take all of it in the end, and not a byte more.
fn memory_of_downloads(size: usize, len: usize) -> u64 {
    const CLIENTS: usize = 100;
    const LOOKS: usize = 8;
    const PART: usize = MIB / 4;
    let folder = tempfile::tempdir().unwrap();
    // A worker that is not root itself must be able to go in.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let file = File::create(folder.path().join("sparse")).unwrap();
    file.set_len(size as u64).unwrap();
    let root = folder.path().to_str().unwrap();
    let daemon = Daemon::start(&[("listener.0.protocol", "http"), ("listener.0.root", root)]);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|n| {
            // Deep in the file, and no two the same where there is room: overlapping,
            // so that the machine need not hold the whole file to serve them.
            let from = (size - len).saturating_sub(n * MIB);
            let last = from + len - 1;
            let mut client = Client::connect(daemon.address());
            client.0.set_read_timeout(Some(PATIENCE)).unwrap();
            client.send(
                format!("GET /sparse HTTP/1.1\r\nHost: x\r\nRange: bytes={from}-{last}\r\n\r\n")
                    .as_bytes(),
            );
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(char::from(client.exactly(1)[0]));
            }
            assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
            assert!(
                head.contains(&format!("\r\nContent-Length: {len}\r\n")),
                "{head}"
            );
            client
        })
        .collect();
    let mut most = 0;
    let mut look = || most = most.max(resident(daemon.worker()));
    // A part of each in turn: all have begun and none is done.
    let mut part = vec![0; PART];
    for _ in 0..LOOKS {
        for client in &mut clients {
            client.0.read_exact(&mut part).unwrap();
        }
        look();
    }
    // All at once, up to the last part; a look; and the end.
    let there = Barrier::new(CLIENTS + 1);
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                let mut buffer = vec![1; PART];
                let mut next = || client.0.read_exact(&mut buffer);
                let read = (LOOKS + 1..len / PART).try_for_each(|_| next());
                // Whoever failed must not keep the others waiting.
                there.wait();
                there.wait();
                read.unwrap();
                assert!(buffer.iter().all(|&byte| byte == 0));
                client.finish();
                assert_eq!(client.rest().len(), PART);
            });
        }
        there.wait();
        look();
        there.wait();
    });
    daemon.stop();
    most
}

#[test]
fn the_memory_of_a_hundred_downloads_does_not_depend_on_the_file() {
    let _busy = busy();
    let small = memory_of_downloads(4 * MIB, 4 * MIB);
    let large = memory_of_downloads(4 << 30, 64 * MIB);
    println!("resident with 100 clients: {small} bytes on 4 MiB, {large} on 4 GiB");
    let (small, large) = (small as f64, large as f64);
    assert!(
        (0.9..1.1).contains(&(large / small)),
        "{large} instead of {small}"
    );
}
