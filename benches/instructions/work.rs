//! The load of a cell: `purlin stress` with a fixed count, or the room.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::load::{Asks, BODY, Target};
use crate::room;

/// Always; a reply may take long, because what is counted is many times slower.
const OPTIONS: &str = "stress --quiet --threads 1 --timeout 60";

/// Who loads, for the head of the file.
pub(crate) fn settings() -> String {
    format!("`bench-purlin {OPTIONS}` with a fixed count")
}

/// What a server is asked, how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// So many connections, so many requests in flight on each.
    Closed { connections: usize, depth: usize },
    /// A new connection for each request, so many at a time.
    Churn(usize),
    /// One of so many says something, and all of them hear it.
    Room(usize),
}

impl Work {
    pub(crate) const fn closed(connections: usize, depth: usize) -> Self {
        Self::Closed { connections, depth }
    }

    /// Asks `count` times in all; `purlin` is the program that stresses.
    ///
    /// # Errors
    ///
    /// A reply was wrong or missing.
    pub(crate) fn run(self, target: &Target, count: u64, purlin: &Path) -> Result<(), Failure> {
        let load = match self {
            Self::Room(members) => return room::run(target.address, members, count),
            Self::Closed { connections, depth } => format!("-c {connections} --depth {depth}"),
            Self::Churn(at_once) => format!("-c {at_once} --churn 1"),
        };
        let asks = asks(target.address, &target.asks);
        let line = format!("{OPTIONS} -n {count} {load} {asks}");
        let output = Command::new(purlin).args(line.split(' ')).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("bench-purlin {line}: {said}").into())
    }
}

/// What is asked, as options of `purlin stress`.
fn asks(address: SocketAddr, asks: &Asks) -> String {
    match asks {
        Asks::Frames { layout, id } => {
            let preset = layout.name();
            format!("--preset {preset} --id {id} --size {BODY} {address}")
        }
        Asks::Http(get) => format!("http://{address}{}", get.path),
        // An echo of frames, whatever the path makes of them.
        Asks::Socket(socket) => {
            format!(
                "--preset comm --id 1 --size {BODY} ws://{address}{}",
                socket.path
            )
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { connections, depth } => {
                write!(f, "{connections} connections, {depth} in flight on each")
            }
            Self::Churn(at_once) => write!(f, "{at_once} at a time"),
            Self::Room(_) => f.write_str("one at a time"),
        }
    }
}
