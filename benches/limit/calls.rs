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
use crate::client::{Load, Shape};
use crate::machine::Cores;
use crate::server::{Server, Spec};

/// Messages of one count.
const MESSAGES: u64 = 200_000;

/// What a server asked of the kernel.
pub(crate) struct Calls {
    /// Messages that it answered.
    messages: u64,
    /// How often it made each call.
    by_name: BTreeMap<String, u64>,
}

impl Calls {
    /// Runs `spec` under strace.
    ///
    /// # Errors
    ///
    /// As a measured round; and when strace cannot trace.
    pub(crate) fn count(spec: &Spec, shape: Shape, cores: Cores) -> Result<Self, Failure> {
        let file = Summary::new();
        let path = file.0.display().to_string();
        let wrapper = ["strace", "-f", "-c", "-S", "calls", "-o", &path, "--"].map(String::from);
        let server = Server::start(spec, &wrapper, cores)?;
        let mut load = Load::open(server.address, shape)?;
        load.resume()?;
        let messages = load.run_count(MESSAGES)?;
        load.pause()?;
        drop(load);
        server.stop();
        let by_name = summary(&fs::read_to_string(&file.0)?);
        if by_name.is_empty() {
            return Err(format!("strace counted nothing for {}", spec.name).into());
        }
        Ok(Self { messages, by_name })
    }

    /// Calls a message, all together.
    pub(crate) fn per_message(&self) -> f64 {
        self.by_name.values().sum::<u64>() as f64 / self.messages as f64
    }

    /// The names that matter, the most frequent first.
    pub(crate) fn names(&self) -> String {
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
        let name = format!("purlin-limit-{}.strace", std::process::id());
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
