//! The access log: what is in it, where it goes, and what it may cost.

use std::fs;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use purlin::Server;
use purlin::prelude::*;

use crate::daemon::Daemon;
use crate::harness::{Client, wait_until};
use crate::http::{HTTP, ask, response};

/// The only test with an access log in this process, which has one for all of
/// its servers.
#[test]
fn every_answer_has_a_line_and_every_request_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let web = Web::<()>::new()
        .get("/id", |c, (): ()| c.request_id().to_owned())
        .get_inline("/inline", |_, (): ()| "inline")
        .get("/later", |c, (): ()| {
            c.later(|replier| {
                thread::spawn(move || replier.send("at last"));
            })
        })
        .get("/panics", |_, (): ()| -> String {
            panic!("as the test wants")
        })
        .post("/sum", |_, body: Spooled| body.len().to_string());
    let held = Arc::new(Mutex::new(Vec::new()));
    let web = streams(web, &held);
    let keys = [
        HTTP[0],
        ("http.access_log", path.to_str().unwrap()),
        ("listener.0.proxy_protocol", "required"),
        ("listener.0.trusted", "127.0.0.0/8"),
    ];
    let server = Server::configured(App::new().web(web), &keys).unwrap();
    let connect = || {
        let mut client = Client::to(&server);
        client.send(b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n");
        client
    };
    let mut client = connect();
    let named = "GET /id?a=b HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc-1\r\nReferer: http://x/\r\nUser-Agent: test\r\n\r\n";
    client.send(named.as_bytes());
    let (head, said) = response(&mut client);
    assert!(head.contains("X-Request-Id: abc-1\r\n"), "{head}");
    assert_eq!(said, b"abc-1");
    let (head, said) = ask(&mut client, "GET", "/id");
    let made = String::from_utf8(said).unwrap();
    assert!(
        made.len() == 32 && head.contains(&format!("X-Request-Id: {made}\r\n")),
        "{head}"
    );
    client.send(b"GET /inline HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\tb\"c\r\n\r\n");
    let (head, _) = response(&mut client);
    assert!(!head.contains('"'), "{head}");
    assert_eq!(ask(&mut client, "GET", "/later").1, b"at last");
    assert!(
        ask(&mut client, "GET", "/panics")
            .0
            .contains("X-Request-Id: ")
    );
    assert_eq!(
        ask(&mut client, "GET", "/nowhere").1,
        b"there is nothing here\n"
    );
    client.send(b"HEAD /inline HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        String::from_utf8(client.exactly(20))
            .unwrap()
            .contains("200")
    );
    let mut client = connect();
    client.send(b"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    client.send(&[b'a'; 200_000]);
    assert_eq!(response(&mut client).1, b"200000");
    client.send(b"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 413 "));
    let mut client = connect();
    client.send(b"GET / HTTP/7.0\r\nUser-Agent: refused\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 505 "));
    let streamed = at_their_end(&connect, &path, &held);
    assert_eq!(server.stop(Duration::from_secs(30)).unwrap().cut, 0);

    let lines = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let cut_short: u64 = bytes(lines[13]);
    assert!((1..FILE).contains(&cut_short), "{lines:#?}");
    let expected = [
        ("GET /id?a=b HTTP/1.1", 200, 5, "http://x/", "test"),
        ("GET /id HTTP/1.1", 200, 32, "-", "-"),
        ("GET /inline HTTP/1.1", 200, 6, "-", "-"),
        ("GET /later HTTP/1.1", 200, 7, "-", "-"),
        ("GET /panics HTTP/1.1", 500, 21, "-", "-"),
        ("GET /nowhere HTTP/1.1", 404, 22, "-", "-"),
        ("HEAD /inline HTTP/1.1", 200, 0, "-", "-"),
        ("POST /sum HTTP/1.1", 200, 6, "-", "-"),
        ("POST /sum HTTP/1.1", 413, 22, "-", "-"),
        ("GET / HTTP/7.0", 505, 31, "-", "refused"),
        ("GET /stream HTTP/1.1", 200, streamed, "-", "-"),
        ("GET /file HTTP/1.1", 200, FILE, "-", "-"),
        ("GET /small HTTP/1.1", 200, 5, "-", "-"),
        ("GET /file HTTP/1.1", 200, cut_short, "-", "-"),
        ("GET /id HTTP/1.1", 200, 32, "-", "-"),
        ("GET /events HTTP/1.1", 200, 18, "-", "-"),
        ("GET /fails HTTP/1.1", 200, 0, "-", "-"),
        ("GET /id HTTP/1.1", 200, 32, "-", "-"),
        ("GET /never HTTP/1.1", 499, 0, "-", "-"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (request, status, bytes, referrer, agent)) in lines.iter().zip(expected) {
        assert!(line.starts_with("192.0.2.9 - - ["), "{line}");
        let rest = format!(" +0000] \"{request}\" {status} {bytes} \"{referrer}\" \"{agent}\" ");
        let (_, behind) = line
            .split_once(&rest)
            .unwrap_or_else(|| panic!("{rest} in {line}"));
        let (seconds, _) = behind.split_once(' ').unwrap();
        assert!(seconds.parse::<f64>().unwrap() < 60.0, "{line}");
    }
    assert!(
        lines[0].ends_with(" abc-1") && lines[1].ends_with(&made),
        "{lines:#?}"
    );
}

