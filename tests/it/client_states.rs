//! The client library while its server is stopped, killed, not there, full or
//! half there: what is told of it, how soon, and that it is found again.
//!
//! | the server | the client says | test |
//! |---|---|---|
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
