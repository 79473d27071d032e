//! The client library, against servers that work and servers that do not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use purlin::Server;
use purlin::client::{Backoff, Builder, Change, Client, ClientError, Why};
use purlin::prelude::*;

const ECHO: Id = 1;
const SLOW: Id = 2;
const FAIL: Id = 3;
const PUSH: Id = 4;
const PUSHED: Id = 5;
const PATIENCE: Duration = Duration::from_secs(30);
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(10),
    max: Duration::from_millis(20),
};

fn app() -> App<()> {
    App::<()>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on(FAIL, |_, (): ()| {
            Err::<String, _>(Error::new(418, "teapot"))
        })
        .on(PUSH, |c, (): ()| {
            c.send(PUSHED, "news");
            "done"
        })
}

/// A server whose handler of `SLOW` returns when it is told to.
fn slow_server(preset: &str) -> (Server, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = app().on(SLOW, move |_, (): ()| {
        let _told_or_over = wait.lock().unwrap().recv_timeout(PATIENCE);
        "late"
    });
    let server = Server::configured(app, &[("listener.0.frame", preset)]).unwrap();
    (server, go)
}

fn server(preset: &str) -> Server {
    Server::configured(app(), &[("listener.0.frame", preset)]).unwrap()
}

fn to(server: &Server, preset: &str) -> Builder {
    Client::builder(server.addresses()[0].to_string()).preset(preset)
}

/// A client, and the raw other end of its connection.
fn raw(call_timeout: Duration) -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Client::builder(address).call_timeout(call_timeout);
    let client = client.connect().unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn eight_threads_get_the_replies_to_their_own_calls() {
    for preset in ["rpc", "comm"] {
        let server = server(preset);
        let client = to(&server, preset).connect().unwrap();
        thread::scope(|scope| {
            for thread in 0..8 {
                let client = &client;
                scope.spawn(move || {
                    for call in 0..1_000 {
                        let body = format!("{thread} {call}");
                        let reply: String = client.call(ECHO, body.clone()).unwrap();
                        assert_eq!(reply, body, "{preset}");
                    }
                });
            }
        });
    }
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::configured(app(), &[("listener.0.address", address)]).unwrap();
        let purlin::sys::socket::Address::Tcp(at) = server.addresses()[0] else {
            panic!("TCP")
        };
        let is_local = |found: std::net::SocketAddr| found == at;
        let name = format!("localhost:{}", at.port());
        let mut found = std::net::ToSocketAddrs::to_socket_addrs(&name).unwrap();
        if !found.any(is_local) {
            continue;
        }
        let client = Client::builder(name).connect().unwrap();
        assert_eq!(client.call::<_, String>(ECHO, "x").unwrap(), "x");
    }
}

#[test]
fn a_name_that_cannot_be_resolved_is_told_from_a_server_that_refuses() {
    let name = format!("{}.invalid:7000", "a".repeat(64));
    let error = Client::builder(name).connect().unwrap_err();
    assert!(matches!(error, ClientError::Unresolved(..)), "{error}");
    let error = Client::builder("localhost").connect().unwrap_err();
    assert!(matches!(error, ClientError::Settings(_)), "{error}");
}

/// A format of one's own is written once, and both ends read that text.
#[test]
fn client_and_server_read_the_same_text_of_a_layout() {
    let frame = r#"{ length = { offset = 1, bytes = 2, endian = "little" }, id = { offset = 0, bytes = 1 }, sequence = { offset = 3, bytes = 2 }, error_id = 255, max = "4KiB" }"#;
    let server = server(frame);
    let to_server = || Client::builder(server.addresses()[0].to_string());
    let client = to_server().layout_toml(frame).connect().unwrap();
    assert_eq!(client.call::<_, String>(ECHO, "hello").unwrap(), "hello");
    let failed = client.call::<_, String>(FAIL, ()).unwrap_err();
    assert!(matches!(failed, ClientError::Remote(_)), "{failed}");
    let wrong = to_server().layout_toml("{ length = 2 }").connect();
    assert!(matches!(wrong, Err(ClientError::Settings(_))), "{wrong:?}");
}