/// More than a socket takes at once.
const FILE: u64 = 16 << 20;

type Held = Arc<Mutex<Vec<Box<dyn std::any::Any + Send>>>>;

/// Routes whose content takes its time.
fn streams(web: Web<()>, held: &Held) -> Web<()> {
    let file = |len: u64| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        file.set_len(len).unwrap();
        file
    };
    let [events, never] = [(); 2].map(|()| Arc::clone(held));
    web.get("/stream", |_, (): ()| {
        Stream::iter(vec![vec![b'x'; 10_000]; 3])
    })
    .get("/file", move |_, (): ()| file(FILE))
    .get("/small", move |_, (): ()| file(5))
    .get("/events", move |c, (): ()| {
        let (sender, stream) = c.events();
        sender.send("hello").unwrap();
        events.lock().unwrap().push(Box::new(sender));
        stream
    })
    .get("/fails", |_, (): ()| {
        Stream::try_iter([Ok(vec![b'x'; 10]), Err("as the test wants")])
    })
    .get("/never", move |c, (): ()| {
        let never = Arc::clone(&never);
        c.later(move |replier| never.lock().unwrap().push(Box::new(replier)))
    })
}

/// Asks for what is recorded when it is out, or its client gone, and waits for
/// each line; tells how many bytes the first of them had, chunks and all.
fn at_their_end(connect: &dyn Fn() -> Client, log: &Path, held: &Held) -> u64 {
    let lines = || fs::read_to_string(log).unwrap().lines().count();
    let mut count = 10;
    let mut is_recorded = |what: &str| {
        count += 1;
        wait_until(what, || lines() == count);
    };
    let get = |client: &mut Client, target: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    };
    let mut client = connect();
    get(&mut client, "/stream");
    until(&mut client, b"\r\n\r\n");
    let streamed = until(&mut client, b"\r\n0\r\n\r\n");
    assert!(streamed > 30_000, "{streamed}");
    is_recorded("a stream is recorded");
    assert_eq!(ask(&mut client, "GET", "/file").1.len() as u64, FILE);
    is_recorded("a file is recorded");
    assert_eq!(ask(&mut client, "GET", "/small").1, b"hello");
    is_recorded("a small file is recorded");
    get(&mut client, "/file");
    client.exactly(100_000);
    drop(client);
    is_recorded("a file is recorded whose client left");
    let mut listening = connect();
    get(&mut listening, "/events");
    until(&mut listening, b"data: hello");
    let mut client = connect();
    ask(&mut client, "GET", "/id");
    is_recorded("nothing of events is recorded while they may come");
    drop(listening);
    is_recorded("events are recorded when their client is gone");
    get(&mut client, "/fails");
    client.until_closed();
    is_recorded("a stream is recorded that failed");
    let mut client = connect();
    get(&mut client, "/id");
    get(&mut client, "/never");
    is_recorded("what was answered is recorded");
    wait_until("the handler has run", || held.lock().unwrap().len() == 2);
    // What is not read makes this a reset.
    assert_eq!(client.0.peek(&mut [0]).unwrap(), 1);
    drop(client);
    is_recorded("an answer is recorded that never came");
    streamed
}

