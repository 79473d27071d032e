//! What other threads do with a connection: in its own turn, and in rooms.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::ends::{Gate, reset, rounds};
use crate::harness::{Client, PATIENCE, comm, serve, wait_for, wait_until};

/// `app`, which gives its hub away.
fn with_hub<S: Default + Send + 'static>(app: App<S>) -> (App<S>, mpsc::Receiver<Hub>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let app = app.started(move |hub| {
        let given = tell.lock().expect("a lock").send(hub.clone());
        given.map_err(|error| error.to_string())
    });
    (app, told)
}

/// The name of a client's connection, which message 1 asks for.
fn name(client: &mut Client) -> ConnId {
    let (_, word) = client.call(1, b"");
    ConnId::from_word(u64::from_be_bytes(word.try_into().expect("a word")))
}

fn tells_its_name<S>(c: &mut Ctx<'_, S>, (): ()) -> Bytes {
    Bytes::copy_from_slice(&c.conn().word().to_be_bytes())
}

#[test]
fn what_is_run_in_a_turn_comes_behind_the_messages_that_wait_and_never_beside_one() {
    const TASKS: usize = 200;
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let app = App::<Vec<usize>>::new()
        .on(1, tells_its_name)
        .on(2, move |c, (): ()| {
            held.pass();
            c.push(0);
        })
        .on(3, |c, (): ()| c.push(1));
    let (app, hub) = with_hub(app);
    let server = serve(app);
    let hub = hub.recv_timeout(PATIENCE).expect("a hub");
    let mut client = Client::to(&server);
    let conn = name(&mut client);
    client.send(&comm(2, b""));
    gate.await_waiting(1);
    client.send(&comm(3, b""));
    wait_for(&server, Counter::Received, 3);
    for n in 2..TASKS {
        let reached = hub
            .conn(conn)
            .run(move |c: &mut Ctx<'_, Vec<usize>>| c.push(n));
        assert_eq!(reached, 1);
    }
    let tells = |c: &mut Ctx<'_, Vec<usize>>| {
        let in_order = c.iter().copied().eq(0..TASKS);
        c.send(9, in_order.to_string());
        c.close();
    };
    assert_eq!(hub.conn(conn).run(tells), 1);
    gate.open();
    assert_eq!(client.comm(), (9, b"true".to_vec()));
    assert_eq!(client.rest(), b"");
    wait_for(&server, Counter::Quarantined, 0);
    assert_eq!(hub.conn(conn).run(tells), 0, "it is gone");
    assert_eq!(hub.conn(conn).join("lobby") + hub.conn(conn).bind("ann"), 0);
    assert_eq!(server.read(Counter::Panicked), 0);
}

#[test]
fn who_was_made_a_member_from_outside_leaves_when_it_ends() {
    const CLIENTS: usize = 200;
    let (app, hub) = with_hub(App::<()>::new().on(1, tells_its_name));
    let server = serve(app);
    let hub = hub.recv_timeout(PATIENCE).expect("a hub");
    let joined = Arc::new(AtomicUsize::new(0));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::to(&server)).collect();
    let names: Vec<ConnId> = clients.iter_mut().map(name).collect();
    let (outside, count) = (hub.clone(), Arc::clone(&joined));
    let joins = std::thread::spawn(move || {
        for conn in names {
            let reached = outside.conn(conn).join("lobby") + outside.conn(conn).bind("all");
            count.fetch_add(reached, Ordering::SeqCst);
        }
    });
    // Half of them rest as members, half end while they become some.
    for client in clients.drain(..CLIENTS / 2).rev() {
        reset(client);
    }
    joins.join().expect("a thread");
    assert!(joined.load(Ordering::SeqCst) >= CLIENTS);
    wait_until("who is left is reached", || {
        hub.room("lobby").count() == CLIENTS / 2
    });
    assert_eq!(hub.user("all").send(9, "x"), CLIENTS / 2);
    drop(clients);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Quarantined, 0);
    wait_until("nobody is a member", || {
        hub.room("lobby").count() == 0 && hub.user("all").count() == 0
    });
}

#[test]
fn closed_knows_the_rooms_that_others_put_a_connection_into() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let app = App::<()>::new().on(1, tells_its_name).closed(move |c| {
        let was = (c.user(), c.rooms());
        tell.lock().expect("a lock").send(was).expect("a receiver");
    });
    let (app, hub) = with_hub(app);
    let server = serve(app);
    let hub = hub.recv_timeout(PATIENCE).expect("a hub");
    let mut client = Client::to(&server);
    let conn = name(&mut client);
    assert_eq!(
        (hub.conn(conn).join("b"), hub.conn(conn).bind("ann")),
        (1, 1)
    );
    assert_eq!(hub.user("ann").join("a"), 1);
    let waits = |c: &mut Ctx<'_, ()>| c.send(9, "done");
    assert_eq!(hub.conn(conn).run(waits), 1);
    assert_eq!(client.comm(), (9, b"done".to_vec()));
    drop(client);
    let was = (Some("ann".to_owned()), vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(was));
}

