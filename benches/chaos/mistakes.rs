//! R4: configuration files with a mistake, and many without one, under load.

use std::net::TcpListener;

use crate::daemon::Daemon;
use crate::load::{Load, Speech};
use crate::mutated::{self, Dice};
use crate::nginx;
use crate::reloads::lossless;
use crate::row::Row;
use crate::{Outcome, Scale};

/// The scenario.
pub(crate) fn files(scale: &Scale) -> Outcome<Row> {
    let count = scale.of(1000, 60);
    let holder = TcpListener::bind("127.0.0.78:0")?;
    let taken = holder.local_addr()?.to_string();
    let daemon = Daemon::start("workers = 4")?;
    daemon.write(&mutated::good(daemon.address))?;
    daemon.ask("reload")?;
    let load = Load::start(daemon.address, Speech::Frames, 16, 16);
    let mut dice = Dice(scale.seed);
    let (mut good, mut wrong) = (0, Vec::new());
    for _ in 0..count {
        daemon.write(&mutated::mutated(daemon.address, &mut dice, &taken))?;
        match judge(&daemon, &taken)? {
            Ok(is_good) => good += usize::from(is_good),
            Err(reason) => wrong.push(reason),
        }
    }
    let tally = load.stop();
    daemon.write(&mutated::good(daemon.address))?;
    daemon.ask("reload")?;
    daemon.settled(4)?;
    let refused = count - good - wrong.len();
    let note = format!(
        "; {good} files taken, {refused} refused with their place, {} otherwise",
        wrong.len()
    );
    let is_vain = good == 0 || refused == 0 || !wrong.is_empty();
    Ok(lossless(&tally, &note)
        .unless(is_vain)
        .reasons(wrong)
        .beside(nginx::taken_port(&taken)?))
}

/// Whether the file is taken as `-t` says, and, if not, changes nothing.
fn judge(daemon: &Daemon, taken: &str) -> Outcome<Result<bool, String>> {
    let before = generation(daemon)?;
    let tested = daemon.run("-t")?;
    let reloaded = daemon.run("reload")?;
    let verdict = mutated::verdict(&tested, &reloaded, taken);
    let after = generation(daemon)?;
    Ok(verdict.and_then(|is_good| {
        (after == before + u64::from(is_good))
            .then_some(is_good)
            .ok_or_else(|| format!("generation {before} became {after}"))
    }))
}

fn generation(daemon: &Daemon) -> Outcome<u64> {
    let status = daemon.status()?;
    Ok(status["generation"].as_u64().ok_or("no generation")?)
}
