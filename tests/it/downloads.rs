//! What makes progress over reloads and upgrades: a file's response goes on in the
//! new worker, byte for byte, and its client notices nothing. With
//! `PURLIN_TEST_FULL` in the environment, for as long as the goals say; with
//! `PURLIN_DOWNLOAD_SECONDS`, for so long, over 20 reloads and 3 upgrades.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::children;
use crate::harness::{Client, either, wait_until};
use crate::instance::{Instance, lives, signal};

/// Bytes of the file: more than any socket holds.
const LEN: usize = 48 << 20;

/// How long it is to take, if the environment says so.
fn seconds() -> Option<Duration> {
    let seconds = std::env::var("PURLIN_DOWNLOAD_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().unwrap()))
}

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

    // Of the answer, each line, as long as it was.
    let recorded = || {
        let log = fs::read_to_string(instance.path("access")).unwrap();
        let lines = log.lines().filter(|line| line.contains(" /file "));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    wait_until("all are recorded", || recorded().len() == 5);
    let whole = format!("\" 200 {LEN} ");
    let lines = recorded();
    let of_it = lines.iter().filter(|line| line.contains(&whole));
    assert_eq!(of_it.count(), 4, "{lines:?}");
    assert_eq!(instance.counter("connections_broken"), 0);
}

/// Requests that were sent before the answer to the first one: one with it, others
/// later, from where on the client is not read any more.
#[test]
fn requests_behind_a_download_go_along_with_it() {
    let instance = web("");
    let whole = content(LEN);
    fs::write(instance.path("file"), &whole).unwrap();
    let of_file = b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n";
    let quick = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = b"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde";
    let [mut with, mut later, mut half] = [(); 3].map(|()| Client::connect(instance.address));
    with.send(&[&of_file[..], quick].concat());
    later.send(of_file);
    half.send(&[&of_file[..], quick].concat());
    half.0.shutdown(Shutdown::Write).unwrap();
    for client in [&mut with, &mut later, &mut half] {
        assert!(head(client).starts_with("HTTP/1.1 200 OK"));
    }
    let before = instance.counter("messages_received");
    later.send(quick);
    wait_until("the request has come", || {
        instance.counter("messages_received") > before
    });
    // The last one is not whole.
    later.send(&[&quick[..], post].concat()[..quick.len() + post.len() - 2]);

    let mut got = [(); 3].map(|()| Vec::new());
    for round in 0..4 {
        if round == 2 {
            instance.upgraded();
        } else {
            reload(&instance);
        }
        for (client, got) in [&mut with, &mut later, &mut half].into_iter().zip(&mut got) {
            got.extend(client.exactly(4 << 20));
        }
    }
    assert!(instance.counter("messages_handed_over") >= 3 * 4);
    for (client, got) in [&mut with, &mut later, &mut half].into_iter().zip(&mut got) {
        got.extend(client.exactly(LEN - got.len()));
        assert!(*got == whole, "other bytes came");
        assert!(head(client).starts_with("HTTP/1.1 200 OK"));
        assert_eq!(client.exactly(5), b"quick");
    }
    assert!(head(&mut later).starts_with("HTTP/1.1 200 OK"));
    assert_eq!(later.exactly(5), b"quick");
    later.send(&post[post.len() - 2..]);
    assert!(head(&mut later).starts_with("HTTP/1.1 200 OK"));
    assert_eq!(later.exactly(1), b"5");
    assert_eq!(half.rest(), b"");
    assert_eq!(instance.counter("messages_dropped"), 0);
}

#[test]
fn a_slow_download_goes_on_over_reloads_and_upgrades() {
    let instance = web("");
    let file = fs::File::create(instance.path("file")).unwrap();
    let (rounds, upgrades_every, pause) = match seconds() {
        Some(seconds) => (23, 8, seconds / 23),
        None => either((4, 4, Duration::ZERO), (8, 4, Duration::from_secs(5))),
    };
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
        if round % upgrades_every == 2 {
            instance.upgraded();
        } else {
            reload(&instance);
        }
        for place in some {
            let until = Instant::now() + pause / 4;
            take(&mut client, *place);
            wait_until("it takes more", || Instant::now() >= until);
        }
    }
    rest.iter().for_each(|place| take(&mut client, *place));
    assert_eq!(seen, places.len());
    client.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head(&mut client).starts_with("HTTP/1.1 200 OK"));
}

