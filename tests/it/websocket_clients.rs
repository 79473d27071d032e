//! WebSockets to clients that others have written: Python's `websockets`, npm's `ws`.

use std::path::Path;
use std::process::Command;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, address, comm, has, serve_with, skip, wait_for, wait_until};
use crate::instance::Instance;
use crate::websocket::{frame, head, next, request};

const KEYS: &[(&str, &str)] = &[
    ("listener.0.protocol", "auto"),
    ("listener.0.websocket", "/ws"),
    ("websocket.compression", "true"),
    ("heartbeat.ping", "both"),
    ("heartbeat.ping_interval", "100ms"),
    ("heartbeat.timeout", "20s"),
];

fn served() -> Server {
    let web = Web::<()>::new()
        .messages("/echo", |_, message: Message| message)
        .messages("/slow", |_, message: Message| {
            std::thread::sleep(std::time::Duration::from_secs(2));
            message
        });
    let app = App::<()>::new()
        .on(1, |_, text: String| text)
        .on(2, |c, (): ()| c.join("all"))
        .on(3, |c, text: String| {
            c.hub().room("all").send(9, text);
        })
        .on(4, |c, (): ()| c.close_with(4004))
        .web(web);
    serve_with(app, KEYS)
}

/// Runs `program`; its last argument is the address.
fn runs(mut program: Command, server: &Server) {
    let output = program
        .arg(address(server).to_string())
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.trim_end().ends_with("all is well"), "{said}");
    wait_for(server, Counter::Live, 0);
    assert_eq!(server.read(Counter::WsProtocol), 0);
    assert!(server.read(Counter::WsInflated) > 0, "compressed both ways");
    assert!(server.read(Counter::WsDeflated) > 0, "compressed both ways");
}

/// A client with compression and pings of its own; it hangs up where a pong does not
/// come within a second, whatever a handler does.
const PYTHON: &str = r#"
import asyncio, json, sys, websockets

async def main(address):
    url = "ws://" + address
    async with websockets.connect(url + "/echo", ping_interval=0.1, ping_timeout=10) as ws:
        assert any(e.name == "permessage-deflate" for e in ws.protocol.extensions), ws.protocol
        for text in ["", "short", "lang und länger " * 1000, "x" * 100000]:
            await ws.send(text)
            assert await ws.recv() == text
            await ws.send(text.encode())
            assert await ws.recv() == text.encode()
        await ws.send(["in ", "frag", "ments " * 500])
        assert await ws.recv() == "in fragments " + "ments " * 499
    assert ws.close_code == 1000, ws.close_code
    async with websockets.connect(url + "/slow", ping_interval=0.2, ping_timeout=1) as ws:
        await ws.send("patience")
        assert await ws.recv() == "patience"
    async with websockets.connect(url + "/echo", compression=None) as ws:
        assert not ws.protocol.extensions
        await ws.send("plain " * 1000)
        assert await ws.recv() == "plain " * 1000
    protocols = ["other", "purlin.json"]
    async with websockets.connect(url + "/ws", subprotocols=protocols) as a, \
            websockets.connect(url + "/ws", subprotocols=protocols) as b:
        assert a.subprotocol == "purlin.json"
        async def call(ws, **request):
            await ws.send(json.dumps(request))
            return json.loads(await ws.recv())
        assert await call(a, id=1, seq=5, body="hello") == {"id": 1, "seq": 5, "body": "hello"}
        await b.send(json.dumps({"id": 2, "seq": 1}))
        await call(b, id=1, seq=2, body="in the room")
        long = "to everybody " * 100
        await a.send(json.dumps({"id": 3, "body": long}))
        assert json.loads(await b.recv()) == {"id": 9, "body": long}
        await a.send(json.dumps({"id": 4}))
        try:
            await a.recv()
        except websockets.exceptions.ConnectionClosed as closed:
            assert closed.rcvd.code == 4004, closed
    print("all is well")

asyncio.run(main(sys.argv[1]))
"#;

#[test]
fn pythons_websockets_finds_everything_in_order() {
    let python = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/tools/websockets/bin/python"
    );
    if !Path::new(python).exists() {
        return skip("Python's websockets is missing: make needs");
    }
    let mut program = Command::new(python);
    program.args(["-c", PYTHON]);
    runs(program, &served());
}

const NODE: &str = r#"
const { WebSocket } = require("ws");
const url = "ws://" + process.argv[1];
const assert = require("assert");
const open = (path, protocols, options) => new Promise((resolve, reject) => {
  const ws = new WebSocket(url + path, protocols, options);
  ws.queue = [];
  ws.on("message", (data, binary) => {
    const message = binary ? data : data.toString();
    ws.waits ? ws.waits(message) : ws.queue.push(message);
    ws.waits = undefined;
  });
  ws.next = () => ws.queue.length ? Promise.resolve(ws.queue.shift())
    : new Promise(resolve => { ws.waits = resolve; });
  ws.closed = new Promise(resolve => ws.on("close", code => resolve(code)));
  ws.on("open", () => resolve(ws)).on("error", reject);
});
const pong = ws => new Promise(resolve => ws.once("pong", data => resolve(data.toString())));

