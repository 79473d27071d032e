//! From arguments to what is asked for. Pure; only [`Declined::print`] writes.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::Exit;
use super::extensions::Extensions;
use super::packaging::Artifact;
use crate::config::Claims;
use crate::master::control;
use crate::net::{ConnId, UserName, Words};

/// What the program is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Serve, in the foreground or in the background.
    Run {
        /// In the background.
        is_daemon: bool,
    },
    /// Ask the master that runs.
    Ask {
        /// For what.
        command: control::Command,
        /// Print the answer for programs.
        json: bool,
    },
    /// Show again and again what the master that runs tells of itself.
    Watch {
        /// How often.
        every: Duration,
    },
    /// Tell which limits of this machine are too low.
    Doctor {
        /// For programs.
        json: bool,
    },
    /// Load a server and measure it.
    #[cfg(feature = "stress")]
    Stress(Box<crate::stress::Options>),
    /// The load tool, of a program that was built without it.
    #[cfg(not(feature = "stress"))]
    NoStress,
    /// Check the configuration and end (`-t`).
    Test,
    /// Print the effective configuration and end (`-T`).
    Print,
    /// Print the version and end (`-v`).
    Version,
    /// Print the version and how it was built, and end (`-V`).
    Build,
    /// Print a file for packages, and end.
    Generate(Artifact),
    /// Run a command of the program's own.
    Own {
        /// Which.
        name: String,
        /// What stood behind it.
        matches: ArgMatches,
    },
}

/// What was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
    /// The configuration file: `-c`, else `PURLIN_CONF`; `None`: the defaults.
    pub file: Option<PathBuf>,
    /// Keys and values of `--set`, in their order.
    pub overrides: Vec<(String, String)>,
    /// The tables that the program has in it.
    pub claims: Claims,
}

/// The command line as clap sees it; its comments are the text of `--help`.
#[derive(Parser)]
#[command(
    about = "Serves until it is told to stop: TERM or INT end it gracefully.",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
struct Line {
    #[command(subcommand)]
    task: Option<Task>,

    #[command(flatten)]
    instead: Instead,

    #[command(flatten)]
    options: Options,
}

/// The options of every task. Not `global`: of such an option clap keeps only
/// what stands behind the task, and loses what stands before it.
#[derive(Default, clap::Args)]
struct Options {
    /// Configuration file; without one, defaults [env: PURLIN_CONF]
    #[arg(short = 'c', long = "conf", value_name = "FILE")]
    file: Option<PathBuf>,

    /// Give a key of the configuration another value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    overrides: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum Task {
    /// Serve in the foreground (default)
    Run {
        /// Serve in the background, as `start`
        #[arg(short = 'd', long = "daemon")]
        is_daemon: bool,

        #[command(flatten)]
        options: Options,
    },
    /// Serve in the background; returns when every worker is ready
    Start(Options),
    /// Drain within shutdown_timeout and end; returns when that is done
    Stop(Options),
    /// Drain for as long as it takes and end
    Quit(Options),
    /// Take the configuration over; if it is bad, nothing changes
    Reload {
        /// End older workers that leave no room for new ones, and what they serve
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        options: Options,
    },
    /// Open the log file again, after it was moved
    Reopen(Options),
    /// Give way to the new binary; if it is never ready, nothing changes
    Upgrade {
        /// End older workers that leave no room, and an older master
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        options: Options,
    },
    /// Tell what runs and what was counted
    #[command(after_help = WATCHING)]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,

        /// Print counters that are 0 as well
        #[arg(long)]
        all: bool,

        /// Show what happens now, again every so many seconds, until q or
        /// Ctrl-C
        #[arg(short = 'w', long, value_name = "SECONDS", num_args = 0..=1)]
        #[arg(default_missing_value = "1", value_parser = seconds, conflicts_with = "json")]
        watch: Option<Duration>,

