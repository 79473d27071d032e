//! The commands: what each one does, prints, and ends with.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use super::doctor;
use super::suspicions::suspicions;
use super::{Arguments, Command, Exit, Extensions, build, environment, version};
use super::{task, watch};
use crate::admin;
use crate::config::Config;
use crate::listener;
use crate::master::{self, Ending, Plan};
use crate::sys::exec::Program;
use crate::sys::limits::Limits;
use crate::sys::starter;
use crate::sys::title;
use crate::worker::Application;

#[cfg(not(feature = "stress"))]
const NO_STRESS: &str = "built without the load tool; build it with `cargo build --release \
                         --features stress`, or give your own program purlin's feature `stress`";

/// Runs the program that the command line asks for, with what is its `own`; gives
/// its exit code.
///
/// Refuses (70) when the process has threads already: signals would kill it.
#[must_use]
pub fn main(program: &str, own: &Extensions, application: &dyn Application) -> Exit {
    if admin::is_offered() {
        return serve_admin(program, application);
    }
    let env = environment();
    // Before titles overwrite the arguments.
    let program_file = Program::own();
    let arguments = match Arguments::parse((program, own), std::env::args_os().skip(1), &env) {
        Ok(arguments) => arguments,
        Err(declined) => {
            declined.print();
            return declined.exit();
        }
    };
    match obey((program, program_file, own), &arguments, &env, application) {
        Ok(()) => Exit::Ok,
        Err(Ending { exit, text }) => {
            // A worker has told its master already.
            if !text.is_empty() {
                let _nobody_listens = writeln!(io::stderr(), "{program}: {text}");
            }
            exit
        }
    }
}

/// This process was started by a master, to show what it knows.
fn serve_admin(program: &str, application: &dyn Application) -> Exit {
    let Err(text) = admin::run(|ids| application.figures(ids)) else {
        return Exit::Ok;
    };
    let _nobody_listens = writeln!(io::stderr(), "{program}: admin: {text}");
    Exit::Internal
}

fn obey(
    (program, program_file, own): (&str, Program, &Extensions),
    arguments: &Arguments,
    env: &[(String, String)],
    application: &dyn Application,
) -> Result<(), Ending> {
    match &arguments.command {
        Command::Version => print(&version(program, own.version.as_deref())),
        Command::Build => print(&build(program, own.version.as_deref())),
        Command::Generate(artifact) => print(artifact.write(program, own).trim_end()),
        Command::Print => print(checked(arguments, env, application)?.effective().trim_end()),
        Command::Test => {
            for warning in task::test(&checked(arguments, env, application)?)? {
                let _nobody_listens = writeln!(io::stderr(), "{program}: warning: {warning}");
            }
            let _nobody_listens = writeln!(io::stderr(), "{program}: {}", arguments.verdict());
        }
        Command::Run { is_daemon } => {
            let folder = starter::folder().ok();
            let arguments = &arguments.seen_from(folder.as_deref());
            // With more threads, the master refuses to start.
            if crate::sys::process::thread_count().is_ok_and(|threads| threads == 1) {
                let _cosmetic = title::init();
            }
            master::run(&Plan {
                program: program.to_owned(),
                program_file,
                load: Arc::new(|| arguments.config(env)),
                suspicions,
                application,
                is_daemon: *is_daemon,
                folder,
                file: arguments.file.clone(),
                overrides: (arguments.overrides.iter())
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect(),
            })?;
        }
        Command::Own { name, matches } => {
            let config = checked(arguments, env, application)?;
            own.run(name, matches, &config)
                .map_err(|text| Ending::new(Exit::Failed, text))?;
        }
        Command::Ask { command, json } => {
            let response = task::ask(arguments, env, *command)?;
            if *json {
                print(&response.json.to_string());
            } else if !response.text.is_empty() {
                print(&response.text);
            }
        }
        Command::Watch { every } => watch::watch(arguments, env, *every)?,
        Command::Doctor { json } => examine(&checked(arguments, env, application)?, *json)?,
        #[cfg(feature = "stress")]
        Command::Stress(options) => super::stress::run(options)?,
        #[cfg(not(feature = "stress"))]
        Command::NoStress => return Err(Ending::new(Exit::Usage, NO_STRESS)),
    }
    Ok(())
}

/// Ends with 1 when a limit is too low, so that a script can ask.
fn examine(config: &Config, json: bool) -> Result<(), Ending> {
    let findings = doctor::examine(config, &Limits::read(Path::new("/")));
    let suspicions = suspicions(config);
    if json {
        let mut object = doctor::object(&findings);
        object["warnings"] = suspicions.into();
        print(&object.to_string());
    } else {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        print(&doctor::text(
            &findings,
            io::stdout().is_terminal() && !plain,
        ));
        for suspicion in suspicions {
            print(&format!("warning: {suspicion}"));
        }
    }
    if doctor::any_low(&findings) {
        return Err(Ending::new(Exit::Failed, String::new()));
    }
    Ok(())
}

fn print(text: &str) {
    // A reader that has gone away, as in `purlin -T | head`, is no failure.
    let _nobody_listens = writeln!(io::stdout(), "{text}");
}

/// The configuration, checked as far as that is possible without acting on it.
fn checked(
    arguments: &Arguments,
    env: &[(String, String)],
    application: &dyn Application,
) -> Result<Config, Ending> {
    let config = arguments.config(env)?;
    listener::protocols(&config, application.codecs())?;
    Ok(config)
}
