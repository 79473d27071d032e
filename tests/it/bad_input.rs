//! What peers do wrong, and what it costs them: their own connection.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
use crate::harness::{Client, comm, crc32, resident, rpc, serve, serve_with, wait_for, wait_until};

fn echo() -> App<()> {
    App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, |_, body: Bytes| body)
}

/// A bad frame of each preset, and the counter under which its sender is
/// closed.
#[test]
fn broken_frames_close_behind_the_good_ones() {
    let be = |n: u32| n.to_be_bytes().to_vec();
    let zinx = |len: u32| [be(1), be(len)].concat();
    let zinx_good = [be(1), be(2), b"ok".to_vec()].concat();
    let ltv_good = [
        2_u32.to_le_bytes().to_vec(),
        1_u32.to_le_bytes().to_vec(),
        b"ok".to_vec(),
    ]
    .concat();
    let mut wrong_sum = comm(1, b"body");
    wrong_sum[4] ^= 1;
    let mut wrong_rpc_sum = rpc(1, 7, b"body");
    wrong_rpc_sum[15] ^= 1;
    let no_body = [8_u16.to_be_bytes(), 1_u16.to_be_bytes(), [0, 1], [0, 0]].concat();
    let cases: Vec<(&str, Vec<u8>, Vec<u8>, Counter)> = vec![
        (
            "comm",
            comm(1, b"ok"),
            [29_001_u16.to_be_bytes(), [0; 2]].concat(),
            Counter::TooLong,
        ),
        (
            "comm",
            comm(1, b"ok"),
            [7_u16.to_be_bytes(), [0; 2]].concat(),
            Counter::TooShort,
        ),
        ("comm", comm(1, b"ok"), vec![0; 8], Counter::TooShort),
        ("comm", comm(1, b"ok"), wrong_sum, Counter::BadChecksum),
        ("comm", comm(1, b"ok"), no_body, Counter::BadChecksum),
        ("zinx", zinx_good.clone(), zinx(1 << 21), Counter::TooLong),
        ("zinx", zinx_good, zinx(u32::MAX), Counter::TooLong),
        (
            "zinx-ltv",
            ltv_good,
            (1_u32 << 21).to_le_bytes().repeat(2),
            Counter::TooLong,
        ),
        (
            "rpc",
            rpc(1, 1, b"ok"),
            be((16 << 20) + 1).repeat(4),
            Counter::TooLong,
        ),
        (
            "rpc",
            rpc(1, 1, b"ok"),
            be(u32::MAX).repeat(4),
            Counter::TooLong,
        ),
        ("rpc", rpc(1, 1, b"ok"), wrong_rpc_sum, Counter::BadChecksum),
    ];
    for (preset, good, bad, counter) in cases {
        let server = serve_with(echo(), &[("listener.0.frame", preset)]);
        let mut client = Client::to(&server);
        client.send(&[good.repeat(3), bad.clone()].concat());
        let name = counter.name();
        assert_eq!(client.rest(), good.repeat(3), "{preset} {bad:02x?} {name}");
        assert_eq!(server.read(counter), 1, "{preset} {bad:02x?} {name}");
        wait_for(&server, Counter::Live, 0);
    }
}

#[test]
fn http_and_tls_are_recognised_on_every_preset() {
    for preset in [
        "comm", "zinx", "zinx-ltv", "rpc", "frame32", "len16", "len32",
    ] {
        let server = serve_with(echo(), &[("listener.0.frame", preset)]);
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\n\r\n",
        ] {
            let mut client = Client::to(&server);
            client.send(request.as_bytes());
            let answer = String::from_utf8(client.rest()).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{preset}: {answer}");
        }
        let mut client = Client::to(&server);
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.until_closed();
        let mut client = Client::to(&server);
        client.send(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        client.until_closed();
        assert_eq!(server.read(Counter::SpokeHttp), 3, "{preset}");
        assert_eq!(server.read(Counter::SpokeTls), 1, "{preset}");
    }
}

#[test]
fn unknown_ids_are_answered_ignored_or_closed_as_configured() {
    let mut error = 99_u32.to_be_bytes().to_vec();
    error.extend(404_u16.to_be_bytes());
    for (policy, closes) in [("error", false), ("ignore", false), ("close", true)] {
        let keys = [("listener.0.unknown_id", policy)];
        let server = serve_with(echo(), &keys);
        let mut client = Client::to(&server);
        client.send(&comm(99, b"?"));
        if policy == "error" {
            let (id, body) = client.comm();
            assert_eq!((id, &body[..6]), (65_535, &*error));
            assert!(std::str::from_utf8(&body[6..]).unwrap().contains("99"));
        }
        if closes {
            assert_eq!(client.rest(), b"");
        } else {
            assert_eq!(client.call(1, b"on"), (1, b"on".to_vec()));
        }
        assert_eq!(server.read(Counter::Unclaimed), 1, "{policy}");
        assert_eq!(
            server.read(Counter::UnknownId),
            u64::from(closes),
            "{policy}"
        );
    }
    let app = echo().otherwise(|_, body: Bytes| Reply::with(7, body));
    let server = serve(app);
    assert_eq!(Client::to(&server).call(99, b"?"), (7, b"?".to_vec()));
}

