//! What the bus between workers costs, beside what people use for the same.
//!
//! ```text
//! cargo bench --bench bus                # everything; writes benches/RESULTS-bus.md
//! cargo bench --bench bus -- --quick     # each part for a moment, only for errors
//! cargo bench --bench bus -- room        # a part: rings, redis, room
//! ```
//!
//! Three parts: the CPU of a message of 128 bytes in the rings alone, publisher and
//! readers apart; the same through Redis PUBLISH; and a room of 200 in which each
//! member publishes 20 bytes, over frames and WebSocket, with one worker and with two,
//! beside uWebSockets.js, and Nchan in nginx. Deliveries count a second of the servers'
//! CPU, not of the clock, so that what else the machine does matters little; servers
//! take turns in each round, and a ratio is taken within its round.

mod peers;
mod redis;
mod rings;
mod room;
mod table;
mod usage;
mod wire;

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Why nothing was measured.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a part, and says what came of it.
type Measure = fn(Plan) -> Outcome<String>;

/// How long things take.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds of everything.
    pub(crate) rounds: usize,
    /// A server's turn in a round.
    pub(crate) turn: Duration,
    /// Messages through the rings in a round.
    pub(crate) messages: u64,
}

const FULL: Plan = Plan {
    rounds: 9,
    turn: Duration::from_secs(2),
    messages: 400_000,
};

const QUICK: Plan = Plan {
    rounds: 1,
    turn: Duration::from_millis(200),
    messages: 5_000,
};

fn main() -> ExitCode {
    if std::env::var_os(peers::ASKED).is_some() {
        return peers::serve();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let plan = if is_quick { QUICK } else { FULL };
    let part = |name: &str| {
        let mut named = std::env::args()
            .skip(1)
            .filter(|one| !one.starts_with('-'))
            .peekable();
        named.peek().is_none() || named.any(|one| one == name)
    };
    let parts: [(&str, Measure); 3] = [
        ("rings", rings::measure),
        ("redis", redis::measure),
        ("room", room::measure),
    ];
    let chosen = parts.iter().filter(|(name, _)| part(name));
    let parts: Vec<String> = chosen
        .map(|(_, measure)| measure(plan))
        .collect::<Outcome<_>>()?;
    let text = format!(
        "# The bus\n\nWritten by `cargo bench --bench bus`. Medians of {} rounds; in brackets least \
         and greatest.\n\n{}",
        plan.rounds,
        parts.join("\n")
    );
    io::stdout().write_all(text.as_bytes())?;
    if !is_quick && parts.len() == 3 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS-bus.md");
        fs::write(path, text)?;
    }
    Ok(())
}
