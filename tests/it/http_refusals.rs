//! What is refused over HTTP: at once, in one form, and by name.

use std::fs;
use std::io::{Read, Write};

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
use crate::harness::{Client, wait_for};
use crate::http::{HTTP, ask, response};

/// Routes, and files behind them.
fn server(keys: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "a").unwrap();
    let web = Web::<()>::new()
        .post("/echo", |_, body: Bytes| body)
        .files("/files", folder.path());
    let keys = [&HTTP[..1], keys].concat();
    let server = Server::configured(App::new().web(web), &keys).unwrap();
    (server, folder)
}

/// The client waits for an answer with its body, or for the word to send it; what
/// the head decides is all that it gets, and before anything else.
#[test]
fn what_the_head_decides_is_answered_before_a_body_comes() {
    let (server, _folder) = server(&[("http.body_max", "1KiB")]);
    for (line, host, status) in [
        ("POST /nowhere", "Host: x\r\n", 404),
        ("PUT /echo", "Host: x\r\n", 405),
        ("POST /files/a.txt", "Host: x\r\n", 405),
        ("PUT /files/a.txt", "Host: x\r\n", 405),
        ("POST /files/none.txt", "Host: x\r\n", 404),
        ("GET /files/none.txt", "Host: x\r\n", 404),
        ("BREW /echo", "Host: x\r\n", 501),
        ("TRACE /echo", "Host: x\r\n", 405),
        ("GET /files/a.txt", "", 400),
        ("POST /echo", "", 400),
        ("POST /echo", "Host: a b\r\n", 400),
        ("POST /echo", "Host: x\r\nHost: x\r\n", 400),
        ("POST /../echo", "Host: x\r\n", 400),
    ] {
        for body in [
            "Content-Length: 5\r\n",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
        ] {
            let mut client = Client::to(&server);
            let head = format!("{line} HTTP/1.1\r\n{host}{body}\r\n");
            client.send(head.as_bytes());
            let said = String::from_utf8(client.rest()).unwrap();
            let begin = format!("HTTP/1.1 {status} ");
            assert!(said.starts_with(&begin), "{head}{said}");
            assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{head}{said}");
            for field in ["\r\nDate: ", "\r\nConnection: close\r\n"] {
                assert_eq!(said.matches(field).count(), 1, "{head}{said}");
            }
            assert_eq!(said.contains("\r\nAllow: "), status == 405, "{head}{said}");
        }
    }
    // Who is wanted is told so.
    let mut client = Client::to(&server);
    client.send(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"hello");
    assert_eq!(response(&mut client).1, b"hello");
    client.send(b"GET /files/a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    client.send(b"hello");
    assert_eq!(response(&mut client).1, b"a");
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 413 "));
}

/// On the port that is shipped, where a method need not be known.
#[test]
fn any_method_is_http_where_one_port_tells() {
    let daemon = Daemon::start(&[("listener.0.protocol", "auto")]);
    for (request, status) in [
        ("PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("PURGE /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("purge http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (
            "\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            200,
        ),
        ("\r\n\r\nPURGE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("OPTIONS / HTTP/1.0\r\n\r\n", 204),
        ("OPTIONS /echo HTTP/1.0\r\n\r\n", 204),
        ("OPTIONS * HTTP/1.0\r\n\r\n", 200),
        ("GET /./x/..//status.json HTTP/1.0\r\n\r\n", 200),
        (
            "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
            404,
        ),
    ] {
        let mut client = Client::connect(daemon.address());
        client.send(request.as_bytes());
        let begin = format!("HTTP/1.1 {status} ");
        let said = client.exactly(begin.len());
        assert_eq!(String::from_utf8(said).unwrap(), begin, "{request}");
    }
    daemon.stop();
}

#[test]
fn an_idle_client_is_kept_as_long_as_its_key_says() {
    let keys = [("http.keep_alive", "2s"), ("heartbeat.timeout", "1s")];
    let (server, _folder) = server(&keys);
    let mut client = Client::to(&server);
    assert!(ask(&mut client, "GET", "/files/a.txt").0.contains(" 200 "));
    assert_eq!(client.rest(), b"");
    wait_for(&server, Counter::KeepAliveTimeout, 1);
    assert_eq!(server.read(Counter::HeartbeatTimeout), 0);
}

/// A proxy that is trusted says whom it asks for; nobody else does.
#[test]
fn the_client_behind_a_trusted_proxy_is_the_one_it_names() {
    for (trusted, field, value, expected) in [
        (
            "127.0.0.0/8",
            "x-forwarded-for",
            "9.9.9.9, 192.0.2.7",
            "192.0.2.7:0",
        ),
        (
            "127.0.0.0/8,10.0.0.0/8",
            "x-forwarded-for",
            "192.0.2.7, 10.1.2.3",
            "192.0.2.7:0",
        ),
        (
            "127.0.0.0/8",
            "forwarded",
            "for=\"[2001:db8::7]:80\"",
            "[2001:db8::7]:0",
        ),
        ("127.0.0.0/8", "x-real-ip", "192.0.2.7", "192.0.2.7:0"),
        ("127.0.0.0/8", "x-real-ip", "nobody", "127.0.0.1:"),
        ("10.0.0.0/8", "x-forwarded-for", "192.0.2.7", "127.0.0.1:"),
    ] {
        let web = Web::<()>::new()
            .get("/who", |c, (): ()| c.peer().to_string())
            .post("/who", |c, _: Bytes| c.peer().to_string());
        let keys = [
            HTTP[0],
            ("http.client_from", field),
            ("listener.0.trusted", trusted),
            ("listener.0.deny", "203.0.113.0/24"),
        ];
        let server = Server::configured(App::<()>::new().web(web), &keys).unwrap();
        let mut client = Client::to(&server);
        let get = format!("GET /who HTTP/1.1\r\nHost: x\r\n{field}: {value}\r\n\r\n");
        client.send(get.as_bytes());
        let said = String::from_utf8(response(&mut client).1).unwrap();
        assert!(said.starts_with(expected), "{field}: {value}: {said}");
        let post = get.replacen("GET", "POST", 1).replace(
            "\r\n\r\n",
            "\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
        );
        client.send(post.as_bytes());
        assert_eq!(client.exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(b"x");
        let said = String::from_utf8(response(&mut client).1).unwrap();
        assert!(said.starts_with(expected), "{field}: {value}: {said}");
        // Without the field, the proxy asks for itself.
        assert!(ask(&mut client, "GET", "/who").1.starts_with(b"127.0.0.1:"));
        let denied = get
            .replace(value, "203.0.113.9")
            .replace("forwarded: ", "forwarded: for=");
        client.send(denied.as_bytes());
        let (head, said) = response(&mut client);
        if expected.starts_with("127") && value != "nobody" {
            assert!(said.starts_with(b"127.0.0.1:"), "not believed: {head}");
        } else {
            assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
            wait_for(&server, Counter::HttpDenied, 1);
        }
    }
}

/// A connection of a proxy is many clients'; of anybody else, its own.
#[test]
fn a_proxy_that_names_its_clients_is_not_limited_as_one_of_them() {
    for (trusted, expected) in [
        ("127.0.0.0/8", [true; 3]),
        ("10.0.0.0/8", [true, false, false]),
    ] {
        let (server, _folder) = server(&[
            ("http.client_from", "x-forwarded-for"),
            ("listener.0.trusted", trusted),
            ("limits.connections_per_ip", "1"),
        ]);
        let mut clients = [(); 3].map(|()| Client::to(&server));
        let served = clients.each_mut().map(|client| {
            let asked = client
                .0
                .write_all(b"GET /files/a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut first = [0; 12];
            asked.and_then(|()| client.0.read_exact(&mut first)).is_ok()
                && &first == b"HTTP/1.1 200"
        });
        assert_eq!(served, expected, "{trusted}");
        let refused = expected.iter().filter(|served| !**served).count();
        assert_eq!(server.read(Counter::RefusedPerIp), refused as u64);
    }
}

#[test]
fn the_access_log_names_the_client_of_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let daemon = Daemon::start(&[
        ("listener.0.protocol", "http"),
        ("listener.0.trusted", "127.0.0.1"),
        ("http.client_from", "x-forwarded-for"),
        ("http.access_log", path.to_str().unwrap()),
        ("http.access_log_format", "json"),
    ]);
    let mut client = Client::connect(daemon.address());
    for (line, by) in [("GET /ä", "192.0.2.7"), ("POST /echo", "192.0.2.8")] {
        let body = if line.starts_with("GET") {
            ""
        } else {
            "Content-Length: 0\r\n"
        };
        client.send(
            format!("{line} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {by}\r\n{body}\r\n").as_bytes(),
        );
        response(&mut client);
    }
    client.send(b"HEAD / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 400 "));
    daemon.stop();
    let lines = fs::read_to_string(&path).unwrap();
    let found: Vec<(String, String, u64)> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("peer"), text("path"), line["status"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("192.0.2.7", "/ä", 404),
        ("192.0.2.8", "/echo", 200),
        ("192.0.2.9", "/", 400),
    ];
    let expected = expected.map(|(peer, path, status)| (peer.to_owned(), path.to_owned(), status));
    assert_eq!(found, expected);
}
