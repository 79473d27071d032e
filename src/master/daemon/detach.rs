//! Into the background: the program that was started waits until the daemon
//! serves, and ends with its code.
//!
//! daemonize's own ways to report end with code 0 whatever happens; so it only
//! forks and cuts the ties to the terminal here, and the daemon reports over a
//! pipe of ours. Runs before any thread.

use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};

use daemonize::{Daemonize, Outcome};

use crate::master::control::Response;
use crate::master::exit::{Ending, Exit};

/// In which process we are.
pub(in crate::master) enum Detached {
    /// The one that the shell waits for; how the start went.
    Shell(Result<(), Ending>),
    /// The daemon.
    Daemon(Report),
}

/// The daemon's only word to the shell. Dropped without one, the shell says that
/// the daemon died.
#[derive(Debug)]
pub(in crate::master) struct Report(PipeWriter);

impl Report {
    /// Says how the start went.
    pub(in crate::master) fn tell(mut self, result: &Result<(), Ending>) {
        let response = match result {
            Ok(()) => Response::new(Exit::Ok as u8, ""),
            Err(Ending { exit, text }) => Response::new(*exit as u8, text.clone()),
        };
        // The shell may have been interrupted.
        let _nobody_waits = self.0.write_all(&response.line());
    }
}

/// Goes into the background.
///
/// # Errors
///
/// [`Ending`] when no process or pipe can be made.
pub(in crate::master) fn detach() -> Result<Detached, Ending> {
    let failed = |error: &dyn std::fmt::Display| Ending::internal("go into the background", &error);
    // Both ends are closed on exec.
    let (reader, writer) = io::pipe().map_err(|error| failed(&error))?;
    let here = std::env::current_dir().map_err(|error| failed(&error))?;
    match Daemonize::new().working_directory(here).execute() {
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            Ok(Detached::Shell(read(reader)))
        }
        Outcome::Child(Ok(_)) => Ok(Detached::Daemon(Report(writer))),
        Outcome::Parent(Err(error)) => Err(failed(&error)),
        Outcome::Child(Err(error)) => {
            let ending = failed(&error);
            Report(writer).tell(&Err(ending.clone()));
            Err(ending)
        }
    }
}

fn read(pipe: PipeReader) -> Result<(), Ending> {
    let mut line = String::new();
    let _cut = BufReader::new(pipe).read_line(&mut line);
    match serde_json::from_str(&line) {
        Ok(Response { code: 0, .. }) => Ok(()),
        Ok(Response { code, text, .. }) => Err(Ending::new(Exit::from_code(code.into()), text)),
        Err(_) => Err(Ending::new(
            Exit::Internal,
            "the daemon ended before it was ready; its log tells more",
        )),
    }
}