(async () => {
  for (const perMessageDeflate of [true, { threshold: 0 }, { serverMaxWindowBits: 9 }, false]) {
    const ws = await open("/echo", [], { perMessageDeflate });
    assert.equal(/permessage-deflate/.test(ws.extensions), !!perMessageDeflate);
    for (const text of ["", "short", "lang und länger ".repeat(1000), "x".repeat(100000)]) {
      ws.send(text);
      assert.equal(await ws.next(), text);
      ws.send(Buffer.from(text));
      assert.deepEqual(await ws.next(), Buffer.from(text));
    }
    ws.send("in ", { fin: false });
    ws.send("parts ".repeat(300), { fin: true });
    assert.equal(await ws.next(), "in " + "parts ".repeat(300));
    for (let n = 0; n < 200; n++) ws.send(`${n} `.repeat(200));
    for (let n = 0; n < 200; n++) assert.equal(await ws.next(), `${n} `.repeat(200));
    const alive = pong(ws);
    ws.ping("alive?");
    assert.equal(await alive, "alive?");
    ws.close(4321);
    assert.equal(await ws.closed, 4321);
  }
  const [a, b] = [await open("/ws", ["purlin.json"]), await open("/ws", ["purlin.json"])];
  assert.equal(a.protocol, "purlin.json");
  const call = (ws, request) => (ws.send(JSON.stringify(request)), ws.next().then(JSON.parse));
  assert.deepEqual(await call(a, { id: 1, seq: 5, body: "hello" }), { id: 1, seq: 5, body: "hello" });
  b.send(JSON.stringify({ id: 2, seq: 1 }));
  await call(b, { id: 1, seq: 2, body: "in the room" });
  const long = "to everybody ".repeat(100);
  a.send(JSON.stringify({ id: 3, body: long }));
  assert.deepEqual(JSON.parse(await b.next()), { id: 9, body: long });
  a.send(JSON.stringify({ id: 4 }));
  assert.equal(await a.closed, 4004);
  b.close();
  assert.equal(await b.closed, 1005);
  console.log("all is well");
})().catch(error => { console.error(error); process.exit(1); });
"#;

#[test]
fn npms_ws_finds_everything_in_order() {
    if !has("node", "nodejs") {
        return;
    }
    let modules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/tools/node/node_modules"
    );
    if !Path::new(modules).join("ws").exists() {
        return skip("npm's ws is missing: make needs");
    }
    let mut program = Command::new("node");
    program.env("NODE_PATH", modules).args(["-e", NODE]);
    runs(program, &served());
}

/// A new binary takes over whoever is there: idle, in the middle of a message, with
/// and without compression.
#[test]
fn websockets_go_on_over_an_upgrade_with_all_that_they_had() {
    let instance = Instance::mover("workers = 2");
    let text = std::fs::read_to_string(instance.path("conf")).expect("a file");
    let keys = "protocol = \"auto\"\nwebsocket = \"/ws\"\n\
                [websocket]\ncompression = true\n[log]";
    instance.write(&text.replace("[log]", keys));
    instance.must("start");
    let connect = |fields: &str| {
        let mut client = Client::connect(instance.address);
        client.send(request("/ws", fields).as_bytes());
        let (status, head) = head(&mut client);
        assert!(status.contains(" 101 "), "{head}");
        client
    };
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let json = "Sec-WebSocket-Protocol: purlin.json\r\n";
    let both = format!("{offer}{json}");
    let kinds = ["", offer, json, &both];
    let mut clients: Vec<Client> = (0..40).map(|n| connect(kinds[n % 4])).collect();
    // The state counts, in each kind.
    let say = |client: &mut Client, n: usize, count: u32| {
        if n % 4 < 2 {
            client.send(&frame(0x82, &comm(10, b"")));
            let expected = comm(10, count.to_string().as_bytes());
            assert_eq!(next(client), (0x82, expected), "{n}");
        } else {
            client.send(&frame(0x81, br#"{"id":10,"seq":3}"#));
            let (first, payload) = next(client);
            let text = String::from_utf8_lossy(&payload);
            assert!(first == 0x81 && text.contains(r#""seq":3"#), "{n}: {text}");
        }
    };
    for (n, client) in clients.iter_mut().enumerate() {
        say(client, n, 1);
    }
    let whole = frame(0x82, &comm(1, b"a message that came in two parts"));
    let (start, rest) = whole.split_at(9);
    for upgrades in 1..=2 {
        for client in clients.iter_mut().step_by(8) {
            client.send(start);
        }
        wait_until("the parts have come", || {
            instance.counter("bytes_buffered") >= 45
        });
        instance.upgraded();
        for client in clients.iter_mut().step_by(8) {
            client.send(rest);
            let echo = comm(1, b"a message that came in two parts");
            assert_eq!(next(client), (0x82, echo));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            say(client, n, upgrades + 1);
        }
        let moved = 40 * u64::from(upgrades);
        assert_eq!(instance.counter("connections_handed_over"), moved);
    }
    assert_eq!(instance.counter("connections_closed"), 0);
    assert_eq!(instance.counter("websockets_opened"), 40);
}
