//! The hub over workers: what one says reaches the connections of all.

use std::time::Duration;

use purlin::dispatch::Target;
use purlin::prelude::*;
use purlin::{Counter, Server};

use crate::harness::{Client, comm, wait_until};

const PUSH: u32 = 100;

/// Where it is: `row name`.
const WHERE: u16 = 1;
const JOIN: u16 = 2;
const BIND: u16 = 3;
/// `target name text`, of those but oneself.
const SAY: u16 = 4;
const COUNT: u16 = 5;
const CLOSE: u16 = 6;
const LEAVE: u16 = 7;
const INVITE: u16 = 8;

fn target<'a>(hub: &'a Hub, of: &'a str) -> Target<'a> {
    match of.split_once(' ') {
        Some(("room", name)) => hub.room(name),
        Some(("user", name)) => hub.user(name),
        Some(("conn", name)) => hub.conn(name.parse().unwrap()),
        _ => hub.all(),
    }
}

fn app() -> App<()> {
    App::<()>::new()
        .on(1, |c, (): ()| c.conn().to_string())
        .on(2, |c, room: String| {
            c.join(&room);
            ""
        })
        .on(3, |c, user: String| {
            c.bind(&user);
            ""
        })
        .on(4, |c, said: String| {
            let (to, text) = said.split_once('\n').unwrap();
            let text = text.repeat(if text == "long" { 5_000 } else { 1 });
            let to = target(c.hub(), to).except(c.conn());
            to.send(PUSH, text).to_string()
        })
        .on(5, |c, of: String| {
            let count = target(c.hub(), &of).counted();
            assert!(count.is_exact);
            count.n.to_string()
        })
        .on(6, |c, of: String| {
            let to = target(c.hub(), &of).except(c.conn());
            to.close("as asked").to_string()
        })
        .on(7, |c, room: String| {
            c.leave(&room);
            ""
        })
        .on(8, |c, user: String| {
            c.hub().user(&user).join("party").to_string()
        })
}

fn serve(workers: &str) -> Server {
    Server::configured(app(), &[("workers", workers), ("listener.0.frame", "comm")]).unwrap()
}

fn ask(client: &mut Client, id: u16, body: &str) -> String {
    client.send(&comm(id, body.as_bytes()));
    let (answered, body) = client.comm();
    assert_eq!(answered, id);
    String::from_utf8(body).unwrap()
}

fn row(client: &mut Client) -> usize {
    let name = ask(client, WHERE, "");
    name.split('.').next().unwrap().parse().unwrap()
}

/// So many clients on each of two workers.
fn on_both(server: &Server, each: usize) -> [Vec<Client>; 2] {
    let mut clients: [Vec<Client>; 2] = [Vec::new(), Vec::new()];
    let mut others = Vec::new();
    while clients.iter().any(|of| of.len() < each) {
        let mut client = Client::to(server);
        let row = row(&mut client);
        if clients[row].len() < each {
            clients[row].push(client);
        } else {
            // Keeps the worker busy, so that the other one has its turn.
            others.push(client);
        }
        assert!(others.len() < 5000, "one worker accepts everybody");
    }
    drop(others);
    let here = 2 * each as u64;
    wait_until("the others are gone", || server.read(Counter::Live) == here);
    clients
}

#[test]
fn a_room_a_user_a_connection_and_everybody_are_reached_in_both_workers() {
    let server = serve("2");
    let [mut here, mut there] = on_both(&server, 3);
    for client in here.iter_mut().chain(&mut there) {
        ask(client, JOIN, "a");
    }
    ask(&mut there[0], BIND, "ann");
    let name = ask(&mut there[1], WHERE, "");
    assert_eq!(ask(&mut here[0], COUNT, "room a"), "6");
    assert_eq!(ask(&mut here[0], COUNT, "user ann"), "1");
    assert_eq!(ask(&mut here[0], COUNT, &format!("conn {name}")), "1");
    assert_eq!(ask(&mut here[0], COUNT, "all"), "6");
    assert_eq!(ask(&mut here[0], COUNT, "room b"), "0");
    assert_eq!(ask(&mut here[0], SAY, "room a\nto the room"), "5");
    assert_eq!(ask(&mut here[0], SAY, "all\nto all"), "5");
    assert_eq!(ask(&mut here[0], SAY, "user ann\nto ann"), "1");
    assert_eq!(ask(&mut here[0], SAY, &format!("conn {name}\nto you")), "1");
    assert_eq!(ask(&mut here[0], SAY, "room b\nto nobody"), "0");
    let both = ["to the room", "to all"];
    let said = |client: &mut Client, expected: &[&str]| {
        for text in expected {
            assert_eq!(client.comm(), (100, (*text).into()));
        }
    };
    said(&mut here[1], &both);
    said(&mut there[0], &[both[0], both[1], "to ann"]);
    said(&mut there[1], &[both[0], both[1], "to you"]);
    said(&mut there[2], &both);
    ask(&mut there[0], LEAVE, "a");
    assert_eq!(ask(&mut here[0], COUNT, "room a"), "5");
    drop(there.pop());
    wait_until("who ended is no member", || {
        ask(&mut here[0], COUNT, "room a") == "4" && ask(&mut here[0], COUNT, "all") == "5"
    });
}

