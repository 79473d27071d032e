//! Slow peers, slow handlers, half-closed and closing connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{
    Client, PATIENCE, address, comm, rpc, serve, serve_with, wait_for, wait_until,
};

const ECHO: u32 = 1;
const INLINE: u32 = 2;
const SLOW: u32 = 3;
const BIG: u32 = 4;

fn app() -> App<()> {
    App::<()>::new()
        .on(ECHO, |_, body: Bytes| body)
        .on_inline(INLINE, |_, body: Bytes| body)
        .on(SLOW, |_, body: Bytes| {
            thread::sleep(Duration::from_secs(1));
            body
        })
        .on(BIG, |_, (): ()| Bytes::from(vec![7; 100_000]))
}

/// A connection whose kernel buffers little, so that bytes pile up in the
/// server and not on the way.
fn narrow(server: &Server) -> Client {
    let client = Client::to(server);
    nix::sys::socket::setsockopt(&client.0, nix::sys::socket::sockopt::RcvBuf, &(64 * 1024))
        .unwrap();
    client
}

#[test]
fn a_slow_reader_gets_every_byte_and_no_busy_loop() {
    const MIB: usize = 1 << 20;
    let server = serve_with(app(), &[("listener.0.frame", "rpc")]);
    let mut client = narrow(&server);
    let mut writer = client.0.try_clone().unwrap();
    let requests = thread::spawn(move || {
        for n in 0..64_u8 {
            writer
                .write_all(&rpc(ECHO, u32::from(n) + 1, &vec![n; MIB]))
                .unwrap();
        }
    });
    let mut head = Vec::new();
    for _ in 0..10 {
        head.extend(client.exactly(1024));
        thread::sleep(Duration::from_secs(1));
    }
    let expected: Vec<u8> = (0..64_u8)
        .flat_map(|n| rpc(ECHO, u32::from(n) + 1, &vec![n; MIB]))
        .collect();
    head.extend(client.exactly(expected.len() - head.len()));
    assert!(head == expected, "the bytes differ");
    requests.join().unwrap();
    wait_until("nothing is armed", || {
        server.read(Counter::WriteArmed) == server.read(Counter::WriteDisarmed)
    });
    assert!(
        server.read(Counter::WriteArmed) > 0,
        "the kernel never refused"
    );
    assert!(
        server.read(Counter::WriteFutile) <= server.read(Counter::WriteArmed) / 10,
        "woken {} times for nothing",
        server.read(Counter::WriteFutile)
    );
    assert_eq!(server.read(Counter::Buffered), 0);
}

/// The handler blocks until a thousand echoes beside it have returned; if it
/// delayed them, neither would ever come to an end.
#[test]
fn a_slow_handler_delays_nobody_else() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let app = app().on(5, move |_, body: Bytes| {
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        body
    });
    let server = serve(app);
    let mut slow = Client::to(&server);
    let mut quick = Client::to(&server);
    slow.send(&comm(5, b"zzz"));
    for _ in 0..1000 {
        assert_eq!(quick.call(1, b"quick").1, b"quick");
    }
    open.send(()).unwrap();
    assert_eq!(slow.comm(), (5, b"zzz".to_vec()));
}

#[test]
fn replies_owed_are_delivered_after_a_half_close() {
    let server = serve(app());
    for (id, body) in [(1, b"pooled".as_slice()), (2, b"inline"), (3, b"slow")] {
        let mut client = Client::to(&server);
        let mut batch = comm(1, b"first");
        batch.extend(comm(id, body));
        client.send(&batch);
        client.finish();
        let mut expected = comm(1, b"first");
        expected.extend(comm(id, body));
        assert_eq!(client.rest(), expected);
    }
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Quarantined, 0);
}

#[test]
fn who_has_every_reply_and_leaves_wakes_no_other_thread() {
    let server = serve(app());
    for _ in 0..20 {
        assert_eq!(Client::to(&server).call(2, b"quick").1, b"quick");
    }
    wait_for(&server, Counter::Recycled, 20);
    let count = |counter| server.read(counter);
    assert_eq!((count(Counter::Turns), count(Counter::Wakes)), (0, 0));
    assert_eq!((count(Counter::Live), count(Counter::Quarantined)), (0, 0));
}

