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

/// What a program notes, in its order.
type Notes = Arc<Mutex<Vec<String>>>;

fn note(notes: &Notes, what: impl Into<String>) {
    notes.lock().expect("a lock").push(what.into());
}

/// A program that notes its hooks, keeps its repliers, and blocks in message 5.
fn noted(notes: &Notes, repliers: &Arc<Mutex<Vec<Replier>>>, gate: &Arc<Gate>) -> App<()> {
    let [opened, closed, draining, stopping] = [(); 4].map(|()| Arc::clone(notes));
    let [frames, web] = [(); 2].map(|()| Arc::clone(repliers));
    let gate = Arc::clone(gate);
    let keep = |repliers: &Mutex<Vec<Replier>>, replier| {
        repliers.lock().expect("a lock").push(replier);
    };
    App::<()>::new()
        .opened(move |_| note(&opened, "opened"))
        .closed(move |c| note(&closed, format!("closed {:?}", c.close_reason())))
        .draining(move |_| note(&draining, "draining"))
        .stopping(move |_| note(&stopping, "stopping"))
        .on(3, move |c, _: Bytes| {
            c.later(|replier| keep(&frames, replier))
        })
        .on(5, move |_, (): ()| gate.pass())
        .web(
            Web::<()>::new()
                .get("/later", move |c, (): ()| {
                    c.later(|replier| keep(&web, replier))
                })
                .get("/events", |c, (): ()| {
                    c.events_of(&["lobby"], |_, _| Some("said"))
                }),
        )
}

#[test]
fn who_waits_for_a_reply_gets_an_error_when_time_is_up() {
    let get = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let cases = [
        ("frame", "comm", comm(3, b"x")),
        ("frame", "rpc", crate::harness::rpc(3, 7, b"x")),
        ("http", "comm", get),
    ];
    for (protocol, frame, request) in cases {
        let (notes, repliers) = (Notes::default(), Arc::default());
        let app = noted(&notes, &repliers, &Arc::default());
        let keys = [
            ("listener.0.protocol", protocol),
            ("listener.0.frame", frame),
        ];
        let server = serve_with(app, &keys);
        let mut clients: Vec<Client> = (0..3).map(|_| Client::to(&server)).collect();
        clients.iter_mut().for_each(|client| client.send(&request));
        wait_until("all wait", || repliers.lock().expect("a lock").len() == 3);
        let stop = std::thread::spawn(move || server.stop(std::time::Duration::from_millis(100)));
        for client in &mut clients {
            let came = client.rest();
            let text = String::from_utf8_lossy(&came);
            assert!(text.contains("going away"), "{frame}: {text}");
            assert_eq!(
                text.starts_with("HTTP/1.1 503 "),
                protocol == "http",
                "{text}"
            );
        }
        let farewell = stop.join().expect("a thread").expect("a worker that lives");
        assert_eq!(farewell.cut, 3);
        let drained = farewell.drained.expect("it drained");
        let account = (drained.received, drained.answered, drained.refused);
        assert_eq!(account, (3, 0, 3), "{frame}");
        let frames = usize::from(protocol == "frame") * 3;
        let mut expected = vec!["opened"; frames];
        expected.push("draining");
        expected.extend(vec!["closed Some(GoingAway)"; frames]);
        expected.push("stopping");
        assert_eq!(*notes.lock().expect("a lock"), expected, "{frame}");
        for replier in repliers.lock().expect("a lock").drain(..) {
            assert!(replier.is_gone() && !replier.send("too late"));
        }
    }
}

