//! The commands: what each one does, prints, and ends with.

use std::io::{self, Write};

use super::foreground::{BySignal, ENDING};
use super::{Arguments, Command, Exit, build, environment, version};
use crate::config::{Config, LogFormat};
use crate::dispatch::outlet::Application;
use crate::log::{self, Format, Settings};
use crate::scoreboard::{Counter, Row};
use crate::sys::process;
use crate::sys::signal::Signals;
use crate::worker::{self, Failure, Farewell, Limits, Listening, Setup};

/// Descriptors that a worker needs beside those of its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Why the program ends other than as asked: a code, and what to tell.
struct Ending(Exit, String);

/// Runs the program that the command line asks for; gives its exit code.
///
/// Refuses (70) when the process has threads already: signals would kill it.
#[must_use]
pub fn main(program: &str, application: &dyn Application) -> Exit {
    let env = environment();
    let arguments = match Arguments::parse(program, std::env::args_os().skip(1), &env) {
        Ok(arguments) => arguments,
        Err(declined) => {
            declined.print();
            return declined.exit();
        }
    };
    match obey(program, &arguments, &env, application) {
        Ok(()) => Exit::Ok,
        Err(Ending(exit, text)) => {
            let _nobody_listens = writeln!(io::stderr(), "{program}: {text}");
            exit
        }
    }
}

fn obey(
    program: &str,
    arguments: &Arguments,
    env: &[(String, String)],
    application: &dyn Application,
) -> Result<(), Ending> {
    match arguments.command {
        Command::Version => print(&version(program)),
        Command::Build => print(&build(program)),
        Command::Print => print(checked(arguments, env)?.effective().trim_end()),
        Command::Test => {
            checked(arguments, env)?;
            let _nobody_listens = writeln!(io::stderr(), "{program}: {}", arguments.verdict());
        }
        Command::Run => run(&checked(arguments, env)?, application)?,
    }
    Ok(())
}

fn print(text: &str) {
    // A reader that has gone away, as in `purlin -T | head`, is no failure.
    let _nobody_listens = writeln!(io::stdout(), "{text}");
}

/// The configuration, checked as far as that is possible without acting on it.
fn checked(arguments: &Arguments, env: &[(String, String)]) -> Result<Config, Ending> {
    let wrong = |error: crate::config::ConfigError| Ending(Exit::Config, error.to_string());
    let config = arguments.config(env).map_err(wrong)?;
    worker::protocols(&config).map_err(wrong)?;
    Ok(config)
}

/// One worker in the foreground.
fn run(config: &Config, application: &dyn Application) -> Result<(), Ending> {
    let threads = process::thread_count().unwrap_or(1);
    if threads != 1 {
        let text = format!("{threads} threads run already; call main() before starting any");
        return Err(Ending(Exit::Internal, text));
    }
    let internal = |error: io::Error| Ending(Exit::Internal, error.to_string());
    log::init(&settings(config)).map_err(|error| Ending(Exit::Config, error.to_string()))?;
    let protocols =
        worker::protocols(config).map_err(|error| Ending(Exit::Config, error.to_string()))?;
    let listeners = worker::bind(config, protocols).map_err(|error| {
        let denied = error.error.kind() == io::ErrorKind::PermissionDenied;
        Ending(
            if denied { Exit::Permission } else { Exit::Bind },
            error.to_string(),
        )
    })?;
    let limits = Limits::from(config);
    raise_descriptors(limits.connections_max);
    let mut control = BySignal {
        signals: Signals::block(&ENDING).map_err(internal)?,
        patience: config.shutdown_timeout,
        draining: false,
    };
    let addresses: Vec<String> = listeners.iter().map(Listening::to_string).collect();
    let row = Row::alone().map_err(internal)?;
    let setup = Setup {
        listeners,
        accept: worker::Accept::Alone,
        limits,
        row: row.clone(),
        number: 0,
        epoch: 0,
    };
    let ended = worker::run(setup, application, &mut control, || {
        announce(&addresses, &limits)
    });
    say_goodbye(&row);
    match ended {
        Ok(Farewell { cut: 0 }) => Ok(()),
        Ok(Farewell { cut }) => {
            log::warn!("end: time was up, {cut} connections were cut");
            Ok(())
        }
        Err(failure @ (Failure::Start(_) | Failure::System(_) | Failure::ThreadDied)) => {
            Err(Ending(Exit::Internal, failure.to_string()))
        }
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        level: config.log.level,
        format: match config.log.format {
            LogFormat::Human => Format::Human,
            LogFormat::Json => Format::Json,
        },
        file: config.log.file.clone(),
        ..Settings::default()
    }
}

fn raise_descriptors(connections: usize) {
    let wanted = connections as u64 + SPARE_DESCRIPTORS;
    match process::raise_descriptor_limit(wanted) {
        Ok(limit) if limit < wanted => log::warn!(
            "raise the limit of descriptors to {wanted}: {limit} is allowed; clients beyond it \
             wait in the backlog; raise `ulimit -Hn` or lower worker.connections_max"
        ),
        Ok(_) => {}
        Err(error) => log::warn!("raise the limit of descriptors to {wanted}: {error}"),
    }
}

fn announce(addresses: &[String], limits: &Limits) {
    for address in addresses {
        log::info!("listening on {address}");
    }
    let (threads, connections) = (limits.business_threads, limits.connections_max);
    log::info!("ready: {threads} business threads, up to {connections} connections");
}

/// What was counted, in one line.
fn say_goodbye(row: &Row) {
    let counted: Vec<String> = Counter::ALL
        .iter()
        .map(|counter| (counter.name(), row.read(*counter)))
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    log::info!("counted: {}", counted.join(" "));
}
