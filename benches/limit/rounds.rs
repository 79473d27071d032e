//! One comparison: rounds in which the servers take turns, and their table.
//!
//! Servers are compared within a round only: on a shared machine the rate of
//! one and the same server drifts by more than the differences looked for.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Load, Shape};
use crate::machine::Usage;
use crate::server::{Server, Spec};

/// A round in which others used more of a core than this is done again.
const TOO_BUSY: f64 = 0.15;

/// Turns of each server within a round: virtual cores change their speed by a
/// third from one second to the next, so the servers take turns faster.
const SLICES: u32 = 6;

/// What one server did in one round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Messages a second.
    rate: f64,
    /// Messages a second of CPU time of the server.
    efficiency: f64,
    /// Cores used by neither the server nor the client.
    others: f64,
}

/// The rounds of one shape of load.
pub(crate) struct Rounds {
    /// By round, then by server.
    kept: Vec<Vec<Sample>>,
    /// Rounds that others disturbed too much.
    discarded: usize,
}

impl Rounds {
    /// Runs `rounds` of them, and at most as many again when others disturb.
    ///
    /// # Errors
    ///
    /// A server failed, or a reply was wrong.
    pub(crate) fn run(
        servers: &[(Spec, Server)],
        shape: Shape,
        rounds: usize,
        time: Duration,
        repeats: usize,
    ) -> Result<Self, Failure> {
        let mut result = Self {
            kept: Vec::with_capacity(rounds),
            discarded: 0,
        };
        while result.kept.len() < rounds {
            let first = result.kept.len() + result.discarded;
            let samples = round(servers, shape, first, time)?;
            let busy = samples.iter().any(|sample| sample.others > TOO_BUSY);
            if busy && result.discarded < repeats {
                result.discarded += 1;
            } else {
                result.kept.push(samples);
            }
        }
        Ok(result)
    }

    /// A table for people. The first server is what the others are divided by.
    pub(crate) fn table(&self, servers: &[(Spec, Server)]) -> String {
        let mut table = format!(
            "{:<16} {:^29}  {:>10}  {:^20}  {:>7}\n\
             {:<16} {:>9} {:>9} {:>9}  {:>10}  {:>6} {:>6} {:>6}  {:>7}\n",
            "",
            "messages/s",
            "messages",
            "ratio",
            "ratio",
            "server",
            "min",
            "median",
            "max",
            "/CPU-s",
            "min",
            "median",
            "max",
            "/CPU-s",
        );
        for (index, (spec, _)) in servers.iter().enumerate() {
            let rate = self.spread(|round| round[index].rate);
            let efficiency = self.spread(|round| round[index].efficiency);
            let ratio = self.spread(|round| round[index].rate / round[0].rate);
            let cpu = self.spread(|round| round[index].efficiency / round[0].efficiency);
            let line = format!(
                "{:<16} {:>9.0} {:>9.0} {:>9.0}  {:>10.0}  {:>6.2} {:>6.2} {:>6.2}  {:>7.2}",
                spec.name,
                rate.min,
                rate.median,
                rate.max,
                efficiency.median,
                ratio.min,
                ratio.median,
                ratio.max,
                cpu.median,
            );
            let verdict = spec.goal.map_or(String::new(), |goal| {
                let met = if ratio.median >= goal {
                    "met"
                } else {
                    "MISSED"
                };
                format!("  goal {goal:.2} {met}")
            });
            writeln!(table, "{line}{verdict}").expect("a String takes everything");
        }
        table + &self.disturbance()
    }

    fn disturbance(&self) -> String {
        let worst = |round: &[Sample]| round.iter().map(|s| s.others).fold(0.0, f64::max);
        let others = self.spread(worst);
        let noisy = self.kept.iter().filter(|r| worst(r) > TOO_BUSY).count();
        let mut text = format!(
            "errors 0; others used {:.2} cores (median), {:.2} (max); rounds repeated: {}",
            others.median, others.max, self.discarded
        );
        if noisy > 0 {
            write!(
                text,
                "\nDISTURBED: in {noisy} of {} rounds others used over {TOO_BUSY} cores; \
                 run it again",
                self.kept.len()
            )
            .expect("a String takes everything");
        }
        text
    }

    fn spread(&self, value: impl Fn(&[Sample]) -> f64) -> Spread {
        Spread::of(self.kept.iter().map(|round| value(round)).collect())
    }
}

/// Least, middle and greatest of some values.
#[derive(Clone, Copy, Debug)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// # Panics
    ///
    /// Without values: there is at least one round.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self {
            min: values[0],
            median,
            max: values[values.len() - 1],
        }
    }
}

/// Loads each server for `time`, a slice of it at a time. A different server is
/// first in each round, so that none has the better place.
fn round(
    servers: &[(Spec, Server)],
    shape: Shape,
    first: usize,
    time: Duration,
) -> Result<Vec<Sample>, Failure> {
    let mut loads = Vec::with_capacity(servers.len());
    for (spec, server) in servers {
        let shape = Shape {
            id: spec.id,
            ..shape
        };
        let load = Load::open(server.address, shape).map_err(|error| spec.blame(error))?;
        loads.push((load, Total::default()));
    }
    for _ in 0..SLICES {
        for turn in 0..servers.len() {
            let index = (first + turn) % servers.len();
            let (spec, server) = &servers[index];
            let (load, total) = &mut loads[index];
            total
                .add_slice(server, load, time / SLICES)
                .map_err(|error| spec.blame(error))?;
        }
    }
    Ok(loads.iter().map(|(_, total)| total.sample()).collect())
}

/// What one server did so far in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    replies: u64,
    time: Duration,
    used: Usage,
}

impl Total {
    fn add_slice(
        &mut self,
        server: &Server,
        load: &mut Load,
        time: Duration,
    ) -> Result<(), Failure> {
        load.resume()?;
        let (before, start) = (Usage::read(&server.processes)?, Instant::now());
        self.replies += load.run_for(time)?;
        self.time += start.elapsed();
        self.used.add(before, Usage::read(&server.processes)?);
        load.pause()
    }

    fn sample(&self) -> Sample {
        Sample {
            rate: self.replies as f64 / self.time.as_secs_f64(),
            efficiency: self.replies as f64 / self.used.server.as_secs_f64(),
            others: self.used.others().as_secs_f64() / self.time.as_secs_f64(),
        }
    }
}
