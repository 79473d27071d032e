//! Ends of connections: `closed` once for each `opened`, what it sees, and why
//! it says the connection ended.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, PATIENCE, comm, serve, serve_with, wait_for, wait_until};

/// Ends a connection with a reset.
pub(crate) fn reset(client: Client) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client.0.as_fd(), Linger, &linger).expect("SO_LINGER");
    drop(client);
}

/// Handlers wait here until they may go on.
#[derive(Default)]
pub(crate) struct Gate {
    waiting: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().expect("a lock");
        let waited = self
            .opened
            .wait_timeout_while(open, PATIENCE, |open| !*open);
        drop(waited.expect("a lock"));
    }

    pub(crate) fn await_waiting(&self, count: usize) {
        wait_until("the handlers wait", || {
            self.waiting.load(Ordering::SeqCst) >= count
        });
    }

    pub(crate) fn open(&self) {
        *self.open.lock().expect("a lock") = true;
        self.opened.notify_all();
    }
}

/// Repeats a race; a thousand times in the long form.
pub(crate) fn rounds() -> usize {
    match std::env::var_os("PURLIN_TEST_FULL") {
        Some(_) => 1000,
        None => 20,
    }
}

#[test]
fn closed_runs_once_for_each_opened_and_never_without() {
    const BLOCKED: usize = 4;
    let online = Arc::new([const { AtomicUsize::new(0) }; 2]);
    for round in 0..rounds() {
        let gate = Arc::new(Gate::default());
        let (counted, held) = (Arc::clone(&online), Arc::clone(&gate));
        let ended = Arc::clone(&online);
        let app = App::<u32>::new()
            .opened(move |c| {
                **c = 7;
                counted[0].fetch_add(1, Ordering::SeqCst);
            })
            .closed(move |c| {
                assert_eq!(**c, 7, "its state is the one that was opened");
                ended[1].fetch_add(1, Ordering::SeqCst);
            })
            .on(1, move |_, (): ()| held.pass());
        let threads = BLOCKED.to_string();
        let server = serve_with(app, &[("worker.business_threads", &threads)]);
        let mut blocked: Vec<Client> = (0..BLOCKED).map(|_| Client::to(&server)).collect();
        blocked
            .iter_mut()
            .for_each(|client| client.send(&comm(1, b"")));
        gate.await_waiting(BLOCKED);
        let early: Vec<Client> = (0..30).map(|_| Client::to(&server)).collect();
        wait_for(&server, Counter::Accepted, 34);
        early.into_iter().for_each(reset);
        wait_for(&server, Counter::Broken, 30);
        gate.open();
        drop(blocked);
        wait_for(&server, Counter::Live, 0);
        wait_for(&server, Counter::Quarantined, 0);
        let count = |n: usize| online[n].swap(0, Ordering::SeqCst);
        assert_eq!((count(0), count(1)), (BLOCKED, BLOCKED), "round {round}");
        assert_eq!(server.read(Counter::Panicked), 0);
    }
}

#[test]
fn without_opened_each_connection_counts_as_opened_at_its_accept() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let app = App::<u32>::new().closed(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let server = serve(app);
    let clients: Vec<Client> = (0..10).map(|_| Client::to(&server)).collect();
    wait_for(&server, Counter::Accepted, 10);
    drop(clients);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Quarantined, 0);
    assert_eq!(closed.load(Ordering::SeqCst), 10);
}

