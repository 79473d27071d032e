//! Workers that leave: how many there are at a time, how long they take, and what
//! they still answer.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, children, is_zombie, signal};
use crate::load::{Failure, Load, Speech, connect, receive, send};
use crate::nginx;
use crate::row::{Row, millis};
use crate::ticker::Span;
use crate::{Outcome, Scale};

/// How long a drain may take.
const DEADLINE: Duration = Duration::from_secs(4);

/// Far beyond what the goals allow: what is later is broken, not slow.
const GRACE: Duration = Duration::from_secs(10);

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(1);

/// Of the workers before a reload.
const WORKERS: usize = 4;

/// That are open and idle at each reload, at least.
const SESSIONS: usize = 100;

/// R8: reloads, with sessions that stay.
pub(crate) fn generations(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(25, 8);
    let daemon = Daemon::start(&format!(
        "workers = {WORKERS}\ngenerations_max = 2\nhandover = false\n\
         shutdown_timeout = \"{}s\"\nworker.drain_idle = \"60s\"",
        DEADLINE.as_secs()
    ))?;
    let (master, over) = (daemon.master()?, AtomicBool::new(false));
    let seen = Mutex::new(Seen::default());
    let (replaced, settled) = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let living = living(master);
                seen.lock().expect("only read and noted").note(&living);
                thread::sleep(LOOK);
            }
        });
        let replaced = replace(&daemon, count);
        let settled = daemon.settled(WORKERS);
        over.store(true, Ordering::Relaxed);
        (replaced, settled)
    });
    let (replaced, seen) = (replaced?, seen.into_inner().expect("nobody panicked"));
    settled?;
    let stayed = |(pid, from): (&i32, &Instant)| {
        let last = seen.last.get(pid)?;
        Some(last.saturating_duration_since(*from))
    };
    let longest = replaced.iter().filter_map(stayed).max().unwrap_or_default();
    let text = format!(
        "{} workers at most, of {WORKERS}; stayed {:.1} s at most, of {} s; {count} reloads, \
         {SESSIONS} sessions",
        seen.most,
        longest.as_secs_f64(),
        DEADLINE.as_secs()
    );
    let good = seen.most <= 2 * WORKERS && longest <= DEADLINE + GRACE && !replaced.is_empty();
    Ok(Row::new(good, text).beside("nginx 1.31.5, not in this run: 48 processes".to_owned()))
}

/// What was seen of workers.
#[derive(Default)]
struct Seen {
    most: usize,
    last: HashMap<i32, Instant>,
}

impl Seen {
    fn note(&mut self, living: &[i32]) {
        let now = Instant::now();
        self.most = self.most.max(living.len());
        self.last.extend(living.iter().map(|pid| (*pid, now)));
    }
}

fn living(master: i32) -> Vec<i32> {
    let mut living = children(master).unwrap_or_default();
    living.retain(|pid| !is_zombie(*pid));
    living
}

/// Reloads; who was replaced, and since when. The last ones may take all their time.
fn replace(daemon: &Daemon, count: usize) -> Outcome<HashMap<i32, Instant>> {
    let (mut replaced, mut sessions) = (HashMap::new(), Vec::new());
    for _ in 0..count {
        sessions.retain(is_open);
        // No generation is without any.
        for _ in 0..usize::max(25, SESSIONS.saturating_sub(sessions.len())) {
            sessions.push(connect(daemon.address)?);
        }
        let (serving, _) = daemon.serving()?;
        // Who stays would have it refused.
        daemon.ask("reload --force")?;
        let now = Instant::now();
        replaced.extend(serving.into_iter().map(|pid| (pid, now)));
    }
    let gone = |pid: &i32| !daemon.processes().contains(pid);
    daemon.wait("the replaced to leave", || Ok(replaced.keys().all(gone)))?;
    Ok(replaced)
}