        #[command(flatten)]
        options: Options,
    },
    /// Drain the workers and keep the master, without any; returns when they
    /// left
    #[command(
        after_help = "Clients wait in the kernel's queue until `reload` or `workers N` \
                            brings workers back; `stop` ends the master as well."
    )]
    Drain(Options),
    /// Have another number of workers, until the next reload
    #[command(
        after_help = "Returns when all of them serve. The next reload applies the \
                            `workers` of the configuration again. Workers that are too many \
                            drain; none at all is what `drain` is for."
    )]
    Workers {
        /// How many: 8; so many more: +1; so many fewer: -1
        #[arg(value_name = "N|+N|-N", allow_hyphen_values = true)]
        count: control::Wanted,

        #[command(flatten)]
        options: Options,
    },
    /// Log more or less, in all processes at once, until the next reload
    LogLevel {
        /// off, error, warn, info, debug or trace
        #[arg(value_parser = level)]
        level: log::LevelFilter,

        #[command(flatten)]
        options: Options,
    },
    /// List the connections of all workers
    #[command(
        after_help = "Those for whom most bytes wait come first, then those that were \
                            silent for longest; at most 1000 of each worker.\n\n\
                            in, out: bytes received and bytes that the peer has acknowledged, as \
                            the kernel counts them\nqueued: bytes that wait in the server\nuser, rooms: \
                            whom the program has bound it to, and where it has joined; --json has \
                            the whole names, of eight rooms at most"
    )]
    Connections {
        /// Print JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        options: Options,
    },
    /// Close a connection, or all of a user; ends with 1 when there is none
    #[command(group(ArgGroup::new("whom").args(["id", "user"]).required(true)))]
    Kick {
        /// Its id, as `connections` and the log write it
        id: Option<ConnId>,

        /// All connections that the program has bound to this user
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,

        /// What each of them is told first: the reason of a WebSocket's close, in
        /// frames what the program makes of it
        #[arg(long, value_name = "TEXT")]
        say: Option<Words>,

        #[command(flatten)]
        options: Options,
    },
    /// Tell which limits of this machine are too low for the configuration
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        options: Options,
    },
    /// Load a server and measure it, checking every reply
    #[cfg(feature = "stress")]
    #[command(after_help = crate::stress::EXAMPLES)]
    Stress(Box<crate::stress::Options>),
    #[cfg(not(feature = "stress"))]
    #[command(hide = true, disable_help_flag = true)]
    Stress {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _ignored: Vec<OsString>,
    },
    /// Print a file for packages: the manual page, or the completions of a
    /// shell
    #[command(hide = true)]
    Generate { artifact: Artifact },
    /// One of the program's.
    #[command(skip)]
    Own {
        name: String,
        matches: ArgMatches,
        options: Options,
    },
}

/// `all`: with counters that are 0.
const fn status(all: bool) -> control::Command {
    if all {
        control::Command::StatusAll
    } else {
        control::Command::Status
    }
}

impl Task {
    fn split(self) -> (Command, Options) {
        let ask = |command, json| Command::Ask { command, json };
        match self {
            Self::Run { is_daemon, options } => (Command::Run { is_daemon }, options),
            Self::Start(options) => (Command::Run { is_daemon: true }, options),
            Self::Stop(options) => (ask(control::Command::Stop, false), options),
            Self::Quit(options) => (ask(control::Command::Quit, false), options),
            Self::Reload { force, options } => {
                let reload = if force {
                    control::Command::ReloadForced
                } else {
                    control::Command::Reload
                };
                (ask(reload, false), options)
            }
            Self::Reopen(options) => (ask(control::Command::Reopen, false), options),
            Self::Upgrade { force, options } => {
                let upgrade = if force {
                    control::Command::UpgradeForced
                } else {
                    control::Command::Upgrade
                };
                (ask(upgrade, false), options)
            }
            Self::Status {
                watch: Some(every),
                options,
                ..
            } => (Command::Watch { every }, options),
            Self::Status {
                json, all, options, ..
            } => (ask(status(all), json), options),
            Self::Drain(options) => (ask(control::Command::Drain, false), options),
            Self::Workers { count, options } => {
                (ask(control::Command::Workers(count), false), options)
            }
            Self::LogLevel { level, options } => {
                (ask(control::Command::LogLevel(level), false), options)
            }
            Self::Connections { json, options } => {
                (ask(control::Command::Connections, json), options)
            }
            Self::Kick {
                id,
                user,
                say,
                options,
            } => {
                let by_id = || {
                    let id = id.expect("clap wants one of both");
                    control::Command::Kick { id, say }
                };
                let by_user = |user| control::Command::KickUser { user, say };
                (ask(user.map_or_else(by_id, by_user), false), options)
            }
            Self::Doctor { json, options } => (Command::Doctor { json }, options),
            #[cfg(feature = "stress")]
            Self::Stress(options) => (Command::Stress(options), Options::default()),
            #[cfg(not(feature = "stress"))]
            Self::Stress { .. } => (Command::NoStress, Options::default()),
            Self::Own {
                name,
                matches,
                options,
            } => (Command::Own { name, matches }, options),
            Self::Generate { artifact } => (Command::Generate(artifact), Options::default()),
        }
    }
}

