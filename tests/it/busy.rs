//! Who waits for the server is not closed for it, and who does not wait any more
//! is noticed: over frames in order, frames with sequences, and HTTP.

use std::sync::{Mutex, mpsc};

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::ends::reset;
use crate::harness::{Client, PATIENCE, comm, rpc, serve_with, wait_for, wait_until};

const LATER: u16 = 3;

/// What a test is about: how it is asked and answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wire {
    Comm,
    Rpc,
    Http,
}

const WIRES: [Wire; 3] = [Wire::Comm, Wire::Rpc, Wire::Http];

impl Wire {
    fn keys(self) -> [(&'static str, &'static str); 2] {
        let (protocol, frame) = match self {
            Self::Comm => ("frame", "comm"),
            Self::Rpc => ("frame", "rpc"),
            Self::Http => ("http", "comm"),
        };
        [
            ("listener.0.protocol", protocol),
            ("listener.0.frame", frame),
        ]
    }

    fn ask(self) -> Vec<u8> {
        match self {
            Self::Comm => comm(LATER, b"x"),
            Self::Rpc => rpc(LATER.into(), 7, b"x"),
            Self::Http => b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        }
    }

    /// Reads the answer to [`Self::ask`], which must be `slow`.
    fn answered(self, client: &mut Client) {
        match self {
            Self::Comm => assert_eq!(client.comm(), (LATER, b"slow".to_vec())),
            Self::Rpc => assert_eq!(client.rpc(), (LATER.into(), 7, b"slow".to_vec())),
            Self::Http => {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.extend(client.exactly(1));
                }
                assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
                assert_eq!(client.exactly(4), b"slow");
            }
        }
    }
}

/// A server whose replies are given by the test, and why connections ended.
struct Slow {
    server: Server,
    repliers: mpsc::Receiver<Replier>,
    closed: mpsc::Receiver<Option<CloseReason>>,
}

impl Slow {
    fn new(wire: Wire, keys: &[(&str, &str)]) -> Self {
        let (give, repliers) = mpsc::channel();
        let (tell, closed) = mpsc::channel();
        let (give, tell) = (Mutex::new(give), Mutex::new(tell));
        let give = move |replier| {
            let _ended = give.lock().expect("a lock").send(replier);
        };
        let give = std::sync::Arc::new(give);
        let web = std::sync::Arc::clone(&give);
        let app = App::<()>::new()
            .on(LATER.into(), move |c, _: Bytes| {
                c.later(|replier| give(replier))
            })
            .on_inline(4, |_, body: Bytes| body)
            .web(Web::<()>::new().get("/later", move |c, (): ()| c.later(|replier| web(replier))))
            .closed(move |c| {
                let _ended = tell.lock().expect("a lock").send(c.close_reason());
            });
        let keys = [&wire.keys()[..], keys].concat();
        Self {
            server: serve_with(app, &keys),
            repliers,
            closed,
        }
    }

    /// A client that has asked, and who is to answer it.
    fn asked(&self, wire: Wire) -> (Client, Replier) {
        let mut client = Client::to(&self.server);
        client.send(&wire.ask());
        let replier = self.repliers.recv_timeout(PATIENCE).expect("a request");
        (client, replier)
    }

    fn is_gone(&self, wire: Wire, replier: &Replier, reason: CloseReason) {
        wait_until("the replier knows", || replier.is_gone());
        wait_for(&self.server, Counter::Live, 0);
        wait_for(&self.server, Counter::RepliesOwed, 0);
        if wire != Wire::Http {
            let told = self.closed.recv_timeout(PATIENCE);
            assert_eq!(told, Ok(Some(reason)), "{wire:?}");
        }
    }
}

#[test]
fn clocks_stand_still_while_a_reply_is_owed() {
    for wire in WIRES {
        let keys = [("heartbeat.timeout", "1s"), ("limits.idle", "1s")];
        let slow = Slow::new(wire, &keys);
        let (mut patient, replier) = slow.asked(wire);
        // Twice the time in which one that nobody makes wait is closed.
        for closed in 1..=2 {
            let _silent = Client::to(&slow.server);
            wait_until("the silent one is closed", || {
                let names = [
                    Counter::HeartbeatTimeout,
                    Counter::IdleTimeout,
                    Counter::FirstMessageTimeout,
                ];
                names
                    .iter()
                    .map(|name| slow.server.read(*name))
                    .sum::<u64>()
                    >= closed
            });
        }
        assert!(!replier.is_gone(), "{wire:?}");
        assert!(replier.send("slow"));
        wire.answered(&mut patient);
    }
}