/// Whether the server has not said good-bye.
fn is_open(session: &TcpStream) -> bool {
    let look = session.set_nonblocking(true);
    look.and_then(|()| session.peek(&mut [0]))
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// R9: the server is told to end under load.
pub(crate) fn stops(scale: &Scale) -> Outcome<Row> {
    let (count, held) = (scale.of(20, 2), scale.of(10, 1));
    let mut stops = Vec::new();
    for round in 0..count + held {
        stops.push(Stop::of(round >= count)?);
    }
    let other = nginx::stops(count)?;
    let free: Vec<Span> = stops[..count].iter().map(|one| one.since_last).collect();
    let late = |one: &Stop| one.ended.saturating_sub(DEADLINE);
    let late = stops[count..].iter().map(late).max().unwrap_or_default();
    let unanswered: Vec<String> = stops.iter().flat_map(|one| one.lost.clone()).collect();
    let answered: u64 = stops.iter().map(|one| one.answered).sum();
    let text = format!(
        "{} of {answered} unanswered in {} stops; gone after the last client {}; at a client \
         that takes nothing {} ms after the deadline",
        unanswered.len(),
        count + held,
        millis(&free),
        late.as_millis()
    );
    let on_time = stops.iter().all(|one| one.ended <= DEADLINE + GRACE);
    Ok(
        Row::new(unanswered.is_empty() && on_time && answered > 0, text)
            .samples(free)
            .reasons(unanswered)
            .beside(other),
    )
}

/// What became of a server that was told to end.
struct Stop {
    /// How long it took.
    ended: Duration,
    /// From the end of the last connection of the load to the end of the server.
    since_last: Span,
    answered: u64,
    /// Requests that it had received before, and did not answer.
    lost: Vec<String>,
}

impl Stop {
    /// `held`: there is a client that takes nothing, so that it never is done.
    fn of(held: bool) -> Outcome<Self> {
        let daemon = Daemon::start(&format!(
            "workers = {WORKERS}\nshutdown_timeout = \"{}s\"",
            DEADLINE.as_secs()
        ))?;
        let load = Load::start(daemon.address, Speech::Frames, 16, 16);
        let holds = held.then(|| fill(&daemon)).transpose()?;
        thread::sleep(Duration::from_millis(300));
        let bursts = Burst::all(&daemon)?;
        let master = daemon.master()?;
        let at = Instant::now();
        signal(master, Signal::SIGTERM);
        let (mut answered, mut lost) = (0, Vec::new());
        for burst in bursts {
            match burst.finish() {
                Ok(count) => answered += count,
                Err(reason) => lost.push(format!("of a burst: {reason}")),
            }
        }
        daemon.wait("its end", || Ok(daemon.processes().is_empty()))?;
        let gone = Instant::now();
        drop(holds);
        let tally = load.stop();
        let received = |one: &&Failure| one.sent.is_some_and(|sent| sent < at);
        let unanswered = tally.failures.iter().filter(received);
        lost.extend(unanswered.map(|one| one.reason.clone()));
        let was_open = tally.failures.iter().filter(|one| one.sent.is_some());
        let last = was_open.map(|one| one.to.min(gone)).max().unwrap_or(at);
        Ok(Self {
            ended: gone - at,
            since_last: (last, gone),
            answered: answered + tally.served,
            lost,
        })
    }
}

/// Requests that are all on their way before the first reply is read.
struct Burst(TcpStream, Vec<u64>);

impl Burst {
    fn all(daemon: &Daemon) -> Outcome<Vec<Self>> {
        let mut bursts = Vec::new();
        for _ in 0..20 {
            bursts.push(Self(connect(daemon.address)?, Vec::new()));
        }
        for Self(open, numbers) in &mut bursts {
            for _ in 0..50 {
                numbers.push(send(open, Speech::Frames)?);
            }
        }
        Ok(bursts)
    }

    /// Reads all replies, and the end of the connection, which is no reset.
    fn finish(mut self) -> Outcome<u64> {
        let mut count = 0;
        for number in self.1 {
            receive(&mut self.0, Speech::Frames, number)
                .map_err(|error| format!("{error} after {count} replies"))?;
            count += 1;
        }
        let rest = self.0.read(&mut [0]);
        let rest = rest.map_err(|error| format!("{error} after all replies"))?;
        if rest > 0 {
            return Err("more replies than requests".into());
        }
        Ok(count)
    }
}

/// A client that asks until the server reads no more, and never reads itself.
fn fill(daemon: &Daemon) -> Outcome<TcpStream> {
    let mut client = connect(daemon.address)?;
    client.set_write_timeout(Some(Duration::from_millis(300)))?;
    let mut frames = Vec::new();
    for _ in 0..1000 {
        frames.extend([0, 8, 0, 0, 0, 0, 0, 0]);
    }
    while client.write_all(&frames).is_ok() {}
    Ok(client)
}
