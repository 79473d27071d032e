//! Commands of programs that have sessions: who is logged in, and a password's hash.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

use super::App;
use super::stores::sessions_from;
use crate::config::SessionStore;
use crate::dispatch::Settings;
use crate::session::{Hasher, check};

/// List the sessions of a user, or end them
#[derive(clap::Args)]
struct SessionsArgs {
    /// Whose
    user: String,
    /// End them; their connections close within a minute
    #[arg(long)]
    end: bool,
}

/// Hash a password, for a table of users
#[derive(clap::Args)]
struct HashArgs {}

impl<S: Default + Send + 'static> App<S> {
    /// What operators of a program with sessions ask.
    pub(super) fn session_commands(self) -> Self {
        self.command("sessions", |args: SessionsArgs, settings| {
            sessions(&args, settings)
        })
        .command("hash", |_: HashArgs, _| hash())
    }
}

fn sessions(args: &SessionsArgs, settings: &Settings) -> Result<(), String> {
    let keys = settings.find::<crate::config::Session>();
    let keys = keys.cloned().unwrap_or_default();
    let file = settings.data_folder().join("sessions.db");
    if keys.store == SessionStore::Sqlite && !file.is_file() {
        // Made here, it would be nobody's, and in the way of the server's own.
        let file = file.display();
        return Err(format!(
            "{file} is not there: run this in the folder of the server, with its data_folder"
        ));
    }
    let sessions = sessions_from(settings, std::time::Duration::ZERO, None)?;
    let now = sessions.time(std::time::Duration::ZERO);
    let mut out = io::stdout().lock();
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    if args.end {
        let ended = sessions
            .end_of(&args.user, None)
            .map_err(|error| failed(&error))?;
        return writeln!(out, "{} ended", ended.len()).map_err(|error| failed(&error));
    }
    for device in sessions
        .list(&args.user, now)
        .map_err(|error| failed(&error))?
    {
        let ago = |at: u64| {
            humantime::format_duration(std::time::Duration::from_secs(now.saturating_sub(at)))
        };
        // What a client calls itself may be anything.
        let agent = device.agent.escape_debug();
        let (id, address) = (&device.id, &device.address);
        let (since, seen) = (ago(device.since), ago(device.seen));
        writeln!(
            out,
            "{id}  {address}  since {since}, seen {seen} ago  {agent}"
        )
        .map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn hash() -> Result<(), String> {
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let mut password = String::new();
    if is_terminal {
        let _asked = write!(io::stderr(), "password: ");
        echo(false);
    }
    let read = stdin.lock().read_line(&mut password);
    if is_terminal {
        echo(true);
        let _ended = writeln!(io::stderr());
    }
    read.map_err(|error| format!("read a password: {error}"))?;
    let password = password.trim_end_matches(['\n', '\r']);
    check(password).map_err(|error| error.to_string())?;
    let hash = Hasher::default()
        .hash(password)
        .map_err(|error| error.to_string())?;
    writeln!(io::stdout(), "{hash}").map_err(|error| error.to_string())
}

/// Whether the terminal shows what is typed.
fn echo(is_shown: bool) {
    let word = if is_shown { "echo" } else { "-echo" };
    let mut stty = Command::new("stty");
    let _shown_otherwise = stty
        .arg(word)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