#[test]
fn timers_that_are_cancelled_wake_nobody() {
    const TIMERS: usize = 500;
    let app = App::<()>::new()
        .on(1, |c, (): ()| {
            for _ in 0..TIMERS {
                let timer = c.after(Duration::from_millis(200), |_| {});
                assert!(c.cancel(timer));
            }
            "cancelled"
        })
        .on(2, |c, (): ()| {
            for _ in 0..TIMERS {
                c.after(Duration::from_millis(200), |_| {});
            }
            c.close();
            "closed with all of them"
        })
        .on(3, |c, (): ()| {
            c.after(Duration::from_millis(400), |c| c.send(9, "later"));
        });
    let server = serve(app);
    let mut client = Client::to(&server);
    assert_eq!(client.call(1, b"").1, b"cancelled");
    assert_eq!(Client::to(&server).call(2, b"").0, 2);
    client.send(&comm(3, b""));
    assert_eq!(client.comm(), (9, b"later".to_vec()));
    let woken = server.read(Counter::Deadlines);
    assert!(woken < TIMERS as u64 / 2, "{woken} times");
}

/// Counts what is dropped before it was run.
struct Fate {
    has_run: bool,
    lost: Arc<AtomicU64>,
}

impl Drop for Fate {
    fn drop(&mut self) {
        self.lost
            .fetch_add(u64::from(!self.has_run), Ordering::SeqCst);
    }
}

/// One of the things that others do with connections, and never two of them alike.
fn meddle(hub: &Hub, conn: ConnId, random: u64, lost: &Arc<AtomicU64>, ran: &Arc<AtomicU64>) {
    let target = hub.conn(conn);
    let name = ["a", "b", "c"][usize::try_from(random / 8 % 3).expect("small")];
    match random % 8 {
        0 | 1 => _ = target.join(name),
        2 => _ = target.leave(name),
        3 => _ = target.bind(name),
        4 => _ = target.unbind(),
        5 => _ = hub.user(name).join(name),
        _ => {
            let fate = Fate {
                has_run: false,
                lost: Arc::clone(lost),
            };
            // `run` wants what can be cloned; here it goes to one.
            let (fate, ran) = (Arc::new(Mutex::new(fate)), Arc::clone(ran));
            target.run(move |c: &mut Ctx<'_, u64>| {
                fate.lock().expect("a lock").has_run = true;
                ran.fetch_add(1, Ordering::SeqCst);
                c.join("d");
            });
        }
    }
}

/// A random history: three threads do things with connections that end meanwhile
/// in every way there is.
#[test]
fn who_ends_is_a_member_of_nothing_and_each_task_has_run_or_was_dropped() {
    const CLIENTS: usize = 12;
    const DEEDS: u64 = 150;
    let app = App::<u64>::new()
        .on(1, tells_its_name)
        .on(2, |c, (): ()| c.close())
        .on(3, |c, (): ()| c.abort())
        .closed(|c| assert_eq!(c.hub().conn(c.conn()).count(), 0));
    let (app, hub) = with_hub(app);
    let server = serve(app);
    let hub = hub.recv_timeout(PATIENCE).expect("a hub");
    let (lost, ran) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = 0;
    for round in 0..rounds() as u64 {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::to(&server)).collect();
        let names: Vec<ConnId> = clients.iter_mut().map(name).collect();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (hub, names, lost, ran) = (hub.clone(), &names, &lost, &ran);
                let deeds = random(round * 3 + thread).take(usize::try_from(DEEDS).expect("few"));
                tasks += random(round * 3 + thread)
                    .take(usize::try_from(DEEDS).expect("few"))
                    .filter(|deed| deed % 8 > 5)
                    .count() as u64;
                scope.spawn(move || {
                    for deed in deeds {
                        let conn = names[usize::try_from(deed / 64).expect("64 bits") % CLIENTS];
                        meddle(&hub, conn, deed, lost, ran);
                    }
                });
            }
            for (n, mut client) in clients.drain(..).enumerate() {
                match n % 5 {
                    0 => reset(client),
                    1 => drop(client),
                    2 => _ = hub.conn(names[n]).close("enough"),
                    kind => {
                        let id = u16::try_from(kind - 1).expect("2 or 3");
                        client.send(&comm(id, b""));
                        client.until_closed();
                    }
                }
            }
        });
        wait_for(&server, Counter::Live, 0);
        wait_for(&server, Counter::Quarantined, 0);
        wait_until("each task has run or was dropped", || {
            ran.load(Ordering::SeqCst) + lost.load(Ordering::SeqCst) == tasks
        });
        wait_until("nobody is a member", || {
            let names = ["a", "b", "c", "d"];
            let left = |name| hub.room(name).count() + hub.user(name).count();
            names.into_iter().map(left).sum::<usize>() == 0
        });
        assert!(server.read(Counter::Stale) >= lost.load(Ordering::SeqCst));
    }
    let (ran, lost) = (ran.load(Ordering::SeqCst), lost.load(Ordering::SeqCst));
    assert!(ran > 0 && lost > 0, "{ran} ran, {lost} were dropped");
    assert_eq!(server.read(Counter::Panicked), 0);
}

/// xorshift64: the same numbers for the same seed.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    let first = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::iter::successors(Some(first), |last| {
        let mut next = *last;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    })
    .skip(1)
}

#[test]
fn the_clock_of_a_worker_goes_on_and_never_back() {
    let app = App::<Duration>::new()
        .opened(|c| **c = c.now())
        .on(1, |c, (): ()| {
            (c.now() >= **c && c.now() > Duration::ZERO).to_string()
        })
        .on(2, |c, (): ()| {
            c.after(Duration::from_millis(50), |c| {
                let waited = c.now() - **c;
                c.send(9, (waited >= Duration::from_millis(45)).to_string());
            });
        });
    let server = serve(app);
    let mut client = Client::to(&server);
    assert_eq!(client.call(1, b"").1, b"true");
    client.send(&comm(2, b""));
    assert_eq!(client.comm(), (9, b"true".to_vec()));
}
