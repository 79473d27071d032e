//! The flood guard, over the wire.

use std::thread;
use std::time::{Duration, Instant};

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, comm, serve_with, wait_for};

fn guarded(flood: &str) -> Server {
    let app = App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, |_, body: Bytes| body);
    serve_with(app, &[("limits.flood", flood)])
}

/// The window is long, so that a slow machine cannot let one pass.
#[test]
fn the_classic_rule_kicks_on_the_11th_packet_however_they_come() {
    for (id, at_once) in [(1, true), (2, true), (1, false), (2, false)] {
        let server = guarded("{ window = \"60s\", count = 10 }");
        let mut client = Client::to(&server);
        if at_once {
            client.send(&comm(id, b"packet").repeat(20));
            assert_eq!(client.rest(), comm(id, b"packet").repeat(10));
        } else {
            for _ in 0..10 {
                assert_eq!(client.call(id, b"packet"), (id, b"packet".to_vec()));
            }
            client.send(&comm(id, b"packet"));
            assert_eq!(client.rest(), b"");
        }
        assert_eq!(server.read(Counter::Handled), 10);
        assert_eq!(server.read(Counter::Flooded), 1);
        wait_for(&server, Counter::Live, 0);
    }
}

#[test]
fn what_is_dropped_is_counted_and_the_rest_is_served() {
    let server = guarded("{ window = \"60s\", count = 3, action = \"drop\" }");
    let mut flooding = Client::to(&server);
    let numbered: Vec<u8> = (0..10).flat_map(|n| comm(2, &[n])).collect();
    // The start of one more, which is not a message yet.
    flooding.send(&[numbered, comm(2, b"half")[..9].to_vec()].concat());
    for n in 0..3 {
        assert_eq!(flooding.comm(), (2, vec![n]));
    }
    wait_for(&server, Counter::FloodDropped, 7);
    flooding.send(&comm(2, b"half")[9..]);
    wait_for(&server, Counter::FloodDropped, 8);
    let mut calm = Client::to(&server);
    assert_eq!(calm.call(2, b"calm"), (2, b"calm".to_vec()));
    assert_eq!(server.read(Counter::Live), 2);
}

#[test]
fn who_is_delayed_loses_nothing_but_time() {
    let server = guarded("{ rate = 1000, burst = 10, action = \"delay\" }");
    let mut client = Client::to(&server);
    client.send(&comm(2, b"first").repeat(310));
    let began = Instant::now();
    client.exactly(comm(2, b"first").len() * 310);
    // In one batch or several: 300 are owed at 1,000 a second.
    assert_eq!(client.call(2, b"behind"), (2, b"behind".to_vec()));
    assert!(
        began.elapsed() > Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
    assert!(server.read(Counter::FloodDelayed) > 0);
    assert_eq!(server.read(Counter::Handled), 311);
}

/// 10^6 messages of one connection, a thousand under way all the time.
#[test]
fn the_shipped_rule_never_meets_a_pipelining_client() {
    const DEPTH: usize = 1000;
    const ROUNDS: usize = 1000;
    let app = App::<()>::new().on_inline(2, |_, body: Bytes| body);
    let server = Server::spawn(app).unwrap();
    let mut client = Client::to(&server);
    let mut reader = Client(client.0.try_clone().unwrap());
    let frame = comm(2, &[b'x'; 64]);
    let round = frame.repeat(DEPTH);
    let len = round.len();
    client.send(&round);
    let reading = thread::spawn(move || {
        for _ in 0..ROUNDS {
            assert_eq!(reader.exactly(len), round, "echoed");
        }
    });
    let round = frame.repeat(DEPTH);
    (1..ROUNDS).for_each(|_| client.send(&round));
    reading.join().unwrap();
    assert_eq!(server.read(Counter::Handled), 1_000_000);
    for counter in [
        Counter::Flooded,
        Counter::FloodDropped,
        Counter::FloodDelayed,
    ] {
        assert_eq!(server.read(counter), 0, "{}", counter.name());
    }
}
