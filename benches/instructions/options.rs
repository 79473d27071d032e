//! The command line of the count.

use crate::Failure;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
make instructions, or cargo bench --profile dev --bench instructions -- [OPTIONS]

Counts the user instructions of a worker under callgrind, cell by cell, and
compares them with benches/INSTRUCTIONS.md.

  --cells A,B   only the cells whose names contain one of these words
  --list        the cells
  --check       purlin alone, once where one round is enough; exit status 1
                when a cell grew by more than it may
  --write       write benches/INSTRUCTIONS.md instead of comparing with it

What is counted is always the optimised build, whatever this program is.";

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Count and print, beside the peers; a growth is told and fails nothing.
    Compare,
    /// Fail when a cell grew.
    Check,
    /// Write the file.
    Write,
    /// Say what there is instead.
    List,
    /// Explain the options instead.
    Help,
}

/// The options, checked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    /// Words, of which a cell's name has to contain one; empty: all cells.
    cells: Vec<String>,
}

impl Options {
    /// Reads the command line.
    ///
    /// Cargo passes `--bench` from `cargo bench` and nothing from `cargo test`,
    /// which only wants to know whether the bench works: it lists its cells.
    ///
    /// # Errors
    ///
    /// An option is unknown, has no value, or contradicts another.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut mode = Mode::List;
        let mut asked = None;
        let mut cells = Vec::new();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => mode = Mode::Compare,
                "--cells" => {
                    let words = arguments.next().ok_or("--cells wants a value")?;
                    cells.extend(words.split(',').map(String::from));
                }
                "--check" => asked = Some(Mode::Check),
                "--write" => asked = Some(Mode::Write),
                "--list" => asked = Some(Mode::List),
                "--help" => asked = Some(Mode::Help),
                other => return Err(format!("{other} is no option, see --help").into()),
            }
        }
        let mode = asked.unwrap_or(mode);
        if mode == Mode::Write && !cells.is_empty() {
            return Err("--write is for the whole file: not with --cells".into());
        }
        Ok(Self { mode, cells })
    }

    /// Whether a cell of this name is to be counted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let named = |word: &String| name.contains(word.as_str());
        self.cells.is_empty() || self.cells.iter().any(named)
    }

    /// Whether others are counted beside purlin: no growth is judged by them.
    pub(crate) fn has_peers(&self) -> bool {
        self.mode != Mode::Check
    }
}
