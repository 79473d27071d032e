//! The hub over workers: what one says reaches the connections of all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use purlin::dispatch::Target;
use purlin::prelude::*;
use purlin::{Counter, Server};

use crate::harness::{Client, comm, wait_until};
use crate::instance::Instance;

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

/// Publishers in rooms of members that come and go between workers: over reloads,
/// and an upgrade, each member hears each of them once and in its order.
#[test]
fn what_is_said_comes_once_while_connections_change_their_worker() {
    const MEMBERS: usize = 12;
    let (reloads, upgrades) = match std::env::var_os("PURLIN_TEST_FULL") {
        Some(_) => (20, 5),
        None => (3, 1),
    };
    // Each upgrade has room for more connections of an address than the memory of
    // the counters: the new master makes its own, and the bus is that of both.
    let top = |max: usize| {
        format!("workers = 2\nlimits.connections_per_ip = 1000\nworker.connections_max = {max}\n")
    };
    let instance = Instance::mover(&top(1000));
    instance.must("start");
    let member = |n: usize| {
        let mut client = Client::connect(instance.address);
        client.call(11, b"lobby");
        client.call(12, format!("guest {n}").as_bytes());
        client
    };
    let mut members: Vec<Client> = (0..MEMBERS).map(member).collect();
    let name = |one: &mut Client| ConnId::from_word(one.who().1).to_string();
    let names: Vec<String> = members.iter_mut().map(name).collect();
    let ends = AtomicBool::new(false);
    let said: Vec<u32> = thread::scope(|scope| {
        let speakers: Vec<_> = (0..3_u32)
            .map(|speaker| {
                let (instance, ends, names) = (&instance, &ends, &names);
                scope.spawn(move || speak(instance, speaker, ends, names))
            })
            .collect();
        for round in 0..reloads + upgrades {
            let upgrade = round % (reloads / upgrades + 1) == reloads / upgrades;
            if upgrade {
                instance.configure(&top(1000 * (round + 2)));
            }
            instance.must(if upgrade { "upgrade" } else { "reload" });
            wait_until("the old ones have left", || instance.serves_with(2));
            // One more, and one less again.
            for (change, count) in [("+1", 3), ("-1", 2)] {
                let output = instance.ask(&["workers", change]);
                assert!(output.status.success(), "{output:?}");
                wait_until("so many serve", || instance.serves_with(count));
            }
        }
        ends.store(true, Ordering::SeqCst);
        speakers
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    for (n, client) in members.iter_mut().enumerate() {
        let mut next = [0_u32; 3];
        // The last word of each speaker is for everybody as well.
        while next.iter().zip(&said).any(|(next, said)| next < said) {
            let (id, body) = client.comm();
            let text = String::from_utf8(body).unwrap();
            assert_eq!(id, 100, "{text}");
            let numbers: Vec<u32> = text.split(' ').map(|word| word.parse().unwrap()).collect();
            let [speaker, number] = numbers[..] else {
                panic!("{text}");
            };
            let next = &mut next[speaker as usize];
            assert_eq!(number, *next, "of speaker {speaker} to member {n}");
            *next += 1;
        }
        assert_eq!(name(client), names[n], "it keeps its name");
    }
    assert_eq!(
        instance.counter("connections_closed"),
        3,
        "the speakers left"
    );
    assert_eq!(
        instance.counter("bus_lost") + instance.counter("bus_broken"),
        0
    );
    assert!(said.iter().all(|said| *said > 10), "{said:?}");
    assert!(!instance.log().contains("cannot share a bus"));
    // Operators find it under that name as well.
    for (client, name) in members.iter_mut().zip(&names) {
        let list = String::from_utf8(instance.ask(&["connections"]).stdout).unwrap();
        assert!(list.contains(name), "{name} of {list}");
        client.call(19, b"");
        let line = format!("conn={name}");
        wait_until("what it logs has its name", || {
            instance.log().contains(&line)
        });
        let kicked = instance.ask(&["kick", name]);
        assert!(kicked.status.success(), "{kicked:?}");
        assert_eq!(client.rest(), b"");
    }
}

/// Says numbers until it ends: to the room, to each user, to each connection by its
/// name; returns how many. Never is nobody reached.
fn speak(instance: &Instance, speaker: u32, ends: &AtomicBool, names: &[String]) -> u32 {
    let mut client = Client::connect(instance.address);
    let mut number = 0;
    while !ends.load(Ordering::SeqCst) {
        let text = format!("{speaker} {number}");
        match number % 3 {
            0 | 1 => {
                let reached = client.call(22, text.as_bytes()).1;
                let reached: usize = String::from_utf8(reached).unwrap().parse().unwrap();
                assert!(reached >= names.len(), "{reached} heard {text}");
            }
            _ => {
                for name in names {
                    let reached = client.call(23, format!("{name}\n{text}").as_bytes()).1;
                    assert_ne!(reached, b"0", "nobody was {name}");
                }
            }
        }
        number += 1;
    }
    number
}

#[test]
fn what_is_told_runs_once_in_each_worker_and_in_its_order() {
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<String>>);
    const TELLS: usize = 200;
    let app = App::<()>::new()
        .data(|| Ok::<_, String>(Heard::default()))
        .on_tell("news", |hub, text| {
            let text = String::from_utf8_lossy(text).into_owned();
            hub.data::<Heard>().0.lock().unwrap().push(text);
        })
        .on_tell("other", |_, _| panic!("nobody tells that"))
        .on(1, |c, (): ()| c.conn().to_string())
        .on(2, |c, text: String| {
            c.hub().tell("news", text.clone());
            text
        })
        .on(3, |c, (): ()| c.data::<Heard>().0.lock().unwrap().join(" "));
    let keys = [("workers", "2"), ("listener.0.frame", "comm")];
    let server = Server::configured(app, &keys).unwrap();
    let [mut here, mut there] = on_both(&server, 1);
    let expected: Vec<String> = (0..TELLS).map(|n| n.to_string()).collect();
    for text in &expected {
        ask(&mut here[0], 2, text);
    }
    for client in [&mut here[0], &mut there[0]] {
        wait_until("all is heard", || {
            ask(client, 3, "").split(' ').count() == TELLS
        });
        assert_eq!(ask(client, 3, ""), expected.join(" "));
    }
}

/// A stream of events hears what is said in another worker; its code runs in its own
/// turn, where it may say something itself.
#[test]
fn events_of_a_room_come_from_every_worker() {
    use std::io::{Read, Write};
    let web = Web::<()>::new().get("/events", |c, (): ()| {
        let hub = c.hub().clone();
        c.events_of(&["a"], move |_, text| {
            hub.room("echo").send(PUSH, text.clone());
            Some(String::from_utf8_lossy(text).into_owned())
        })
    });
    let keys = [
        ("workers", "2"),
        ("listener.0.frame", "comm"),
        ("listener.0.protocol", "auto"),
    ];
    let server = Server::configured(app().web(web), &keys).unwrap();
    let [mut here, mut there] = on_both(&server, 2);
    // Who says it is not there: what the stream says may come before the answer.
    for client in [&mut here[0], &mut there[0]] {
        ask(client, JOIN, "echo");
    }
    let mut stream = std::net::TcpStream::connect(here[0].0.peer_addr().unwrap()).unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).unwrap();
    for client in [&mut here[0], &mut there[0]] {
        wait_until("it listens", || ask(client, COUNT, "room a") == "1");
    }
    assert_eq!(ask(&mut here[1], SAY, "room a\nfrom here"), "1");
    for client in [&mut here[0], &mut there[0]] {
        assert_eq!(client.comm(), (100, b"from here".to_vec()));
    }
    assert_eq!(ask(&mut there[1], SAY, "room a\nfrom there"), "1");
    for client in [&mut here[0], &mut there[0]] {
        assert_eq!(client.comm(), (100, b"from there".to_vec()));
    }
    let mut seen = String::new();
    while !seen.contains("data: from there") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    assert!(seen.contains("data: from here"), "{seen}");
    drop(stream);
    wait_until("it has left", || ask(&mut here[0], COUNT, "room a") == "0");
}
