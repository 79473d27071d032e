//! C2: whoever accepts is stopped, or caught in an endless loop. It is alive,
//! so the kernel takes nothing from it.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, signal};
use crate::load::{Speech, ask, connect};
use crate::row::{Row, millis};
use crate::ticker::Span;
use crate::{Outcome, Scale, subject};

/// A worker that served so long is replaced at once.
const SETTLED: Duration = Duration::from_millis(1100);

/// Between two new clients.
const PACE: Duration = Duration::from_millis(20);

/// Far beyond the goal, and below the time after which the stuck one is
/// aborted.
const BROKEN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
enum Trap {
    Stopped,
    Loops,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Loops => "in a loop",
        })
    }
}

/// The scenario.
pub(crate) fn holder(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(10, 1);
    let (mut all, mut parts) = (Vec::new(), Vec::new());
    for accept in ["mutex", "exclusive"] {
        let daemon = Daemon::subject(&format!(
            "workers = 2\naccept = \"{accept}\"\nwatchdog_abort = \"40s\""
        ))?;
        for trap in [Trap::Stopped, Trap::Loops] {
            let mut spans = Vec::new();
            for _ in 0..count {
                spans.push(caught(&daemon, trap)?);
            }
            parts.push(format!("{accept}, {trap}: {}", millis(&spans)));
            all.extend(spans);
        }
    }
    let text = parts.join("\n            ");
    Ok(Row::new(true, text)
        .samples(all)
        .beside("nginx 1.31.5, not in this run: never".to_owned()))
}

/// From the moment at which one is caught to the next reply.
fn caught(daemon: &Daemon, trap: Trap) -> Outcome<Span> {
    daemon.settled(2)?;
    thread::sleep(SETTLED);
    let (mut client, victim) = acquaint(daemon)?;
    let from = Instant::now();
    match trap {
        Trap::Stopped => signal(victim, Signal::SIGSTOP),
        Trap::Loops => {
            client.write_all(&request(subject::SPIN))?;
            // Else it might accept one more before it is caught.
            thread::sleep(PACE);
        }
    }
    let span = next_reply(daemon, from)?;
    if !daemon.processes().contains(&victim) {
        return Err("the stuck one died, and did not only lose the accept mutex".into());
    }
    signal(victim, Signal::SIGKILL);
    daemon.wait("a replacement", || {
        Ok(!daemon.processes().contains(&victim))
    })?;
    Ok(span)
}

/// A connection to whoever accepts now, and who it is.
fn acquaint(daemon: &Daemon) -> Outcome<(TcpStream, i32)> {
    let begun = Instant::now();
    loop {
        let mut client = connect(daemon.address)?;
        client.write_all(&request(subject::WHO))?;
        let mut reply = [0; 12];
        client.read_exact(&mut reply)?;
        let [.., a, b, c, d] = reply;
        let pid = i32::try_from(u32::from_be_bytes([a, b, c, d]))?;
        let (_, holder) = daemon.serving()?;
        if holder.is_none_or(|holder| holder == pid) {
            return Ok((client, pid));
        }
        if begun.elapsed() > BROKEN {
            return Err("who accepts does not have the accept mutex".into());
        }
    }
}

/// Clients come one after the other, and do not wait for each other: any of
/// them may have gone to the stuck one.
fn next_reply(daemon: &Daemon, from: Instant) -> Outcome<Span> {
    let (replied, replies) = mpsc::channel();
    while from.elapsed() < BROKEN {
        let (address, replied) = (daemon.address, replied.clone());
        thread::spawn(move || {
            let asked = connect(address).and_then(|mut open| ask(&mut open, Speech::Frames));
            if asked.is_ok() {
                let _first_is_enough = replied.send(Instant::now());
            }
        });
        if let Ok(to) = replies.recv_timeout(PACE) {
            return Ok((from, to));
        }
    }
    Err("nobody accepts".into())
}

/// A message without a body.
fn request(id: u16) -> [u8; 8] {
    let [high, low] = id.to_be_bytes();
    [0, 8, high, low, 0, 0, 0, 0]
}
