//! Who is silent is closed in time; who speaks, or is made to wait, is not.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::harness::{Client, comm, serve_with, wait_for, wait_until};

const PUSH: u32 = 9;

fn echo() -> App<()> {
    App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on_inline(2, |_, body: Bytes| body)
}

fn pushes(len: usize) -> App<()> {
    let body = Bytes::from(vec![b'p'; len]);
    echo().every(Duration::from_millis(20), move |hub| {
        hub.all().send(PUSH, body.clone());
    })
}

/// Not early, and not long after: other work on the machine may add to it.
fn assert_in_time(took: Duration, timeout: Duration) {
    assert!(
        took > timeout - Duration::from_millis(100),
        "closed after {took:?}"
    );
    assert!(
        took < timeout + Duration::from_secs(3),
        "closed after {took:?}"
    );
}

#[test]
fn a_silent_peer_is_closed_in_time_with_and_without_pushes_in_flight() {
    let timeout = Duration::from_secs(2);
    for app in [echo(), pushes(10)] {
        let server = serve_with(app, &[("heartbeat.timeout", "2s")]);
        let mut client = Client::to(&server);
        client.send(&comm(1, b"only once"));
        wait_for(&server, Counter::Handled, 1);
        let since = Instant::now();
        client.until_closed();
        assert_in_time(since.elapsed(), timeout);
        wait_for(&server, Counter::HeartbeatTimeout, 1);
    }
}

#[test]
fn a_silent_peer_with_stuck_pushes_is_reset() {
    let server = serve_with(pushes(20_000), &[("heartbeat.timeout", "2s")]);
    let mut client = Client::to(&server);
    client.send(&comm(1, b"only once"));
    wait_for(&server, Counter::HeartbeatTimeout, 1);
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Buffered, 0);
    client.until_closed();
}

#[test]
fn a_peer_that_waits_for_its_reply_is_not_silent() {
    let (give, take) = mpsc::channel::<(Replier, Bytes)>();
    let app = echo().on(3, move |ctx, body: Bytes| {
        let give = give.clone();
        ctx.later(move |replier| give.send((replier, body)).unwrap())
    });
    let keys = [("heartbeat.timeout", "1s"), ("limits.idle", "1s")];
    let server = serve_with(app, &keys);
    let mut patient = Client::to(&server);
    let mut silent = Client::to(&server);
    patient.send(&comm(3, b"slow"));
    let (replier, body) = take.recv().unwrap();
    // Twice the time in which one that nobody makes wait is closed.
    for _ in 0..2 {
        silent.call(1, b"x");
        silent.until_closed();
        silent = Client::to(&server);
    }
    replier.send(body);
    assert_eq!(patient.comm(), (3, b"slow".to_vec()));
    // Its time begins anew with the reply.
    assert_eq!(patient.call(1, b"alive"), (1, b"alive".to_vec()));
}

#[test]
fn who_answers_the_servers_heartbeats_lives_and_who_does_not_is_closed() {
    for who in ["server", "both"] {
        let keys = [
            ("heartbeat.ping", who),
            ("heartbeat.ping_interval", "200ms"),
            ("heartbeat.timeout", "1s"),
            ("heartbeat.counts", "ping"),
        ];
        let server = serve_with(echo(), &keys);
        let (mut answers, mut ignores) = (Client::to(&server), Client::to(&server));
        ignores.call(1, b"hello");
        answers.call(1, b"hello");
        for _ in 0..8 {
            assert_eq!(answers.comm(), (0, Vec::new()));
            answers.send(&comm(0, b""));
        }
        ignores.until_closed();
        wait_for(&server, Counter::HeartbeatTimeout, 1);
        assert!(server.read(Counter::Pings) > 8, "{who}");
        // None of its answers was answered: the next thing is this reply or one
        // of the heartbeats that nobody has asked for.
        answers.send(&comm(1, b"alive"));
        while answers.comm() != (1, b"alive".to_vec()) {}
        assert_eq!(server.read(Counter::Handled), 3, "{who}");
    }
}

#[test]
fn where_heartbeats_count_nothing_else_does() {
    let keys = [("heartbeat.counts", "ping"), ("heartbeat.timeout", "1s")];
    let server = serve_with(echo(), &keys);
    let (mut talks, mut beats) = (Client::to(&server), Client::to(&server));
    beats.call(1, b"hello");
    while server.read(Counter::HeartbeatTimeout) == 0 {
        assert_eq!(beats.call(0, b""), (0, Vec::new()));
        talks.0.set_nonblocking(false).unwrap();
        if std::io::Write::write_all(&mut talks.0, &comm(1, b"data")).is_ok() {
            let _answer_or_end = talks.0.read(&mut [0; 12]);
        }
    }
    assert_eq!(beats.call(1, b"alive"), (1, b"alive".to_vec()));
}

