//! The rounds of a cell, in which its contestants take turns.
//!
//! Contestants are compared within a round only: on a shared machine the rate
//! of one and the same server drifts by more than the differences looked for.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::cells::{Cell, Contestant};
use crate::cores::Cores;
use crate::figures::{Figure, Sample};
use crate::load::{Load, Tally};
use crate::outcome::Outcome;
use crate::server::Server;
use crate::stats::percentile;
use crate::usage::Usage;

/// A round in which others used more of a core than this is done again.
pub(crate) const TOO_BUSY: f64 = 0.15;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds.
    pub(crate) rounds: usize,
    /// Time of each contestant in a round.
    pub(crate) time: Duration,
    /// Turns of each contestant within a round: virtual cores change their
    /// speed by a third from one second to the next, so the contestants take
    /// turns faster.
    pub(crate) turns: u32,
    /// Rounds that may be done again because others disturbed.
    pub(crate) repeats: usize,
}

/// A contestant that is up.
struct Running<'a> {
    contestant: &'a Contestant,
    // Before the server, which ends sooner when nobody is connected.
    load: Load,
    server: Server,
}

/// Runs the rounds of `cell`. All its servers are up all the time: an idle one
/// costs nothing.
///
/// # Errors
///
/// A server failed, or a reply was wrong.
pub(crate) fn run(cell: &Cell, plan: Plan, cores: Cores) -> Result<Outcome<'_>, Failure> {
    let mut running = cell
        .contestants
        .iter()
        .map(|contestant| {
            Running::start(contestant, cores)
                .map_err(|error| format!("{}: {error}", contestant.name).into())
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut outcome = Outcome::new(cell);
    while outcome.rounds.len() < plan.rounds {
        let first = outcome.rounds.len() + outcome.repeated;
        let samples = round(&mut running, first, plan)?;
        let others = |sample: &Sample| sample.get(Figure::Others).unwrap_or(0.0);
        let busy = samples.iter().any(|sample| others(sample) > TOO_BUSY);
        if busy && outcome.repeated < plan.repeats {
            outcome.repeated += 1;
        } else {
            outcome.rounds.push(samples);
        }
    }
    Ok(outcome)
}

impl<'a> Running<'a> {
    fn start(contestant: &'a Contestant, cores: Cores) -> Result<Self, Failure> {
        let server = Server::start(&contestant.spec, &[], cores)?;
        let load = Load::open(&server.target, contestant.shape)?;
        Ok(Self {
            contestant,
            server,
            load,
        })
    }
}

/// Loads each contestant, a part of the time at a turn. A different one
/// is first in each round, so that none has the better place.
fn round(running: &mut [Running<'_>], first: usize, plan: Plan) -> Result<Vec<Sample>, Failure> {
    let count = running.len();
    let mut totals: Vec<Total> = running.iter().map(|_| Total::default()).collect();
    for _ in 0..plan.turns {
        for turn in 0..count {
            let index = (first + turn) % count;
            let one = &mut running[index];
            totals[index]
                .add_turn(&one.server, &mut one.load, plan.time / plan.turns)
                .map_err(|error| format!("{}: {error}", one.contestant.name))?;
        }
    }
    Ok(totals.into_iter().map(Total::sample).collect())
}

/// What one contestant did so far in a round.
#[derive(Debug, Default)]
struct Total {
    tally: Tally,
    time: Duration,
    used: Usage,
}

impl Total {
    fn add_turn(
        &mut self,
        server: &Server,
        load: &mut Load,
        time: Duration,
    ) -> Result<(), Failure> {
        load.resume()?;
        let (before, start) = (Usage::read(&server.processes)?, Instant::now());
        load.run_for(time, &mut self.tally)?;
        self.time += start.elapsed();
        self.used.add(before, Usage::read(&server.processes)?);
        load.pause()
    }

    fn sample(mut self) -> Sample {
        let replies = self.tally.replies as f64;
        let (time, server) = (self.time.as_secs_f64(), self.used.server.as_secs_f64());
        let sample = Sample::default()
            .with(Figure::Rate, replies / time)
            .with(Figure::PerCpu, replies / server)
            .with(Figure::Cores, server / time)
            .with(Figure::Others, self.used.others().as_secs_f64() / time);
        let latencies = &mut self.tally.latencies;
        if latencies.is_empty() {
            return sample;
        }
        latencies.sort_unstable();
        let p99 = f64::from(percentile(latencies, 0.99)) / 1_000.0;
        sample.with(Figure::P99, p99)
    }
}