#[test]
fn a_panic_is_answered_and_costs_neither_connection_nor_thread() {
    // A thread that died and was replaced would be a new one.
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let mark = move |seen: &Mutex<HashSet<ThreadId>>| {
        seen.lock().unwrap().insert(thread::current().id());
    };
    let (pooled, panicking) = (Arc::clone(&seen), Arc::clone(&seen));
    let app = App::<()>::new()
        .on(1, move |_, body: Bytes| {
            mark(&pooled);
            body
        })
        .on(3, move |_, (): ()| -> () {
            mark(&panicking);
            panic!("on purpose")
        })
        .on_inline(4, |_, (): ()| -> () { panic!("on purpose") });
    let server = serve_with(app, &[("worker.business_threads", "3")]);
    let mut client = Client::to(&server);
    for id in [3_u16, 4].repeat(50) {
        let (reply, body) = client.call(id, b"");
        assert_eq!(reply, 65_535);
        assert_eq!(body[..6], [0, 0, 0, u8::try_from(id).unwrap(), 1, 0xf4]);
        assert_eq!(client.call(1, b"alive"), (1, b"alive".to_vec()));
    }
    assert_eq!(server.read(Counter::Panicked), 100);
    let threads = seen.lock().unwrap().len();
    assert!(threads <= 3, "{threads} threads ran handlers");
}

/// A claim costs nothing but the bytes that were really sent.
#[test]
fn claims_of_four_gigabytes_cost_no_memory() {
    let daemon = Daemon::start(&[
        ("listener.0.frame", "rpc"),
        ("worker.connections_max", "12000"),
    ]);
    let before = warm(&daemon);
    let mut frame = u32::MAX.to_be_bytes().to_vec();
    frame.extend([0; 1020]);
    for _ in 0..10 {
        let mut clients: Vec<_> = (0..1000)
            .map(|_| Client::connect(daemon.address()))
            .collect();
        clients.iter_mut().for_each(|client| client.send(&frame));
        clients.iter_mut().for_each(|client| {
            client.until_closed();
        });
    }
    let after = resident(daemon.worker());
    assert!(
        after < before + (8 << 20),
        "{before} bytes before, {after} after"
    );
    let counters = daemon.stop();
    assert_eq!(counters["connections_closed_frame_too_long"], 10_000);
}

/// A thousand connections that begin the largest legal frame: the memory
/// follows what they send.
#[test]
fn memory_follows_the_bytes_received() {
    let daemon = Daemon::start(&[("listener.0.frame", "rpc")]);
    let before = warm(&daemon);
    let mut clients: Vec<_> = (0..1000)
        .map(|_| Client::connect(daemon.address()))
        .collect();
    let mut header = (16_u32 << 20).to_be_bytes().to_vec();
    header.extend([0; 12]);
    clients.iter_mut().for_each(|client| client.send(&header));
    let part = vec![0; 10_000];
    clients.iter_mut().for_each(|client| client.send(&part));
    // All has been read when a request behind it is answered.
    assert_eq!(daemon.echo_rpc(), b"ping");
    let after = resident(daemon.worker());
    let received = 1000 * 10_016;
    assert!(
        after < before + 2 * received + (8 << 20),
        "{before} before, {after} after"
    );
    drop(clients);
    daemon.stop();
}

/// Memory after the pool and the allocator have seen a thousand clients.
fn warm(daemon: &Daemon) -> u64 {
    let clients: Vec<_> = (0..1000)
        .map(|_| Client::connect(daemon.address()))
        .collect();
    assert_eq!(daemon.echo_rpc(), b"ping");
    drop(clients);
    resident(daemon.worker())
}

#[test]
fn without_descriptors_old_clients_are_served_and_new_ones_later() {
    let daemon = Daemon::limited(64, &[("listener.0.frame", "comm")]);
    let mut old = Client::connect(daemon.address());
    assert_eq!(old.call(1, b"before").1, b"before");
    // More than there are descriptors: the kernel queues the rest.
    let mut crowd: Vec<_> = (0..100)
        .map(|_| Client::connect(daemon.address()))
        .collect();
    for _ in 0..50 {
        assert_eq!(old.call(1, b"meanwhile").1, b"meanwhile");
    }
    let mut last = crowd.pop().unwrap();
    last.send(&comm(1, b"at last"));
    drop(crowd);
    assert_eq!(last.comm().1, b"at last");
    assert_eq!(old.call(1, b"after").1, b"after");
    let counters = daemon.stop();
    assert!(counters["accept_paused_out_of_descriptors"] > 0);
    assert_eq!(counters["connections_accepted"], 101);
}

#[test]
fn a_full_pool_lets_clients_wait_in_the_backlog() {
    let keys = [
        ("worker.connections_max", "4"),
        ("worker.connections_initial", "4"),
    ];
    let server = serve_with(echo(), &keys);
    let mut first: Vec<_> = (0..4).map(|_| Client::to(&server)).collect();
    first
        .iter_mut()
        .for_each(|client| assert_eq!(client.call(1, b"in").1, b"in"));
    let mut waiting = Client::to(&server);
    waiting.send(&comm(1, b"patience"));
    wait_until("accepting pauses", || server.read(Counter::PoolFull) > 0);
    assert_eq!(server.read(Counter::Live), 4);
    first.pop();
    assert_eq!(waiting.comm().1, b"patience");
}

#[test]
fn a_checksum_is_that_of_zlib() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

#[test]
fn an_end_in_the_middle_of_a_frame_is_counted() {
    let server = serve(echo());
    let mut client = Client::to(&server);
    client
        .0
        .write_all(&[comm(1, b"whole"), comm(1, b"cut")[..9].to_vec()].concat())
        .unwrap();
    client.finish();
    assert_eq!(client.rest(), comm(1, b"whole"));
    assert_eq!(server.read(Counter::Truncated), 1);
}