#[test]
fn a_connection_whose_opened_panicked_is_closed_and_not_served() {
    let closed = Arc::new(AtomicUsize::new(0));
    let handled = Arc::new(AtomicUsize::new(0));
    let (count, served) = (Arc::clone(&closed), Arc::clone(&handled));
    let app = App::<()>::new()
        .opened(|_| std::panic::resume_unwind(Box::new("as asked")))
        .closed(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .on(1, move |_, (): ()| {
            served.fetch_add(1, Ordering::SeqCst);
        });
    let server = serve(app);
    let mut client = Client::to(&server);
    client.send(&comm(1, b""));
    assert_eq!(client.until_closed(), b"");
    wait_for(&server, Counter::Quarantined, 0);
    assert_eq!(server.read(Counter::Panicked), 1);
    assert_eq!(handled.load(Ordering::SeqCst), 0);
    assert_eq!(closed.load(Ordering::SeqCst), 0);
}

#[test]
fn who_has_ended_is_no_member_and_knows_what_it_was() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let app = App::<()>::new()
        .on(1, |c, name: String| {
            c.bind(&name);
            c.join("lobby");
            c.join("attic");
            (c.user() == Some(name) && c.rooms() == ["attic", "lobby"]).to_string()
        })
        .closed(move |c| {
            c.join("cellar");
            c.bind("nobody");
            let (me, hub) = (c.conn(), c.hub());
            let user = c.user().unwrap_or_default();
            let reached = [
                hub.user(&user).count(),
                hub.user(&user).send(9, "x"),
                hub.room("lobby").count(),
                hub.room("lobby").send(9, "x"),
                hub.room("cellar").count(),
                hub.user("nobody").count(),
                hub.conn(me).count(),
                hub.conn(me).send(9, "x"),
            ];
            let all = (reached, user, c.rooms(), c.close_reason());
            tell.lock().expect("a lock").send(all).expect("a receiver");
        });
    let server = serve(app);
    let (mut ann, mut bob) = (Client::to(&server), Client::to(&server));
    assert_eq!(ann.call(1, b"ann").1, b"true");
    assert_eq!(bob.call(1, b"bob").1, b"true");
    drop(ann);
    let rooms = vec!["attic".to_owned(), "lobby".to_owned()];
    let (reached, user, was_in, reason) = told.recv_timeout(PATIENCE).expect("`closed`");
    assert_eq!(reached, [0, 0, 1, 1, 0, 0, 0, 0], "bob is still there");
    assert_eq!((user, &was_in), ("ann".to_owned(), &rooms));
    assert_eq!(reason, Some(CloseReason::PeerClosed));
    assert_eq!(bob.comm(), (9, b"x".to_vec()));
    reset(bob);
    let (reached, user, was_in, reason) = told.recv_timeout(PATIENCE).expect("`closed`");
    assert_eq!(reached, [0; 8], "nobody is left");
    assert_eq!((user, &was_in), ("bob".to_owned(), &rooms));
    assert_eq!(reason, Some(CloseReason::PeerReset));
}

#[test]
fn closed_is_told_why() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let app = App::<()>::new()
        .on(1, |c, (): ()| c.close())
        .on(2, |c, (): ()| c.abort())
        .on(3, |c, (): ()| {
            let (hub, me) = (c.hub().clone(), c.conn());
            std::thread::spawn(move || hub.conn(me).close("asked"));
        })
        .on(4, |c, (): ()| assert_eq!(c.close_reason(), None))
        .closed(move |c| {
            let reason = c.close_reason().expect("within `closed`");
            tell.lock()
                .expect("a lock")
                .send(reason)
                .expect("a receiver");
        });
    let keys = [
        ("heartbeat.timeout", "1s"),
        ("worker.drain_idle", "100ms"),
        ("listener.0.unknown_id", "close"),
    ];
    let server = serve_with(app, &keys);
    type Does = fn(&mut Client);
    let cases: [(Does, CloseReason); 8] = [
        (|client| client.send(&comm(1, b"")), CloseReason::Program),
        (|client| client.send(&comm(2, b"")), CloseReason::Program),
        (|client| client.send(&comm(3, b"")), CloseReason::Program),
        (|client| client.send(&comm(77, b"")), CloseReason::Program),
        (|client| client.send(&[0; 8]), CloseReason::ProtocolError),
        (|client| client.finish(), CloseReason::PeerClosed),
        (
            |client| client.send(&comm(4, b"")),
            CloseReason::HeartbeatTimeout,
        ),
        (|client| client.send(&comm(4, b"")), CloseReason::GoingAway),
    ];
    for (n, (does, reason)) in cases.into_iter().enumerate() {
        let mut client = Client::to(&server);
        does(&mut client);
        if reason == CloseReason::GoingAway {
            server.stop(PATIENCE).expect("a worker that lives");
            assert_eq!(told.recv_timeout(PATIENCE), Ok(reason), "case {n}");
            return;
        }
        assert_eq!(told.recv_timeout(PATIENCE), Ok(reason), "case {n}");
        client.until_closed();
    }
}
