//! A drain over HTTP: whatever was received is answered or refused, and the
//! log's account of it adds up, however requests come and are answered.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Client, wait_until};
use crate::instance::{Instance, signal};
use crate::operate::{counted, drains};

/// Bytes of a body that is passed on in parts.
const PART: usize = 20_000;

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

fn chunk(bytes: usize) -> Vec<u8> {
    let size = format!("{bytes:x}\r\n");
    [size.as_bytes(), &vec![b'b'; bytes], b"\r\n"].concat()
}

/// Sends `bytes` and waits until the server has read them.
fn send(instance: &Instance, sent: &mut u64, client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    *sent += bytes.len() as u64;
    wait_until("it was read", || {
        instance.counter("bytes_received") == *sent
    });
}

/// Everything up to the close, which must be this many answers, all good.
fn answers(client: &mut Client, count: usize) -> String {
    let text = String::from_utf8(client.rest()).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), count, "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), count, "{text}");
    text
}

#[test]
fn a_drain_over_http_accounts_for_every_request() {
    let instance = Instance::subject("workers = 1\nshutdown_timeout = \"60s\"");
    let keys = [
        "listener.0.protocol=http",
        "http.body_memory_max=4KiB",
        "worker.business_threads=4",
        "worker.drain_idle=60s",
    ];
    let mut start = vec!["start"];
    keys.iter().for_each(|key| start.extend(["--set", key]));
    let output = instance.ask(&start);
    assert!(output.status.success(), "{output:?}");
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(instance.address)).collect();
    let [chunked, long, expects, piped, waits, later, streams, plain] = &mut clients[..] else {
        unreachable!("there are eight");
    };

    // Before: half of three bodies, sixteen requests behind one that does not
    // end, one whose answer is put off, and two that are done.
    let sent = &mut 0;
    let post = "POST /sum HTTP/1.1\r\nHost: x\r\n";
    let head = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    send(&instance, sent, chunked, head.as_bytes());
    for _ in 0..3 {
        send(&instance, sent, chunked, &chunk(PART));
    }
    let head = format!("{post}Content-Length: {}\r\n\r\n", 3 * PART);
    send(&instance, sent, long, head.as_bytes());
    send(&instance, sent, long, &vec![b'b'; PART]);
    let head = format!("{post}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    send(&instance, sent, expects, head.as_bytes());
    assert_eq!(expects.exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    let sixteen = [get("/held"), get("/quick").repeat(15)].concat();
    send(&instance, sent, piped, &sixteen);
    send(&instance, sent, waits, &get("/later"));
    send(&instance, sent, streams, &get("/quick").repeat(2));
    wait_until("what may be served is", || {
        let names = ["messages_handled_inline", "messages_served_by_pool"];
        let served: u64 = names.iter().map(|name| instance.counter(name)).sum();
        // Two quick ones, and one put off.
        served == 3
    });
    assert_eq!(instance.counter("messages_received"), 3 + 16 + 3);

    signal(instance.master().unwrap(), Signal::SIGQUIT);
    wait_until("it drains", || instance.status()["stopping"] == true);

    // During: the other halves, and what was asked too late to stay.
    for _ in 0..3 {
        send(&instance, sent, chunked, &chunk(PART));
    }
    send(&instance, sent, chunked, b"0\r\n\r\n");
    for _ in 0..2 {
        send(&instance, sent, long, &vec![b'b'; PART]);
    }
    send(&instance, sent, expects, b"hello");
    send(&instance, sent, later, &get("/later"));
    send(&instance, sent, streams, &get("/lines"));
    send(&instance, sent, plain, &get("/quick"));
    fs::write(instance.path("go"), "").unwrap();
    assert!(answers(chunked, 1).ends_with(&format!("\r\n\r\n{}", 6 * PART)));
    assert!(answers(long, 1).ends_with(&format!("\r\n\r\n{}", 3 * PART)));
    assert!(answers(expects, 1).ends_with("\r\n\r\n5"));
    assert!(answers(plain, 1).ends_with("\r\n\r\nquick"));
    assert!(answers(later, 1).ends_with("\r\n\r\nlater"));
    assert!(answers(streams, 3).ends_with("line 199999\n\r\n0\r\n\r\n"));
    piped.finish();
    assert_eq!(answers(piped, 16).matches("\r\n\r\nquick").count(), 15);
    waits.finish();
    assert!(answers(waits, 1).ends_with("later"));
    wait_until("it is gone", || instance.master().is_none());

    // All but the two that were answered before: whose answer was put off was not.
    let log = instance.log();
    assert_eq!(drains(&log), [[23, 23, 0]], "{log}");
    let line = "23 messages received = 23 answered + 0 refused";
    assert!(log.contains(line), "{log}");
    assert_eq!(counted(&log, "messages_received"), 25);
    let names = ["messages_handled_inline", "messages_served_by_pool"];
    let served: u64 = names.iter().map(|name| counted(&log, name)).sum();
    assert_eq!(served, 25);
}
