//! How close purlin comes to the limit of one core.
//!
//! ```text
//! core A: one server at a time:  bare loop | purlin pooled | purlin inline
//!            ^ 127.0.0.1: 100 connections, 96-byte bodies, depth 1 and 16
//! core B: this process, the load client
//! ```
//!
//! `cargo bench --bench limit` prints, for each depth, the rates and their
//! ratios to the bare loop (this program again, as `--role loop`), paired
//! within rounds, and then the system calls a message. `-- --help` lists the
//! options. It fails when a reply is wrong or missing; a goal that was missed
//! is printed and fails nothing, because machines differ.
//!
//! A server to compare with is one more row in [`specs`].

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[path = "limit/bare_loop.rs"]
mod bare_loop;
#[path = "limit/calls.rs"]
mod calls;
#[path = "limit/client.rs"]
mod client;
#[path = "limit/frame.rs"]
mod frame;
#[path = "limit/machine.rs"]
mod machine;
#[path = "limit/options.rs"]
mod options;
#[path = "limit/rounds.rs"]
mod rounds;
#[path = "limit/server.rs"]
mod server;

use calls::Calls;
use client::Shape;
use machine::Cores;
use options::Options;
use rounds::Rounds;
use server::{Port, Server, Spec};

/// Why nothing was measured. Nobody but the reader of the message decides on
/// it, so it is only words.
pub(crate) type Failure = Box<dyn Error>;

/// Connections of every comparison.
const CONNECTIONS: usize = 100;

/// Requests in flight on each connection.
const DEPTHS: [usize; 2] = [1, 16];

/// Bytes of a body.
const BODY: usize = 96;

/// Ratio of rates to the bare loop that purlin should reach.
const RATE_GOAL: f64 = 0.9;

/// System calls a message that purlin may use at the greatest depth.
const CALLS_GOAL: f64 = 0.25;

fn main() -> ExitCode {
    let done = Options::parse(env::args().skip(1)).and_then(|options| run(&options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    if options.help {
        return say(options::HELP);
    }
    match options.role.as_deref() {
        None => compare(options),
        Some("loop") => Ok(bare_loop::run()?),
        Some(other) => Err(format!("--role {other}: the only role is `loop`").into()),
    }
}

/// The servers, the one that the others are divided by first.
fn specs(options: &Options, itself: PathBuf, example: PathBuf) -> Vec<Spec> {
    let announced = Port::Announced("listening on ");
    // One worker each, and files of their own: a master locks its pid file.
    let files = std::env::temp_dir().join(format!("purlin-limit-{}", std::process::id()));
    let purlin = |name: &str, id| Spec {
        name: name.into(),
        program: example.clone(),
        arguments: [
            "listener.0.address=127.0.0.1:0".to_owned(),
            "workers=1".to_owned(),
            "allow_root=true".to_owned(),
            "worker.cpu_affinity=off".to_owned(),
            format!("pid_file={}-{id}.pid", files.display()),
            format!("control_socket={}-{id}.ctl", files.display()),
        ]
        .into_iter()
        .flat_map(|key| ["--set".to_owned(), key])
        .collect(),
        id,
        port: announced,
        // One short round proves nothing about speed.
        goal: (!options.quick).then_some(RATE_GOAL),
    };
    let mut specs = vec![
        Spec {
            name: "bare loop".into(),
            program: itself,
            arguments: ["--role", "loop"].map(String::from).into(),
            id: 1,
            port: announced,
            goal: None,
        },
        purlin("purlin pooled", 1),
        purlin("purlin inline", 2),
    ];
    specs.extend(options.peers.iter().map(|(name, command)| {
        let given = command.iter().any(|word| word.contains("{port}"));
        Spec {
            name: name.clone(),
            program: PathBuf::from(&command[0]),
            arguments: command[1..].to_vec(),
            id: 1,
            port: if given { Port::Given } else { announced },
            goal: None,
        }
    }));
    specs
}

fn compare(options: &Options) -> Result<(), Failure> {
    let itself = env::current_exe()?;
    let example = build_example(&itself)?;
    let specs = specs(options, itself, example);
    let cores = Cores::choose()?;
    say(&machine::describe(cores))?;
    if cfg!(debug_assertions) {
        say("NOT OPTIMISED: client and bare loop are slow, the ratios mean nothing")?;
    }
    let shape = |depth| Shape {
        connections: CONNECTIONS,
        depth,
        body: BODY,
        id: specs[0].id,
    };
    measure(options, &specs, cores, shape)?;
    if options.strace {
        let [.., deepest] = DEPTHS;
        count_calls(&specs, cores, shape(deepest))?;
    }
    Ok(())
}

/// Rounds at each depth, with all the servers up: an idle one costs nothing.
fn measure(
    options: &Options,
    specs: &[Spec],
    cores: Cores,
    shape: impl Fn(usize) -> Shape,
) -> Result<(), Failure> {
    let servers = specs
        .iter()
        .map(|spec| Ok((spec.clone(), Server::start(spec, &[], cores)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    for depth in DEPTHS {
        let (rounds, seconds) = (options.rounds, options.time.as_secs_f64());
        say(&format!(
            "\necho of {BODY}-byte bodies, {CONNECTIONS} connections, depth {depth}: \
             {rounds} x {seconds} s a server"
        ))?;
        let repeats = if options.quick { 0 } else { rounds };
        let result = Rounds::run(&servers, shape(depth), rounds, options.time, repeats)?;
        say(&result.table(&servers))?;
    }
    Ok(())
}

fn count_calls(specs: &[Spec], cores: Cores, shape: Shape) -> Result<(), Failure> {
    say(&format!("\nsystem calls a message, depth {}", shape.depth))?;
    if !calls::strace_exists() {
        return say("NOT COUNTED: strace is not installed (apt-get install strace)");
    }
    for spec in specs {
        let shape = Shape {
            id: spec.id,
            ..shape
        };
        let calls = Calls::count(spec, shape, cores)
            .map_err(|error| format!("{} under strace: {error}", spec.name))?;
        let per_message = calls.per_message();
        let verdict = match (spec.goal, per_message < CALLS_GOAL) {
            (None, _) => String::new(),
            (Some(_), true) => format!("  goal {CALLS_GOAL} met"),
            (Some(_), false) => format!("  goal {CALLS_GOAL} MISSED"),
        };
        say(&format!(
            "{:<16} {per_message:.3}  ({}){verdict}",
            spec.name,
            calls.names()
        ))?;
    }
    Ok(())
}

/// Prints a line. Not by `println!`, which panics when nobody reads on.
fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Builds the echo example, optimised also when this bench is not.
fn build_example(itself: &Path) -> Result<PathBuf, Failure> {
    // target/PROFILE/deps/limit-HASH
    let target = itself
        .ancestors()
        .nth(3)
        .ok_or_else(|| format!("{} is not in a target folder", itself.display()))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--example", "echo", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .map_err(|error| format!("run cargo: {error}"))?;
    if !status.success() {
        return Err("the example `echo` cannot be built".into());
    }
    Ok(target.join("release/examples/echo"))
}
