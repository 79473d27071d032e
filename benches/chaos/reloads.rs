//! Reloads and upgrades of a server that is busy: nobody may notice.

use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::load::{Load, Speech, Tally, ask, connect};
use crate::nginx;
use crate::row::{Row, millis};
use crate::{Outcome, Scale};

/// Between two reloads.
const PACE: Duration = Duration::from_millis(300);

/// Idle for as long as a run takes.
const PATIENT: &str = "heartbeat.first_message = \"1h\"\nheartbeat.timeout = \"1h\"\n";

/// R1: reloads at 300 ms, everything at its default.
pub(crate) fn reloads(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(100, 10);
    let daemon = Daemon::start("workers = 4")?;
    let load = Load::start(daemon.address, Speech::Frames, 16, 16);
    let mut spans = Vec::new();
    for _ in 0..count {
        spans.push(reload(&daemon)?);
    }
    let tally = load.stop();
    let other = nginx::reloads(count, PACE, &[4], "")?;
    let note = format!("; {count} reloads, {}", millis(&spans));
    Ok(lossless(&tally, &note)
        .samples(spans)
        .beside(nginx::beside(other.as_ref())))
}

/// R2: 4 workers and 2 in turn, over one listener and over one for each worker.
pub(crate) fn resized(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(60, 12);
    let mut whole = Tally::default();
    for accept in ["mutex", "reuseport"] {
        let top = |workers: usize| format!("workers = {workers}\naccept = \"{accept}\"");
        let daemon = Daemon::start(&top(4))?;
        let load = Load::start(daemon.address, Speech::Frames, 16, 16);
        for workers in [2, 4].into_iter().cycle().take(count) {
            daemon.configure(&top(workers))?;
            reload(&daemon)?;
        }
        add(&mut whole, load.stop(), accept);
    }
    let other = nginx::reloads(count, PACE, &[2, 4], "reuseport")?;
    let note = format!("; 2 × {count} reloads");
    Ok(lossless(&whole, &note).beside(nginx::beside(other.as_ref())))
}

/// R3: upgrades, then binaries that exit, hang, or are no server.
pub(crate) fn upgrades(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(20, 3);
    let daemon = Daemon::start("workers = 2\nupgrade_binary = \"new\"\nupgrade_timeout = \"2s\"")?;
    daemon.write_binary("exec \"$PROGRAM\" \"$@\"")?;
    let load = Load::start(daemon.address, Speech::Frames, 16, 16);
    let mut spans = Vec::new();
    for _ in 0..count {
        let from = Instant::now();
        daemon.ask("upgrade")?;
        spans.push((from, Instant::now()));
        daemon.settled(2)?;
    }
    let mut taken = 0;
    // The second one leaves a child behind, which is waited for.
    for bad in ["exit 3", "sleep 6", "exec sleep 60", "kill -9 $$"] {
        let master = daemon.master()?;
        daemon.write_binary(bad)?;
        let refused = daemon.ask("upgrade").is_err();
        taken += usize::from(!refused || daemon.master()? != master);
    }
    daemon.settled(2)?;
    let tally = load.stop();
    let note = format!(
        "; {count} upgrades, {}; 4 bad binaries, {taken} not rolled back",
        millis(&spans)
    );
    Ok(lossless(&tally, &note).unless(taken > 0).samples(spans))
}

/// R3b: connections that say nothing, over reloads and upgrades.
pub(crate) fn idle(scale: &Scale) -> Outcome<Row> {
    let (count, reloads, upgrades) = (scale.of(1000, 100), scale.of(20, 3), scale.of(5, 1));
    let daemon = Daemon::start(&format!("{PATIENT}workers = 2"))?;
    let mut open = Vec::new();
    for _ in 0..count {
        let mut one = connect(daemon.address)?;
        ask(&mut one, Speech::Frames)?;
        open.push(one);
    }
    for round in 0..reloads + upgrades {
        let upgrades_now = (round + 1) * upgrades / (reloads + upgrades);
        let upgrade = upgrades_now > round * upgrades / (reloads + upgrades);
        daemon.ask(if upgrade { "upgrade" } else { "reload" })?;
        daemon.settled(2)?;
    }
    let mut lost = 0;
    for one in &mut open {
        lost += usize::from(ask(one, Speech::Frames).is_err());
    }
    let text = format!("{lost} lost of {count}; {reloads} reloads, {upgrades} upgrades");
    Ok(Row::new(lost == 0, text))
}

/// R7: what the master keeps of 200 reloads.
pub(crate) fn kept(scale: &Scale) -> Outcome<Row> {
    let (settling, count) = (scale.of(50, 10), scale.of(150, 10));
    let daemon = Daemon::start("workers = 2")?;
    for _ in 0..settling {
        daemon.ask("reload")?;
    }
    daemon.settled(2)?;
    let before = footprint(&daemon)?;
    for _ in 0..count {
        daemon.ask("reload")?;
    }
    daemon.settled(2)?;
    let after = footprint(&daemon)?;
    let text = format!(
        "descriptors {} to {}, RSS {} to {} kB from reload {settling} to {}",
        before.0,
        after.0,
        before.1,
        after.1,
        settling + count
    );
    let good = after.0 <= before.0 && after.1 * 100 <= before.1 * 105;
    Ok(Row::new(good, text).beside("nginx 1.31.5, not in this run: RSS +77 %".to_owned()))
}

/// Descriptors and resident kilobytes of the master, the fewest of a few looks: it
/// closes the connection of a command after its client has gone.
fn footprint(daemon: &Daemon) -> Outcome<(usize, u64)> {
    let mut least = look(daemon)?;
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(10));
        let now = look(daemon)?;
        least = (least.0.min(now.0), least.1.min(now.1));
    }
    Ok(least)
}

fn look(daemon: &Daemon) -> Outcome<(usize, u64)> {
    let master = daemon.master()?;
    let descriptors = std::fs::read_dir(format!("/proc/{master}/fd"))?.count();
    let status = std::fs::read_to_string(format!("/proc/{master}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok((descriptors, kilobytes.ok_or("no VmRSS")?.parse()?))
}

fn reload(daemon: &Daemon) -> Outcome<(Instant, Instant)> {
    let from = Instant::now();
    daemon.ask("reload")?;
    let to = Instant::now();
    thread::sleep(PACE.saturating_sub(to - from));
    Ok((from, to))
}

fn add(whole: &mut Tally, part: Tally, name: &str) {
    whole.served += part.served;
    whole.slowest = whole.slowest.max(part.slowest);
    whole
        .failures
        .extend(part.failures.into_iter().map(|mut one| {
            one.reason = format!("{name}: {}", one.reason);
            one
        }));
}

/// The row of a load of which nothing may fail.
pub(crate) fn lossless(tally: &Tally, note: &str) -> Row {
    let (failed, served) = (tally.failures.len(), tally.served);
    let slowest = tally.slowest.as_millis();
    let text = format!("{failed} failed of {served}, slowest {slowest} ms{note}");
    let reasons = tally.failures.iter().map(|one| one.reason.clone());
    Row::new(failed == 0 && served > 0, text).reasons(reasons.collect())
}
