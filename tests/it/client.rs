//! The client library, against servers that work and servers that do not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
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

fn app() -> App<()> {
    App::<()>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on(SLOW, |_, (): ()| {
            thread::sleep(Duration::from_millis(400));
            "late"
        })
        .on(FAIL, |_, (): ()| {
            Err::<String, _>(Error::new(418, "teapot"))
        })
        .on(PUSH, |c, (): ()| {
            c.send(PUSHED, "news");
            "done"
        })
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
fn a_push_arrives_and_a_call_inside_it_is_refused() {
    let server = server("rpc");
    let (tell, told) = mpsc::channel();
    let slot: Arc<std::sync::OnceLock<Client>> = Arc::default();
    let inside = Arc::downgrade(&slot);
    let client = to(&server, "rpc").on(PUSHED, move |text: String| {
        let slot = inside.upgrade().unwrap();
        let refused = slot.wait().call::<_, String>(ECHO, "no");
        tell.send((text, matches!(refused, Err(ClientError::InPush))))
            .unwrap();
    });
    slot.set(client.connect().unwrap()).unwrap();
    let client = slot.get().unwrap();
    assert_eq!(client.call::<_, String>(PUSH, ()).unwrap(), "done");
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        ("news".to_owned(), true)
    );
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
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        TcpListener::bind(address).unwrap().accept().unwrap()
    });
    let started = Instant::now();
    Client::builder(address.to_string())
        .connect_timeout(PATIENCE)
        .reconnect(Backoff {
            first: Duration::from_millis(50),
            max: Duration::from_millis(200),
        })
        .connect()
        .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2));
    late.join().unwrap();
}

#[test]
fn a_slow_reply_ends_its_call_and_without_a_sequence_the_connection() {
    for (preset, goes_on) in [("rpc", true), ("comm", false)] {
        let server = server(preset);
        let client = to(&server, preset).call_timeout(Duration::from_millis(150));
        let client = client.connect().unwrap();
        let slow = client.call::<_, String>(SLOW, ());
        assert!(
            matches!(slow, Err(ClientError::TimedOut(SLOW, _))),
            "{slow:?}"
        );
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
        .reconnect(Backoff {
            first: Duration::from_millis(10),
            max: Duration::from_millis(20),
        })
        .on_change(move |change| tell.send(change.clone()).unwrap_or(()))
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
