//! WebSockets over real connections.

use std::path::Path;
use std::process::Command;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, address, serve_with, skip, wait_for, wait_until};

/// What a client sends to open one at `path`, with further fields.
pub(crate) fn request(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// A masked frame of less than 64 KiB, written from the RFC.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..126) => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            let len = u16::try_from(payload.len()).expect("below 64 KiB");
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// Reads a head; gives its first line and all of it.
pub(crate) fn head(client: &mut Client) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1));
    }
    let head = String::from_utf8(head).expect("a head is text");
    (head.lines().next().unwrap_or_default().to_owned(), head)
}

/// The next frame of the server: its first byte and its payload.
pub(crate) fn next(client: &mut Client) -> (u8, Vec<u8>) {
    let head = client.exactly(2);
    let len = match head[1] {
        126 => usize::from(u16::from_be_bytes(
            client.exactly(2).try_into().expect("two"),
        )),
        127 => panic!("longer than any of these tests"),
        len => usize::from(len),
    };
    (head[0], client.exactly(len))
}

/// A client whose WebSocket at `path` is open.
pub(crate) fn open(server: &Server, path: &str) -> Client {
    let mut client = Client::to(server);
    client.send(request(path, "").as_bytes());
    let (status, head) = head(&mut client);
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols", "{head}");
    client
}

fn echo() -> App<()> {
    App::new().web(
        Web::new()
            .messages("/echo", |_, message: Message| message)
            .messages_inline("/inline", |_, message: Message| message)
            .get("/", |_, (): ()| "page"),
    )
}

const WEB: &[(&str, &str)] = &[("listener.0.protocol", "http")];

#[test]
fn a_handshake_is_answered_as_the_rfc_shows_it() {
    for protocol in ["http", "auto"] {
        let server = serve_with(echo(), &[("listener.0.protocol", protocol)]);
        let mut client = Client::to(&server);
        client.send(request("/echo", "").as_bytes());
        let (status, head) = head(&mut client);
        assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
        for field in [
            "Upgrade: websocket\r\n",
            "Connection: Upgrade\r\n",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        ] {
            assert!(head.contains(field), "{field} is missing in {head}");
        }
        for field in ["Content-Length", "Transfer-Encoding", "Extensions", "close"] {
            assert!(!head.contains(field), "{head}");
        }
        client.send(&frame(0x81, b"hello"));
        assert_eq!(next(&mut client), (0x81, b"hello".to_vec()));
        assert_eq!(server.read(Counter::WsOpened), 1);
    }
}

#[test]
fn what_follows_the_request_at_once_is_of_the_websocket_however_it_is_cut() {
    let server = serve_with(echo(), WEB);
    for path in ["/echo", "/inline"] {
        let before = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let upgrade = format!("{before}{}", request(path, ""));
        let stream = [upgrade.as_bytes(), &frame(0x01, b"a"), &frame(0x80, b"b")].concat();
        for step in [
            1,
            7,
            upgrade.len() - 1,
            upgrade.len(),
            upgrade.len() + 3,
            stream.len(),
        ] {
            let mut client = Client::to(&server);
            for part in stream.chunks(step) {
                client.send(part);
            }
            let (status, _) = head(&mut client);
            assert_eq!(status, "HTTP/1.1 200 OK");
            assert_eq!(client.exactly(4), b"page");
            let (status, _) = head(&mut client);
            assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
            assert_eq!(next(&mut client), (0x81, b"ab".to_vec()), "{step}");
        }
    }
}

#[test]
fn what_is_no_upgrade_is_answered_and_the_connection_goes_on() {
    let server = serve_with(echo(), WEB);
    let whole = request("/echo", "");
    for (wrong, status) in [
        (whole.replace("Version: 13", "Version: 8"), "426"),
        (whole.replace("Upgrade: websocket\r\n", ""), "426"),
        (whole.replace("Upgrade: websocket", "Upgrade: h2c"), "426"),
        (whole.replace("Connection: Upgrade\r\n", ""), "400"),
        (whole.replace("jZQ==", "jZQ"), "400"),
        (
            whole.replace("x.example\r\n", "x.example\r\nOrigin: http://y.example\r\n"),
            "403",
        ),
        (whole.replace("/echo", "/nothing"), "404"),
        (whole.replace("/echo", "/"), "200"),
        (whole.replace("GET", "DELETE"), "405"),
    ] {
        let mut client = Client::to(&server);
        // Another one behind it, of which nothing is cut as frames.
        client.send(wrong.as_bytes());
        client.send(whole.as_bytes());
        let (first, text) = head(&mut client);
        assert!(first.contains(status), "{first} for {wrong}");
        let (_, rest) = text.split_once("Content-Length: ").expect("a length");
        let len = rest
            .split_once('\r')
            .expect("a line")
            .0
            .parse()
            .expect("a number");
        client.exactly(len);
        let (second, _) = head(&mut client);
        assert!(second.contains("101"), "{second} behind {wrong}");
        client.send(&frame(0x82, b"x"));
        assert_eq!(next(&mut client), (0x82, b"x".to_vec()));
    }
    assert_eq!(server.read(Counter::WsOrigin), 1);
}

