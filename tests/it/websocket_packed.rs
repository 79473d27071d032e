//! Compressed messages over real connections (RFC 7692).

use std::path::Path;
use std::process::Command;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::handover::reload;
use crate::harness::{
    Client, address, comm, either, resident, rpc, serve_with, skip, wait_for, wait_until,
};
use crate::instance::Instance;
use crate::websocket::{frame, head, next, request};

const KEYS: &[(&str, &str)] = &[
    ("listener.0.protocol", "auto"),
    ("listener.0.frame", "rpc"),
    ("listener.0.websocket", "/ws"),
    ("websocket.compression", "true"),
];

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

fn flushed(payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut packed = Vec::with_capacity(payload.len() + 1000);
    compress
        .compress_vec(payload, &mut packed, flush)
        .expect("it compresses");
    packed
}

/// The payload of a compressed message.
fn packed(payload: &[u8]) -> Vec<u8> {
    let mut packed = flushed(payload, FlushCompress::Sync);
    packed.truncate(packed.len() - 4);
    packed
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 << 20);
    Decompress::new(false)
        .decompress_vec(
            &[packed, b"\x00\x00\xff\xff"].concat(),
            &mut whole,
            FlushDecompress::Sync,
        )
        .expect("it was compressed");
    whole
}

fn offering(server: &Server, path: &str, fields: &str) -> (Client, String) {
    let mut client = Client::to(server);
    client.send(request(path, fields).as_bytes());
    let (status, head) = head(&mut client);
    assert!(status.contains(" 101 "), "{head}");
    (client, head)
}

fn app() -> App<()> {
    App::<()>::new()
        .on_inline(1, |_, body: Bytes| body)
        .on(2, |_, text: String| text)
        .on(3, |c, (): ()| c.join("lobby"))
        .on(4, |c, text: String| {
            c.hub().room("lobby").send(9, text);
        })
        .on_inline(5, |_, body: Bytes| body.len().to_string())
        .web(Web::<()>::new().messages("/echo", |_, message: Message| message))
}

#[test]
fn compression_is_agreed_on_where_it_is_on_and_offered() {
    let on = serve_with(app(), KEYS);
    let off = serve_with(app(), &KEYS[..3]);
    const AGREED: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
                          server_no_context_takeover; client_no_context_takeover";
    let smaller = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    for path in ["/ws", "/echo"] {
        let (_, head) = offering(&on, path, OFFER);
        assert!(head.contains(&format!("{AGREED}\r\n")), "{head}");
        let (_, head) = offering(&on, path, smaller);
        let answer = format!("{AGREED}; server_max_window_bits=10\r\n");
        assert!(head.contains(&answer), "{head}");
        let unknown = "Sec-WebSocket-Extensions: permessage-deflate; x\r\n";
        for (server, fields) in [(&on, ""), (&on, unknown), (&off, OFFER)] {
            let (mut client, head) = offering(server, path, fields);
            assert!(!head.contains("Extensions"), "{head}");
            // What was not agreed on is not understood.
            client.send(&frame(0xc1, &packed(b"hello")));
            assert_eq!(next(&mut client), (0x88, b"\x03\xea".to_vec()));
        }
    }
}

