//! The client library while its server is stopped, killed, not there, full or
//! half there: what is told of it, how soon, and that it is found again.
//!
//! | the server | the client says | test |
//! |---|---|---|
//! | is full | `Broken`, ever more rarely | `a_full_server_is_…` |
//! | accepts, and closes | the same | `who_accepts_and_closes_…` |
//! | sends the heartbeats | nothing | `the_servers_heartbeats_…` |

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use purlin::client::{Backoff, Builder, Change, Client};
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{PATIENCE, comm, serve_with, wait_until};

const ECHO: Id = 1;
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(10),
    max: Duration::from_millis(100),
};
/// Long enough for a busy machine, short enough to wait for.
const SILENCE: Duration = Duration::from_secs(1);

/// A client, and what it says of its connection.
struct Watched {
    client: Client,
    changes: mpsc::Receiver<Change>,
}

impl Watched {
    fn new(builder: Builder) -> Self {
        let (tell, changes) = mpsc::channel();
        let builder = builder.connect_timeout(PATIENCE);
        let builder = builder.on_change(move |_, change| tell.send(change.clone()).unwrap_or(()));
        let client = builder.connect().unwrap();
        Self { client, changes }
    }

    fn next(&self) -> Change {
        self.changes.recv_timeout(PATIENCE).unwrap()
    }

    /// The pauses from now on, so many.
    fn pauses(&self, count: usize) -> Vec<Duration> {
        let pauses = std::iter::repeat_with(|| self.next());
        let pauses = pauses.filter_map(|change| match change {
            Change::Retrying(pause) => Some(pause),
            Change::Connected | Change::Disconnected(_) => None,
        });
        pauses.take(count).collect()
    }

    /// Calls until the server answers.
    fn answered(&self) {
        wait_until("the server answers", || echoes(&self.client));
    }
}

fn echoes(client: &Client) -> bool {
    let reply = client.call::<_, String>(ECHO, "x");
    reply.is_ok_and(|reply| reply == "x")
}

fn to(address: SocketAddr) -> Builder {
    Client::builder(address.to_string())
        .call_timeout(SILENCE)
        .reconnect(QUICK)
}

fn echo() -> App<()> {
    App::<()>::new().on_inline(ECHO, |_, body: Bytes| body)
}

/// Each is at least half of the double of the one before its own cut.
fn assert_they_grow(pauses: &[Duration], first: Duration) {
    for (n, pause) in (0..).zip(pauses) {
        let doubled = first * 2_u32.pow(n);
        assert!(*pause >= doubled / 2 && *pause <= doubled, "{pauses:?}");
    }
}

const GROWING: Backoff = Backoff {
    first: Duration::from_millis(20),
    max: Duration::from_secs(60),
};

#[test]
fn a_full_server_is_asked_more_and_more_rarely_and_used_when_there_is_room() {
    let server = serve_with(echo(), &[("limits.connections_per_ip", "1")]);
    let address = crate::harness::address(&server);
    let inside = Watched::new(to(address));
    inside.answered();
    let turned_away = Watched::new(to(address).reconnect(GROWING));
    assert_they_grow(&turned_away.pauses(6), GROWING.first);
    inside.client.close();
    turned_away.answered();
}

#[test]
fn who_accepts_and_closes_is_asked_more_and_more_rarely_until_it_answers() {
    for resets in [false, true] {
        let listener = TcpListener::bind("127.0.0.77:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (proceed, wait) = mpsc::channel::<()>();
        let peer = std::thread::spawn(move || {
            for _ in 0..6 {
                let stream = listener.accept().unwrap().0;
                if resets {
                    purlin::sys::socket::abort(&stream);
                }
            }
            // One that answers a call, which is enough.
            let mut stream = listener.accept().unwrap().0;
            let mut request = [0; 9];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&request).unwrap();
            wait.recv_timeout(PATIENCE).unwrap();
        });
        let watched = Watched::new(to(address).reconnect(GROWING));
        assert_they_grow(&watched.pauses(6), GROWING.first);
        watched.answered();
        proceed.send(()).unwrap();
        assert_they_grow(&watched.pauses(1), GROWING.first);
        peer.join().unwrap();
    }
}

#[test]
fn the_servers_heartbeats_are_answered_unasked() {
    for who in ["server", "both"] {
        let keys = [
            ("heartbeat.ping", who),
            ("heartbeat.ping_interval", "200ms"),
            ("heartbeat.timeout", "1s"),
            ("heartbeat.counts", "ping"),
        ];
        let server = serve_with(echo(), &keys);
        let to = to(crate::harness::address(&server)).call_timeout(PATIENCE);
        let watched = Watched::new(to);
        watched.answered();
        // Three times the limit after which who does not answer is closed.
        wait_until("the server has asked 15 times", || {
            server.read(Counter::Pings) >= 15
        });
        assert_eq!(server.read(Counter::HeartbeatTimeout), 0, "{who}");
        assert!(echoes(&watched.client));
        assert_eq!(watched.next(), Change::Connected);
        assert!(watched.changes.try_recv().is_err(), "{who}");
    }
}

/// The answer to one of its own is not answered, or the two would never end.
#[test]
fn each_heartbeat_of_the_servers_is_answered_once_and_no_answer_is() {
    const PERIOD: Duration = Duration::from_millis(500);
    let listener = TcpListener::bind("127.0.0.77:0").unwrap();
    let to = to(listener.local_addr().unwrap()).call_timeout(PATIENCE);
    let to = to.heartbeat(PERIOD).on(ECHO, |client, text: String| {
        client.send(ECHO, text).unwrap();
    });
    let _watched = Watched::new(to);
    let mut peer = listener.accept().unwrap().0;
    let mut frame = [1; 8];
    peer.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..], comm(0, b""));
    let since = Instant::now();
    // The answer, two of its own, and what marks the end.
    peer.write_all(&comm(0, b"").repeat(3)).unwrap();
    peer.write_all(&comm(1, b"")).unwrap();
    let mut answers = 0;
    while {
        peer.read_exact(&mut frame).unwrap();
        frame[..] == comm(0, b"")
    } {
        answers += 1;
    }
    assert_eq!(frame[..], comm(1, b""));
    // Unless so long has passed that it has asked again.
    assert!(
        answers == 2 || since.elapsed() >= PERIOD / 2,
        "{answers} answers"
    );
}
