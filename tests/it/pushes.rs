//! Pushes: their place among replies and closes, and what `send` counts.

use std::sync::{Arc, Mutex};
use std::thread;

use purlin::prelude::*;

use crate::harness::{Client, comm, serve, serve_with, wait_until};

const PUSH: u32 = 100;

/// Repeats a race; thousands of times in the long form.
fn rounds() -> usize {
    match std::env::var_os("PURLIN_TEST_FULL") {
        Some(_) => 1000,
        None => 20,
    }
}

#[test]
fn a_push_to_ones_own_room_comes_before_the_reply() {
    const MESSAGES: u16 = 1000;
    let app = App::<()>::new()
        .opened(|c| c.join("all"))
        .on(1, |c, body: Bytes| {
            c.hub().room("all").send(PUSH, body.clone());
            body
        })
        .on_inline(2, |c, body: Bytes| {
            c.hub().room("all").send(PUSH, body.clone());
            body
        });
    let server = serve(app);
    let mut client = Client::to(&server);
    for id in [1, 2] {
        let batch: Vec<u8> = (0..MESSAGES)
            .flat_map(|n| comm(id, &n.to_be_bytes()))
            .collect();
        client.send(&batch);
        for n in 0..MESSAGES {
            let body = n.to_be_bytes().to_vec();
            assert_eq!(client.comm(), (100, body.clone()), "message {n} of {id}");
            assert_eq!(client.comm(), (id, body), "message {n} of {id}");
        }
    }
}

/// Whatever a handler does by way of the hub to its own connection is done in
/// its place: among `c.send`, the reply, and the close behind it.
#[test]
fn what_is_done_to_ones_own_connection_keeps_its_place() {
    let app = App::<()>::new().on(1, |c, body: Bytes| {
        c.send(PUSH, "first");
        c.hub().conn(c.conn()).send(PUSH, "second");
        c.send(PUSH, "third");
        c.hub().all().send(PUSH, "fourth");
        c.hub().conn(c.conn()).close("done");
        body
    });
    let server = serve(app);
    let mut client = Client::to(&server);
    client.send(&[comm(1, b"reply"), comm(1, b"not served")].concat());
    for expected in ["first", "second", "third", "fourth"] {
        assert_eq!(client.comm(), (100, expected.into()));
    }
    assert_eq!(client.comm(), (1, b"reply".to_vec()));
    assert_eq!(client.rest(), b"");
}

/// The last word of a kick is heard by everybody who is kicked.
#[test]
fn a_close_comes_behind_what_was_sent_before() {
    const CLIENTS: usize = 50;
    let kick = |hub: &Hub, except: ConnId| {
        let sent = hub.all().except(except).send(PUSH, "bye");
        let closed = hub.all().except(except).close("bye");
        format!("{sent} {closed}")
    };
    let app = App::<()>::new()
        .on(1, move |c, (): ()| kick(c.hub(), c.conn()))
        .on_inline(2, move |c, (): ()| kick(c.hub(), c.conn()))
        .on(3, move |c, (): ()| {
            let (hub, me) = (c.hub().clone(), c.conn());
            let kicked = thread::spawn(move || kick(&hub, me));
            kicked.join().expect("the kick")
        })
        .on_inline(4, |_, body: Bytes| body);
    let server = serve(app);
    let mut kicker = Client::to(&server);
    assert_eq!(kicker.call(4, b"here").1, b"here");
    for round in 0..rounds() {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::to(&server)).collect();
        for client in &mut clients {
            assert_eq!(client.call(4, b"here").1, b"here");
        }
        let id = u16::try_from(round % 3 + 1).expect("a small number");
        let told = kicker.call(id, b"");
        assert_eq!(told, (id, format!("{CLIENTS} {CLIENTS}").into_bytes()));
        for (n, client) in clients.iter_mut().enumerate() {
            let heard = client.exactly_or_closed(11);
            assert_eq!(
                heard,
                Some(comm(100, b"bye")),
                "client {n} in round {round}"
            );
            assert_eq!(client.rest(), b"");
        }
    }
}

/// "0: offline, store it" has to be true.
#[test]
fn who_cannot_get_a_push_is_not_counted() {
    let app = App::<()>::new().on(1, |c, length: String| {
        let length: usize = length.parse().unwrap_or(0);
        let others = c.hub().all().except(c.conn()).send(PUSH, vec_of(length));
        let own = c.hub().conn(c.conn()).send(PUSH, vec_of(length));
        format!("{others} {own}")
    });
    let keys = [
        ("limits.outbound_high", "4KiB"),
        ("limits.outbound_max", "8KiB"),
    ];
    let server = serve_with(app, &keys);
    let (mut ann, mut bob) = (Client::to(&server), Client::to(&server));
    // Pushes come before it.
    let reply = |client: &mut Client, length: &str| {
        client.send(&comm(1, length.as_bytes()));
        let mut frames = std::iter::from_fn(|| Some(client.comm()));
        let reply = frames.find(|(id, _)| *id == 1).expect("there is no end");
        String::from_utf8(reply.1).expect("text")
    };
    assert!(["0 1", "1 1"].contains(&&*reply(&mut bob, "0")));
    assert_eq!(reply(&mut ann, "0"), "1 1");
    for (length, expected) in [
        ("100", "1 1"),
        // No frame of `comm` carries it.
        ("30000", "0 0"),
        // More than may wait.
        ("10000", "0 0"),
    ] {
        assert_eq!(reply(&mut ann, length), expected, "{length}");
    }
}

fn vec_of(length: usize) -> Bytes {
    vec![7; length].into()
}

/// What many threads send to one connection arrives, each thread's in its order.
#[test]
fn pushes_of_one_thread_keep_their_order_among_replies() {
    const THREADS: u8 = 4;
    const PUSHES: u32 = 2000;
    let hub: Arc<Mutex<Option<(Hub, ConnId)>>> = Arc::default();
    let put = Arc::clone(&hub);
    let app = App::<()>::new()
        .on(1, move |c, (): ()| {
            *put.lock().expect("a lock") = Some((c.hub().clone(), c.conn()));
        })
        .on(2, |_, body: Bytes| body);
    let keys = [("limits.outbound_max", "16MiB")];
    let server = serve_with(app, &keys);
    let mut client = Client::to(&server);
    client.send(&comm(1, b""));
    wait_until("the handler has run", || {
        hub.lock().expect("a lock").is_some()
    });
    let (hub, conn) = hub.lock().expect("a lock").clone().expect("just seen");
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let hub = hub.clone();
            thread::spawn(move || {
                let push = |n: u32| [&[thread][..], &n.to_be_bytes()].concat();
                let sent = (0..PUSHES).map(|n| hub.conn(conn).send(PUSH, Bytes::from(push(n))));
                sent.sum::<usize>()
            })
        })
        .collect();
    let mut next = [0; THREADS as usize];
    let mut replies = 0_u32;
    client.send(&comm(2, &replies.to_be_bytes()));
    while next.iter().any(|next| *next < PUSHES) {
        let (id, body) = client.comm();
        if id == 2 {
            assert_eq!(body, replies.to_be_bytes());
            replies += 1;
            client.send(&comm(2, &replies.to_be_bytes()));
            continue;
        }
        let (thread, number) = (usize::from(body[0]), &body[1..]);
        assert_eq!(number, next[thread].to_be_bytes(), "of thread {thread}");
        next[thread] += 1;
    }
    let sent: usize = threads
        .into_iter()
        .map(|thread| thread.join().expect("a thread"))
        .sum();
    assert_eq!(sent, usize::from(THREADS) * PUSHES as usize);
}