#[test]
fn heartbeats_do_not_keep_an_idle_connection() {
    let server = serve_with(pushes(3), &[("limits.idle", "1s")]);
    let mut pushed = Client::to(&server);
    pushed.send(&comm(1, b"hello"));
    let other = serve_with(echo(), &[("limits.idle", "1s")]);
    let mut idle = Client::to(&other);
    idle.call(1, b"hello");
    while std::io::Write::write_all(&mut idle.0, &comm(0, b"")).is_ok() {
        if !matches!(idle.0.read(&mut [0; 64]), Ok(1..)) {
            break;
        }
    }
    wait_for(&other, Counter::IdleTimeout, 1);
    assert_eq!(server.read(Counter::IdleTimeout), 0, "pushes are messages");
    assert_eq!(server.read(Counter::Live), 1);
}

/// A network of its own, with a cable that can be pulled.
struct Wire {
    namespace: String,
    near: String,
    client: Option<Child>,
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    let command = command.args(arguments.split_whitespace());
    let status = command.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Wire {
    /// `None` where the system does not allow it.
    fn new() -> Option<Self> {
        let id = std::process::id() % 100_000;
        let wire = Self {
            namespace: format!("purlin{id}"),
            near: format!("plna{id}"),
            client: None,
        };
        let (namespace, near, far) = (&wire.namespace, &wire.near, format!("plnb{id}"));
        let laid = ip(&format!("netns add {namespace}"))
            && ip(&format!("link add {near} type veth peer name {far}"))
            && ip(&format!("link set {far} netns {namespace}"))
            && ip(&format!("addr add 198.18.77.1/30 dev {near}"))
            && ip(&format!("link set {near} up"))
            && ip(&format!("-n {namespace} addr add 198.18.77.2/30 dev {far}"))
            && ip(&format!("-n {namespace} link set {far} up"));
        laid.then_some(wire)
    }

    fn pull(&self) -> bool {
        ip(&format!("link set {} down", self.near))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            // With what it started: an orphan would keep the test's pipes open.
            let group = i32::try_from(client.id()).unwrap();
            let _ended = killpg(Pid::from_raw(group), Signal::SIGKILL);
            let _reaped = client.wait();
        }
        ip(&format!("link del {}", self.near));
        ip(&format!("netns del {}", self.namespace));
    }
}

#[test]
fn a_peer_whose_cable_is_pulled_is_closed_with_pushes_in_flight() {
    let Some(mut wire) = Wire::new() else {
        eprintln!(
            "skipped: no network namespace can be made; run as root with iproute2 \
             (`apt-get install iproute2`), try `ip netns add x`"
        );
        return;
    };
    let keys = [
        ("heartbeat.timeout", "2s"),
        ("listener.0.address", "198.18.77.1:0"),
    ];
    let server = serve_with(pushes(1000), &keys);
    let port = crate::harness::address(&server).port();
    // A whole heartbeat every tenth of a second.
    let talk = format!(
        "exec 3<>/dev/tcp/198.18.77.1/{port}; cat <&3 >/dev/null & \
         while printf '\\0\\010\\0\\0\\0\\0\\0\\0' >&3; do sleep 0.1; done"
    );
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &wire.namespace, "bash", "-c", &talk]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    wire.client = Some(command.process_group(0).spawn().unwrap());
    let talked = Instant::now();
    wait_until("the client has talked for longer than the timeout", || {
        talked.elapsed() > Duration::from_secs(3) && server.read(Counter::Handled) > 5
    });
    assert_eq!(server.read(Counter::HeartbeatTimeout), 0);
    assert!(wire.pull());
    let since = Instant::now();
    wait_for(&server, Counter::HeartbeatTimeout, 1);
    // Its last word is older than the pull: by a second where others keep the
    // machine busy.
    let took = since.elapsed();
    assert!(took > Duration::from_secs(1), "closed after {took:?}");
    assert!(took < Duration::from_secs(5), "closed after {took:?}");
    wait_for(&server, Counter::Live, 0);
    wait_for(&server, Counter::Quarantined, 0);
    thread::yield_now();
}
