//! The lobby of the examples, as its players and its operators meet it: on one worker
//! and on two, with the players in different ones.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::{Client, comm, wait_until};
use crate::http;
use crate::instance::Instance;
use crate::websocket;

const LOGIN: u16 = 1;
const KICKED: u16 = 2;
const ONLINE: u16 = 3;
const OFFLINE: u16 = 4;
const NOTICE: u16 = 5;
const TELL: u16 = 10;
const TOLD: u16 = 11;
const IS_HERE: u16 = 12;
const ROOMS: u16 = 20;
const JOIN: u16 = 21;
const ENTERED: u16 = 22;
const SAY: u16 = 23;
const SAID: u16 = 24;
const LEAVE: u16 = 25;
const MEMBERS: u16 = 26;
const PLAY: u16 = 30;
const PAIRED: u16 = 31;
const MOVE: u16 = 32;
const MOVED: u16 = 33;
const QUIT: u16 = 34;
const LEFT: u16 = 35;
const ERROR: u16 = 65_535;

/// A lobby that runs.
struct Lobby {
    instance: Instance,
    workers: usize,
}

impl Lobby {
    fn new(workers: usize) -> Self {
        let instance = Instance::example_lobby();
        let (address, root) = (instance.address, "user = \"root\"\nallow_root = true\n");
        instance.write(&format!(
            "workers = {workers}\n{root}[lobby]\nroom_max = 2\npictures = \".\"\n[log]\nfile = \
             \"log\"\n[[listener]]\naddress = \"{address}\"\nprotocol = \"auto\"\n[[listener]]\n\
             name = \"admin\"\naddress = \"127.0.0.77:0\"\nprotocol = \"http\"\n"
        ));
        for user in ["ann", "bob", "cid", "dan"] {
            let added = instance.ask(&["adduser", user, "--secret", "1234"]);
            assert!(added.status.success(), "{added:?}");
        }
        let started = instance.ask(&["start", "--motd", "hello"]);
        assert!(started.status.success(), "{started:?}");
        Self { instance, workers }
    }

    fn connections(&self) -> Vec<Value> {
        let listed = self.instance.ask(&["connections", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        listed["connections"].as_array().unwrap().clone()
    }

    /// A connection in the worker of this number, counted round.
    fn connect(&self, worker: usize) -> Client {
        let wanted = worker % self.workers;
        let mut others = Vec::new();
        loop {
            assert!(others.len() < 2000, "one worker accepts everybody");
            let mut client = Client::connect(self.instance.address);
            assert_eq!(client.call(ROOMS, b"").0, ERROR, "not logged in");
            let own = client.0.local_addr().unwrap().to_string();
            let listed = self.connections();
            let one = listed.iter().find(|one| one["peer"] == own.as_str());
            if one.unwrap()["worker"] == wanted {
                return client;
            }
            others.push(client);
        }
    }

    /// A player who has logged in there.
    fn player(&self, user: &str, worker: usize) -> Client {
        let mut client = self.connect(worker);
        login(&mut client, user);
        client
    }

    /// What an operator is answered.
    fn admin(&self, method: &str, target: &str, body: &str) -> (String, String) {
        let address = self.instance.status()["listeners"][1].clone();
        let address: SocketAddr = address.as_str().unwrap().parse().unwrap();
        ask(address, method, target, "", body)
    }
}

/// What who asks there is told over HTTP.
fn ask(to: SocketAddr, method: &str, target: &str, fields: &str, body: &str) -> (String, String) {
    let mut client = Client::connect(to);
    let len = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n{fields}\r\n{body}"
    );
    client.send(request.as_bytes());
    let (head, body) = http::response(&mut client);
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, String::from_utf8(body).unwrap())
}

fn login(client: &mut Client, user: &str) {
    let m = json!({ "user": user, "secret": "1234" }).to_string();
    assert_eq!(call(client, LOGIN, &m), "hello");
}

fn call(client: &mut Client, id: u16, body: &str) -> String {
    let (answered, body) = client.call(id, body.as_bytes());
    let body = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(answered, id, "{body}");
    body
}