#[test]
fn who_is_to_be_seen_off_leaves_in_a_turn_of_its_own() {
    let (said, heard) = std::sync::mpsc::channel();
    let server = serve(app().closed(move |ctx| said.send(ctx.conn()).unwrap()));
    for _ in 0..20 {
        assert_eq!(Client::to(&server).call(2, b"quick").1, b"quick");
    }
    wait_for(&server, Counter::Recycled, 20);
    let left: std::collections::HashSet<_> = heard.try_iter().collect();
    assert_eq!((left.len(), server.read(Counter::Turns)), (20, 20));
}

#[test]
fn what_was_queued_before_a_close_arrives_before_the_end() {
    let app = App::<()>::new().on(1, |c, (): ()| {
        // More than the kernel ever holds for a socket (`tcp_wmem`).
        for _ in 0..100 {
            c.send(2, Bytes::from(vec![9; 100_000]));
        }
        c.close();
    });
    let keys = [
        ("listener.0.frame", "zinx"),
        ("limits.outbound_max", "16MiB"),
    ];
    let server = serve_with(app, &keys);
    let mut client = narrow(&server);
    let mut request = 1_u32.to_be_bytes().to_vec();
    request.extend(0_u32.to_be_bytes());
    client.send(&request);
    wait_until("the close waits for the bytes", || {
        server.read(Counter::Buffered) > 0
    });
    assert_eq!(client.rest().len(), 100 * 100_008);
    wait_for(&server, Counter::Live, 0);
    assert_eq!(server.read(Counter::Buffered), 0);
}

#[test]
fn closes_of_every_kind_end_once() {
    let closing = || {
        App::<()>::new()
            .on(1, |c, body: Bytes| {
                c.close();
                c.close();
                body
            })
            .on_inline(2, |c, body: Bytes| {
                c.close();
                body
            })
            .on(3, |c, (): ()| c.abort())
            .on(4, |c, body: Bytes| {
                let (hub, conn) = (c.hub().clone(), c.conn());
                hub.conn(conn).close("test");
                hub.conn(conn).close("test");
                body
            })
            .on(5, |c, body: Bytes| {
                c.after(Duration::from_millis(1), |c| c.close());
                body
            })
            .on(6, |c, body: Bytes| {
                c.close();
                c.abort();
                body
            })
            .closed(|c| {
                c.close();
                c.send(1, "into the void");
                let (hub, conn) = (c.hub().clone(), c.conn());
                assert_eq!(hub.conn(conn).send(1, "nobody"), 0);
            })
    };
    let server = serve(closing());
    for id in [1_u16, 2, 4, 5] {
        let mut client = Client::to(&server);
        client.send(&comm(id, b"bye"));
        assert_eq!(client.rest(), comm(id, b"bye"), "id {id}");
    }
    for id in [3_u16, 6] {
        let mut client = Client::to(&server);
        client.send(&comm(id, b""));
        let error = client.0.read(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "id {id}");
    }
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Quarantined, 0);
    assert_eq!(server.read(Counter::Closed), 6);
    assert_eq!(server.read(Counter::Recycled), 6);
    assert_eq!(server.read(Counter::Panicked), 0);
    assert_eq!(server.read(Counter::Buffered), 0);
}

#[test]
fn a_close_while_a_reply_is_written_ends_once() {
    let server = serve_with(app(), &[("listener.0.frame", "zinx")]);
    for round in 0..50 {
        let mut client = narrow(&server);
        let mut request = BIG.to_be_bytes().to_vec();
        request.extend(0_u32.to_be_bytes());
        client.send(&request.repeat(20));
        client.exactly(100 * (round + 1));
        drop(client);
    }
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Quarantined, 0);
    assert_eq!(server.read(Counter::Closed), 50);
    wait_for(&server, Counter::Buffered, 0);
}

#[test]
fn clients_that_never_read_are_bounded_and_others_are_served() {
    let keys = [
        ("listener.0.frame", "zinx"),
        ("limits.buffered_max", "8MiB"),
        ("limits.outbound_max", "1MiB"),
    ];
    let server = serve_with(app(), &keys);
    let mut greedy: Vec<Client> = (0..200).map(|_| narrow(&server)).collect();
    let mut request = BIG.to_be_bytes().to_vec();
    request.extend(0_u32.to_be_bytes());
    for client in &mut greedy {
        // May fail: the server closes whoever holds the most.
        let _closed = client.0.write_all(&request.repeat(100));
    }
    let most = std::cell::Cell::new(0);
    wait_until("somebody was closed for it", || {
        most.set(most.get().max(server.read(Counter::Buffered)));
        server.read(Counter::BufferedOverflow) > 0
    });
    // One turn may run over the mark by its replies; all pool threads may.
    assert!(most.get() < 16 << 20, "{} bytes were held", most.get());
    let mut honest = Client::to(&server);
    let mut frame = 1_u32.to_be_bytes().to_vec();
    frame.extend(5_u32.to_be_bytes());
    frame.extend(b"hello");
    for _ in 0..100 {
        honest.send(&frame);
        assert_eq!(honest.exactly(frame.len()), frame);
    }
    drop(greedy);
    wait_for(&server, Counter::Live, 1);
    wait_for(&server, Counter::Buffered, 0);
}

