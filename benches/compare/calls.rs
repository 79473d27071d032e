//! System calls a message, counted by strace.
//!
//! A run of its own: a traced server is many times slower, so its rate says
//! nothing. The start of the server is counted too; over this many messages it
//! is less than a hundredth of a call each.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use crate::Failure;
use crate::cells::{Cell, Contestant};
use crate::cores::Cores;
use crate::figures::{Figure, Sample};
use crate::load::{Closed, Shape};
use crate::outcome::Outcome;
use crate::server::Server;

/// Messages of one count.
const MESSAGES: u64 = 200_000;

/// What a server asked of the kernel.
struct Counted {
    /// Messages that it answered.
    messages: u64,
    /// How often it made each call.
    by_name: BTreeMap<String, u64>,
}

/// Counts the calls of each contestant once; beside it a line that names them.
///
/// # Errors
///
/// As a measured round; and when strace cannot trace.
pub(crate) fn run(cell: &Cell, cores: Cores) -> Result<(Outcome<'_>, String), Failure> {
    let mut outcome = Outcome::new(cell);
    let (mut samples, mut notes) = (Vec::new(), String::new());
    for contestant in &cell.contestants {
        let name = &contestant.name;
        let counted =
            count(contestant, cores).map_err(|error| format!("{name} under strace: {error}"))?;
        notes += &format!("- {name}: {}\n", counted.names());
        samples.push(Sample::default().with(Figure::Calls, counted.per_message()));
    }
    outcome.rounds.push(samples);
    Ok((outcome, notes))
}

fn count(contestant: &Contestant, cores: Cores) -> Result<Counted, Failure> {
    let Shape::Closed {
        connections, depth, ..
    } = contestant.shape
    else {
        return Err("calls are counted in the closed loop".into());
    };
    let file = Summary::new();
    let path = file.0.display().to_string();
    let wrapper = ["strace", "-f", "-c", "-S", "calls", "-o", &path, "--"].map(String::from);
    let server = Server::start(&contestant.spec, &wrapper, cores)?;
    let mut load = Closed::connect(&server.target, connections, depth, 0)?;
    load.resume()?;
    let messages = load.run_count(MESSAGES)?;
    load.pause()?;
    drop(load);
    server.stop();
    let by_name = summary(&fs::read_to_string(&file.0)?);
    if by_name.is_empty() {
        return Err("strace counted nothing".into());
    }
    Ok(Counted { messages, by_name })
}

impl Counted {
    /// Calls a message, all together.
    fn per_message(&self) -> f64 {
        self.by_name.values().sum::<u64>() as f64 / self.messages as f64
    }

    /// The names that matter, the most frequent first.
    fn names(&self) -> String {
        let mut calls: Vec<_> = self.by_name.iter().collect();
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let share = |count: u64| count as f64 / self.messages as f64;
        calls
            .iter()
            .filter(|(_, count)| share(**count) >= 0.0005)
            .map(|(name, count)| format!("{name} {:.3}", share(**count)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Whether strace is installed.
pub(crate) fn strace_exists() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(OsStr::new("strace")).is_file())
}

/// The file that strace writes, removed in the end.
struct Summary(PathBuf);

impl Summary {
    fn new() -> Self {
        let name = format!("purlin-compare-{}.strace", std::process::id());
        Self(env::temp_dir().join(name))
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads the table of `strace -c`: the fourth column counts calls, the last one
/// names them, and the column of errors between them may be empty.
fn summary(table: &str) -> BTreeMap<String, u64> {
    table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let calls = columns.nth(3)?.parse().ok()?;
            let name = columns.next_back()?;
            (name != "total").then(|| (name.to_owned(), calls))
        })
        .collect()
}