/// A part of an upload or of an answer, and what comes to it.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// An upload, an answer that is put off and a stream that its client takes slowly.
struct Stayers {
    upload: Client,
    /// Bytes of it so far.
    sent: usize,
    later: Client,
    stream: Client,
}

impl Stayers {
    fn come(instance: &Instance) -> Self {
        let [mut upload, mut later, mut stream] =
            [(); 3].map(|()| Client::connect(instance.address));
        upload.send(b"POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        upload.send(&chunk(b"begun"));
        later.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.send(b"GET /many HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(head(&mut stream).contains("Transfer-Encoding: chunked"));
        wait_until("all are served", || {
            let status = instance.status();
            status["counters"]["replies_owed"] == 1 && status["counters"]["connections_live"] == 3
        });
        Self {
            upload,
            sent: 5,
            later,
            stream,
        }
    }

    /// More of the upload, and of the stream: who sends nothing is under
    /// `receive_rate`, who takes nothing under `send_stall`.
    fn go_on(&mut self) {
        self.stream.exactly(16 << 10);
        self.upload.send(&chunk(&[b'x'; 5000]));
        self.sent += 5000;
    }

    /// All of it arrives, whole. Their connections go on elsewhere.
    fn arrive(mut self, instance: &Instance) {
        self.upload.send(b"0\r\n\r\n");
        let len = self.sent.to_string();
        assert!(head(&mut self.upload).starts_with("HTTP/1.1 200 OK"));
        assert_eq!(self.upload.exactly(len.len()), len.as_bytes());
        fs::write(instance.path("go"), "").unwrap();
        assert!(head(&mut self.later).starts_with("HTTP/1.1 200 OK"));
        assert_eq!(self.later.exactly(5), b"later");
        let mut last = String::new();
        let mut stream = BufReader::new(&self.stream.0);
        while last != "0\r\n" {
            last.clear();
            assert_ne!(stream.read_line(&mut last).unwrap(), 0, "it was cut");
        }
    }
}

/// What cannot move is not cut either, however short the time for a stop.
#[test]
fn an_upload_a_stream_and_an_answer_that_comes_later_arrive_whole_over_reloads() {
    let instance = web("shutdown_timeout = \"1s\"\n[limits]\nreply_max = \"1h\"");
    let mut stayers = Stayers::come(&instance);
    let first = instance.workers();
    let (reloads, time) = match seconds() {
        Some(seconds) => (20, seconds),
        None => either((3, Duration::from_secs(3)), (6, Duration::from_secs(40))),
    };
    for _ in 0..reloads {
        instance.must("reload");
    }
    let until = Instant::now() + time;
    while Instant::now() < until {
        stayers.go_on();
        let next = Instant::now() + Duration::from_millis(500);
        wait_until("it is time for more", || Instant::now() >= next);
    }
    let status = instance.status();
    let workers = status["workers"].as_array().unwrap();
    let holds = |name: &str| -> u64 {
        let draining = workers.iter().filter(|one| one["state"] == "draining");
        draining
            .map(|one| one["counters"][name].as_u64().unwrap())
            .sum()
    };
    let names = ["draining_uploads", "draining_replies", "draining_streams"];
    assert_eq!(names.map(holds), [1; 3]);
    stayers.arrive(&instance);
    wait_until("the old ones have left", || instance.serves_with(2));
    let now = instance.workers();
    assert!(first.iter().all(|pid| !now.contains(pid)));
}

/// Nor over upgrades: masters that drain wait for those before them.
#[test]
fn they_arrive_whole_over_reloads_and_several_upgrades() {
    let instance = web("generations_max = 6\n[limits]\nreply_max = \"1h\"");
    let mut stayers = Stayers::come(&instance);
    let (reloads, upgrades, time) = match seconds() {
        Some(seconds) => (20, 3, seconds),
        None => either((2, 2, Duration::ZERO), (6, 2, Duration::from_secs(40))),
    };
    let mut masters = Vec::new();
    let changes = reloads + upgrades;
    for change in 0..changes {
        let until = Instant::now() + time / changes;
        if change * upgrades % changes < upgrades {
            masters.extend(instance.master());
            instance.must("upgrade");
        } else {
            instance.must("reload");
        }
        while {
            stayers.go_on();
            Instant::now() < until
        } {
            let next = Instant::now() + Duration::from_millis(500);
            wait_until("it is time for more", || Instant::now() >= next);
        }
    }
    assert_eq!(masters.len(), usize::try_from(upgrades).unwrap());
    assert!(masters.iter().all(|one| lives(*one)));
    let status = String::from_utf8(instance.ask(&["status"]).stdout).unwrap();
    let last = masters.last().unwrap();
    let drains = format!("master {last}, which it replaced, drains: 3 connections (");
    assert!(status.contains(&drains), "{status}");
    stayers.arrive(&instance);
    wait_until("the old ones have left", || {
        instance.serves_with(2) && !masters.iter().any(|one| lives(*one))
    });
}

/// The workers of the first one are in places that nobody may give away.
#[test]
fn a_master_that_dies_between_two_others_harms_neither() {
    let instance = web("[limits]\nreply_max = \"1h\"");
    let mut stayers = Stayers::come(&instance);
    let first = instance.master().unwrap();
    instance.must("upgrade");
    let second = instance.master().unwrap();
    instance.must("upgrade");
    // The third master is its child.
    wait_until("its workers have left", || children(second).len() == 1);
    signal(second, Signal::SIGKILL);
    wait_until("it is gone", || !lives(second));
    for _ in 0..4 {
        reload(&instance);
        stayers.go_on();
    }
    assert!(lives(first));
    stayers.arrive(&instance);
    wait_until("it has left", || !lives(first));
    instance.upgraded();
}

#[test]
fn a_reload_is_refused_with_who_holds_its_place_and_force_ends_them() {
    let instance = web("generations_max = 2");
    let mut stream = Client::connect(instance.address);
    stream.send(b"GET /many HTTP/1.1\r\nHost: x\r\n\r\n");
    head(&mut stream);
    let before = instance.workers();
    instance.must("reload");
    wait_until("one is left", || instance.workers().len() == 3);
    let left = instance.workers();
    let holder = left.iter().find(|pid| before.contains(pid)).unwrap();

    let generation = instance.status()["generation"].clone();
    for command in ["reload", "upgrade"] {
        let (code, text) = instance.refused(&[command]);
        assert_eq!(code, 75, "{text}");
        let who =
            format!("generation 1, worker pid {holder}, still drains: 1 connection (1 stream)");
        let how = format!("`{command} --force`");
        assert!(text.contains(&who) && text.contains(&how), "{text}");
        assert!(instance.log().contains(&who));
        let status = instance.status();
        assert_eq!(status["generation"], generation, "nothing was changed");
    }
    let status = String::from_utf8(instance.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("holds 1 connection (1 stream)"), "{status}");

    let output = instance.ask(&["reload", "--force"]);
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8_lossy(&stream.until_closed()).into_owned();
    assert!(!lines.ends_with("\r\n0\r\n\r\n"), "it was cut");
    wait_until("the old ones have left", || instance.serves_with(2));
}

#[test]
fn an_old_master_that_drains_takes_a_place_and_force_ends_it() {
    let instance = web("generations_max = 2");
    let mut stayers = Stayers::come(&instance);
    let old = instance.master().unwrap();
    instance.must("upgrade");
    let status = String::from_utf8(instance.ask(&["status"]).stdout).unwrap();
    let drains = format!("master {old}, which it replaced, drains: 3 connections (");
    assert!(status.contains(&drains), "{status}");
    for command in ["upgrade", "reload"] {
        let (code, text) = instance.refused(&[command]);
        assert_eq!(code, 75, "{text}");
        let who = format!("master pid {old}, which the last upgrade replaced, still drains: ");
        let how = format!("`{command} --force`");
        assert!(text.contains(&who) && text.contains(&how), "{text}");
    }
    let new = instance.master().unwrap();
    for command in ["reload", "upgrade"] {
        let output = instance.ask(&[command, "--force"]);
        assert!(output.status.success(), "{output:?}");
        assert!(!lives(old));
    }
    assert_ne!(instance.master(), Some(new));
    for client in [&mut stayers.upload, &mut stayers.later, &mut stayers.stream] {
        client.until_closed();
    }
}