#[test]
fn who_closes_its_half_still_gets_its_reply_and_then_the_end() {
    for wire in WIRES {
        let slow = Slow::new(wire, &[("heartbeat.timeout", "60s")]);
        let (mut client, replier) = slow.asked(wire);
        client.finish();
        wait_until("its end has come", || slow.server.read(Counter::Reads) >= 2);
        assert!(!replier.is_gone());
        assert!(replier.send("slow"));
        let came = client.rest();
        let whole = came.windows(4).filter(|part| part == b"slow").count();
        assert_eq!(whole, 1, "{wire:?}: {came:?}");
        wait_for(&slow.server, Counter::Live, 0);
    }
}

#[test]
fn who_closes_its_half_waits_no_longer_than_its_limits() {
    for wire in WIRES {
        for limit in [("heartbeat.timeout", "1s"), ("limits.idle", "500ms")] {
            let slow = Slow::new(wire, &[limit, ("limits.reply_max", "0s")]);
            let (mut client, replier) = slow.asked(wire);
            client.finish();
            client.until_closed();
            slow.is_gone(wire, &replier, CloseReason::PeerClosed);
            assert_eq!(slow.server.read(Counter::RepliesAbandoned), 1, "{wire:?}");
            assert!(!replier.send("too late"));
        }
    }
}

#[test]
fn a_reply_that_does_not_come_is_an_error_and_silence_ends_as_ever() {
    for wire in WIRES {
        let keys = [
            ("limits.reply_max", "200ms"),
            ("heartbeat.timeout", "1s"),
            ("http.keep_alive", "1s"),
        ];
        let slow = Slow::new(wire, &keys);
        let (mut client, replier) = slow.asked(wire);
        let came = client.until_closed();
        if wire == Wire::Http {
            assert!(came.starts_with(b"HTTP/1.1 504 "), "{came:?}");
        }
        slow.is_gone(wire, &replier, CloseReason::HeartbeatTimeout);
        assert_eq!(slow.server.read(Counter::RepliesOverdue), 1, "{wire:?}");
    }
}

#[test]
fn a_peer_that_is_reset_while_it_waits_has_ended() {
    let off = [
        ("heartbeat.timeout", "0s"),
        ("heartbeat.first_message", "0s"),
        ("limits.reply_max", "0s"),
    ];
    for wire in WIRES {
        for finishes in [false, true] {
            let slow = Slow::new(wire, &off);
            let (client, replier) = slow.asked(wire);
            if finishes {
                client.finish();
                wait_until("its end has come", || slow.server.read(Counter::Reads) >= 2);
            }
            reset(client);
            let reason = if finishes {
                CloseReason::PeerClosed
            } else {
                CloseReason::PeerReset
            };
            slow.is_gone(wire, &replier, reason);
        }
    }
}

#[test]
fn pushes_to_a_peer_that_is_gone_are_not_written_again_and_again() {
    let off = [("heartbeat.timeout", "0s"), ("limits.reply_max", "0s")];
    for wire in [Wire::Comm, Wire::Rpc] {
        let (give, taken) = mpsc::channel();
        let give = Mutex::new(give);
        let app = App::<()>::new().on(LATER.into(), move |c, _: Bytes| {
            let (hub, me) = (c.hub().clone(), c.conn());
            c.later(|replier| {
                give.lock()
                    .expect("a lock")
                    .send((replier, hub, me))
                    .expect("taken")
            })
        });
        let server = serve_with(app, &[&wire.keys()[..], &off].concat());
        let mut client = Client::to(&server);
        client.send(&wire.ask());
        let (replier, hub, me) = taken.recv_timeout(PATIENCE).expect("a request");
        drop(client);
        wait_until("its end has come", || server.read(Counter::Reads) >= 2);
        let before = server.read(Counter::Writes);
        for _ in 0..10_000 {
            hub.conn(me).send(9, "push");
        }
        wait_until("the replier knows", || replier.is_gone());
        wait_for(&server, Counter::Quarantined, 0);
        let writes = server.read(Counter::Writes) - before;
        let futile = server.read(Counter::WriteFutile);
        assert!(
            writes <= 100 && futile <= 2,
            "{writes} writes, {futile} futile"
        );
    }
}
