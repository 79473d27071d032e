//! Messages of one connection run one at a time, in order of arrival.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, comm, rpc, serve_with};

const POOLED: u32 = 1;
const INLINE: u32 = 2;
const LATER: u32 = 3;

const CONNECTIONS: usize = 64;
const MESSAGES: u32 = 1_000_000;
const CLIENTS: usize = 4;

/// What one connection has seen: the number of the next message.
#[derive(Default)]
struct Seen {
    next: u32,
    /// Set while a handler runs.
    busy: bool,
}

/// Checks that the message is the next one, and that nothing else runs.
fn check(seen: &mut Seen, body: &Bytes) -> u32 {
    let number = u32::from_be_bytes(body[..4].try_into().expect("four bytes"));
    assert!(
        !std::mem::replace(&mut seen.busy, true),
        "two handlers at a time"
    );
    assert_eq!(number, seen.next, "out of order");
    seen.next += 1;
    disturb(number);
    seen.busy = false;
    number
}

/// Random yields, and a sleep in one message of a thousand.
fn disturb(number: u32) {
    match number.wrapping_mul(2_654_435_761) >> 16 {
        dice if dice % 1000 == 0 => thread::sleep(Duration::from_millis(1)),
        dice if dice % 7 == 0 => thread::yield_now(),
        _ => {}
    }
}

fn app(later: Sender<(Replier, Bytes)>) -> App<Seen> {
    let later = Mutex::new(later);
    App::<Seen>::new()
        .on(POOLED, |c, body: Bytes| {
            check(c, &body);
            body
        })
        .on_inline(INLINE, |c, body: Bytes| {
            check(c, &body);
            body
        })
        .on(LATER, move |c, body: Bytes| {
            check(c, &body);
            let later = later.lock().expect("a lock").clone();
            c.later(move |replier| {
                let _ended = later.send((replier, body));
            })
        })
}

/// A thread that answers what handlers put off.
fn answering() -> Sender<(Replier, Bytes)> {
    let (sender, receiver) = mpsc::channel::<(Replier, Bytes)>();
    thread::spawn(move || {
        for (replier, body) in receiver {
            replier.send(body);
        }
    });
    sender
}

/// Which handler a message goes to: long runs of each, and quick changes.
fn id_of(number: u32) -> u32 {
    match number % 97 {
        0..40 => POOLED,
        40..80 => INLINE,
        rest if rest % 5 == 0 => LATER,
        rest if rest % 2 == 0 => POOLED,
        _ => INLINE,
    }
}

fn run(preset: &str, drive: fn(&mut Client, u32)) {
    let keys = [
        ("worker.business_threads", "8"),
        ("listener.0.frame", preset),
    ];
    let server = serve_with(app(answering()), &keys);
    let each = MESSAGES / u32::try_from(CONNECTIONS).unwrap();
    let server = Arc::new(server);
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                let mut clients: Vec<_> = (0..CONNECTIONS / CLIENTS)
                    .map(|_| Client::to(&server))
                    .collect();
                for start in (0..each).step_by(125) {
                    for client in &mut clients {
                        drive(client, start);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(server.read(Counter::Handled), u64::from(MESSAGES));
    assert_eq!(server.read(Counter::Panicked), 0);
    assert_eq!(server.read(Counter::HandlerErrors), 0);
    assert!(server.read(Counter::HandledInline) > 0);
}

#[test]
fn a_million_messages_keep_their_order_on_comm() {
    run("comm", |client, start| {
        let batch: Vec<u8> = (start..start + 125)
            .flat_map(|n| comm(u16::try_from(id_of(n)).unwrap(), &n.to_be_bytes()))
            .collect();
        client.send(&batch);
        for n in start..start + 125 {
            let expected = (u16::try_from(id_of(n)).unwrap(), n.to_be_bytes().to_vec());
            assert_eq!(client.comm(), expected);
        }
    });
}

#[test]
fn a_million_messages_keep_their_order_on_rpc() {
    run("rpc", |client, start| {
        let batch: Vec<u8> = (start..start + 125)
            .flat_map(|n| rpc(id_of(n), n + 1, &n.to_be_bytes()))
            .collect();
        client.send(&batch);
        // Replies that were put off may come late; the sequence tells whose.
        let mut seen = [false; 125];
        let mut last = None;
        for _ in 0..125 {
            let (id, sequence, body) = client.rpc();
            let number = sequence - 1;
            assert_eq!((id, body), (id_of(number), number.to_be_bytes().to_vec()));
            assert!(!std::mem::replace(
                &mut seen[(number - start) as usize],
                true
            ));
            if id != LATER {
                assert!(last < Some(number), "replies in order");
                last = Some(number);
            }
        }
    });
}