#[test]
fn messages_of_every_kind_are_compressed_both_ways() {
    let server = serve_with(app(), KEYS);
    let long = "a text of some length, ".repeat(50);
    let (mut raw, _) = offering(&server, "/echo", OFFER);
    raw.send(&frame(0xc1, &packed(long.as_bytes())));
    let (first, payload) = next(&mut raw);
    assert_eq!((first, &unpacked(&payload)[..]), (0xc1, long.as_bytes()));
    assert!(payload.len() < 100);
    // A short one is sent as it is, however it came.
    raw.send(&frame(0xc2, &packed(b"short")));
    assert_eq!(next(&mut raw), (0x82, b"short".to_vec()));
    assert_eq!(server.read(Counter::WsInflated), 2);
    assert_eq!(server.read(Counter::WsDeflated), 1);
    assert_eq!(server.read(Counter::WsDeflatedFrom), long.len() as u64);
    assert_eq!(server.read(Counter::WsDeflatedTo), payload.len() as u64);

    let (mut ids, _) = offering(&server, "/ws", OFFER);
    let call = rpc(1, 7, long.as_bytes());
    ids.send(&frame(0xc2, &packed(&call)));
    let (first, payload) = next(&mut ids);
    assert_eq!((first, unpacked(&payload)), (0xc2, call));
    let asked = format!(r#"{{"id":2,"seq":1,"body":"{long}"}}"#);
    ids.send(&frame(0xc1, &packed(asked.as_bytes())));
    let (first, payload) = next(&mut ids);
    assert_eq!((first, unpacked(&payload)), (0xc1, asked.into_bytes()));
}

/// A message to a room is compressed once for all who agreed on the same, whatever
/// they are.
#[test]
fn a_room_of_a_thousand_costs_one_compression_a_message() {
    let server = serve_with(app(), KEYS);
    let json = format!("{OFFER}Sec-WebSocket-Protocol: purlin.json\r\n");
    let (mut plain, _) = offering(&server, "/ws", "");
    let mut members: Vec<Client> = (0..1000)
        .map(|n| {
            let fields = if n % 2 == 0 { OFFER } else { &json };
            offering(&server, "/ws", fields).0
        })
        .collect();
    for member in members.iter_mut().chain([&mut plain]) {
        member.send(&frame(0x82, &rpc(3, 1, b"")));
        member.send(&frame(0x82, &rpc(1, 2, b"in")));
        assert_eq!(next(member), (0x82, rpc(1, 2, b"in")));
    }
    assert_eq!(server.read(Counter::WsDeflated), 0);
    let text = "as many as there are heard this. ".repeat(40);
    for messages in 1..=3 {
        plain.send(&frame(0x82, &rpc(4, 0, text.as_bytes())));
        assert_eq!(next(&mut plain), (0x82, rpc(9, 0, text.as_bytes())));
        let said = format!(r#"{{"id":9,"body":"{text}"}}"#);
        for (n, member) in members.iter_mut().enumerate() {
            let (first, payload) = next(member);
            let expected = if n % 2 == 0 {
                (0xc2, rpc(9, 0, text.as_bytes()))
            } else {
                (0xc1, said.clone().into_bytes())
            };
            assert_eq!((first, unpacked(&payload)), expected);
        }
        // As frames and as JSON.
        assert_eq!(server.read(Counter::WsDeflated), 2 * messages);
    }
}

/// Each ends within the limit of a message, whatever it would become.
#[test]
fn bombs_are_closed_with_their_code_and_take_no_memory() {
    let instance = Instance::new("workers = 1");
    let text = std::fs::read_to_string(instance.path("conf")).expect("a file");
    let keys = "protocol = \"http\"\nwebsocket = \"/ws\"\n\
                [websocket]\ncompression = true\nmessage_max = \"2MiB\"\n[log]";
    instance.write(&text.replace("[log]", keys));
    instance.must("start");
    // A gigabyte of zeros in a megabyte.
    let bomb = flushed(&vec![0; 1 << 20], FlushCompress::Full).repeat(1024);
    assert!(bomb.len() < 5 << 18, "{}", bomb.len());
    let mut long = vec![0xc2, 0xff];
    long.extend((bomb.len() as u64).to_be_bytes());
    long.extend([0; 4]);
    long.extend(&bomb);
    let mut clients: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(instance.address);
            client.send(request("/ws", OFFER).as_bytes());
            let (_, head) = head(&mut client);
            assert!(head.contains("permessage-deflate"), "{head}");
            client
        })
        .collect();
    let worker = instance.workers()[0];
    let before = resident(worker);
    for client in &mut clients {
        client.send(&long);
    }
    for client in &mut clients {
        assert_eq!(next(client), (0x88, b"\x03\xf1".to_vec()));
    }
    let grown = resident(worker).saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more");
    assert_eq!(
        instance.counter("connections_closed_websocket_too_long"),
        20
    );
}

/// However many turns its frames take.
#[test]
fn a_message_of_many_frames_is_decompressed_once() {
    let server = serve_with(app(), KEYS);
    let (mut client, _) = offering(&server, "/ws", OFFER);
    let count = 20_000;
    let frames: Vec<u8> = (0..count)
        .flat_map(|n| rpc(if n % 2 == 0 { 5 } else { 2 }, n, b"x"))
        .collect();
    client.send(&frame(0xc2, &packed(&frames)));
    for n in 0..count {
        let body: &[u8] = if n % 2 == 0 { b"1" } else { b"x" };
        let id = if n % 2 == 0 { 5 } else { 2 };
        assert_eq!(next(&mut client), (0x82, rpc(id, n, body)));
    }
    // Once more at most: on the event loop, and by whoever went on.
    assert!(server.read(Counter::WsInflated) <= 2);
    client.send(&frame(0x82, &rpc(2, 1, b"and on")));
    assert_eq!(next(&mut client), (0x82, rpc(2, 1, b"and on")));
    // With the request for the upgrade.
    wait_for(&server, Counter::Received, 3);
}

