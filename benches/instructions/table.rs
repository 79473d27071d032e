//! The file: written as a table, read back line by line. Pure;
//! `tests/it/bench.rs` tests it.

use super::markdown::{number, table};
use super::stats::Spread;

/// How the table is to be read.
const READING: &str = "\
User instructions of one worker for one request, the kernel's not counted. Each figure is the \
slope between two runs with a fixed number of requests, so starting and ending fall out. Each \
figure is the median of its rounds; least and greatest are of the rounds of this file. On the \
business pool the scheduler decides how much is done together, so there it takes five rounds; \
elsewhere one is enough, and CI takes one. Of limit loop and nginx there is one round.

CI fails when a cell is above its figure by more than it may grow; who makes a cell dearer writes \
this file anew in the same commit. Compiler, C library and valgrind move figures as well: where \
they differ from these, the comparison says so. The CPU hardly does: checksums and copies are \
chosen by its features, and valgrind shows every one that has AVX2 as the same.
";

/// A cell, counted.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) cell: String,
    pub(crate) title: String,
    pub(crate) spread: Spread,
    pub(crate) rounds: usize,
    /// Percent.
    pub(crate) may_grow: u32,
    /// Limit loop, nginx.
    pub(crate) peers: [Option<f64>; 2],
}

/// What stands above the table.
pub(crate) fn head(machine: &[(&str, String)], settings: &[(&str, String)]) -> String {
    let mut text = String::from("# Instructions\n\nWritten by `make instructions-write`.\n\n");
    for (what, value) in machine.iter().chain(settings) {
        text += &format!("- {what}: {value}\n");
    }
    format!("{text}\n{READING}")
}

/// The table, and what its cells are.
pub(crate) fn render(rows: &[Row]) -> String {
    let head = [
        "cell",
        "instructions",
        "least",
        "greatest",
        "rounds",
        "may grow by",
        "limit loop",
        "nginx",
    ];
    let mut lines = vec![head.map(String::from).to_vec()];
    let whole = |value: f64| number(value, 0);
    for row in rows {
        let Spread {
            min, median, max, ..
        } = row.spread;
        let mut line = vec![row.cell.clone()];
        line.extend([median, min, max].map(whole));
        line.extend([row.rounds.to_string(), format!("{} %", row.may_grow)]);
        line.extend(row.peers.map(|peer| peer.map_or(String::new(), whole)));
        lines.push(line);
    }
    let titles = rows
        .iter()
        .map(|row| format!("- `{}`: {}\n", row.cell, row.title));
    format!("{}\n{}", table(&lines), titles.collect::<String>())
}

/// The figure of a cell in the text of the file; `None`: it has no such row, or
/// one that is broken.
pub(crate) fn committed(text: &str, cell: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let mut columns = line.strip_prefix('|')?.split('|').map(str::trim);
        let found = columns.next()? == cell;
        let figure = columns.next()?.replace(',', "");
        found.then(|| figure.parse().ok())?
    })
}

/// A line of the head, by what stands before its colon.
pub(crate) fn setting<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.strip_prefix("- ")?.split_once(": ")?;
        (found == what).then_some(value)
    })
}
