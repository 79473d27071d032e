//! WebSockets whose messages have ids: frames and JSON, the same functions.

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::handover::reload;
use crate::harness::{Client, rpc, serve_with, wait_for, wait_until};
use crate::instance::Instance;
use crate::websocket::{frame, head, next, open, request};

/// `rpc` frames and JSON at `/ws`, by the configuration alone.
const KEYS: &[(&str, &str)] = &[
    ("listener.0.protocol", "auto"),
    ("listener.0.frame", "rpc"),
    ("listener.0.websocket", "/ws"),
];

fn text(client: &mut Client) -> String {
    let (first, payload) = next(client);
    assert_eq!(first, 0x81, "{payload:?}");
    String::from_utf8(payload).expect("text")
}

/// The frame that a binary message carries: id, sequence, body.
fn one(client: &mut Client) -> (u32, u32, Vec<u8>) {
    let (first, payload) = next(client);
    assert_eq!(first, 0x82, "{payload:?}");
    let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four"));
    assert_eq!(payload, rpc(word(4), word(8), &payload[16..]));
    (word(4), word(8), payload[16..].to_vec())
}

/// The next so many frames, in however many messages.
fn replies(client: &mut Client, count: usize) -> Vec<(u32, u32, Vec<u8>)> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(frames(client));
    }
    assert_eq!(all.len(), count);
    all
}

/// All frames of the next message.
fn frames(client: &mut Client) -> Vec<(u32, u32, Vec<u8>)> {
    let (first, payload) = next(client);
    assert_eq!(first, 0x82, "{payload:?}");
    let (mut all, mut rest) = (Vec::new(), &payload[..]);
    while !rest.is_empty() {
        let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().expect("four"));
        let (frame, behind) = rest.split_at(16 + word(0) as usize);
        assert_eq!(frame, rpc(word(4), word(8), &frame[16..]));
        all.push((word(4), word(8), frame[16..].to_vec()));
        rest = behind;
    }
    all
}

fn offering(server: &Server, path: &str, offer: &str) -> (Client, String) {
    let mut client = Client::to(server);
    let field = format!("Sec-WebSocket-Protocol: {offer}\r\n");
    client.send(request(path, &field).as_bytes());
    let (status, head) = head(&mut client);
    assert!(status.contains(" 101 "), "{head}");
    (client, head)
}

/// What is asked and what is answered, in both kinds.
fn app() -> App<u32> {
    App::<u32>::new()
        .on_inline(1, |_, body: Bytes| body)
        .on(2, |_, Json(numbers): Json<Vec<i64>>| {
            Json(numbers.iter().sum::<i64>())
        })
        .on(3, |_, name: String| format!("hello {name}"))
        .on(4, |c, room: String| c.join(&room))
        .on(5, |c, said: String| {
            c.hub().room("lobby").send(9, said);
        })
        .on(6, |_, (): ()| Err::<(), _>(Error::new(418, "teapot")))
        .on(7, |c, (): ()| {
            **c += 1;
            c.to_string()
        })
        .on(8, |c, (): ()| {
            c.later(|replier| {
                std::thread::spawn(move || replier.send("at last"));
            })
        })
        .on_inline(12, |c, text: String| {
            c.send(9, "push");
            text
        })
        .on(10, |c, (): ()| c.close())
        .on(13, |c, code: String| {
            c.close_with(code.parse().expect("a number"));
            code
        })
        .on(11, |_, (): ()| -> () { panic!("as a test wants it") })
}