/// What to do instead of serving.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Instead {
    /// Check the configuration and exit
    #[arg(short = 't', long)]
    test: bool,

    /// Print the effective configuration and where each value came from
    #[arg(short = 'T', long)]
    print: bool,

    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,

    /// Print the version, the features and the build
    #[arg(short = 'V', long)]
    build: bool,
}

impl Arguments {
    /// Reads `args`, which do not include the name of the program, and what
    /// `env` has to say about them.
    ///
    /// # Errors
    ///
    /// [`Declined`] when there is nothing to do, because the arguments are
    /// wrong or ask for help: print it and end.
    pub fn parse(
        (program, own): (&str, &Extensions),
        args: impl IntoIterator<Item = OsString>,
        env: &[(String, String)],
    ) -> Result<Self, Declined> {
        let args = std::iter::once(program.into()).chain(args);
        let matches = described(program, own).try_get_matches_from(args);
        let matches = matches.map_err(Declined)?;
        let line = Line::read(&matches, own).map_err(Declined)?;
        let mut command = line.instead.command();
        let Options {
            mut file,
            mut overrides,
        } = line.options;
        // The program's flags stand over `--set`, wherever they are.
        let mut flags = own.keys(&matches);
        if let Some((asked, behind)) = line.task.map(Task::split) {
            // `-t` and the like stand instead of the task, not beside it.
            command = command.or(Some(asked));
            file = behind.file.or(file);
            overrides.extend(behind.overrides);
            let behind = matches.subcommand().map(|(_, behind)| behind);
            flags.extend(behind.map(|behind| own.keys(behind)).unwrap_or_default());
        }
        overrides.extend(flags);
        let variable = env.iter().find(|(name, _)| name == "PURLIN_CONF");
        let variable = variable.filter(|(_, file)| !file.is_empty());
        Ok(Self {
            command: command.unwrap_or(Command::Run { is_daemon: false }),
            file: file.or_else(|| Some((&variable?.1).into())),
            overrides,
            claims: own.claims.clone(),
        })
    }
}

impl Line {
    /// As clap would, with the program's commands among ours.
    fn read(matches: &ArgMatches, own: &Extensions) -> Result<Self, clap::Error> {
        let Some((name, behind)) = matches
            .subcommand()
            .filter(|(name, _)| own.has_command(name))
        else {
            return Self::from_arg_matches(matches);
        };
        Ok(Self {
            task: Some(Task::Own {
                name: name.to_owned(),
                matches: behind.clone(),
                options: Options::from_arg_matches(behind)?,
            }),
            instead: Instead::from_arg_matches(matches)?,
            options: Options::from_arg_matches(matches)?,
        })
    }
}

impl Instead {
    fn command(&self) -> Option<Command> {
        match self {
            Self { test: true, .. } => Some(Command::Test),
            Self { print: true, .. } => Some(Command::Print),
            Self { version: true, .. } => Some(Command::Version),
            Self { build: true, .. } => Some(Command::Build),
            _ => None,
        }
    }
}

const WATCHING: &str = "\
With -w, for the whole server and for each worker; /s is a second's, the rest is now:
  *           this worker has the accept mutex
  wait        messages that came and were not served yet
  held        bytes in partial messages, mailboxes and outbound queues
  busy        share of the time in which the event loop worked, roughly
  lag         how long events waited for it: <10ms, >10ms, >100ms, or stuck
  message id  the slowest handlers: mean in the last interval, mean and longest
              since their workers started, of those messages that were timed (every
              64th, and all of them when there are few)
Without a terminal it prints a block every so many seconds.";

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds));
    let wrong = || "expected seconds from 0.1 to 3600".to_owned();
    seconds.map(Duration::from_secs_f64).ok_or_else(wrong)
}

