//! The load tool: many clients of one server, every reply checked.
//!
//! ```text
//! options --> Load --> engine --> lane 1..n (threads): epoll, connections
//!                        |          | issue, check, measure
//!                        |          v
//!                        +------> Report --> text, JSON, page
//! ```
//!
//! Invariants:
//! - Every frame carries a body that no other one has, and its reply is compared
//!   with it byte for byte, unless bodies are given (`--body`, `--expect`): a reply that is lost, doubled, swapped or changed is
//!   an error, never a latency. Over HTTP, where a reply is what the server likes,
//!   it has to be whole, in its turn, and of a right status.
//! - In the open loop a latency counts from the moment the schedule names, not
//!   from the moment the request could be sent: a server that stalls is charged
//!   for everybody who would have asked meanwhile.
//! - A lane's thread owns its connections; lanes share a few atomic words.

mod asks;
mod bodies;
mod connection;
mod engine;
mod error;
mod exchange;
mod fault;
mod json;
mod lane;
mod load;
mod options;
mod plot;
mod progress;
mod report;
mod request;
mod schedule;
mod shared;
mod stats;
mod table;
mod timeline;
mod url;

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;

use std::io::Write;

pub use self::error::StressError;
pub(crate) use self::options::EXAMPLES;
pub use self::options::Options;
use self::plot::Page;
use self::progress::Progress;
use crate::sys::signal::{Signal, Signals};

/// Runs the load that `options` ask for and writes what came of it to `out`;
/// gives what went wrong, in words, or `None` when every client was served
/// without an error.
///
/// INT and TERM end the load early, twice at once; the report comes all the
/// same. Call it from a process that has one thread.
///
/// # Errors
///
/// [`StressError`] when there was no load at all.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<Option<String>, StressError> {
    let signals = Signals::block(&[Signal::Interrupt, Signal::Terminate])
        .map_err(|error| StressError::System("watch signals", error))?;
    if options.table {
        return table::run(options, &signals, out);
    }
    let load = options.load()?;
    // Opened now: a path that cannot be written must not cost a run.
    let page = options.plot.as_deref().map(Page::create).transpose()?;
    let progress = Progress::new(&load, options.quiet);
    let report = engine::run(&load, Some(&signals), &progress, page.is_some())?;
    progress.end();
    if let Some(page) = page {
        page.write(&load, &report)?;
    }
    let text = if options.json {
        format!("{}\n", json::object(&load, &report))
    } else if options.quiet {
        String::new()
    } else {
        report.text(&load)
    };
    // Nobody is left to tell when the reader has gone, as in `| head`.
    let _nobody_listens = out.write_all(text.as_bytes());
    Ok(report.complaint(&load))
}