#[test]
fn binary_messages_carry_one_or_more_frames_to_the_handlers_by_id() {
    let server = serve_with(app(), KEYS);
    let mut client = open(&server, "/ws");
    let two = [rpc(1, 5, b"a"), rpc(3, 6, b"ann")].concat();
    client.send(&frame(0x82, &two));
    let both = [(1, 5, b"a".to_vec()), (3, 6, b"hello ann".to_vec())];
    assert_eq!(replies(&mut client, 2), both);
    // However the message is framed.
    let (a, b) = two.split_at(11);
    client.send(&[frame(0x02, a), frame(0x89, b"?"), frame(0x80, b)].concat());
    assert_eq!(next(&mut client), (0x8a, b"?".to_vec()));
    assert_eq!(replies(&mut client, 2), both);
    // A long body, many at once.
    let long = vec![b'x'; 20_000];
    let many: Vec<u8> = (0..50)
        .flat_map(|n| frame(0x82, &rpc(1, n, &long)))
        .collect();
    let mut writer = client.0.try_clone().expect("a descriptor");
    let writes = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &many));
    for (n, reply) in (0..).zip(replies(&mut client, 50)) {
        assert_eq!(reply, (1, n, long.clone()));
    }
    writes.join().expect("no panic").expect("written");
    // The state is that of a session, and frames beside it have their own.
    for n in 1..4_u32 {
        client.send(&frame(0x82, &rpc(7, n, b"")));
        assert_eq!(one(&mut client), (7, n, n.to_string().into_bytes()));
    }
}

/// The handlers are all inline: one read is one turn.
#[test]
fn the_replies_of_a_turn_are_in_one_message_and_a_push_is_in_none_of_them() {
    let server = serve_with(app(), KEYS);
    let mut client = open(&server, "/ws");
    let echo = |n| rpc(1, n, b"a");
    // In one message and the next.
    let asked = [
        frame(0x82, &[echo(1), echo(2)].concat()),
        frame(0x82, &echo(3)),
        frame(0x82, &[rpc(12, 4, b"b"), echo(5)].concat()),
    ];
    client.send(&asked.concat());
    let reply = |n| (1, n, b"a".to_vec());
    assert_eq!(frames(&mut client), [reply(1), reply(2), reply(3)]);
    assert_eq!(frames(&mut client), [(9, 0, b"push".to_vec())]);
    assert_eq!(frames(&mut client), [(12, 4, b"b".to_vec()), reply(5)]);
    // Nobody waits for the last of very many.
    let long: Vec<u8> = (0..40)
        .flat_map(|n| frame(0x82, &rpc(1, n, &[b'x'; 1000])))
        .collect();
    client.send(&long);
    let mut came = 0;
    while came < 40 {
        let message = frames(&mut client);
        assert!(message.len() <= 17, "{} in one", message.len());
        for (id, n, body) in message {
            assert_eq!((id, n, body.len()), (1, came, 1000));
            came += 1;
        }
    }
}

/// By its length one message would tell of one reply what stands in the other.
#[test]
fn replies_that_may_be_compressed_are_messages_of_their_own() {
    let keys = [KEYS, &[("websocket.compression", "true")]].concat();
    let server = serve_with(app(), &keys);
    let mut client = Client::to(&server);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    client.send(request("/ws", offer).as_bytes());
    assert!(head(&mut client).1.contains("permessage-deflate"));
    client.send(&frame(0x82, &[rpc(1, 1, b"a"), rpc(1, 2, b"a")].concat()));
    for n in 1..3 {
        assert_eq!(one(&mut client), (1, n, b"a".to_vec()));
    }
}