fn level(text: &str) -> Result<log::LevelFilter, String> {
    let wrong = |_| "expected off, error, warn, info, debug or trace".to_owned();
    text.parse().map_err(wrong)
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => Err("expected KEY=VALUE, such as worker.business_threads=8".into()),
    }
}

/// The command line of `program`, with what is its own.
pub(super) fn described(program: &str, own: &Extensions) -> clap::Command {
    let line = Line::command().after_help(examples(program));
    own.add_to(line, <Options as clap::Args>::augment_args)
}

fn examples(program: &str) -> String {
    format!(
        "\
Examples:
  {program}                                     serve with the defaults, on 127.0.0.1
  {program} -c conf/purlin.toml                 serve as the file says
  {program} -t -c conf/purlin.toml              check the file
  {program} --set listener.0.address=[::]:7000  one key otherwise, for this run
  PURLIN__LOG__LEVEL=debug {program}            the same from the environment
  {program} start -c FILE; {program} reload -c FILE; {program} stop -c FILE

Exit codes: 0 ok, 1 errors under load, low limits, no such connection, or a
command of the program's own that failed,
64 usage, 69 address not available or nothing runs, 70 internal, 75 already
running or busy, 77 not permitted, 78 configuration."
    )
}

/// The arguments are wrong, or help was asked for.
#[derive(Debug)]
pub struct Declined(clap::Error);

impl Declined {
    /// Help on stdout, complaints on stderr; in colour on a terminal.
    pub fn print(&self) {
        // Nobody is left to tell when the terminal is gone.
        let _ended = self.0.print();
    }

    /// With which code to end.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.0.use_stderr() {
            Exit::Usage
        } else {
            Exit::Ok
        }
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.render().fmt(f)
    }
}

impl std::error::Error for Declined {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::control::Wanted;
    use std::num::NonZeroU16;

    const CHAT: (&str, &Extensions) = ("chat", Extensions::NONE);

    fn parse(args: &[&str]) -> Result<Arguments, Declined> {
        let env = [("PURLIN_CONF".to_owned(), "env.toml".to_owned())];
        Arguments::parse(CHAT, args.iter().map(Into::into), &env)
    }

    const FOREGROUND: Command = Command::Run { is_daemon: false };
    const BACKGROUND: Command = Command::Run { is_daemon: true };

    fn ask(command: control::Command, json: bool) -> Command {
        Command::Ask { command, json }
    }

    fn watch(millis: u64) -> Command {
        let every = Duration::from_millis(millis);
        Command::Watch { every }
    }

    fn workers(wanted: Wanted) -> Command {
        ask(control::Command::Workers(wanted), false)
    }

    const EIGHT: Wanted = Wanted::Exactly(NonZeroU16::new(8).unwrap());

    #[test]
    fn clap_finds_no_contradiction() {
        Line::command().debug_assert();
    }

    #[test]
    fn each_command_has_its_flags() {
        for (args, expected) in [
            (&[][..], FOREGROUND),
            (&["run"], FOREGROUND),
            (&["-c", "x", "run"], FOREGROUND),
            (&["run", "-d"], BACKGROUND),
            (&["start", "-c", "x"], BACKGROUND),
            (&["stop"], ask(control::Command::Stop, false)),
            (&["quit"], ask(control::Command::Quit, false)),
            (&["reload"], ask(control::Command::Reload, false)),
            (&["reopen"], ask(control::Command::Reopen, false)),
            (&["upgrade"], ask(control::Command::Upgrade, false)),
            (
                &["reload", "--force"],
                ask(control::Command::ReloadForced, false),
            ),
            (
                &["upgrade", "--force"],
                ask(control::Command::UpgradeForced, false),
            ),
            (&["status"], ask(control::Command::Status, false)),
            (
                &["status", "--all"],
                ask(control::Command::StatusAll, false),
            ),
            (&["status", "--json"], ask(control::Command::Status, true)),
            (&["status", "-w"], watch(1000)),
            (&["status", "-w", "0.5"], watch(500)),
            (&["status", "--watch", "-c", "x"], watch(1000)),
            (&["drain"], ask(control::Command::Drain, false)),
            (&["workers", "+1"], workers(Wanted::By(1))),
            (&["workers", "-2"], workers(Wanted::By(-2))),
            (&["workers", "8", "-c", "x"], workers(EIGHT)),
            (&["log-level", "debug"], {
                ask(control::Command::LogLevel(log::LevelFilter::Debug), false)
            }),
            (
                &["connections", "--json"],
                ask(control::Command::Connections, true),
            ),
            (&["kick", "1.2.3.0"], {
                let (id, say) = (ConnId::first(1, 2, 3), None);
                ask(control::Command::Kick { id, say }, false)
            }),
            (&["kick", "--user", "ann b", "--say", "go home"], {
                let user = "ann b".parse().unwrap();
                let say = Some("go home".parse().unwrap());
                ask(control::Command::KickUser { user, say }, false)
            }),
            (&["doctor"], Command::Doctor { json: false }),
            (&["doctor", "--json"], Command::Doctor { json: true }),
            (&["generate", "man"], Command::Generate(Artifact::Man)),
            (&["-t"], Command::Test),
            (&["--test", "-c", "x"], Command::Test),
            (&["-tc", "x"], Command::Test),
            (&["-T"], Command::Print),
            (&["-v"], Command::Version),
            (&["--version"], Command::Version),
            (&["-V"], Command::Build),
        ] {
            assert_eq!(parse(args).unwrap().command, expected, "{args:?}");
        }
    }