#[test]
fn pages_that_are_listed_may_connect() {
    let keys = [
        WEB,
        &[("listener.0.websocket_origins", "https://y.example")],
    ]
    .concat();
    let server = serve_with(echo(), &keys);
    for (origin, admitted) in [
        ("http://x.example", true),
        ("https://y.example", true),
        ("https://z.example", false),
    ] {
        let mut client = Client::to(&server);
        client.send(request("/echo", &format!("Origin: {origin}\r\n")).as_bytes());
        let (status, _) = head(&mut client);
        assert_eq!(status.contains("101"), admitted, "{origin}: {status}");
    }
}

#[test]
fn a_pong_does_not_wait_for_a_handler() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let web = Web::<()>::new().messages("/slow", move |_, message: Message| {
        let _told = wait.lock().expect("nobody panics").recv();
        message
    });
    let server = serve_with(App::new().web(web), WEB);
    let mut client = open(&server, "/slow");
    client.send(&[frame(0x81, b"late"), frame(0x89, b"alive?")].concat());
    assert_eq!(next(&mut client), (0x8a, b"alive?".to_vec()));
    client.send(&frame(0x89, b"still?"));
    assert_eq!(next(&mut client), (0x8a, b"still?".to_vec()));
    go.send(()).expect("the handler waits");
    assert_eq!(next(&mut client), (0x81, b"late".to_vec()));
}

#[test]
fn a_session_has_its_hooks_its_state_and_the_hub() {
    let ended = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = std::sync::Arc::clone(&ended);
    let web = Web::<u32>::new().messages("/count", |c, _: Message| {
        **c += 1;
        c.hub()
            .room("all")
            .except(c.conn())
            .send(0, format!("told {}", **c));
        Message::Text(c.to_string())
    });
    let app = App::<u32>::new()
        .opened(|c| {
            **c = 40;
            c.join("all");
            c.send(0, "welcome");
        })
        .closed(move |c| {
            let said = (**c, c.rooms(), c.close_reason());
            hears.lock().expect("nobody panics").push(said);
        })
        .web(web);
    let server = serve_with(app, WEB);
    let mut ann = open(&server, "/count");
    assert_eq!(next(&mut ann), (0x81, b"welcome".to_vec()));
    let mut bob = open(&server, "/count");
    assert_eq!(next(&mut bob), (0x81, b"welcome".to_vec()));
    for n in 41..44 {
        ann.send(&frame(0x82, b"x"));
        assert_eq!(next(&mut ann), (0x81, n.to_string().into_bytes()));
        assert_eq!(next(&mut bob), (0x81, format!("told {n}").into_bytes()));
    }
    ann.send(&frame(0x88, b"\x03\xe8"));
    assert_eq!(ann.rest(), b"\x88\x02\x03\xe8");
    drop(bob);
    wait_until("both are gone", || {
        ended.lock().expect("nobody panics").len() == 2
    });
    let mut ended = ended.lock().expect("nobody panics").clone();
    ended.sort_by_key(|(count, ..)| *count);
    assert_eq!(ended[1].0, 43);
    assert_eq!(ended[1].1, ["all"]);
}

#[test]
fn what_breaks_a_rule_is_closed_with_its_code_and_counted() {
    let server = serve_with(echo(), WEB);
    for (bytes, counter, code) in [
        (b"\x81\x02hi".to_vec(), Counter::WsProtocol, 1002_u16),
        (frame(0x81, b"\xff"), Counter::WsText, 1007),
        (
            b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00".to_vec(),
            Counter::WsTooLong,
            1009,
        ),
    ] {
        let mut client = open(&server, "/echo");
        client.send(&[frame(0x81, b"good"), bytes].concat());
        assert_eq!(next(&mut client), (0x81, b"good".to_vec()));
        assert_eq!(next(&mut client), (0x88, code.to_be_bytes().to_vec()));
        assert_eq!(client.rest(), b"");
        assert_eq!(server.read(counter), 1);
    }
    wait_for(&server, Counter::Live, 0);
}

