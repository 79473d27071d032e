//! The client library and the load tool over WebSockets.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use purlin::Server;
use purlin::client::{Backoff, Change, Client, ClientError, Why};
use purlin::prelude::*;

use crate::harness::{PATIENCE, serve_with};

const KEYS: &[(&str, &str)] = &[
    ("listener.0.protocol", "auto"),
    ("listener.0.frame", "rpc"),
    ("listener.0.websocket", "/ws"),
];

fn app() -> App<u32> {
    App::<u32>::new()
        .on_inline(1, |_, body: Bytes| body)
        .on(2, |c, (): ()| {
            **c += 1;
            c.send(9, c.to_string());
            c.to_string()
        })
        .on(3, |_, (): ()| Err::<(), _>(Error::new(418, "teapot")))
        .on(4, |c, code: String| {
            c.close_with(code.parse().expect("a number"));
        })
        .web(Web::<u32>::new().messages("/echo", |_, message: Message| message))
}

fn url(server: &Server, path: &str) -> String {
    format!("ws://{}{path}", server.addresses()[0])
}

#[test]
fn a_client_has_replies_errors_and_pushes_over_a_websocket() {
    for frame in ["rpc", "comm"] {
        let keys = [KEYS, &[("listener.0.frame", frame)]].concat();
        let server = serve_with(app(), &keys);
        let (tell, told) = mpsc::channel();
        let client = Client::builder(url(&server, "/ws"))
            .preset(frame)
            .heartbeat(Duration::from_millis(20))
            .on(9, move |_, text: String| {
                tell.send(text).expect("the test waits")
            })
            .connect()
            .expect("a connection");
        for n in 1..4_u32 {
            assert_eq!(
                client.call::<_, String>(2, ()).expect("a reply"),
                n.to_string()
            );
            assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok(&*n.to_string()));
        }
        for len in [0, 1, 125, 126, 20_000] {
            let body = Bytes::from(vec![b'x'; len]);
            assert_eq!(
                client.call::<_, Bytes>(1, body.clone()).expect("a reply"),
                body
            );
        }
        let refused = client.call::<_, String>(3, ());
        assert!(matches!(refused, Err(ClientError::Remote(error)) if error.code == 418));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let client = &client;
                scope.spawn(move || {
                    for n in 0..200 {
                        let body = format!("{thread} {n}");
                        let reply = client.call::<_, String>(1, body.clone());
                        assert_eq!(reply.expect("a reply"), body);
                    }
                });
            }
        });
    }
}

#[test]
fn a_client_says_with_which_code_it_was_closed_and_comes_back() {
    let server = serve_with(app(), KEYS);
    let (tell, told) = mpsc::channel();
    let client = Client::builder(url(&server, "/ws"))
        .preset("rpc")
        .reconnect(Backoff::default())
        .on_change(move |_, change| tell.send(change.clone()).expect("the test waits"))
        .connect()
        .expect("a connection");
    let next = || told.recv_timeout(PATIENCE).expect("a change");
    assert_eq!(next(), Change::Connected);
    let closed = client.call::<_, String>(4, "4321");
    assert!(
        matches!(
            closed,
            Err(ClientError::Lost(Why::SocketClosed(Some(4321))))
        ),
        "{closed:?}"
    );
    assert_eq!(next(), Change::Disconnected(Why::SocketClosed(Some(4321))));
    assert!(matches!(next(), Change::Retrying(_)));
    assert_eq!(next(), Change::Connected);
    assert_eq!(
        client.call::<_, String>(1, "again").expect("a reply"),
        "again"
    );
    let stops = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    assert_eq!(next(), Change::Disconnected(Why::SocketClosed(Some(1001))));
    drop(client);
    stops.join().expect("no panic").expect("an orderly stop");
}

