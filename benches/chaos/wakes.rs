//! B2: how often somebody is woken for a new connection.

use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::load::{Speech, ask, connect};
use crate::nginx;
use crate::row::Row;
use crate::{Outcome, Scale};

/// Connections a second.
const RATE: u32 = 1000;

/// Clients that come one after the other, at the same pace.
const CLIENTS: u32 = 8;

/// Wake-ups for each connection, in thousandths.
const GOAL: u64 = 1200;

/// What becomes of a connection after its request.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Closed,
    Kept,
}

/// The scenario.
pub(crate) fn accepts(scale: &Scale) -> Outcome<Row> {
    let time = Duration::from_secs(u64::try_from(scale.of(15, 3))?);
    let kept = Duration::from_secs(u64::try_from(scale.of(4, 1))?);
    let closed = measured("mutex", Fate::Closed, time)?;
    let stay = measured("mutex", Fate::Kept, kept)?;
    let mut text = format!("mutex: {closed}\n            mutex, connections stay: {stay}");
    for accept in ["exclusive", "reuseport"] {
        let other = measured(accept, Fate::Closed, time.min(Duration::from_secs(5)))?;
        text += &format!("\n            {accept}: {other}");
    }
    let good = [&closed, &stay]
        .iter()
        .all(|one| one.accepts > 0 && one.thousandths() <= GOAL);
    Ok(Row::new(good, text).beside(nginx::wakes(time.min(Duration::from_secs(5)))?))
}

/// What the server counted.
struct Wakes {
    accepts: u64,
    /// Events of listeners that epoll returned.
    events: u64,
    /// Wake-ups by a bell of the accept mutex.
    bells: u64,
    took: Duration,
}

impl Wakes {
    fn thousandths(&self) -> u64 {
        (self.events + self.bells) * 1000 / self.accepts.max(1)
    }
}

impl fmt::Display for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.thousandths();
        write!(
            f,
            "{}.{:03} = ({} events + {} bells) / {} accepts, {:.0}/s",
            ratio / 1000,
            ratio % 1000,
            self.events,
            self.bells,
            self.accepts,
            f64::from(u32::try_from(self.accepts).unwrap_or(u32::MAX)) / self.took.as_secs_f64()
        )
    }
}

fn measured(accept: &str, fate: Fate, time: Duration) -> Outcome<Wakes> {
    let daemon = Daemon::start(&format!("workers = 8\naccept = \"{accept}\""))?;
    daemon.settled(8)?;
    let before = counts(&daemon)?;
    let begun = Instant::now();
    come(daemon.address, Speech::Frames, fate, time)?;
    let took = begun.elapsed();
    let after = counts(&daemon)?;
    let [accepts, events, bells] = [0, 1, 2].map(|n| after[n] - before[n]);
    Ok(Wakes {
        accepts,
        events,
        bells,
        took,
    })
}

fn counts(daemon: &Daemon) -> Outcome<[u64; 3]> {
    let status = daemon.status()?;
    let names = ["connections_accepted", "accept_events", "accept_turn_wakes"];
    let count = |name: &str| status["counters"][name].as_u64();
    let [Some(accepts), Some(events), Some(bells)] = names.map(count) else {
        return Err("a counter is missing".into());
    };
    Ok([accepts, events, bells])
}

/// Has clients come at [`RATE`], or as fast as the machine allows.
pub(crate) fn come(address: SocketAddr, speech: Speech, fate: Fate, time: Duration) -> Outcome<()> {
    let pause = Duration::from_secs(1) * CLIENTS / RATE;
    let client = |n: u32| {
        let begin = Instant::now() + pause * n / CLIENTS;
        let mut kept = Vec::new();
        for at in (0..).map(|count| pause * count).take_while(|at| *at < time) {
            thread::sleep((begin + at).saturating_duration_since(Instant::now()));
            let mut open = connect(address)?;
            ask(&mut open, speech)?;
            if matches!(fate, Fate::Kept) {
                kept.push(open);
            }
        }
        Ok::<_, std::io::Error>(kept)
    };
    let done: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| scope.spawn(move || client(n)))
            .collect();
        clients.into_iter().map(|client| client.join()).collect()
    });
    for client in done {
        let _open_until_all_are_there = client.map_err(|_| "a client panicked")??;
    }
    Ok(())
}
