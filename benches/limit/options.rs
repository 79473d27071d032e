//! The command line of the bench.

use std::time::Duration;

use crate::Failure;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
cargo bench --bench limit -- [OPTIONS]

Compares purlin's echo with a bare epoll loop, in one run on one core.

  --rounds N          rounds of each comparison (default 7)
  --seconds S         seconds of each round and server (default 0.6)
  --quick             one round of 0.2 s, only to see that nothing is wrong
  --no-strace         do not count system calls
  --peer NAME=COMMAND one more server: COMMAND is cut at spaces; it echoes
                      `comm` frames with id 1 on 127.0.0.1:{port}, or says
                      `listening on ADDRESS` on stderr
  --role loop         be the bare loop";

/// The options, checked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Rounds of each comparison, at least 1.
    pub(crate) rounds: usize,
    /// Time of each server in a round.
    pub(crate) time: Duration,
    /// Only look for errors.
    pub(crate) quick: bool,
    /// Count system calls.
    pub(crate) strace: bool,
    /// Names and command lines of further servers.
    pub(crate) peers: Vec<(String, Vec<String>)>,
    /// Be this instead of the bench.
    pub(crate) role: Option<String>,
    /// Explain the options instead.
    pub(crate) help: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// Cargo passes `--bench` from `cargo bench` and nothing from `cargo test`,
    /// which only wants to know whether the bench works, so there it is quick.
    /// What is meant for other benches of the same call is ignored.
    ///
    /// # Errors
    ///
    /// An option of this bench has no value or a wrong one.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            rounds: 7,
            time: Duration::from_millis(600),
            quick: false,
            strace: true,
            peers: Vec::new(),
            role: None,
            help: false,
        };
        let mut benching = false;
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || Failure::from(format!("{argument} wants a value"));
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--bench" => benching = true,
                "--quick" => options.quick = true,
                "--no-strace" => options.strace = false,
                "--help" => options.help = true,
                "--role" => options.role = Some(value()?),
                "--rounds" => options.rounds = rounds(&value()?)?,
                "--seconds" => options.time = time(&value()?)?,
                "--peer" => options.peers.push(peer(&value()?)?),
                other => eprintln!("limit: {other} is no option of this bench, ignored"),
            }
        }
        if options.quick || !benching {
            options.quick = true;
            options.strace = false;
            options.rounds = 1;
            options.time = Duration::from_millis(200);
        }
        Ok(options)
    }
}

fn rounds(value: &str) -> Result<usize, Failure> {
    match value.parse() {
        Ok(rounds @ 1..) => Ok(rounds),
        _ => Err(format!("--rounds {value}: not a number of at least 1").into()),
    }
}

fn time(value: &str) -> Result<Duration, Failure> {
    match value.parse() {
        Ok(seconds @ 0.01..=3600.0) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("--seconds {value}: not a number from 0.01 to 3600").into()),
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
