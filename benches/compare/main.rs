//! How close purlin comes to the limit of one core, and what others reach.
//!
//! ```text
//! core A: one server at a time:  limit loop | purlin | tokio | classic | ...
//!            ^ 127.0.0.1
//! core B: this process, the load
//! ```
//!
//! `make bench` builds everything and runs it; `-- --help` lists the options.
//! The tables that decide what is measured are [`cells`] and [`goals`]; what
//! purlin is compared with is in `benches/peers`. It fails when a reply is
//! wrong or missing; a goal that was missed is printed and fails nothing,
//! because machines differ.

mod calls;
mod cells;
mod cores;
mod figures;
mod frame;
mod goals;
mod load;
mod machine;
mod markdown;
mod memory;
mod options;
mod outcome;
mod programs;
mod report;
mod rounds;
mod server;
mod specs;
mod stats;
mod usage;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use cells::{Cell, Method};
use cores::Cores;
use options::Options;
use outcome::Outcome;
use programs::Programs;
use rounds::Plan;
use stats::Spread;

/// Why nothing was measured. Nobody but the reader of the message decides on
/// it, so it is only words.
pub(crate) type Failure = Box<dyn Error>;

/// Rounds of a cell that a goal is set for, and of the others.
const ROUNDS: [usize; 2] = [15, 5];

/// Turns of each server within a round.
const TURNS: u32 = 6;

/// Rounds of what takes no turns: each is a process of its own.
const STARTS: usize = 3;

fn main() -> ExitCode {
    let done = Options::parse(env::args().skip(1)).and_then(|options| run(&options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    if options.help {
        return say(options::HELP);
    }
    let programs = Programs::build()?;
    let mut cells = cells::all(&programs, options);
    report::check_goals(&cells)?;
    cells.retain(|cell| chosen(cell, options));
    if options.list {
        return cells.iter().try_for_each(|cell| {
            let seconds = estimate(cell, options).as_secs();
            say(&format!("{:<14} {seconds:>4} s  {}", cell.name, cell.title))
        });
    }
    if cells.is_empty() {
        return Err("no cell has such a name, see --list".into());
    }
    allow_descriptors()?;
    let cores = Cores::choose()?;
    cores.enter_client()?;
    let machine = machine::describe(cores);
    let (outcomes, tables) = measure(&cells, options, cores)?;
    if options.quick {
        // A fraction of a second says nothing about speed.
        return say("errors 0");
    }
    let goals = report::goals(&outcomes);
    say(&goals)?;
    if options.write {
        let others = outcomes.iter().flat_map(Outcome::others);
        let others = Spread::of(others.collect());
        let head = report::head(&command(options), &machine, others, options.is_full());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        let path = folder.join(options.file());
        fs::write(&path, format!("{head}\n{goals}\n{tables}"))
            .map_err(|error| format!("write {}: {error}", path.display()))?;
        eprintln!("compare: wrote {}", path.display());
    }
    Ok(())
}

/// Every cell, one after the other; its tables are printed as soon as it ends.
fn measure<'a>(
    cells: &'a [Cell],
    options: &Options,
    cores: Cores,
) -> Result<(Vec<Outcome<'a>>, String), Failure> {
    let left = |from: usize| {
        cells[from..]
            .iter()
            .map(|cell| estimate(cell, options))
            .sum()
    };
    let (mut outcomes, mut tables) = (Vec::new(), Vec::new());
    if cfg!(debug_assertions) && !options.quick {
        eprintln!("compare: NOT OPTIMISED, the figures mean nothing");
    }
    let start = Instant::now();
    for (index, cell) in cells.iter().enumerate() {
        eprintln!(
            "compare: {} ({} of {}), {} gone, about {} left",
            cell.name,
            index + 1,
            cells.len(),
            minutes(start.elapsed()),
            minutes(left(index)),
        );
        if cell.method == Method::Calls && !calls::strace_exists() {
            eprintln!("compare: NOT COUNTED, strace is not installed (apt-get install strace)");
            continue;
        }
        let (outcome, notes) =
            one(cell, options, cores).map_err(|error| format!("{}: {error}", cell.name))?;
        let table = report::cell(&outcome, &notes);
        if !options.quick {
            say(&table)?;
        }
        tables.push(table);
        outcomes.push(outcome);
    }
    Ok((outcomes, tables.join("\n")))
}

fn one<'a>(
    cell: &'a Cell,
    options: &Options,
    cores: Cores,
) -> Result<(Outcome<'a>, String), Failure> {
    let rounds = rounds(cell, options);
    match cell.method {
        Method::Rounds => {
            let plan = Plan {
                rounds,
                time: options.time,
                turns: if options.quick { 1 } else { TURNS },
                // Bounded, so that a busy machine costs half of the time more at most.
                repeats: if options.quick { 0 } else { rounds.div_ceil(2) },
            };
            Ok((rounds::run(cell, plan, cores)?, String::new()))
        }
        Method::Memory => Ok((memory::run(cell, rounds, cores)?, String::new())),
        Method::Calls => calls::run(cell, cores),
    }
}

fn rounds(cell: &Cell, options: &Options) -> usize {
    let default = match cell.method {
        Method::Rounds => ROUNDS[usize::from(!cell.has_goals())],
        Method::Memory | Method::Calls => STARTS,
    };
    options.rounds.unwrap_or(default)
}

/// Quick runs leave out what says nothing about errors.
fn chosen(cell: &Cell, options: &Options) -> bool {
    let named = |word: &String| cell.name.contains(word.as_str());
    let wanted = options.cells.is_empty() || options.cells.iter().any(named);
    wanted && !(options.quick && cell.method == Method::Calls)
}

/// About how long it takes when nobody disturbs.
fn estimate(cell: &Cell, options: &Options) -> Duration {
    let contestants = u32::try_from(cell.contestants.len()).unwrap_or(u32::MAX);
    let rounds = u32::try_from(rounds(cell, options)).unwrap_or(u32::MAX);
    // Warming up and emptying the pipe is a third of the measured time.
    let each = match cell.method {
        Method::Rounds => options.time * rounds * 4 / 3 + Duration::from_millis(300),
        Method::Memory => Duration::from_millis(1_500) * rounds,
        Method::Calls => Duration::from_secs(5),
    };
    each * contestants
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}

/// As many open files as the kernel allows: ten thousand connections have two
/// ends. What is started from here inherits it.
fn allow_descriptors() -> Result<(), Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// How this run was started.
fn command(options: &Options) -> String {
    match options.line.as_str() {
        "--write" => "make bench".into(),
        line => format!("cargo bench --bench compare -- {line}"),
    }
}

/// Prints some lines. Not by `println!`, which panics when nobody reads on.
fn say(lines: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{lines}")?)
}
