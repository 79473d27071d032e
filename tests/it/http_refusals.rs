//! What is refused over HTTP: at once, in one form, and by name.

use std::fs;

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