#[test]
fn whoever_is_closed_by_another_or_by_the_end_is_told() {
    let web = Web::<()>::new().messages("/room", |c, message: Message| {
        match message {
            Message::Text(_) => _ = c.hub().all().except(c.conn()).close("asked to"),
            Message::Binary(_) => {}
        }
        message
    });
    let server = serve_with(App::new().web(web), WEB);
    let (mut ann, mut bob) = (open(&server, "/room"), open(&server, "/room"));
    for client in [&mut ann, &mut bob] {
        client.send(&frame(0x82, b"here"));
        assert_eq!(next(client), (0x82, b"here".to_vec()));
    }
    ann.send(&frame(0x81, b"bob"));
    assert_eq!(next(&mut ann), (0x81, b"bob".to_vec()));
    assert_eq!(next(&mut bob), (0x88, b"\x03\xe8".to_vec()));
    bob.send(&frame(0x88, b"\x03\xe8"));
    bob.finish();
    assert_eq!(bob.until_closed(), b"");
    let stops = std::thread::spawn(move || server.stop(std::time::Duration::from_secs(20)));
    assert_eq!(next(&mut ann), (0x88, b"\x03\xe9".to_vec()));
    drop(ann);
    stops.join().expect("no panic").expect("an orderly stop");
}

#[test]
fn a_silent_peer_is_pinged_and_a_pong_is_life() {
    let keys = [
        WEB,
        &[
            ("heartbeat.ping", "both"),
            ("heartbeat.ping_interval", "100ms"),
            ("heartbeat.timeout", "1s"),
        ],
    ];
    let server = serve_with(echo(), &keys.concat());
    let (mut alive, mut dead) = (open(&server, "/echo"), open(&server, "/echo"));
    for _ in 0..20 {
        assert_eq!(next(&mut alive), (0x89, Vec::new()));
        alive.send(&frame(0x8a, b""));
    }
    dead.until_closed();
    assert_eq!(server.read(Counter::HeartbeatTimeout), 1);
}

#[test]
fn the_access_log_has_a_line_for_the_upgrade() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let keys = [WEB, &[("http.access_log", log.to_str().expect("text"))]].concat();
    let server = serve_with(echo(), &keys);
    let _client = open(&server, "/echo");
    wait_until("the line is written", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("\"GET /echo HTTP/1.1\" 101 0 ")
    });
}

#[test]
fn middleware_is_around_the_request_and_may_block() {
    let web = Web::<()>::new()
        .messages_inline("/echo", |_, message: Message| message)
        .wrap(|c, body, next| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            assert!(name.starts_with("business"), "{name}");
            match c.header("x-pass") {
                Some("yes") => next.run(c, body),
                _ => Err(Error::new(401, "no")),
            }
        });
    let server = serve_with(App::new().web(web), WEB);
    for (field, status) in [("X-Pass: yes\r\n", " 101 "), ("", " 401 ")] {
        let mut client = Client::to(&server);
        client.send(request("/echo", field).as_bytes());
        let (line, _) = head(&mut client);
        assert!(line.contains(status), "{line}");
    }
}

#[test]
fn a_slow_reader_of_pongs_is_not_remembered_more_than_its_room() {
    let keys = [WEB, &[("limits.outbound_high", "4KiB")]].concat();
    let server = serve_with(echo(), &keys);
    let mut client = open(&server, "/echo");
    let pings = frame(0x89, &[b'x'; 100]).repeat(5000);
    let mut writer = client.0.try_clone().expect("a descriptor");
    let writes = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &pings));
    writes
        .join()
        .expect("no panic")
        .expect("all pings are read");
    assert!(server.read(Counter::Buffered) < 1 << 20);
    client.send(&frame(0x88, b"\x03\xe8"));
    let mut pongs = 0;
    let last = loop {
        match next(&mut client) {
            (0x8a, payload) => {
                assert_eq!(payload, [b'x'; 100]);
                pongs += 1;
            }
            other => break other,
        }
    };
    assert_eq!(last, (0x88, b"\x03\xe8".to_vec()));
    assert!((1..=5000).contains(&pongs), "{pongs}");
}

/// Autobahn's cases 1 to 10, as PyPI's `kosoku` has them.
#[test]
fn autobahn_finds_nothing() {
    let kosoku = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/tools/kosoku/bin/kosoku"
    );
    if !Path::new(kosoku).exists() {
        return skip("kosoku is missing: make needs");
    }
    let keys = [WEB, &[("websocket.message_max", "32MiB")]].concat();
    let server = serve_with(echo(), &keys);
    let reports = tempfile::tempdir().expect("a folder");
    for path in ["echo", "inline"] {
        let out = reports.path().join(path);
        let output = Command::new(kosoku)
            .args(["-p", "2", "-x", "11.*", "-x", "12.*", "-x", "13.*", "-o"])
            .arg(&out)
            .arg(format!("ws://{}/{path}", address(&server)))
            .output()
            .expect("kosoku runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(
            !said.contains("NON-STRICT") && !said.contains("FAILED"),
            "{said}"
        );
    }
}