/// The code of the error that answers.
fn refused(client: &mut Client, id: u16, body: &str) -> u16 {
    let (answered, body) = client.call(id, body.as_bytes());
    assert_eq!(answered, ERROR, "{body:?}");
    u16::from_be_bytes([body[4], body[5]])
}

/// The next push, which has this id.
fn push(client: &mut Client, id: u16) -> String {
    let (pushed, body) = client.comm();
    let body = String::from_utf8(body).unwrap();
    assert_eq!(pushed, id, "{body}");
    body
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn on_one_and_two(test: impl Fn(&Lobby)) {
    for workers in [1, 2] {
        test(&Lobby::new(workers));
    }
}

#[test]
fn who_logs_in_is_seen_and_an_earlier_login_goes() {
    on_one_and_two(|lobby| {
        let mut bob = lobby.player("bob", 1);
        let mut stranger = lobby.connect(0);
        let wrong = json!({ "user": "ann", "secret": "4321" }).to_string();
        assert_eq!(refused(&mut stranger, LOGIN, &wrong), 401);
        assert_eq!(refused(&mut stranger, SAY, "{}"), 403);
        let mut ann = lobby.player("ann", 0);
        assert_eq!(push(&mut bob, ONLINE), "ann");
        assert_eq!(call(&mut bob, IS_HERE, "ann"), "true");
        // Elsewhere: she was here and is, so that nobody hears of it.
        let again = lobby.player("ann", 1);
        assert_eq!(push(&mut ann, KICKED), "you have logged in elsewhere");
        assert_eq!(ann.rest(), b"");
        drop(again);
        assert_eq!(push(&mut bob, OFFLINE), "ann");
        assert_eq!(call(&mut bob, IS_HERE, "ann"), "false");
    });
}

/// Each of them has bound itself before it knows of the other.
#[test]
fn of_two_logins_at_the_same_time_one_stays() {
    on_one_and_two(|lobby| {
        let m = json!({ "user": "ann", "secret": "1234" }).to_string();
        for _ in 0..5 {
            let mut both = [0, 1].map(|worker| lobby.connect(worker));
            for client in &mut both {
                client.send(&comm(LOGIN, m.as_bytes()));
            }
            wait_until("one of them stays", || lobby.connections().len() == 1);
            let stays = lobby.connections()[0]["peer"].clone();
            for mut client in both {
                if client.0.local_addr().unwrap().to_string() == stays.as_str().unwrap() {
                    client.send(&comm(IS_HERE, b"ann"));
                    let answer = std::iter::repeat_with(|| client.comm())
                        .find(|(id, _)| ![LOGIN, ONLINE].contains(id));
                    assert_eq!(answer.unwrap(), (IS_HERE, b"true".to_vec()));
                } else {
                    let heard = client.rest();
                    let why = comm(KICKED, b"you have logged in elsewhere");
                    for word in [comm(LOGIN, b"hello"), why] {
                        assert!(
                            heard.windows(word.len()).any(|part| part == word),
                            "{heard:?}"
                        );
                    }
                }
            }
            wait_until("she has left", || lobby.connections().is_empty());
        }
    });
}

#[test]
fn letters_and_rooms_reach_players_of_all_workers() {
    on_one_and_two(|lobby| {
        let mut ann = lobby.player("ann", 0);
        let mut bob = lobby.player("bob", 1);
        assert_eq!(push(&mut ann, ONLINE), "bob");
        let letter = |with: &str| json!({ "with": with, "text": "hi" }).to_string();
        ann.send(&comm(TELL, letter("bob").as_bytes()));
        assert_eq!(
            object(&push(&mut bob, TOLD)),
            json!({ "with": "ann", "text": "hi" })
        );
        assert_eq!(refused(&mut ann, TELL, &letter("cid")), 404);

        assert_eq!(call(&mut ann, JOIN, "chess"), "1");
        assert_eq!(call(&mut bob, JOIN, "chess"), "2");
        let entered = json!({ "room": "chess", "user": "bob" });
        assert_eq!(object(&push(&mut ann, ENTERED)), entered);
        assert_eq!(
            object(&call(&mut ann, ROOMS, "")),
            json!({ "chess": 2, "go": 0 })
        );
        let said = json!({ "room": "chess", "text": "e4?" }).to_string();
        bob.send(&comm(SAY, said.as_bytes()));
        for client in [&mut ann, &mut bob] {
            let expected = json!({ "room": "chess", "user": "bob", "text": "e4?" });
            assert_eq!(object(&push(client, SAID)), expected);
        }
        let elsewhere = json!({ "room": "go", "text": "?" }).to_string();
        assert_eq!(refused(&mut bob, SAY, &elsewhere), 403);

        let mut cid = lobby.player("cid", 0);
        assert_eq!(refused(&mut cid, JOIN, "chess"), 409, "full");
        assert_eq!(refused(&mut cid, JOIN, "waiting"), 404);
        assert_eq!(
            object(&call(&mut cid, MEMBERS, "chess")),
            json!(["ann", "bob"])
        );
        assert_eq!(object(&call(&mut cid, MEMBERS, "go")), json!([]));
        bob.send(&comm(LEAVE, b"chess"));
        wait_until("the place is free", || {
            cid.call(JOIN, b"chess") == (JOIN, b"2".to_vec())
        });
    });
}

#[test]
fn who_wants_to_play_is_paired_with_one_who_waits_and_with_no_other() {
    on_one_and_two(|lobby| {
        let users = ["ann", "bob", "cid", "dan"];
        let mut players: Vec<Client> = (users.iter().zip(0..))
            .map(|(user, worker)| lobby.player(user, worker))
            .collect();
        // Who came first has heard of the others.
        for (n, client) in players.iter_mut().enumerate() {
            for later in &users[n + 1..] {
                assert_eq!(&push(client, ONLINE), later);
            }
        }
        // All at once, several times.
        for _ in 0..5 {
            for client in &mut players {
                client.send(&comm(PLAY, b""));
            }
            let mut pairs = Vec::new();
            for (client, user) in players.iter_mut().zip(users) {
                assert_eq!(push(client, PLAY), "wait");
                pairs.push((user.to_owned(), push(client, PAIRED)));
            }
            for (a, b) in &pairs {
                assert!(
                    a != b && pairs.contains(&(b.clone(), a.clone())),
                    "{pairs:?}"
                );
            }
            let at = |name: &str| users.iter().position(|user| *user == name).unwrap();
            let other = at(&pairs[0].1);
            assert_eq!(refused(&mut players[0], PLAY, ""), 409);
            players[0].send(&comm(MOVE, b"e4"));
            assert_eq!(push(&mut players[other], MOVED), "e4");
            let guests: Vec<usize> = pairs.iter().map(|(_, other)| at(other)).collect();
            for one in 0..4 {
                if one < guests[one] {
                    players[one].send(&comm(QUIT, b""));
                    assert_eq!(push(&mut players[guests[one]], LEFT), "");
                }
            }
        }
        assert_eq!(refused(&mut players[0], MOVE, "e5"), 409);
        // Who leaves ends the game, too; who waits alone waits.
        let [ann, bob, ..] = &mut players[..] else {
            panic!("four")
        };
        for client in [&mut *ann, &mut *bob] {
            assert_eq!(call(client, PLAY, ""), "wait");
        }
        assert_eq!(
            (push(ann, PAIRED), push(bob, PAIRED)),
            ("bob".into(), "ann".into())
        );
        drop(players.remove(0));
        assert_eq!(push(&mut players[0], LEFT), "");
        let counts = lobby.admin("GET", "/counts", "").1;
        assert_eq!(object(&counts), json!({ "logins": 4, "games": 11 }));
    });
}

#[test]
fn operators_count_tell_and_kick() {
    on_one_and_two(|lobby| {
        let mut ann = lobby.player("ann", 0);
        let mut bob = lobby.player("bob", 1);
        assert_eq!(push(&mut ann, ONLINE), "bob");
        assert_eq!(lobby.admin("POST", "/notice", "soon").1, "2");
        assert_eq!(
            (push(&mut ann, NOTICE), push(&mut bob, NOTICE)),
            ("soon".into(), "soon".into())
        );
        let kicked = lobby.admin("POST", "/kick/bob", "be nice");
        assert_eq!(kicked, ("200".into(), "1".into()));
        assert_eq!(push(&mut bob, KICKED), "be nice");
        assert_eq!(bob.rest(), b"");
        assert_eq!(push(&mut ann, OFFLINE), "bob");
        assert_eq!(lobby.admin("POST", "/kick/bob", "again").0, "404");
        // Players do not reach that; operators have their own words for it, too.
        let address = lobby.instance.address;
        assert_eq!(ask(address, "POST", "/kick/ann", "", "?").0, "404");
        let said = lobby
            .instance
            .ask(&["kick", "--user", "ann", "--say", "bye"]);
        assert!(said.status.success(), "{said:?}");
        assert_eq!(push(&mut ann, KICKED), "bye");
        assert_eq!(ann.rest(), b"");
    });
}

#[test]
fn pages_see_pictures_and_who_comes_and_are_players_too() {
    on_one_and_two(|lobby| {
        let address = lobby.instance.address;
        let put = |user: &str, secret: &str| {
            let fields = format!("X-Secret: {secret}\r\n");
            ask(
                address,
                "PUT",
                &format!("/pictures/{user}"),
                &fields,
                "a face",
            )
            .0
        };
        assert_eq!(
            (put("ann", "4321"), put("eve", "1234")),
            ("401".into(), "401".into())
        );
        assert_eq!(ask(address, "GET", "/pictures/ann", "", "").0, "404");
        assert_eq!(ask(address, "GET", "/pictures/log", "", "").0, "404");
        assert_eq!(put("ann", "1234"), "201");
        let seen = ask(address, "GET", "/pictures/ann", "", "");
        assert_eq!(seen, ("200".into(), "a face".into()));
        assert_eq!(fs::read(lobby.instance.path("ann")).unwrap(), b"a face");

        let mut page = Client::connect(address);
        page.send(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut lines = BufReader::new(page.0).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
        assert!(lines.any(|line| line.is_empty()), "the end of the head");
        let mut browser = Client::connect(address);
        browser
            .send(websocket::request("/ws", "Sec-WebSocket-Protocol: purlin.json\r\n").as_bytes());
        assert!(websocket::head(&mut browser).0.starts_with("HTTP/1.1 101"));
        let login = json!({ "id": LOGIN, "seq": 1, "body": { "user": "cid", "secret": "1234" } });
        browser.send(&websocket::frame(0x81, login.to_string().as_bytes()));
        let (_, answer) = websocket::next(&mut browser);
        let expected = json!({ "id": LOGIN, "seq": 1, "body": "hello" });
        assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), expected);
        assert!(lines.any(|line| line == "event: online"));
        assert!(lines.any(|line| line == "data: cid"));
    });
}

#[test]
fn a_reload_moves_players_with_their_rooms_and_games() {
    on_one_and_two(|lobby| {
        let mut ann = lobby.player("ann", 0);
        let mut bob = lobby.player("bob", 1);
        assert_eq!(push(&mut ann, ONLINE), "bob");
        assert_eq!(call(&mut ann, JOIN, "go"), "1");
        for client in [&mut ann, &mut bob] {
            assert_eq!(call(client, PLAY, ""), "wait");
        }
        assert_eq!(
            (push(&mut ann, PAIRED), push(&mut bob, PAIRED)),
            ("bob".into(), "ann".into())
        );
        lobby.instance.must("reload");
        wait_until("the old workers left", || {
            lobby.instance.serves_with(lobby.workers)
        });
        ann.send(&comm(MOVE, b"e4"));
        assert_eq!(push(&mut bob, MOVED), "e4");
        assert_eq!(
            object(&call(&mut bob, ROOMS, "")),
            json!({ "chess": 0, "go": 1 })
        );
        assert_eq!(call(&mut bob, IS_HERE, "ann"), "true");
        drop(ann);
        assert_eq!(push(&mut bob, LEFT), "");
        assert_eq!(push(&mut bob, OFFLINE), "ann");
    });
}