#[test]
fn an_error_frame_becomes_a_remote_error() {
    for preset in ["rpc", "comm"] {
        let server = server(preset);
        let client = to(&server, preset).connect().unwrap();
        match client.call::<_, String>(FAIL, ()) {
            Err(ClientError::Remote(error)) => assert_eq!(error, Error::new(418, "teapot")),
            other => panic!("{preset}: {other:?}"),
        }
    }
}

#[test]
fn nobody_listening_is_refused() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::builder(address).connect().unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
}

#[test]
fn a_full_backlog_is_a_connect_timeout() {
    let address = "127.0.0.78:0".parse().unwrap();
    let listener = purlin::sys::socket::listen(&address, 1, false).unwrap();
    let address = purlin::sys::socket::local_address(&listener).unwrap();
    let connect = || {
        Client::builder(address.to_string())
            .connect_timeout(Duration::from_millis(300))
            .connect()
    };
    let mut clients = Vec::new();
    let error = (0..8).find_map(|_| match connect() {
        Ok(client) => {
            clients.push(client);
            None
        }
        Err(error) => Some(error),
    });
    assert!(
        matches!(error, Some(ClientError::ConnectTimeout(..))),
        "{error:?}"
    );
}

#[test]
fn a_listener_that_comes_up_late_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (tell, changes) = mpsc::channel();
    // It comes up when the client has failed three times.
    let late = thread::spawn(move || {
        for _ in 0..3 {
            let change = changes.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(change, Change::Retrying(_)), "{change:?}");
        }
        TcpListener::bind(address).unwrap().accept().unwrap()
    });
    Client::builder(address.to_string())
        .connect_timeout(PATIENCE)
        .reconnect(QUICK)
        .on_change(move |_, change| tell.send(change.clone()).unwrap_or(()))
        .connect()
        .unwrap();
    late.join().unwrap();
}

#[test]
fn a_slow_reply_ends_its_call_and_without_a_sequence_the_connection() {
    for (preset, goes_on) in [("rpc", true), ("comm", false)] {
        let (server, go) = slow_server(preset);
        let client = to(&server, preset).call_timeout(Duration::from_millis(150));
        let client = client.connect().unwrap();
        let slow = client.call::<_, String>(SLOW, ());
        assert!(
            matches!(slow, Err(ClientError::TimedOut(SLOW, _))),
            "{slow:?}"
        );
        go.send(()).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match client.call::<_, String>(ECHO, "next") {
                Ok(text) => break assert!(goes_on && text == "next"),
                Err(ClientError::Disconnected) => break assert!(!goes_on),
                // The slow handler may still have the connection's turn.
                Err(ClientError::TimedOut(..)) if goes_on => {}
                Err(error) => panic!("{preset}: {error}"),
            }
            assert!(Instant::now() < until);
        }
    }
}

