//! Processes that die at a bad moment, and how soon somebody is served again.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, signal};
use crate::load::{Speech, ask, connect};
use crate::row::{Row, millis};
use crate::ticker::Span;
use crate::{Outcome, Scale};

/// A worker that served so long is replaced at once.
const SETTLED: Duration = Duration::from_millis(1100);

/// Far beyond every goal: what takes longer is broken, not slow.
const BROKEN: Duration = Duration::from_secs(5);

/// C1: the holder of the accept mutex is killed.
pub(crate) fn holder(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(200, 10);
    let daemon = Daemon::start("workers = 4")?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let mut holder = None;
        // A worker that dies younger is replaced after a growing pause.
        daemon.wait("a holder of the accept mutex", || {
            let (serving, now) = daemon.serving()?;
            holder = now;
            Ok(serving.len() == 4 && now.is_some() && daemon.youngest()? >= 1)
        })?;
        let from = Instant::now();
        signal(holder.ok_or("no holder")?, Signal::SIGKILL);
        spans.push(next_reply(&daemon, from)?);
    }
    daemon.settled(4)?;
    Ok(timed(spans))
}

/// R5: all workers are killed while a reload fails.
pub(crate) fn all(scale: &Scale) -> Outcome<Row> {
    let daemon = Daemon::start("workers = 4")?;
    let mut spans = Vec::new();
    for _ in 0..scale.of(20, 2) {
        daemon.settled(4)?;
        thread::sleep(SETTLED);
        daemon.configure("workers = 4\nno_such_key = 1")?;
        let (workers, _) = daemon.serving()?;
        signal(daemon.master()?, Signal::SIGHUP);
        let from = Instant::now();
        for pid in workers {
            signal(pid, Signal::SIGKILL);
        }
        spans.push(next_reply(&daemon, from)?);
    }
    Ok(timed(spans).beside("nginx 1.31.5, not in this run: 2304 ms".to_owned()))
}

/// C6: the master is killed; its workers leave, and the next one starts.
pub(crate) fn master(scale: &Scale) -> Outcome<Row> {
    let daemon = Daemon::start("workers = 4")?;
    let (mut closed, mut served) = (Vec::new(), Vec::new());
    for _ in 0..scale.of(20, 2) {
        let from = Instant::now();
        signal(daemon.master()?, Signal::SIGKILL);
        daemon.wait("closed listeners", || Ok(connect(daemon.address).is_err()))?;
        closed.push((from, Instant::now()));
        let from = Instant::now();
        daemon.ask("start")?;
        served.push(next_reply(&daemon, from)?);
    }
    let text = format!("closed {}; restarted {}", millis(&closed), millis(&served));
    daemon.settled(4)?;
    let broken = closed.iter().any(|(from, to)| *to - *from > BROKEN);
    Ok(Row::new(!broken, text).samples(closed))
}

fn next_reply(daemon: &Daemon, from: Instant) -> Outcome<Span> {
    let mut client = connect(daemon.address)?;
    while let Err(error) = ask(&mut client, Speech::Frames) {
        // The worker that was killed had accepted it.
        if from.elapsed() > BROKEN {
            return Err(error.into());
        }
        client = connect(daemon.address)?;
    }
    Ok((from, Instant::now()))
}

fn timed(spans: Vec<Span>) -> Row {
    let broken = spans.iter().any(|(from, to)| *to - *from > BROKEN);
    let text = format!("{} deaths, {}", spans.len(), millis(&spans));
    Row::new(!broken, text).samples(spans)
}