#[test]
fn a_close_comes_behind_what_was_said_and_reaches_the_other_worker() {
    let server = serve("2");
    let [mut here, mut there] = on_both(&server, 2);
    ask(&mut there[0], BIND, "ann");
    ask(&mut there[0], JOIN, "a");
    for n in 0..100 {
        assert_eq!(ask(&mut here[0], SAY, &format!("user ann\n{n}")), "1");
    }
    assert_eq!(ask(&mut here[0], SAY, "room a\nlong"), "1");
    assert_eq!(ask(&mut here[0], CLOSE, "user ann"), "1");
    for n in 0..100 {
        assert_eq!(there[0].comm(), (100, n.to_string().into_bytes()));
    }
    assert_eq!(there[0].comm(), (100, "long".repeat(5_000).into_bytes()));
    assert_eq!(there[0].rest(), b"");
    wait_until("nobody is there", || {
        ask(&mut here[0], COUNT, "user ann") == "0"
    });
    assert_eq!(ask(&mut here[0], CLOSE, "user ann"), "0");
    assert_eq!(server.read(Counter::BusLost), 0);
}

#[test]
fn who_is_brought_into_a_room_is_there_for_who_asks_afterwards() {
    let server = serve("2");
    let [mut here, mut there] = on_both(&server, 1);
    ask(&mut there[0], BIND, "ann");
    assert_eq!(ask(&mut here[0], INVITE, "ann"), "1");
    wait_until("ann is at the party", || {
        ask(&mut here[0], COUNT, "room party") == "1"
    });
    assert_eq!(ask(&mut here[0], SAY, "room party\nhello"), "1");
    assert_eq!(there[0].comm(), (100, b"hello".to_vec()));
}

/// Each of two publishers in either worker is heard in its order by all.
#[test]
fn what_one_says_comes_in_its_order() {
    const SAYS: usize = 500;
    let server = serve("2");
    let [mut here, mut there] = on_both(&server, 2);
    for client in here.iter_mut().chain(&mut there) {
        ask(client, JOIN, "a");
    }
    let batch: Vec<u8> = (0..SAYS)
        .flat_map(|n| {
            let to = if n % 2 == 0 { "room a" } else { "all" };
            comm(SAY, format!("{to}\n{n}").as_bytes())
        })
        .collect();
    let mut all: Vec<Client> = here.into_iter().chain(there).collect();
    for speaker in [0, 2] {
        all[speaker].send(&batch);
    }
    for (listener, client) in all.iter_mut().enumerate() {
        let speakers = if listener % 2 == 0 { 1 } else { 2 };
        let mut next = std::collections::HashMap::<usize, usize>::new();
        let mut pushes = 0;
        // From two speakers each number comes twice, in either order.
        while pushes < speakers * SAYS {
            let (id, body) = client.comm();
            if id == SAY {
                continue;
            }
            let n: usize = String::from_utf8(body).unwrap().parse().unwrap();
            *next.entry(n).or_default() += 1;
            let before = n
                .checked_sub(1)
                .map_or(speakers, |n| next.get(&n).copied().unwrap_or(0));
            assert!(
                next[&n] <= before,
                "{n} before the one that was said before it"
            );
            pushes += 1;
        }
        assert!(next.values().all(|times| *times == speakers));
    }
}

#[test]
fn a_worker_that_ends_leaves_nobody_behind() {
    let server = serve("3");
    let mut clients: Vec<Client> = (0..30).map(|_| Client::to(&server)).collect();
    for client in &mut clients {
        ask(client, JOIN, "a");
    }
    assert_eq!(ask(&mut clients[0], COUNT, "room a"), "30");
    let farewell = server.stop(Duration::from_millis(100)).unwrap();
    assert!(farewell.cut <= 30);
}