#[test]
fn text_messages_are_objects_whose_body_is_what_the_handler_takes() {
    let server = serve_with(app(), KEYS);
    let mut client = open(&server, "/ws");
    for (asked, answered) in [
        (
            r#"{"id":2,"seq":1,"body":[1,2,39]}"#,
            r#"{"id":2,"seq":1,"body":42}"#,
        ),
        (
            r#"{"id":3,"seq":2,"body":"ann \"a\""}"#,
            r#"{"id":3,"seq":2,"body":"hello ann \"a\""}"#,
        ),
        (
            r#"{"id":1,"seq":3,"bytes":"AP8="}"#,
            r#"{"id":1,"seq":3,"bytes":"AP8="}"#,
        ),
        (r#"{"id":7,"seq":4}"#, r#"{"id":7,"seq":4,"body":"1"}"#),
        (
            r#"{"id":7,"seq":5,"body":null}"#,
            r#"{"id":7,"seq":5,"body":"2"}"#,
        ),
        (
            r#"{"id":6,"seq":6}"#,
            r#"{"id":6,"seq":6,"error":{"code":418,"text":"teapot"}}"#,
        ),
        (
            r#"{"id":8,"seq":7}"#,
            r#"{"id":8,"seq":7,"body":"at last"}"#,
        ),
        (
            r#"{"id":99,"seq":8}"#,
            r#"{"id":99,"seq":8,"error":{"code":404,"text":"no handler for message 99"}}"#,
        ),
        (
            r#"{"id":11,"seq":9}"#,
            r#"{"id":11,"seq":9,"error":{"code":500,"text":"the handler of message 11 panicked"}}"#,
        ),
        (
            r#"{"id":3,"body":5}"#,
            r#"{"id":3,"error":{"code":400,"text":"the body is no text"}}"#,
        ),
    ] {
        client.send(&frame(0x81, asked.as_bytes()));
        assert_eq!(text(&mut client), answered);
    }
    // Each is answered in its own kind.
    client.send(&frame(0x82, &rpc(7, 3, b"")));
    assert_eq!(one(&mut client), (7, 3, b"3".to_vec()));
}

#[test]
fn a_push_reaches_each_in_its_kind_and_is_agreed_on() {
    let server = serve_with(app(), KEYS);
    let mut frames = open(&server, "/ws");
    let (mut json, head) = offering(&server, "/ws", "other, purlin.json");
    assert!(
        head.contains("Sec-WebSocket-Protocol: purlin.json\r\n"),
        "{head}"
    );
    let (mut named, head) = offering(&server, "/ws", "purlin.frame.comm, purlin.frame.rpc");
    assert!(
        head.contains("Sec-WebSocket-Protocol: purlin.frame.rpc\r\n"),
        "{head}"
    );
    let (_, head) = offering(&server, "/ws", "chat");
    assert!(!head.contains("Sec-WebSocket-Protocol"), "{head}");
    let mut plain = Client::to(&server);
    for client in [&mut frames, &mut named] {
        client.send(&frame(0x82, &rpc(4, 1, b"lobby")));
    }
    plain.send(&rpc(4, 1, b"lobby"));
    json.send(&frame(0x81, br#"{"id":4,"body":"lobby"}"#));
    for client in [&mut frames, &mut named] {
        client.send(&frame(0x82, &rpc(1, 2, b"in")));
        assert_eq!(one(client), (1, 2, b"in".to_vec()));
    }
    plain.send(&rpc(1, 2, b"in"));
    assert_eq!(plain.rpc(), (1, 2, b"in".to_vec()));
    json.send(&frame(0x81, br#"{"id":1,"seq":2}"#));
    assert_eq!(text(&mut json), r#"{"id":1,"seq":2}"#);
    json.send(&frame(0x81, br#"{"id":5,"body":"hi"}"#));
    assert_eq!(text(&mut json), r#"{"id":9,"body":"hi"}"#);
    assert_eq!(one(&mut frames), (9, 0, b"hi".to_vec()));
    assert_eq!(one(&mut named), (9, 0, b"hi".to_vec()));
    assert_eq!(plain.rpc(), (9, 0, b"hi".to_vec()));
}

#[test]
fn the_hook_sees_the_request_and_may_refuse_bind_and_fill_the_state() {
    let web = Web::<u32>::new().websocket("/join/:name", |c| {
        let name = c.param("name").into_owned();
        **c = c
            .header("x-start")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        match &*name {
            "eve" => Err(Error::new(403, "not you")),
            name => {
                c.bind(name);
                Ok(())
            }
        }
    });
    let app = app()
        .on(20, |c, (): ()| c.user().unwrap_or_default())
        .on(21, |c, (): ()| {
            c.hub().user("ann").send(9, "psst").to_string()
        })
        .web(web);
    let server = serve_with(app, KEYS);
    let mut eve = Client::to(&server);
    eve.send(request("/join/eve", "").as_bytes());
    assert!(head(&mut eve).0.contains(" 403 "));
    let mut ann = Client::to(&server);
    ann.send(request("/join/ann", "X-Start: 41\r\n").as_bytes());
    assert!(head(&mut ann).0.contains(" 101 "));
    ann.send(&frame(0x81, br#"{"id":7,"seq":1}"#));
    assert_eq!(text(&mut ann), r#"{"id":7,"seq":1,"body":"42"}"#);
    ann.send(&frame(0x81, br#"{"id":20,"seq":2}"#));
    assert_eq!(text(&mut ann), r#"{"id":20,"seq":2,"body":"ann"}"#);
    let mut bob = open(&server, "/join/bob");
    bob.send(&frame(0x81, br#"{"id":21,"seq":3}"#));
    assert_eq!(text(&mut bob), r#"{"id":21,"seq":3,"body":"1"}"#);
    assert_eq!(one(&mut ann), (9, 0, b"psst".to_vec()));
}

#[test]
fn what_means_nothing_is_closed_with_1008_behind_what_did() {
    let server = serve_with(app(), KEYS);
    let good = rpc(1, 1, b"ok");
    let cut = [&good[..], &rpc(1, 2, b"cut")[..10]].concat();
    let mut corrupt = rpc(1, 2, b"body");
    corrupt[16] ^= 1;
    for bytes in [
        frame(0x82, &cut),
        [frame(0x82, &good), frame(0x82, &corrupt)].concat(),
        [frame(0x82, &good), frame(0x81, b"hello")].concat(),
        [frame(0x82, &good), frame(0x81, b"[]")].concat(),
    ] {
        let mut client = open(&server, "/ws");
        client.send(&bytes);
        assert_eq!(one(&mut client), (1, 1, b"ok".to_vec()));
        assert_eq!(next(&mut client), (0x88, b"\x03\xf0".to_vec()));
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(server.read(Counter::WsProtocol), 3);
    assert_eq!(server.read(Counter::BadChecksum), 1);
    wait_for(&server, Counter::Live, 0);
}

#[test]
fn a_close_by_a_handler_is_said_behind_its_reply_in_both_kinds() {
    let server = serve_with(app(), KEYS);
    for bytes in [frame(0x82, &rpc(10, 1, b"")), frame(0x81, br#"{"id":10}"#)] {
        let mut client = open(&server, "/ws");
        client.send(&[bytes, frame(0x82, &rpc(1, 1, b"not served"))].concat());
        assert_eq!(next(&mut client), (0x88, b"\x03\xe8".to_vec()));
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_program_closes_with_a_code_of_its_own_and_with_no_other() {
    let server = serve_with(app(), KEYS);
    let mut client = open(&server, "/ws");
    client.send(&frame(0x82, &rpc(13, 1, b"4001")));
    assert_eq!(one(&mut client), (13, 1, b"4001".to_vec()));
    assert_eq!(next(&mut client), (0x88, b"\x0f\xa1".to_vec()));
    assert_eq!(client.rest(), b"");
    let mut client = open(&server, "/ws");
    client.send(&frame(0x81, br#"{"id":13,"body":"1000"}"#));
    assert!(text(&mut client).contains("panicked"));
    client.send(&frame(0x81, br#"{"id":13,"body":"4999"}"#));
    assert_eq!(text(&mut client), r#"{"id":13,"body":"4999"}"#);
    assert_eq!(next(&mut client), (0x88, b"\x13\x87".to_vec()));
    // What speaks plain frames is closed as ever.
    let mut plain = Client::to(&server);
    plain.send(&rpc(13, 1, b"4001"));
    assert_eq!(plain.rpc(), (13, 1, b"4001".to_vec()));
    assert_eq!(plain.rest(), b"");
}

#[test]
fn whoever_is_closed_through_the_hub_is_told_the_code() {
    let app = App::<()>::new()
        .on(1, |c, (): ()| c.join("lobby"))
        .on(2, |c, code: String| {
            let code = code.parse().expect("a number");
            let closed = c.hub().room("lobby").close_with(code, "as a test wants it");
            closed.to_string()
        })
        .on(3, |_, body: Bytes| body);
    let server = serve_with(app, KEYS);
    for code in [1001_u16, 1013, 4000, 4999] {
        let (mut ann, mut bob) = (open(&server, "/ws"), open(&server, "/ws"));
        let mut plain = Client::to(&server);
        for client in [&mut ann, &mut bob] {
            client.send(&frame(0x82, &rpc(1, 0, b"")));
            client.send(&frame(0x82, &rpc(3, 1, b"in")));
            assert_eq!(one(client), (3, 1, b"in".to_vec()));
        }
        plain.send(&[rpc(1, 0, b""), rpc(3, 1, b"in")].concat());
        assert_eq!(plain.rpc(), (3, 1, b"in".to_vec()));
        ann.send(&frame(0x82, &rpc(2, 5, code.to_string().as_bytes())));
        // The caller behind its reply.
        assert_eq!(one(&mut ann), (2, 5, b"3".to_vec()));
        for client in [&mut ann, &mut bob] {
            assert_eq!(next(client), (0x88, code.to_be_bytes().to_vec()));
        }
        assert_eq!(plain.rest(), b"");
    }
    let mut client = open(&server, "/ws");
    for code in ["1000", "1002", "1011", "3999", "5000"] {
        client.send(&frame(0x82, &rpc(2, 6, code.as_bytes())));
        let (id, _, body) = one(&mut client);
        assert_eq!(id, u32::MAX, "{body:?}");
    }
}

#[test]
fn a_format_without_sequence_answers_in_order_in_one_message_and_the_next() {
    let keys = [KEYS, &[("listener.0.frame", "comm")]].concat();
    let server = serve_with(app(), &keys);
    let mut client = open(&server, "/ws");
    let comm = crate::harness::comm;
    let both = [comm(8, b""), comm(3, b"ann")].concat();
    client.send(&[frame(0x82, &both), frame(0x82, &comm(1, b"x"))].concat());
    let expected = [comm(8, b"at last"), comm(3, b"hello ann"), comm(1, b"x")].concat();
    let mut came = Vec::new();
    while came.len() < expected.len() {
        let (first, payload) = next(&mut client);
        assert_eq!(first, 0x82);
        came.extend(payload);
    }
    assert_eq!(came, expected);
}

#[test]
fn a_path_without_an_upgrade_says_what_is_there() {
    let server = serve_with(app(), KEYS);
    let mut client = Client::to(&server);
    client.send(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n");
    let (status, head) = head(&mut client);
    assert!(status.contains(" 426 "), "{status}");
    assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
}

#[test]
fn an_idle_connection_and_a_part_of_a_message_go_on_over_a_reload() {
    let instance = Instance::new("workers = 1");
    let text_of = std::fs::read_to_string(instance.path("conf")).expect("a file");
    let keys = "protocol = \"auto\"\nwebsocket = \"/ws\"\n[log]";
    instance.write(&text_of.replace("[log]", keys));
    instance.must("start");
    let connect = |offer: &str| {
        let mut client = Client::connect(instance.address);
        client.send(request("/ws", offer).as_bytes());
        assert!(head(&mut client).0.contains(" 101 "));
        client
    };
    let comm = crate::harness::comm;
    let mut idle = connect("");
    let mut json = connect("Sec-WebSocket-Protocol: purlin.json\r\n");
    let mut begun = connect("");
    idle.send(&frame(0x82, &comm(1, b"a")));
    assert_eq!(next(&mut idle), (0x82, comm(1, b"a")));
    // A fragment, a character and a frame that are not whole.
    let (start, rest) = (
        frame(0x01, b"{\"id\":1,\"body\":\"\xc3"),
        frame(0x80, b"\xa4\"}"),
    );
    begun.send(&[&start[..], &rest[..7]].concat());
    wait_until("the part has come", || {
        instance.counter("bytes_buffered") > 0
    });
    reload(&instance, 1);
    wait_until("all have moved", || {
        instance.counter("connections_handed_over") == 3
    });
    begun.send(&rest[7..]);
    assert_eq!(text(&mut begun), r#"{"id":1,"bytes":"w6Q="}"#);
    json.send(&frame(0x81, br#"{"id":1,"seq":4,"body":"b"}"#));
    assert_eq!(text(&mut json), r#"{"id":1,"seq":4,"bytes":"Yg=="}"#);
    idle.send(&frame(0x89, b"still"));
    assert_eq!(next(&mut idle), (0x8a, b"still".to_vec()));
    idle.send(&frame(0x82, &comm(1, b"c")));
    assert_eq!(next(&mut idle), (0x82, comm(1, b"c")));
    assert_eq!(instance.counter("connections_closed"), 0);
}
