//! What peers are told of errors, and what the log is.

use std::fs;
use std::io;

use purlin::prelude::*;
use purlin::protocol::frame::ErrorBody;
use serde_json::Value;

use crate::harness::{Client, comm, serve, serve_with, wait_until};
use crate::http::{ask, response};
use crate::instance::Instance;
use crate::websocket;

/// Id of error frames in `comm`.
const ERROR: u16 = 65_535;

/// The name of the request in an error of which the peer is told nothing else.
fn name_in(text: &str) -> &str {
    let name = text.strip_prefix("internal error, request ");
    name.unwrap_or_else(|| panic!("{text}")).trim_end()
}

/// What the error frame says that the client reads next.
fn error(client: &mut Client) -> (u16, String) {
    let (id, body) = client.comm();
    let error = ErrorBody::read(&body).expect("an error");
    assert_eq!(id, ERROR);
    (error.code, error.text.to_owned())
}

fn secret() -> io::Error {
    io::Error::other("/srv/secret is locked")
}

#[test]
fn the_log_has_what_the_peer_is_not_told_under_the_name_that_it_is() {
    for format in ["human", "json"] {
        let instance = Instance::mover("workers = 1");
        let text = fs::read_to_string(instance.path("conf")).unwrap();
        instance.write(&format!("{text}format = \"{format}\"\n"));
        instance.must("start");
        let mut client = Client::connect(instance.address);
        assert_eq!(client.call(12, b"ann").1, b"ann");
        client.send(&comm(19, b""));
        let (code, text) = error(&mut client);
        let request = name_in(&text);
        assert_eq!((code, request.len()), (500, 32), "{text}");
        wait_until("it is in the log", || instance.log().contains(request));
        let log = instance.log();
        let line = |part: &str| log.lines().find(|line| line.contains(part)).expect(part);
        let (own, ours) = (line("about to fail"), line(request));
        assert!(ours.contains("/nonexistent/secret") || ours.contains("No such file"));
        if format == "human" {
            let own = own.split_once("about to fail ").expect("a text").1;
            assert!(own.starts_with("n=7 what=\"a b\" conn="), "{own}");
            assert!(own.ends_with(" user=ann"), "{own}");
            assert!(ours.contains("message 19 of "), "{ours}");
            assert!(
                ours.contains(&format!(" request={request} conn=")),
                "{ours}"
            );
            assert!(ours.ends_with(" user=ann"), "{ours}");
        } else {
            let [own, ours] = [own, ours].map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["fields"].clone()
            });
            assert_eq!((&own["n"], &own["what"]), (&7.into(), &"a b".into()));
            assert_eq!(
                (&own["user"], &ours["user"]),
                (&"ann".into(), &"ann".into())
            );
            assert_eq!(ours["request"], request);
            assert_eq!(own["conn"], ours["conn"]);
        }
        // Who asks next is told another name; nobody's lines are about ann.
        client.send(&comm(19, b""));
        assert_ne!(name_in(&error(&mut client).1), request);
        let idle = log.lines().filter(|line| line.contains("listening on"));
        assert!(idle.clone().count() > 0 && !idle.clone().any(|line| line.contains("conn")));
    }
}

#[test]
fn what_fails_without_a_reply_is_in_the_log_with_its_cause() {
    let instance = Instance::mover("workers = 1");
    let text = fs::read_to_string(instance.path("conf")).unwrap();
    instance.write(&text.replacen("[log]", "protocol = \"auto\"\n[log]", 1));
    instance.must("start");
    let mut pushes = Client::connect(instance.address);
    pushes.send(&comm(20, b""));
    let mut socket = Client::connect(instance.address);
    socket.send(websocket::request("/fail", "").as_bytes());
    let (status, _) = websocket::head(&mut socket);
    assert!(status.contains(" 101 "), "{status}");
    socket.send(&websocket::frame(0x81, b"hello"));
    let (first, told) = websocket::next(&mut socket);
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(first == 0x88 && !told.contains("secret"), "{told}");
    for cause in ["no room in /srv/secret", "no key in /srv/secret"] {
        wait_until(cause, || instance.log().contains(cause));
    }
}

#[test]
fn a_reply_that_comes_later_leaks_nothing_either() {
    let app = App::<()>::new()
        .on(1, |c, (): ()| {
            c.later(|replier| {
                let send = || replier.send(Err::<String, _>(secret()));
                std::thread::spawn(send).join().expect("a thread");
            })
        })
        .on(2, |_, (): ()| Err::<(), _>(Error::from(secret()).show()))
        .on(3, |_, (): ()| Err::<(), _>(Error::new(403, "log in first")));
    let server = serve(app);
    let mut client = Client::to(&server);
    client.send(&comm(1, b""));
    let (code, text) = error(&mut client);
    assert_eq!((code, name_in(&text).len()), (500, 32));
    for (id, told) in [
        (2, (500, "/srv/secret is locked")),
        (3, (403, "log in first")),
    ] {
        client.send(&comm(id, b""));
        let (code, text) = error(&mut client);
        assert_eq!((code, &*text), told);
    }
}

#[test]
fn a_response_names_the_request_and_says_no_more() {
    let web = Web::<()>::new()
        .get("/fails", |_, (): ()| Err::<String, _>(secret()))
        .get_inline("/inline", |_, (): ()| Err::<String, _>(secret()))
        .get("/later", |c, (): ()| {
            c.later(|replier| _ = replier.send(Err::<String, _>(secret())))
        })
        .get("/busy", |_, (): ()| {
            let mut error = Error::internal("the pool of /srv/secret is empty");
            error.code = 503;
            Err::<String, _>(error)
        })
        .get("/shown", |_, (): ()| {
            Err::<String, _>(Error::from(secret()).show())
        });
    let server = serve_with(
        App::<()>::new().web(web),
        &[("listener.0.protocol", "http")],
    );
    let mut client = Client::to(&server);
    for (path, status) in [
        ("fails", 500),
        ("inline", 500),
        ("later", 500),
        ("busy", 503),
    ] {
        for sent in ["", "X-Request-Id: mine-7\r\n"] {
            client.send(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n{sent}\r\n").as_bytes());
            let (head, body) = response(&mut client);
            let text = String::from_utf8(body).expect("text");
            let name = name_in(&text);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            if path != "later" {
                assert!(
                    head.contains(&format!("\r\nX-Request-Id: {name}\r\n")),
                    "{head}"
                );
                assert_eq!(name == "mine-7", !sent.is_empty(), "{path}");
            }
        }
    }
    let (head, body) = ask(&mut client, "GET", "/shown");
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert_eq!(body, b"/srv/secret is locked\n");
}