#[test]
fn a_peer_that_says_nothing_is_closed_and_one_that_speaks_is_not() {
    let keys = [
        ("heartbeat.first_message", "300ms"),
        ("heartbeat.timeout", "1s"),
    ];
    let server = serve_with(app(), &keys);
    let begun = Instant::now();
    let mut mute = Client::to(&server);
    let mut talks = Client::to(&server);
    let mut once = Client::to(&server);
    once.call(1, b"once");
    while server.read(Counter::FirstMessageTimeout) + server.read(Counter::HeartbeatTimeout) < 2 {
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(talks.call(1, b"x").1, b"x");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(mute.rest(), b"");
    assert_eq!(once.rest(), b"");
    assert!(
        begun.elapsed() >= Duration::from_millis(990),
        "after {:?}",
        begun.elapsed()
    );
    assert_eq!(server.read(Counter::FirstMessageTimeout), 1);
    assert_eq!(server.read(Counter::HeartbeatTimeout), 1);
    assert_eq!(talks.call(1, b"still here").1, b"still here");
}

#[test]
fn a_server_that_stops_answers_what_it_has_received() {
    let server = serve(app());
    let mut clients: Vec<Client> = (0..8).map(|_| Client::to(&server)).collect();
    let mut idle = Client::to(&server);
    idle.call(1, b"hello");
    for client in &mut clients {
        client.send(&comm(3, b"slow").repeat(2));
    }
    wait_for(&server, Counter::Accepted, 9);
    wait_until("the handlers run", || server.read(Counter::Handled) > 1);
    let at = address(&server);
    assert_eq!(server.stop(PATIENCE).unwrap().cut, 0);
    for client in &mut clients {
        assert_eq!(client.rest(), comm(3, b"slow").repeat(2));
    }
    assert_eq!(idle.rest(), b"");
    assert!(TcpStream::connect(at).is_err());
}

/// A handler is held to the same limit for its own connection: what it pushes
/// in one call is in memory before anything can be written.
/// In a process of its own the kernel would close them.
#[test]
fn a_server_that_cuts_its_connections_leaves_none_open() {
    let app = App::<String>::new()
        .on(ECHO, |c, name: String| {
            **c = name;
            "welcome"
        })
        .on(SLOW, |_, (): ()| thread::sleep(Duration::from_millis(300)));
    let server = serve(app);
    let mut clients: Vec<Client> = (0..10).map(|_| Client::to(&server)).collect();
    for client in &mut clients {
        client.send(&comm(1, b"ann"));
        client.comm();
    }
    // More than there are threads: the turns of most are still to come.
    for client in &mut clients {
        client.send(&comm(3, b""));
    }
    let received = || server.read(Counter::Received) == 20;
    wait_until("all is received", received);
    server.stop(Duration::ZERO).unwrap();
    for client in &mut clients {
        client.until_closed();
    }
}

#[test]
fn a_handler_that_pushes_without_end_is_bounded() {
    const PUSH: Id = 2;
    let body = Bytes::from(vec![7; 1024]);
    let app = App::<()>::new().on(1, move |c, (): ()| {
        (0..1000).for_each(|_| c.send(PUSH, body.clone()));
        "done"
    });
    let keys = [
        ("limits.outbound_high", "16KiB"),
        ("limits.outbound_max", "64KiB"),
    ];
    let server = Server::configured(app, &keys).unwrap();
    let mut client = Client::to(&server);
    client.send(&comm(1, b""));
    // 62 frames of 1,032 bytes leave room for one body of 1,024, 63 do not.
    for _ in 0..63 {
        assert_eq!(client.comm(), (2, vec![7; 1024]));
    }
    assert_eq!(client.comm(), (1, b"done".to_vec()));
    assert_eq!(server.read(Counter::PushesDropped), 1000 - 63);
}
