//! What the access log says of WebSockets.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::{Value, json};

use crate::handover::reload;
use crate::harness::{Client, comm, wait_until};
use crate::instance::Instance;
use crate::websocket::{frame, head, next, request};

/// A server of one worker that logs what `keys` say of `[http]`.
fn started(keys: &str) -> Instance {
    let instance = Instance::new("workers = 1");
    let text = std::fs::read_to_string(instance.path("conf")).unwrap();
    let keys = format!(
        "protocol = \"auto\"\nwebsocket = \"/ws\"\n\
         [http]\naccess_log = \"access\"\n{keys}\n[log]"
    );
    instance.write(&text.replace("[log]", &keys));
    instance.must("start");
    instance
}

/// A WebSocket whose request has this name, and that was answered once.
fn opened(instance: &Instance, id: &str) -> Client {
    let mut client = Client::connect(instance.address);
    let fields = format!("X-Request-Id: {id}\r\nUser-Agent: test\r\n");
    client.send(request("/ws", &fields).as_bytes());
    let (status, _) = head(&mut client);
    assert!(status.contains(" 101 "), "{status}");
    echo(&mut client);
    client
}

/// What the server sends for this, in bytes.
const ECHO: u64 = 2 + 13;

fn echo(client: &mut Client) {
    let hello = comm(1, b"hello");
    client.send(&frame(0x82, &hello));
    assert_eq!(next(client), (0x82, hello));
}

fn lines(instance: &Instance) -> Vec<String> {
    let text = std::fs::read_to_string(instance.path("access")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The end of each by its name, of whom there are so many.
fn ends(instance: &Instance, count: usize) -> HashMap<String, Value> {
    wait_until("all ends are recorded", || {
        lines(instance).len() >= 2 * count
    });
    let mut ends = HashMap::new();
    let lines = lines(instance);
    assert_eq!(lines.len(), 2 * count, "{lines:?}");
    for line in lines {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["path"], json!("/ws"));
        assert_eq!(line["agent"], json!("test"));
        if line["status"] == json!(101) {
            assert_eq!(line["bytes"], json!(0));
        } else {
            let id = line["id"].as_str().unwrap().to_owned();
            assert!(ends.insert(id, line).is_none(), "each ends once");
        }
    }
    ends
}

#[test]
fn the_end_of_a_websocket_has_a_line_with_its_code_its_bytes_and_its_time() {
    let instance = started("access_log_format = \"json\"\naccess_log_ends = true");
    let cases = [
        ("normal", frame(0x88, b"\x03\xe8"), 1000, ECHO + 4),
        ("own", frame(0x88, b"\x10\xe1bye"), 4321, ECHO + 4),
        ("none", frame(0x88, b""), 1005, ECHO + 2),
        ("gone", Vec::new(), 1006, ECHO),
        ("unmasked", b"\x81\x02hi".to_vec(), 1002, ECHO + 4),
        ("no-text", frame(0x81, b"\xff"), 1007, ECHO + 4),
        ("no-object", frame(0x81, b"[]"), 1008, ECHO + 4),
    ];
    for (id, last, ..) in &cases {
        let mut client = opened(&instance, id);
        client.send(last);
        client.finish();
        client.until_closed();
    }
    let ends = ends(&instance, cases.len());
    for (id, _, status, bytes) in cases {
        let end = &ends[id];
        assert_eq!(
            (&end["status"], &end["bytes"]),
            (&json!(status), &json!(bytes)),
            "{id}"
        );
        // The clock of the answer begins when its request was looked at.
        let seconds = end["seconds"].as_f64().unwrap();
        assert!(seconds > 0.0 && seconds < 60.0, "{id}: {seconds}");
    }
}

#[test]
fn a_websocket_that_moves_ends_once_with_all_that_was_sent_to_it() {
    let instance = started("access_log_format = \"json\"\naccess_log_ends = true");
    let mut clients = ["a", "b", "c"].map(|id| opened(&instance, id));
    let since = Instant::now();
    for reloads in 1..=2 {
        reload(&instance, 1);
        wait_until("all have moved", || {
            instance.counter("connections_handed_over") == 3 * reloads
        });
        clients.iter_mut().for_each(echo);
    }
    let lasted = since.elapsed().as_secs_f64();
    clients[0].send(&frame(0x88, b"\x03\xe8"));
    clients[0].until_closed();
    // The others are told that the server ends.
    let stops = std::thread::scope(|scope| {
        let stops = scope.spawn(|| instance.must("stop"));
        for client in &mut clients[1..] {
            assert_eq!(next(client), (0x88, b"\x03\xe9".to_vec()));
            client.send(&frame(0x88, b"\x03\xe9"));
            client.finish();
        }
        stops.join()
    });
    stops.unwrap();
    let ends = ends(&instance, 3);
    for (id, status) in [("a", 1000), ("b", 1001), ("c", 1001)] {
        let end = &ends[id];
        assert_eq!(end["status"], json!(status), "{id}");
        assert_eq!(end["bytes"], json!(3 * ECHO + 4), "{id}");
        assert!(end["seconds"].as_f64().unwrap() >= lasted, "{id}: {end}");
    }
}

#[test]
fn nobody_asks_for_ends_and_there_are_none() {
    let instance = started("");
    for id in ["a", "b"] {
        let mut client = opened(&instance, id);
        client.send(&frame(0x88, b"\x03\xe8"));
        client.until_closed();
    }
    instance.must("stop");
    let lines = lines(&instance);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("\"GET /ws HTTP/1.1\" 101 0 "),
        "{lines:?}"
    );
}

/// Written past its server, by whoever takes its place away.
#[test]
fn who_makes_room_has_ended_with_1013() {
    let instance = started(
        "access_log_format = \"json\"\naccess_log_ends = true\n\
         [worker]\nconnections_max = 4\n[limits]\nmake_room = \"50ms\"\n",
    );
    let mut slow: Vec<Client> = ["a", "b", "c", "d"].map(|id| opened(&instance, id)).into();
    let whole = frame(0x82, &comm(1, b"drips"));
    slow.iter_mut().for_each(|client| client.send(&whole[..5]));
    wait_until("all have begun", || {
        instance.counter("bytes_buffered") == 20
    });
    let mut honest = Client::connect(instance.address);
    assert_eq!(honest.call(1, b"a"), (1, b"a".to_vec()));
    wait_until("its end is recorded", || lines(&instance).len() == 5);
    let last: Value = serde_json::from_str(&lines(&instance)[4]).unwrap();
    assert_eq!(last["status"], json!(1013), "{last}");
    assert_eq!(last["bytes"], json!(ECHO + 4));
}
