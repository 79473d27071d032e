//! The access log: what is in it, where it goes, and what it may cost.

use std::fs;
use std::path::Path;
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
    client.send(b"GET / HTTP/7.0\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 505 "));
    assert_eq!(server.stop(Duration::from_secs(30)).unwrap().cut, 0);

    let lines = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let expected = [
        ("GET /id?a=b HTTP/1.1", 200, 5, "http://x/", "test"),
        ("GET /id HTTP/1.1", 200, 32, "-", "-"),
        ("GET /inline HTTP/1.1", 200, 6, "-", "-"),
        ("GET /later HTTP/1.1", 200, 7, "-", "-"),
        ("GET /panics HTTP/1.1", 500, 21, "-", "-"),
        ("GET /nowhere HTTP/1.1", 404, 22, "-", "-"),
        ("HEAD /inline HTTP/1.1", 200, 0, "-", "-"),
        ("POST /sum HTTP/1.1", 200, 6, "-", "-"),
        ("POST /sum HTTP/1.1", 413, 0, "-", "-"),
        ("-", 505, 0, "-", "-"),
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

/// A pipe that nobody empties is the slowest of disks.
#[test]
fn a_disk_that_is_too_slow_costs_lines_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
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
    ask(&mut client, "GET", &target);
    assert!(asked > 100, "{asked}");
    let lost = daemon.stop()["access_log_lines_lost"];
    assert!(lost > 0, "{lost} of {asked}");
}