/// Reads on until these bytes have come; tells how many that were in all.
fn until(client: &mut Client, end: &[u8]) -> u64 {
    let mut came = Vec::new();
    while !came.ends_with(end) {
        came.extend(client.exactly(1));
    }
    came.len() as u64
}

/// The number of bytes that a line says.
fn bytes(line: &str) -> u64 {
    let (_, behind) = line.split_once(" HTTP/1.1\" 200 ").unwrap();
    behind.split(' ').next().unwrap().parse().unwrap()
}

fn daemon(path: &Path) -> Daemon {
    Daemon::start(&[
        HTTP[0],
        ("http.access_log", path.to_str().unwrap()),
        ("http.access_log_format", "json"),
    ])
}

/// The paths that were asked for, by the lines of the file.
fn paths(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let path = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("whole lines of JSON");
        line["path"].as_str().unwrap().to_owned()
    };
    text.lines().map(path).collect()
}

#[test]
fn the_file_is_opened_again_when_it_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["access.log", "moved"].map(|name| folder.path().join(name));
    let daemon = daemon(&path);
    let mut client = Client::connect(daemon.address());
    ask(&mut client, "GET", "/one");
    wait_until("the first line is written", || paths(&path) == ["/one"]);
    fs::rename(&path, &moved).unwrap();
    assert!(daemon.ask("reopen").status.success());
    wait_until("the file is there again", || path.exists());
    // The worker hears of it a little later; until then lines go to the old file.
    let mut asked = 1;
    wait_until("the worker writes to the new file", || {
        ask(&mut client, "GET", "/more");
        asked += 1;
        !paths(&path).is_empty()
    });
    drop(client);
    daemon.stop();
    assert_eq!(paths(&moved).len() + paths(&path).len(), asked);
}

/// A pipe that is read by nobody but the test, and its path.
fn pipe(folder: &Path) -> (fs::File, PathBuf) {
    let path = folder.join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut both = fs::OpenOptions::new();
    (both.read(true).write(true).open(&path).unwrap(), path)
}

#[test]
fn lines_are_counted_when_they_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (mut reader, path) = pipe(folder.path());
    let daemon = daemon(&path);
    let mut client = Client::connect(daemon.address());
    ask(&mut client, "GET", "/heard");
    assert!(reader.read(&mut [0; 4096]).unwrap() > 0);
    // Nobody reads any more, and nobody asks again.
    drop(reader);
    ask(&mut client, "GET", "/lost");
    wait_until("the line is counted as lost", || {
        let status = daemon.ask("status").stdout;
        let status = String::from_utf8(status).unwrap();
        let mut lines = status.lines();
        lines.any(|line| line.contains("access_log_lines_lost") && line.trim().ends_with('1'))
    });
}

/// A pipe that nobody empties is the slowest of disks.
#[test]
fn a_disk_that_is_too_slow_costs_lines_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_reader, path) = pipe(folder.path());
    let daemon = daemon(&path);
    let mut client = Client::connect(daemon.address());
    let target = format!("/{}", "a".repeat(2000));
    let mut asked = 0;
    let began = std::time::Instant::now();
    // A line has more than 1,000 bytes, a pipe takes 64 KiB of them.
    while began.elapsed() < Duration::from_secs(2) {
        ask(&mut client, "GET", &target);
        asked += 1;
    }
    assert!(asked > 100, "{asked}");
    let lost = daemon.stop()["access_log_lines_lost"];
    assert!(lost > 0, "{lost} of {asked}");
}