#[test]
fn a_server_that_ends_or_breaks_the_connection_ends_the_call() {
    for ends in [true, false] {
        let (client, mut peer) = raw(PATIENCE);
        let call = thread::spawn(move || client.call::<_, String>(ECHO, "x"));
        peer.read_exact(&mut [0; 9]).unwrap();
        if ends {
            peer.shutdown(Shutdown::Write).unwrap();
        } else {
            purlin::sys::socket::abort(&peer);
        }
        match call.join().unwrap() {
            Err(ClientError::Lost(Why::Ended)) => assert!(ends),
            Err(ClientError::Lost(Why::Broken(_))) => assert!(!ends),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bytes_that_are_no_frame_end_the_call() {
    let (client, mut peer) = raw(PATIENCE);
    let call = thread::spawn(move || client.call::<_, String>(ECHO, "x"));
    peer.write_all(&[0; 8]).unwrap();
    let ended = call.join().unwrap();
    // What comes before the call finds nobody waiting: then it is not connected.
    let expected = [
        matches!(ended, Err(ClientError::Lost(Why::Unreadable(_)))),
        matches!(ended, Err(ClientError::Disconnected)),
    ];
    assert!(expected.contains(&true), "{ended:?}");
}

#[test]
fn a_restart_in_mid_call_loses_the_call_sends_nothing_again_and_reconnects() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, changes) = mpsc::channel();
    let client = Client::builder(address)
        .reconnect(QUICK)
        .on_change(move |_, change| tell.send(change.clone()).unwrap_or(()))
        .connect()
        .unwrap();
    let mut peer = listener.accept().unwrap().0;
    thread::scope(|scope| {
        let call = scope.spawn(|| client.call::<_, String>(ECHO, "once"));
        peer.read_exact(&mut [0; 12]).unwrap();
        drop(peer);
        assert!(matches!(call.join().unwrap(), Err(ClientError::Lost(_))));
    });
    let mut again = listener.accept().unwrap().0;
    let next = || changes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), Change::Connected);
    assert!(matches!(next(), Change::Disconnected(_)));
    assert!(matches!(next(), Change::Retrying(_)));
    assert_eq!(next(), Change::Connected);
    client.close();
    let mut sent = Vec::new();
    let _reset = again.read_to_end(&mut sent);
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn heartbeats_are_sent_unasked() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Client::builder(address).heartbeat(Duration::from_millis(20));
    let _client = client.connect().unwrap();
    let mut frames = [1; 16];
    listener
        .accept()
        .unwrap()
        .0
        .read_exact(&mut frames)
        .unwrap();
    assert_eq!(frames, [0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_reply_under_another_id_is_told_from_pushes() {
    let (client, mut peer) = raw(PATIENCE);
    let peer = thread::spawn(move || {
        peer.read_exact(&mut [0; 9]).unwrap();
        let mut frames = Vec::new();
        for (id, body) in [(PUSHED, "push"), (7, "reply")] {
            let layout = purlin::protocol::frame::Layout::preset("comm").unwrap();
            purlin::protocol::frame::encode(&layout, Some(id), 0, body.as_bytes(), &mut frames)
                .unwrap();
        }
        peer.write_all(&frames).unwrap();
        peer
    });
    assert_eq!(client.call_for::<_, String>(ECHO, 7, "x").unwrap(), "reply");
    peer.join().unwrap();
}

#[test]
fn a_panic_in_a_push_costs_that_message_alone() {
    let server = server("comm");
    let (tell, told) = mpsc::channel();
    let client = to(&server, "comm").on(PUSHED, move |_, text: String| {
        tell.send(text).unwrap();
        panic!("a test panics in a push");
    });
    let client = client.connect().unwrap();
    for _ in 0..2 {
        assert_eq!(client.call::<_, String>(PUSH, ()).unwrap(), "done");
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "news");
    }
}

#[test]
fn a_server_that_does_not_read_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    let (tell_change, changes) = mpsc::channel();
    let client = Client::builder(address)
        .heartbeat(Duration::from_millis(5))
        .call_timeout(Duration::from_secs(3))
        .on_change(move |_, change| tell_change.send(change.clone()).unwrap_or(()))
        .on(PUSHED, move |client, _: String| {
            let sent = client.send(ECHO, "from a push");
            let _nobody_asks_any_more = tell.send(sent.err());
        });
    let client = &client.connect().unwrap();
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), Change::Connected);
    let mut peer = listener.accept().unwrap().0;
    let layout = purlin::protocol::frame::Layout::preset("comm").unwrap();
    let mut push = Vec::new();
    purlin::protocol::frame::encode(&layout, Some(PUSHED), 0, b"news", &mut push).unwrap();
    thread::scope(|scope| {
        let body = vec![b'x'; 20_000];
        let sender = scope.spawn(move || {
            std::iter::repeat_with(|| client.send(ECHO, body.clone()))
                .find_map(Result::err)
                .unwrap()
        });
        // The reader goes on: each push is heard, and from one on its own
        // message finds no room. It does not wait for any.
        loop {
            peer.write_all(&push).unwrap();
            match told.recv_timeout(PATIENCE).unwrap() {
                None => {}
                Some(ClientError::Full) => break,
                Some(error) => panic!("{error}"),
            }
        }
        // Whoever waits for room hears in time that there is none, or that the
        // connection has ended because nothing moved for a whole call's time.
        let error = sender.join().unwrap();
        let expected = [
            matches!(error, ClientError::Full),
            matches!(error, ClientError::Disconnected),
        ];
        assert!(expected.contains(&true), "{error}");
    });
    let ended = changes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ended, Change::Disconnected(Why::Stuck));
}
