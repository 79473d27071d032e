//! The chaos suite: the built daemon under load, and everything that can go
//! wrong.
//!
//! ```text
//! cargo bench --bench chaos
//! cargo bench --bench chaos -- --short --only R1,C5 --seed 7
//! ```
//!
//! Each scenario is a row: its goal, what was measured, and, where there is
//! something to compare with, what nginx does in the same run. Counts decide
//! the exit status, times only where they are far beyond the goal: machines
//! differ.

mod daemon;
mod deaths;
mod drains;
mod load;
mod mistakes;
#[path = "../../tests/it/mutated.rs"]
mod mutated;
mod nginx;
mod reloads;
mod row;
mod soak;
mod stuck;
mod subject;
mod ticker;
mod wakes;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use purlin::sys::process::raise_descriptor_limit;

use crate::row::Row;
use crate::ticker::Ticker;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Id, goal, and what finds out.
type Scenario = (&'static str, &'static str, fn(&Scale) -> Outcome<Row>);

const SCENARIOS: &[Scenario] = &[
    (
        "R1",
        "reloads at 300 ms under load: 0 failed",
        reloads::reloads,
    ),
    (
        "R2",
        "4 and 2 workers in turn, shared and reuseport: 0 failed",
        reloads::resized,
    ),
    (
        "R3",
        "upgrades under load, bad ones rolled back: 0 failed",
        reloads::upgrades,
    ),
    (
        "R3b",
        "idle connections over reloads and upgrades: 0 lost",
        reloads::idle,
    ),
    (
        "R4",
        "mutated files taken or refused with their place: 0 failed",
        mistakes::files,
    ),
    (
        "R5",
        "all workers killed in a failing reload: reply within 50 ms",
        deaths::all,
    ),
    (
        "R7",
        "200 reloads: no descriptor more, RSS within 5 %",
        reloads::kept,
    ),
    (
        "R8",
        "reloads with sessions that stay: at most twice the workers",
        drains::generations,
    ),
    (
        "R9",
        "TERM under load: what was received is answered, then gone",
        drains::stops,
    ),
    (
        "C1",
        "holder of the accept mutex killed: reply p50 2, p99 10, max 20 ms",
        deaths::holder,
    ),
    (
        "C2",
        "who accepts is stuck: accepted again within 2 s",
        stuck::holder,
    ),
    (
        "C5",
        "random events twice a second: nothing lost, stuck, left",
        soak::soak,
    ),
    (
        "C6",
        "master killed: closed within 100 ms, restarted within 1 s",
        deaths::master,
    ),
    (
        "B2",
        "wake-ups for each of 1,000 connections a second: at most 1.2",
        wakes::accepts,
    ),
];

/// How much of everything.
struct Scale {
    short: bool,
    /// Decides the events of the soak; never zero.
    seed: u64,
    only: Option<Vec<String>>,
}

impl Scale {
    fn of(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }

    fn has(&self, id: &str) -> bool {
        let mut only = self.only.iter().flatten();
        self.only.is_none() || only.any(|one| one == id)
    }
}

fn main() -> Outcome<ExitCode> {
    if std::env::var_os(subject::ASKED).is_some() {
        return Ok(subject::main());
    }
    let mut scale = Scale {
        short: false,
        seed: 20_261_121,
        only: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} what?"));
        match argument.as_str() {
            "--short" => scale.short = true,
            "--seed" => scale.seed = value()?.parse::<u64>()?.max(1),
            "--only" => scale.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--list" => return list(),
            "--bench" => {} // Of cargo.
            other => return Err(format!("{other} is no option").into()),
        }
    }
    let unknown = |id: &&String| SCENARIOS.iter().all(|(known, ..)| known != id);
    if let Some(id) = scale.only.iter().flatten().find(unknown) {
        return Err(format!("{id} is no scenario; --list names them").into());
    }
    raise_descriptor_limit(8192)?;
    let ticker = Ticker::start();
    let (mut missed, mut rows) = (0, 0);
    for (id, goal, run) in SCENARIOS.iter().filter(|one| scale.has(one.0)) {
        writeln!(io::stderr(), "... {id} runs")?;
        let begun = Instant::now();
        let row = run(&scale).unwrap_or_else(|error| Row::new(false, error.to_string()));
        missed += usize::from(!row.met);
        rows += 1;
        let text = row.print(id, goal, begun.elapsed(), &ticker);
        io::stdout().write_all(text.as_bytes())?;
    }
    writeln!(io::stdout(), "{missed} missed of {rows}")?;
    Ok(ExitCode::from(u8::from(missed > 0)))
}

fn list() -> Outcome<ExitCode> {
    for (id, goal, _) in SCENARIOS {
        writeln!(io::stdout(), "{id:4} {goal}")?;
    }
    Ok(ExitCode::SUCCESS)
}
