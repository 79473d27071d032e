//! What other threads do with a connection: in its own turn, and in rooms.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::ends::{Gate, reset};
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
