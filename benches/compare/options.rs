//! The command line of the comparison.

use std::time::Duration;

use crate::Failure;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
make bench, or cargo bench --bench compare -- [OPTIONS]

Compares purlin with the limit of one core and with its peers, in one run.

  --cells A,B         only the cells whose names contain one of these words
  --list              the cells and how long each takes
  --rounds N          rounds of each cell (default: 15 where goals are, else 5)
  --seconds S         seconds of each server in a round (default 0.6)
  --quick             each cell once, shortly, only to see that nothing is wrong
  --write             write benches/RESULTS.md as well; with --cells A,B that is
                      benches/RESULTS-A-B.md
  --peer NAME=COMMAND one more server for the `comm` cells: COMMAND is cut at
                      spaces; it echoes frames with id 1 on 127.0.0.1:{port},
                      or says `listening on ADDRESS` on stderr

Exit status 1: a reply was wrong or missing, or a server failed. A goal that
was missed is printed and fails nothing, because machines differ.";

/// The options, checked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// As it was given, for the report.
    pub(crate) line: String,
    /// Words, of which a cell's name has to contain one; empty: all cells.
    pub(crate) cells: Vec<String>,
    /// Rounds of each cell, at least 1; `None`: as many as the cell needs.
    pub(crate) rounds: Option<usize>,
    /// Time of each server in a round.
    pub(crate) time: Duration,
    /// Only look for errors.
    pub(crate) quick: bool,
    /// Write the results into the package.
    pub(crate) write: bool,
    /// Names and command lines of further servers.
    pub(crate) peers: Vec<(String, Vec<String>)>,
    /// Say what there is instead.
    pub(crate) list: bool,
    /// Explain the options instead.
    pub(crate) help: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// Cargo passes `--bench` from `cargo bench` and nothing from `cargo test`,
    /// which only wants to know whether the bench works, so there it is quick.
    ///
    /// # Errors
    ///
    /// An option is unknown, or has no value or a wrong one.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            line: String::new(),
            cells: Vec::new(),
            rounds: None,
            time: TIME,
            quick: false,
            write: false,
            peers: Vec::new(),
            list: false,
            help: false,
        };
        let mut benching = false;
        let given: Vec<String> = arguments
            .filter(|one| {
                one != "--bench" || {
                    benching = true;
                    false
                }
            })
            .collect();
        options.line = given.join(" ");
        let mut arguments = given.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || Failure::from(format!("{argument} wants a value"));
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--cells" => options.cells.extend(value()?.split(',').map(String::from)),
                "--list" => options.list = true,
                "--rounds" => options.rounds = Some(rounds(&value()?)?),
                "--seconds" => options.time = time(&value()?)?,
                "--quick" => options.quick = true,
                "--write" => options.write = true,
                "--peer" => options.peers.push(peer(&value()?)?),
                "--help" => options.help = true,
                other => return Err(format!("{other} is no option, see --help").into()),
            }
        }
        if options.quick || !benching {
            options.quick = true;
            options.rounds = Some(1);
            options.time = Duration::from_millis(60);
        }
        Ok(options)
    }

    /// Where results are written: those of a part do not replace those of all.
    pub(crate) fn file(&self) -> String {
        let words = self.cells.iter().map(|word| format!("-{word}"));
        format!("RESULTS{}.md", words.collect::<String>())
    }

    /// Whether the figures may be quoted.
    pub(crate) fn is_full(&self) -> bool {
        self.cells.is_empty() && self.rounds.is_none() && self.time >= TIME
    }
}

/// Time of each server in a round that evens out what the machine does.
const TIME: Duration = Duration::from_millis(600);

fn rounds(value: &str) -> Result<usize, Failure> {
    match value.parse() {
        Ok(rounds @ 1..) => Ok(rounds),
        _ => Err(format!("--rounds {value}: not a number of at least 1").into()),
    }
}

fn time(value: &str) -> Result<Duration, Failure> {
    match value.parse() {
        Ok(seconds @ 0.01..=30.0) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("--seconds {value}: not a number from 0.01 to 30").into()),
    }
}

fn peer(value: &str) -> Result<(String, Vec<String>), Failure> {
    let (name, command) = value
        .split_once('=')
        .ok_or_else(|| format!("--peer {value}: not NAME=COMMAND"))?;
    let words: Vec<_> = command.split_whitespace().map(String::from).collect();
    if words.is_empty() {
        return Err(format!("--peer {value}: no command").into());
    }
    Ok((name.to_owned(), words))
}
