//! What makes progress over reloads and upgrades: a file's response goes on in the
//! new worker, byte for byte, and its client notices nothing. With
//! `PURLIN_TEST_FULL` in the environment, for as long as the goals say.

use std::fs;
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::harness::{Client, either, wait_until};
use crate::instance::Instance;

/// Bytes of the file: more than any socket holds.
const LEN: usize = 48 << 20;

/// Bytes that no two places of a file have in common.
fn content(len: usize) -> Vec<u8> {
    (0..len / 8)
        .flat_map(|n| (n as u64).to_le_bytes())
        .collect()
}

/// The subject over HTTP, which records what it answers.
pub(crate) fn web(top: &str) -> Instance {
    let instance = Instance::subject("");
    instance.write(&format!(
        "workers = 2\nuser = \"root\"\nallow_root = true\n{top}\n\
         [[listener]]\naddress = \"{}\"\nprotocol = \"http\"\nroot = \".\"\n\
         [log]\nfile = \"log\"\n[http]\naccess_log = \"access\"\n",
        instance.address
    ));
    instance.must("start");
    instance
}

/// The start of a response: its head, and nothing behind it.
fn head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1));
    }
    String::from_utf8(head).unwrap()
}

/// Changes the workers, and waits until those before are gone: nothing holds them.
fn reload(instance: &Instance) {
    instance.must("reload");
    wait_until("the old ones have left", || instance.serves_with(2));
}

#[test]
fn downloads_go_on_over_reloads_and_upgrades_however_they_are_asked_for() {
    let instance = web("");
    let whole = content(LEN);
    fs::write(instance.path("file"), &whole).unwrap();
    let ask = |more: &str| format!("GET /file HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let [mut keeps, mut closes, mut half, mut old, mut parts] =
        [(); 5].map(|()| Client::connect(instance.address));
    keeps.send(ask("").as_bytes());
    closes.send(ask("Connection: close\r\n").as_bytes());
    half.send(ask("").as_bytes());
    half.0.shutdown(Shutdown::Write).unwrap();
    old.send(b"GET /file HTTP/1.0\r\n\r\n");
    let (first, second) = (LEN / 2, LEN / 2 + 10);
    let ranges = format!("Range: bytes=1-{first},{second}-\r\n");
    parts.send(ask(&ranges).as_bytes());
    for client in [&mut keeps, &mut closes, &mut half, &mut old] {
        let head = head(client);
        assert!(
            head.contains(&format!("content-length: {LEN}"))
                || head.contains(&format!("Content-Length: {LEN}")),
            "{head}"
        );
    }
    let of_parts = head(&mut parts);
    assert!(of_parts.contains("multipart/byteranges"), "{of_parts}");

    let mut got = [(); 4].map(|()| Vec::new());
    let mut of_parts = Vec::new();
    for round in 0..6 {
        if round == 3 {
            instance.upgraded();
        } else {
            reload(&instance);
        }
        let clients = [&mut keeps, &mut closes, &mut half, &mut old];
        for (client, got) in clients.into_iter().zip(&mut got) {
            got.extend(client.exactly(4 << 20));
        }
        of_parts.extend(parts.exactly(4 << 20));
    }
    let clients = [&mut keeps, &mut closes, &mut half, &mut old];
    for ((client, got), name) in clients
        .into_iter()
        .zip(&mut got)
        .zip(["keeps", "closes", "half", "old"])
    {
        got.extend(client.exactly(LEN - got.len()));
        assert!(*got == whole, "{name}: other bytes came");
    }
    // Over one connection, which goes on afterwards.
    keeps.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head(&mut keeps).starts_with("HTTP/1.1 200 OK"));
    assert_eq!(keeps.exactly(5), b"quick");
    for client in [&mut closes, &mut half, &mut old] {
        assert_eq!(client.rest(), b"");
    }
    keeps.finish();
    parts.finish();
    of_parts.extend(parts.rest());
    let is_in = |part: &[u8]| memchr::memmem::find(&of_parts, part).is_some();
    assert!(is_in(&whole[1..=first]) && is_in(&whole[second..]));

    let log = fs::read_to_string(instance.path("access")).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" /file "))
        .collect();
    assert_eq!(lines.len(), 5, "{log}");
    let whole = format!("\" 200 {LEN} ");
    assert_eq!(
        lines.iter().filter(|line| line.contains(&whole)).count(),
        4,
        "{log}"
    );
    assert_eq!(instance.counter("connections_broken"), 0);
}

#[test]
fn a_slow_download_goes_on_over_reloads_and_upgrades() {
    let instance = web("");
    let file = fs::File::create(instance.path("file")).unwrap();
    let (rounds, pause) = either((4, Duration::ZERO), (8, Duration::from_secs(5)));
    file.set_len(1 << 30).unwrap();
    // Marks in a file that takes no room.
    let places: Vec<u64> = (0..1024).map(|n| n << 20).collect();
    for place in &places {
        file.write_all_at(&place.to_le_bytes(), *place).unwrap();
    }
    let path = instance.path("file").display().to_string();
    let mut client = Client::connect(instance.address);
    client.send(format!("GET /file{path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    assert!(head(&mut client).contains("1073741824"));
    let mut seen = 0;
    let mut take = |client: &mut Client, place: u64| {
        let megabyte = client.exactly(1 << 20);
        assert!(megabyte.starts_with(&place.to_le_bytes()), "at {place}");
        assert!(megabyte[8..].iter().all(|byte| *byte == 0), "at {place}");
        seen += 1;
    };
    let (slow, rest) = places.split_at(4 * rounds);
    for (round, some) in slow.chunks(4).enumerate() {
        if round % 4 == 2 {
            instance.upgraded();
        } else {
            reload(&instance);
        }
        let until = Instant::now() + pause;
        some.iter().for_each(|place| take(&mut client, *place));
        wait_until("the next round begins", || Instant::now() >= until);
    }
    rest.iter().for_each(|place| take(&mut client, *place));
    assert_eq!(seen, places.len());
    client.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head(&mut client).starts_with("HTTP/1.1 200 OK"));
}