    #[test]
    fn the_file_is_that_of_the_flag_then_of_the_variable_then_none() {
        let file = |args, env: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let env: Vec<_> = env.iter().map(own).collect();
            let args: &[&str] = args;
            Arguments::parse(CHAT, args.iter().map(Into::into), &env)
                .unwrap()
                .file
        };
        let variable = [("PURLIN_CONF", "env.toml")];
        assert_eq!(file(&["run", "-c", "a"], &variable), Some("a".into()));
        assert_eq!(file(&["-c", "a", "run"], &variable), Some("a".into()));
        assert_eq!(file(&[], &variable), Some("env.toml".into()));
        assert_eq!(file(&[], &[("PURLIN_CONF", "")]), None);
        assert_eq!(file(&[], &[]), None);
    }

    #[test]
    fn overrides_keep_their_order_and_their_later_equals_signs() {
        let args = ["--set", "a.b=1", "run", "--set", "c = x=y"];
        let overrides = parse(&args).unwrap().overrides;
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        assert_eq!(overrides, [("a.b", "1"), ("c", "x=y")].map(own));
    }

    #[test]
    fn wrong_arguments_end_with_64_and_name_what_is_wrong() {
        for (args, expected) in [
            (&["walk"][..], "walk"),
            (&["--sett", "a=1"], "--set"),
            (&["--set", "a"], "expected KEY=VALUE"),
            (&["--set", "=1"], "expected KEY=VALUE"),
            (&["-c"], "FILE"),
            (&["-t", "-T"], "--print"),
            (&["status", "-w", "0"], "expected seconds from 0.1 to 3600"),
            (&["status", "-w", "--json"], "--json"),
            (&["workers"], "N|+N|-N"),
            (&["workers", "0"], "none of N, +N and -N"),
            (&["workers", "-0"], "none of N, +N and -N"),
            (&["log-level", "loud"], "expected off, error, warn"),
            (&["kick", "17"], "four numbers such as"),
            (&["kick"], "<ID|--user <NAME>>"),
            (&["kick", "1.2.3.0", "--user", "ann"], "cannot be used with"),
            (&["kick", "--say", "bye"], "<ID|--user <NAME>>"),
            (&["kick", "1.2.3.0", "--say", ""], "has 1 to 123 bytes"),
            (
                &["kick", "--user", ""],
                "a user has a name of 1 to 128 bytes",
            ),
        ] {
            let declined = parse(args).unwrap_err();
            assert_eq!(declined.exit(), Exit::Usage, "{args:?}");
            assert!(declined.to_string().contains(expected), "{declined}");
        }
    }

    #[derive(clap::Args)]
    struct AddUser {
        name: String,
        #[arg(long)]
        admin: bool,
    }

    #[test]
    fn flags_of_the_program_stand_for_keys_and_win() {
        let mut own = Extensions::default();
        own.flag("-m, --motd <TEXT>", "app.motd", "what newcomers read");
        own.flag("--quiet", "app.quiet", "say less");
        let keys = |args: &[&str]| {
            let args = args.iter().map(Into::into);
            Arguments::parse(("chat", &own), args, &[])
                .unwrap()
                .overrides
        };
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        for (args, expected) in [
            (&["--motd", "hi"][..], &[("app.motd", "hi")][..]),
            (&["-m=hi"], &[("app.motd", "hi")]),
            (&["start", "-m", "hi"], &[("app.motd", "hi")]),
            (&["--quiet", "run"], &[("app.quiet", "true")]),
            (
                &["-m", "a", "run", "--set", "app.motd=b", "-m", "c"],
                &[("app.motd", "b"), ("app.motd", "a"), ("app.motd", "c")],
            ),
            (&["run"], &[]),
        ] {
            let expected: Vec<_> = expected.iter().copied().map(pair).collect();
            assert_eq!(keys(args), expected, "{args:?}");
        }
    }

    #[test]
    fn a_command_of_the_program_has_its_arguments_and_ours() {
        let mut own = Extensions::default();
        own.command("adduser", |args: AddUser, _| {
            Err(format!("{} {}", args.name, args.admin))
        });
        let args = ["adduser", "ann", "--admin", "-c", "x", "--set", "a.b=1"];
        let args = Arguments::parse(("chat", &own), args.map(Into::into), &[]).unwrap();
        assert_eq!(args.file, Some("x".into()));
        assert_eq!(args.overrides, [("a.b".to_owned(), "1".to_owned())]);
        let Command::Own { name, matches } = &args.command else {
            panic!("{:?}", args.command);
        };
        let said = own.run(name, matches, &crate::config::Config::default());
        assert_eq!(said, Err("ann true".to_owned()));
        let args = ["adduser"].map(Into::into);
        let declined = Arguments::parse(("chat", &own), args, &[]).unwrap_err();
        assert_eq!(declined.exit(), Exit::Usage);
        assert!(declined.to_string().contains("<NAME>"), "{declined}");
        described("chat", &own).debug_assert();
    }

    #[test]
    fn what_a_program_cannot_add_is_a_fault_of_the_program() {
        let add = |add: &dyn Fn(&mut Extensions)| {
            let mut own = Extensions::default();
            own.flag("-x, --twice <N>", "workers", "");
            own.command("twice", |_: AddUser, _| Ok(()));
            let added = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| add(&mut own)));
            let why = added.expect_err("a panic");
            why.downcast_ref::<String>().cloned().expect("a text")
        };
        for flag in [
            "motd",
            "--",
            "--a b c>",
            "-mm, --motd",
            "--motd <>",
            "-, --motd",
        ] {
            let why = add(&|own| own.flag(flag, "app.motd", ""));
            assert!(why.contains(flag), "{flag}: {why}");
        }
        for flag in [
            "--set <X>",
            "-c, --other",
            "--help",
            "-v, --verbose",
            "--json",
        ] {
            let why = add(&|own| own.flag(flag, "app.motd", ""));
            assert!(why.contains("is a flag of purlin's own"), "{flag}: {why}");
        }
        let why = add(&|own| own.flag("--twice", "workers", ""));
        assert!(why.contains("is registered twice"), "{why}");
        for (name, expected) in [
            ("reload", "is a command of purlin's own"),
            ("help", "is a command of purlin's own"),
            ("twice", "is registered twice"),
            ("add user", "cannot be called"),
        ] {
            let why = add(&|own| own.command(name, |_: AddUser, _| Ok(())));
            assert!(why.contains(expected), "{name}: {why}");
        }
        #[derive(clap::Args)]
        struct Clash {
            #[arg(short = 'c')]
            count: u32,
        }
        let why = add(&|own| own.command("count", |args: Clash, _| Err(args.count.to_string())));
        assert!(why.contains("one that every command has"), "{why}");
    }

    #[test]
    fn help_names_the_program_shows_examples_and_is_no_error() {
        for args in [&["-h"][..], &["--help"]] {
            let declined = parse(args).unwrap_err();
            assert_eq!(declined.exit(), Exit::Ok);
            let text = declined.to_string();
            for part in [
                "Usage: chat [OPTIONS]",
                "chat -t -c",
                "PURLIN_CONF",
                "--set <KEY=VALUE>",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(
                text.lines().all(|line| line.chars().count() <= 90),
                "{text}"
            );
        }
    }
}