/// Whatever stands in the stream beside binary messages, and however it is cut.
#[test]
fn a_client_reads_what_other_servers_send() {
    let listener = TcpListener::bind("127.0.0.79:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            asked.extend(byte);
        }
        let asked = String::from_utf8(asked).expect("text");
        let (_, key) = asked.split_once("Key: ").expect("a key");
        let hash = purlin_hash(key.split_once('\r').expect("a line").0);
        let comm = crate::harness::comm;
        let (a, b) = (comm(7, b"early"), comm(8, b"in parts"));
        let (c, d) = b.split_at(5);
        let len = |part: &[u8]| u8::try_from(part.len()).expect("short");
        let bytes = [
            format!(
                "HTTP/1.1 101 Go on\r\nConnection: upgrade\r\nupgrade: WebSocket\r\n\
                 Sec-WebSocket-Accept: {hash}\r\n\r\n"
            )
            .as_bytes(),
            &[0x82, len(&a)],
            &a,
            &[0x02, len(c)],
            c,
            b"\x89\x03hey",
            &[0x80, len(d)],
            d,
        ]
        .concat();
        for piece in bytes.chunks(7) {
            stream.write_all(piece).expect("it is taken");
            std::thread::yield_now();
        }
        // The pong, masked.
        let mut pong = [0; 9];
        stream.read_exact(&mut pong).expect("a pong");
        assert_eq!(pong[..2], [0x8a, 0x83]);
        let plain: Vec<u8> = (0..3).map(|n| pong[6 + n] ^ pong[2 + n]).collect();
        assert_eq!(plain, b"hey");
    });
    let (tell, told) = mpsc::channel();
    let also = tell.clone();
    let client = Client::builder(format!("ws://{address}/any"))
        .on(7, move |_, text: String| {
            tell.send(text).expect("the test waits")
        })
        .on(8, move |_, text: String| {
            also.send(text).expect("the test waits")
        })
        .connect()
        .expect("a connection");
    for text in ["early", "in parts"] {
        assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok(text));
    }
    server.join().expect("no panic");
    drop(client);
}

/// RFC 6455, 4.2.2, by Python, whose library is not ours.
fn purlin_hash(key: &str) -> String {
    let program = "import base64, hashlib, sys\n\
                   key = sys.argv[1] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'\n\
                   print(base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())";
    let output = std::process::Command::new("python3")
        .args(["-c", program, key])
        .output()
        .expect("Python runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim().to_owned()
}

#[test]
fn who_opens_no_websocket_is_named_with_its_answer() {
    let server = serve_with(app(), KEYS);
    for (address, why) in [
        (
            url(&server, "/nothing"),
            "no WebSocket is opened there: 404",
        ),
        (url(&server, "/ws?x").replace("ws://", "wss://"), "no TLS"),
        ("ws://127.0.0.1:x/".into(), "is no address"),
    ] {
        let refused = Client::builder(&*address).preset("rpc").connect();
        let error = refused.expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[cfg(feature = "stress")]
mod load {
    use super::*;
    use crate::stress::text;
    use crate::stress::with_the_tool::{assert_good, json, stress};

    #[test]
    fn websockets_are_loaded_in_every_way_that_frames_are() {
        let server = serve_with(app(), KEYS);
        for (path, args, connections) in [
            ("/ws", "--count 2000 -c 20 -t 2", 20),
            ("/ws", "--count 5000 -c 20 --depth 16", 20),
            ("/ws", "--count 500 -c 20 --churn 5 --depth 3", 100),
            ("/ws", "--count 500 -c 20 --rate 5000/s", 20),
            ("/ws", "--count 100 -c 4 --size 70000", 4),
            // Whatever is echoed there, so it need not be one of ours.
            ("/echo", "--count 2000 -c 20 --depth 16", 20),
        ] {
            let output = stress(url(&server, path), &format!("{args} --preset rpc --json"));
            assert_good(&output);
            let report = json(&output);
            assert_eq!(report["replies"], report["settings"]["count"], "{args}");
            assert_eq!(report["connections_opened"], connections, "{args}");
            assert_eq!(report["settings"]["url"], url(&server, path));
        }
    }

    #[test]
    fn a_server_that_answers_wrongly_is_told_from_one_that_does_not() {
        let app = App::<()>::new()
            .on(1, |_, _: Bytes| "other")
            .on(2, |c, _: Bytes| c.close_with(4000));
        let server = serve_with(app, KEYS);
        for (path, args, code, said) in [
            ("/ws", "--count 20 -c 2", 1, "wrong replies"),
            (
                "/ws",
                "--count 20 -c 2 --id 2 --timeout 1",
                1,
                "closed the WebSocket with 4000",
            ),
            (
                "/none",
                "-c 2 -d 3 --timeout 1",
                1,
                "no WebSocket is opened there: 404",
            ),
        ] {
            let output = stress(url(&server, path), &format!("{args} --preset rpc"));
            assert_eq!(output.status.code(), Some(code), "{path} {args}");
            let told = [text(&output.stdout), text(&output.stderr)].concat();
            assert!(told.contains(said), "{told}");
        }
    }
}
