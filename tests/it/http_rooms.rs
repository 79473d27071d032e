//! Server-sent events from rooms.

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, wait_for, wait_until};
use crate::http_replies::{get, head};

const JOIN: u16 = 1;
const SAY: u16 = 2;
const HEARD: u16 = 3;

/// `SAY` says `room text`; `/say/:room` says its body.
fn serve() -> Server {
    let events = |c: &mut Http<'_, ()>, rooms: &[&str]| {
        c.events_of(rooms, |id, text| match &text[..] {
            b"secret" => None,
            b"panic" => panic!("as the test wants"),
            text => Some(Event::new(String::from_utf8_lossy(text)).named(&id.to_string())),
        })
    };
    let web = Web::<()>::new()
        .get("/red", move |c, (): ()| events(c, &["red"]))
        .get("/both", move |c, (): ()| events(c, &["red", "blue"]))
        .get("/count", |c, (): ()| {
            c.hub().room("red").count().to_string()
        })
        .post("/say/:room", |c, text: String| {
            let room = c.param("room");
            c.hub().room(&room).send(HEARD.into(), text).to_string()
        });
    let app = App::<()>::new()
        .on(JOIN.into(), |c, room: String| {
            c.join(&room);
            "in"
        })
        .on(SAY.into(), |c, said: String| {
            let (room, text) = said.split_once(' ').unwrap();
            let room = c.hub().room(room).except(c.conn());
            room.send(HEARD.into(), text.to_owned()).to_string()
        })
        .web(web);
    Server::configured(app, &[("listener.0.protocol", "auto")]).unwrap()
}

fn listener(server: &Server, target: &str) -> Client {
    let mut client = Client::to(server);
    client.send(get(target).as_bytes());
    let head = head(&mut client);
    assert!(
        head.contains("Content-Type: text/event-stream\r\n"),
        "{head}"
    );
    client
}

/// The next chunk.
fn event(client: &mut Client) -> String {
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        size.extend(client.exactly(1));
    }
    let size = std::str::from_utf8(&size).unwrap().trim_end();
    let len = usize::from_str_radix(size, 16).unwrap();
    let came = client.exactly(len + 2);
    String::from_utf8(came[..len].to_vec()).unwrap()
}

fn say(client: &mut Client, room: &str, text: &str) -> String {
    let body = client.call(SAY, format!("{room} {text}").as_bytes()).1;
    String::from_utf8(body).unwrap()
}

fn heard(text: &str) -> String {
    format!("event: {HEARD}\ndata: {text}\n\n")
}

#[test]
fn frames_and_requests_reach_the_streams_of_a_room() {
    let server = serve();
    let mut red: Vec<Client> = (0..5).map(|_| listener(&server, "/red")).collect();
    let mut both: Vec<Client> = (0..5).map(|_| listener(&server, "/both")).collect();
    let mut frames = Client::to(&server);
    frames.call(JOIN, b"red");
    assert_eq!(say(&mut frames, "red", "one"), "10", "but not the sender");
    assert_eq!(say(&mut frames, "blue", "two"), "5");
    assert_eq!(say(&mut frames, "red", "secret"), "10");
    assert_eq!(say(&mut frames, "red", "panic"), "10", "in its own turn");
    assert_eq!(say(&mut frames, "green", "three"), "0");
    let mut web = Client::to(&server);
    web.send(b"POST /say/red HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfour");
    assert_eq!(frames.comm(), (HEARD, b"four".to_vec()));
    let all = |texts: &[&str]| texts.iter().map(|text| heard(text)).collect::<String>();
    // Events that come fast share a chunk.
    let collect = |client: &mut Client, expected: &str| {
        let mut came = String::new();
        while came.len() < expected.len() {
            came += &event(client);
        }
        assert_eq!(came, expected);
    };
    red.iter_mut()
        .for_each(|client| collect(client, &all(&["one", "four"])));
    both.iter_mut()
        .for_each(|client| collect(client, &all(&["one", "two", "four"])));
    wait_until("each has panicked", || server.read(Counter::Panicked) == 10);
    // Who is gone listens no more.
    drop((red, both));
    wait_until("nobody listens but the client of frames", || {
        let mut web = Client::to(&server);
        web.send(b"GET /count HTTP/1.0\r\n\r\n");
        web.rest().ends_with(b"\r\n\r\n1")
    });
    assert_eq!(server.stop(Duration::from_secs(30)).unwrap().cut, 0);
}

#[test]
fn who_reads_too_slowly_is_cut_and_counted_and_nobody_else() {
    let server = serve();
    let mut slow = listener(&server, "/both");
    let mut quick = listener(&server, "/red");
    let mut frames = Client::to(&server);
    let text = "t".repeat(20_000);
    let mut said = 0;
    while server.read(Counter::PushesDropped) == 0 {
        say(&mut frames, "red", &text);
        said += 1;
        assert_eq!(event(&mut quick), heard(&text));
        assert!(said < 10_000, "the slow one was served without a limit");
    }
    assert_eq!(say(&mut frames, "red", "more"), "1");
    assert_eq!(
        say(&mut frames, "blue", "more"),
        "0",
        "cut in all its rooms"
    );
    assert_eq!(server.read(Counter::PushesDropped), 1);
    assert_eq!(event(&mut quick), heard("more"));
    // What was taken arrives whole, and then the end: a browser comes back.
    let mut came = 0;
    loop {
        match event(&mut slow).len() {
            0 => break,
            len => came += len,
        }
    }
    assert_eq!(came, (said - 1) * heard(&text).len());
    drop((slow, quick, frames));
    wait_for(&server, Counter::Live, 0);
}