#[test]
fn what_was_agreed_on_goes_on_over_a_reload_and_outlives_the_key() {
    let instance = Instance::new("workers = 1");
    let text = std::fs::read_to_string(instance.path("conf")).expect("a file");
    let keys = "protocol = \"auto\"\nwebsocket = \"/ws\"\n\
                [websocket]\ncompression = true\n[log]";
    let with = text.replace("[log]", keys);
    instance.write(&with);
    instance.must("start");
    let connect = |fields: &str| {
        let mut client = Client::connect(instance.address);
        client.send(request("/ws", fields).as_bytes());
        assert!(head(&mut client).0.contains(" 101 "));
        client
    };
    let json = format!("{OFFER}Sec-WebSocket-Protocol: purlin.json\r\n");
    let smaller = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    let mut clients = [connect(OFFER), connect(&json), connect(smaller)];
    let long = b"the same again and again ".repeat(40);
    let call = comm(1, &long);
    let whole = frame(0xc2, &packed(&call));
    let (start, rest) = whole.split_at(20);
    for (reloads, first) in [(1, 0xc2), (2, 0x82)] {
        if reloads == 2 {
            instance.write(&with.replace("compression = true", "compression = false"));
        }
        for client in &mut clients {
            client.send(start);
        }
        wait_until("the parts have come", || {
            instance.counter("bytes_buffered") >= 60
        });
        reload(&instance, 1);
        wait_until("all have moved", || {
            instance.counter("connections_handed_over") == 3 * reloads
        });
        for client in &mut clients {
            client.send(rest);
            let (came, payload) = next(client);
            assert_eq!(came, first);
            let payload = if came == 0xc2 {
                unpacked(&payload)
            } else {
                payload
            };
            assert_eq!(payload, call);
        }
    }
    assert_eq!(instance.counter("connections_closed"), 0);
}

/// Beside a connection of frames there is what it became, and nothing else: no
/// buffer, and nothing of a compressor.
#[test]
fn an_idle_websocket_takes_no_more_memory_than_what_it_became() {
    const COUNT: u64 = 1500;
    let cost = |fields: Option<&str>| {
        let instance = Instance::new("workers = 1");
        let text = std::fs::read_to_string(instance.path("conf")).expect("a file");
        let keys = "protocol = \"auto\"\nwebsocket = \"/ws\"\n\
                    [websocket]\ncompression = true\ncompression_min = \"0B\"\n\
                    [worker]\nconnections_max = 8192\n[log]";
        instance.write(&text.replace("[log]", keys));
        instance.must("start");
        let connect = |_| {
            let mut client = Client::connect(instance.address);
            let call = comm(1, b"hello");
            match fields {
                None => assert_eq!(client.call(1, b"hello"), (1, b"hello".to_vec())),
                Some(fields) => {
                    client.send(request("/ws", fields).as_bytes());
                    assert!(head(&mut client).0.contains(" 101 "));
                    client.send(&frame(0x82, &call));
                    assert_eq!(next(&mut client).0 & 0xbf, 0x82);
                }
            }
            client
        };
        let worker = instance.workers()[0];
        let mut clients: Vec<Client> = (0..500).map(connect).collect();
        // What a thread makes once it makes at some time: not during all of these.
        let mut grown = || {
            let before = resident(worker);
            clients.extend((0..COUNT).map(connect));
            resident(worker).saturating_sub(before) / COUNT
        };
        (0..5).map(|_| grown()).min().expect("five")
    };
    let (plain, socket, packing) = (cost(None), cost(Some("")), cost(Some(OFFER)));
    for (what, bytes) in [("a WebSocket", socket), ("one that compresses", packing)] {
        assert!(
            bytes <= plain + 256,
            "{what} takes {bytes} bytes, frames {plain}"
        );
    }
}

/// Autobahn's cases of compression, as PyPI's `kosoku` has them.
#[test]
fn autobahn_finds_nothing_about_compression() {
    let kosoku = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/tools/kosoku/bin/kosoku"
    );
    if !Path::new(kosoku).exists() {
        return skip("kosoku is missing: make needs");
    }
    // Some ask whether a message of sixteen bytes was compressed.
    let keys = [
        KEYS,
        &[
            ("websocket.compression_min", "0B"),
            ("websocket.message_max", "32MiB"),
        ],
    ]
    .concat();
    let server = serve_with(app(), &keys);
    let reports = tempfile::tempdir().expect("a folder");
    // All of them take many minutes, most of which the other side does.
    let cases = either("12.1.1 12.2.1 13.1.1 13.3.1 13.5.1 13.7.1", "12.* 13.*");
    let output = Command::new(kosoku)
        .args(["-p", "2"])
        .args(cases.split(' ').flat_map(|case| ["-i", case]))
        .arg("-o")
        .arg(reports.path())
        .arg(format!("ws://{}/echo", address(&server)))
        .output()
        .expect("kosoku runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for word in ["NON-STRICT", "FAILED", "UNIMPLEMENTED"] {
        assert!(!said.contains(word), "{said}");
    }
    assert!(server.read(Counter::WsInflated) >= 6000);
    assert!(server.read(Counter::WsDeflated) >= 6000);
}
