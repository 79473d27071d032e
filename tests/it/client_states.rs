//! The client library while its server is stopped, killed, not there, full or
//! half there: what is told of it, how soon, and that it is found again.
//!
//! | the server | the client says | test |
//! |---|---|---|
//! | is stopped (`SIGSTOP`) | `Silent` | `a_stopped_server_is_…` |
//! | is killed (`SIGKILL`) | `Ended` or `Broken` | `a_killed_server_is_…` |
//! | does not listen yet | `Retrying` | `a_server_that_is_not_there_…` |
//! | is full | `Broken`, ever more rarely | `a_full_server_is_…` |
//! | accepts, and closes | the same | `who_accepts_and_closes_…` |
//! | accepts, and never answers | `Silent` | `a_half_open_connection_…` |
//! | sends the heartbeats | nothing | `the_servers_heartbeats_…` |

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purlin::client::{Backoff, Builder, Change, Client, Why};
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
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

    /// Why the connection ended next.
    fn ended(&self) -> Why {
        loop {
            if let Change::Disconnected(why) = self.next() {
                return why;
            }
        }
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

/// Goes on when dropped, so that it can end.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _gone = kill(self.0, Signal::SIGCONT);
    }
}

/// Not before, and soon after: other work on the machine may add to it.
fn assert_in_time(took: Duration, limit: Duration) {
    assert!(took + Duration::from_millis(100) > limit, "{took:?}");
    assert!(took < limit + Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_stopped_server_is_noticed_and_found_again_when_it_goes_on() {
    for asks in [true, false] {
        let daemon = Daemon::start(if asks {
            &[]
        } else {
            &[
                ("heartbeat.ping", "server"),
                ("heartbeat.ping_interval", "200ms"),
            ]
        });
        let to = to(daemon.address());
        let watched = Watched::new(if asks {
            to.heartbeat(Duration::from_millis(100))
        } else {
            to.silence(SILENCE)
        });
        watched.answered();
        let stopped = Stopped::new(daemon.worker());
        let since = Instant::now();
        assert_eq!(watched.ended(), Why::Silent(SILENCE), "{asks}");
        assert_in_time(since.elapsed(), SILENCE);
        drop(stopped);
        watched.answered();
    }
}

#[test]
fn a_killed_server_is_noticed_and_found_again_when_it_is_back() {
    let daemon = Daemon::start(&[]);
    let address = daemon.address();
    let watched = Watched::new(to(address));
    watched.answered();
    let worker = Pid::from_raw(i32::try_from(daemon.worker()).unwrap());
    daemon.signal(Signal::SIGKILL);
    kill(worker, Signal::SIGKILL).unwrap();
    let why = watched.ended();
    assert!(matches!(why, Why::Ended | Why::Broken(_)), "{why:?}");
    // It is refused meanwhile.
    let _refused = watched.pauses(3);
    let _again = Daemon::start(&[("listener.0.address", &address.to_string())]);
    watched.answered();
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let port = TcpListener::bind("127.0.0.77:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let (tell, changes) = mpsc::channel();
    let late = std::thread::spawn(move || {
        let pauses = std::iter::repeat_with(|| changes.recv_timeout(PATIENCE).unwrap());
        let all_pauses = pauses
            .take(3)
            .all(|change| matches!(change, Change::Retrying(_)));
        assert!(all_pauses);
        serve_with(echo(), &[("listener.0.address", &address.to_string())])
    });
    let client = to(address).connect_timeout(PATIENCE);
    let client = client.on_change(move |_, change| tell.send(change.clone()).unwrap_or(()));
    let client = client.connect().unwrap();
    assert_eq!(client.call::<_, String>(ECHO, "x").unwrap(), "x");
    drop(late.join().unwrap());
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
fn a_half_open_connection_is_noticed_and_the_next_one_used() {
    let listener = TcpListener::bind("127.0.0.77:0").unwrap();
    let to = to(listener.local_addr().unwrap());
    let watched = Watched::new(to.heartbeat(Duration::from_millis(100)));
    // It takes everything and says nothing, as a machine that has forgotten.
    let half_open = listener.accept().unwrap().0;
    let since = Instant::now();
    assert_eq!(watched.ended(), Why::Silent(SILENCE));
    assert_in_time(since.elapsed(), SILENCE);
    let mut next = listener.accept().unwrap().0;
    std::thread::scope(|scope| {
        let client = watched.client.clone();
        let call = scope.spawn(move || {
            wait_until("the server answers", || echoes(&client));
        });
        let mut frame = [0; 8];
        loop {
            next.read_exact(&mut frame).unwrap();
            let mut rest = vec![0; usize::from(frame[1]) - frame.len()];
            next.read_exact(&mut rest).unwrap();
            next.write_all(&[&frame, &rest[..]].concat()).unwrap();
            if !rest.is_empty() {
                break;
            }
        }
        call.join().unwrap();
    });
    drop(half_open);
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
