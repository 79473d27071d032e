//! How many instructions of its own a worker needs for a message: the measure
//! that a busy machine does not change.
//!
//! ```text
//! valgrind --tool=callgrind bench-purlin run      `few` requests, TERM: I1
//!            ^ bench-purlin stress
//! the same server, started anew                   `many` requests, TERM: I2
//!
//! figure = (I2 - I1) / (many - few)               start and end fall out
//! ```
//!
//! Only what the worker process executes in user mode is counted; what the
//! kernel does for it is not. `make instructions` compares with
//! `benches/INSTRUCTIONS.md`; `-- --help` lists the options. The table that
//! decides what is counted is [`cells`]; servers and their start are those of
//! `benches/compare`.

mod callgrind;
mod cells;
#[path = "../compare/cores.rs"]
#[allow(dead_code, reason = "one core each is enough here")]
mod cores;
mod counts;
#[path = "../compare/frame.rs"]
mod frame;
#[path = "../compare/load/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "only requests and the probe; `purlin stress` loads"
)]
mod load;
#[path = "../compare/machine.rs"]
mod machine;
#[path = "../compare/markdown.rs"]
mod markdown;
mod meter;
mod options;
#[path = "../compare/programs.rs"]
#[allow(dead_code, reason = "compare builds everything at once")]
mod programs;
mod room;
#[path = "../compare/server.rs"]
#[allow(dead_code, reason = "compare has more servers")]
mod server;
#[path = "../compare/specs.rs"]
#[allow(dead_code, reason = "compare has more servers")]
mod specs;
#[path = "../compare/stats.rs"]
#[allow(dead_code, reason = "compare judges goals")]
mod stats;
mod table;
mod verdict;
mod work;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use cells::Cell;
use cores::Cores;
use meter::Meter;
use options::{Mode, Options};
use stats::Spread;
use table::Row;
use verdict::judge;

/// Why nothing was counted. Nobody but the reader of the message decides on it,
/// so it is only words.
pub(crate) type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let done = Options::parse(env::args().skip(1)).and_then(|options| run(&options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    match options.mode {
        Mode::Help => return say(options::HELP),
        Mode::List => return list(),
        Mode::Compare | Mode::Check | Mode::Write => {}
    }
    let Some(valgrind) = callgrind::version() else {
        let missing = "valgrind is not installed (apt-get install valgrind)";
        // CI has to count; elsewhere it is enough to say it.
        if env::var_os("CI").is_some() {
            return Err(missing.into());
        }
        eprintln!("instructions: SKIPPED, {missing}");
        return Ok(());
    };
    let start = Instant::now();
    let cores = Cores::choose()?;
    let meter = Meter::build(cores, options.has_peers())?;
    eprintln!("instructions: built in {} s", start.elapsed().as_secs());
    cores.enter_client()?;
    let cells = cells::all(meter.programs(), options.has_peers());
    let cells: Vec<Cell> = cells
        .into_iter()
        .filter(|cell| options.wants(cell.name))
        .collect();
    if cells.is_empty() {
        return Err("no cell has such a name, see --list".into());
    }
    let mut machine = machine::describe(cores);
    machine.retain(|(what, _)| *what != "governor");
    machine.push(("C library", machine::said("ldd", &["--version"])));
    machine.push(("valgrind", valgrind));
    let committed = fs::read_to_string(path()).unwrap_or_default();
    if options.mode != Mode::Write {
        differences(&committed, &machine);
    }
    let rows = count(&cells, options, &meter, &committed)?;
    say(&format!("\n{}", table::render(&rows)))?;
    eprintln!("instructions: {} s in all", start.elapsed().as_secs());
    if options.mode == Mode::Write {
        let head = table::head(&machine, &Meter::settings());
        fs::write(path(), format!("{head}\n{}", table::render(&rows)))
            .map_err(|error| format!("write {}: {error}", path().display()))?;
        eprintln!("instructions: wrote {}", path().display());
    }
    conclude(options, &rows, &committed)
}

/// Every cell, one after the other; each is told as soon as it ends.
fn count(
    cells: &[Cell],
    options: &Options,
    meter: &Meter,
    committed: &str,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for cell in cells {
        let start = Instant::now();
        let failed = |error: Failure| format!("{}: {error}", cell.name);
        let mut values = meter
            .rounds(cell, cell.rounds(options.mode))
            .map_err(failed)?;
        let before = table::committed(committed, cell.name);
        if let [only] = values[..]
            && judge(before, only, cell.may_grow()).has_grown()
        {
            // No single round fails a build.
            values.extend(meter.rounds(cell, 2).map_err(failed)?);
        }
        let rounds = values.len();
        let spread = Spread::of(values).ok_or("no rounds")?;
        let verdict = judge(before, spread.median, cell.may_grow());
        eprintln!(
            "{:<16} {:>9}  {verdict}, {:.0} s",
            cell.name,
            markdown::number(spread.median, 0),
            start.elapsed().as_secs_f64()
        );
        rows.push(Row {
            cell: cell.name.into(),
            title: cell.title(),
            spread,
            rounds,
            may_grow: cell.may_grow(),
            peers: meter.peers(cell).map_err(failed)?,
        });
    }
    Ok(rows)
}

/// Counts depend on who compiled and who counts: said, and compared all the same.
fn differences(committed: &str, machine: &[(&str, String)]) {
    for (what, now) in machine {
        let matters = ["CPU", "compiler", "C library", "valgrind"].contains(what);
        if let Some(before) = table::setting(committed, what)
            && matters
            && before != now
        {
            eprintln!("instructions: {what} was {before}, is {now}: compared all the same");
        }
    }
}

/// Whether the file still holds.
fn conclude(options: &Options, rows: &[Row], committed: &str) -> Result<(), Failure> {
    if options.mode == Mode::Write {
        return Ok(());
    }
    let complaints = rows.iter().filter_map(|row| {
        let before = table::committed(committed, &row.cell);
        let (measured, may_grow) = (row.spread.median, row.may_grow);
        judge(before, measured, may_grow).complaint(&row.cell, measured, may_grow)
    });
    let complaints: Vec<String> = complaints.collect();
    if complaints.is_empty() {
        return Ok(());
    }
    let text = format!(
        "benches/INSTRUCTIONS.md does not hold\n  {}\n\
         either make it cheaper, or run `make instructions-write` and commit the file in the \
         same commit, whose body says why",
        complaints.join("\n  ")
    );
    if options.mode == Mode::Check {
        return Err(text.into());
    }
    eprintln!("instructions: {text}");
    Ok(())
}

fn list() -> Result<(), Failure> {
    let cells = cells::all(&programs::Programs::find(true)?, false);
    cells.iter().try_for_each(|cell| {
        let title = cell.title();
        say(&format!("{:<16} {title}", cell.name))
    })
}

/// The file that figures are compared with.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/INSTRUCTIONS.md")
}

/// Prints some lines. Not by `println!`, which panics when nobody reads on.
fn say(lines: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{lines}")?)
}