#[test]
fn a_reply_that_is_given_while_the_worker_drains_is_answered() {
    let (notes, repliers) = (Notes::default(), Arc::default());
    let app = noted(&notes, &repliers, &Arc::default());
    let server = serve(app);
    let mut client = Client::to(&server);
    client.send(&comm(3, b"x"));
    wait_until("it waits", || !repliers.lock().expect("a lock").is_empty());
    let stop = std::thread::spawn(move || server.stop(PATIENCE));
    wait_until("it drains", || {
        notes
            .lock()
            .expect("a lock")
            .contains(&"draining".to_owned())
    });
    let replier = repliers.lock().expect("a lock").pop().expect("just seen");
    assert!(replier.send("slow"));
    assert_eq!(client.comm(), (3, b"slow".to_vec()));
    assert_eq!(client.rest(), b"");
    let farewell = stop.join().expect("a thread").expect("a worker that lives");
    let drained = farewell.drained.expect("it drained");
    let account = (drained.received, drained.answered, drained.refused);
    assert_eq!((farewell.cut, account), (0, (1, 1, 0)));
}

#[test]
fn closed_comes_before_stopping_although_every_thread_is_busy_to_the_end() {
    let (notes, repliers) = (Notes::default(), Arc::default());
    let gate = Arc::new(Gate::default());
    let app = noted(&notes, &repliers, &gate);
    let server = serve_with(app, &[("worker.business_threads", "1")]);
    let mut idle: Vec<Client> = (0..20).map(|_| Client::to(&server)).collect();
    wait_until("all are opened", || {
        notes.lock().expect("a lock").len() == 20
    });
    let mut blocked = Client::to(&server);
    blocked.send(&comm(5, b""));
    gate.await_waiting(1);
    // Its end waits for a thread, too.
    reset(idle.pop().expect("twenty"));
    wait_for(&server, Counter::Broken, 1);
    let farewell = server.stop(std::time::Duration::from_millis(100));
    assert_eq!(farewell.expect("a worker that lives").cut, 20);
    let told = notes.lock().expect("a lock").clone();
    let count = |what: &str| told.iter().filter(|note| *note == what).count();
    assert_eq!(count("opened"), 21);
    assert_eq!(count("closed Some(PeerReset)"), 1);
    // That of the one whose handler has not returned cannot run.
    assert_eq!(count("closed Some(GoingAway)"), 19);
    assert_eq!(told.last().map(String::as_str), Some("stopping"));
    gate.open();
}

#[test]
fn draining_runs_before_stopping_where_nobody_is_connected() {
    for round in 0..rounds() {
        let notes = Notes::default();
        let app = noted(&notes, &Arc::default(), &Arc::default());
        serve(app).stop(PATIENCE).expect("a worker that lives");
        let told = notes.lock().expect("a lock");
        assert_eq!(*told, ["draining", "stopping"], "round {round}");
    }
}

#[test]
fn the_program_says_how_it_goes_away() {
    let app = App::<()>::new()
        .draining(|hub| {
            hub.all().send(9, "we restart");
        })
        .going_away(|c| format!("come back, {}", c.user().unwrap_or_default()))
        .on(1, |c, name: String| c.bind(&name));
    let keys = [("listener.0.going_away_id", "77")];
    let server = serve_with(app, &keys);
    let mut client = Client::to(&server);
    client.send(&comm(1, b"ann"));
    wait_for(&server, Counter::Handled, 1);
    let stop = std::thread::spawn(move || server.stop(PATIENCE));
    assert_eq!(client.comm(), (9, b"we restart".to_vec()));
    assert_eq!(client.comm(), (77, b"come back, ann".to_vec()));
    assert_eq!(client.rest(), b"");
    stop.join().expect("a thread").expect("a worker that lives");
}

#[test]
fn a_stream_of_events_ends_whole_when_the_worker_goes_away() {
    let (notes, repliers) = (Notes::default(), Arc::default());
    let app = noted(&notes, &repliers, &Arc::default());
    let server = serve_with(app, &[("listener.0.protocol", "http")]);
    let mut client = Client::to(&server);
    client.send(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for(&server, Counter::Handled, 1);
    let farewell = server.stop(PATIENCE).expect("a worker that lives");
    let came = String::from_utf8(client.rest()).expect("text");
    assert!(came.starts_with("HTTP/1.1 200 OK\r\n"), "{came}");
    assert!(came.ends_with("0\r\n\r\n"), "{came}");
    assert_eq!(farewell.cut, 0);
    assert_eq!(*notes.lock().expect("a lock"), ["draining", "stopping"]);
}
