//! What a program adds to its command line: tables, flags, commands, a version.
//! Registered before anything runs.

use std::fmt;

use clap::{Arg, ArgAction, ArgMatches};

use crate::config::{Claims, Config};

type Run = Box<dyn Fn(&ArgMatches, &Config) -> Result<(), String> + Send + Sync>;

/// See the module.
#[derive(Default)]
pub struct Extensions {
    /// The program's own version.
    pub version: Option<String>,
    /// What it is, in a sentence.
    pub about: Option<String>,
    /// Its tables in the configuration.
    pub claims: Claims,
    flags: Vec<Flag>,
    commands: Vec<OwnCommand>,
}

impl Extensions {
    /// Nothing.
    pub const NONE: &'static Self = &Self {
        version: None,
        about: None,
        claims: Claims::new(),
        flags: Vec::new(),
        commands: Vec::new(),
    };
}

/// A flag that stands for a key.
struct Flag {
    short: Option<char>,
    long: &'static str,
    /// `None`: it has no value and means `true`.
    value: Option<&'static str>,
    key: String,
    help: String,
}

/// A command that is the program's.
struct OwnCommand {
    name: &'static str,
    args: fn(clap::Command) -> clap::Command,
    run: Run,
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flags, commands) = (self.flags.len(), self.commands.len());
        write!(f, "Extensions({flags} flags, {commands} commands)")
    }
}

/// clap wants names for ever; there are as many as the program's text has.
fn for_ever(name: &str) -> &'static str {
    String::leak(name.to_owned())
}

fn is_name(name: &str) -> bool {
    let is_ours = |c: char| c.is_ascii_alphanumeric() || c == '-';
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_ours)
}

/// Whether it is one of those that ask for the configuration, as all do but the
/// load tool and what is for packages.
fn has_conf(command: &clap::Command) -> bool {
    let mut arguments = command.get_arguments();
    arguments.any(|arg| arg.get_long() == Some("conf"))
}

impl Extensions {
    /// `text` is `--long`, `--long <VALUE>`, or either behind `-s, `.
    ///
    /// # Panics
    ///
    /// When it is none of these, or a flag is there already, of ours or of the
    /// program's.
    pub fn flag(&mut self, text: &str, key: &str, help: &str) {
        let wrong = || -> ! {
            panic!("{text:?} is no flag: write `--name <VALUE>` or `--name`, or `-n, --name`")
        };
        let (short, rest) = match text.split_once(", ") {
            Some((short, rest)) => match short.strip_prefix('-').map(|s| s.chars()) {
                Some(mut chars) if chars.clone().count() == 1 => (chars.next(), rest),
                Some(_) | None => wrong(),
            },
            None => (None, text),
        };
        let (long, value) = match rest.split_once([' ', '=']) {
            Some((long, value)) => (long, Some(value.trim_matches(['<', '>']))),
            None => (rest, None),
        };
        let Some(long) = long.strip_prefix("--").filter(|long| is_name(long)) else {
            wrong()
        };
        if value.is_some_and(|value| !is_name(value))
            || short.is_some_and(|c| !c.is_ascii_alphanumeric())
        {
            wrong();
        }
        let of_ours = super::args::described("x", &Self::default());
        let is_taken = |arg: &Arg| {
            arg.get_long() == Some(long) || short.is_some_and(|c| arg.get_short() == Some(c))
        };
        let commands = of_ours.get_subcommands().filter(|one| has_conf(one));
        let commands = commands.flat_map(clap::Command::get_arguments);
        let mut ours = of_ours.get_arguments().chain(commands);
        let is_help = long == "help" || short == Some('h');
        assert!(
            !is_help && !ours.any(is_taken),
            "{text:?} is a flag of purlin's own"
        );
        let is_twice = |old: &Flag| old.long == long || (short.is_some() && old.short == short);
        assert!(
            !self.flags.iter().any(is_twice),
            "{text:?} is registered twice"
        );
        self.flags.push(Flag {
            short,
            long: for_ever(long),
            value: value.map(for_ever),
            key: key.to_owned(),
            help: help.to_owned(),
        });
    }

    /// A command with the arguments of `A`.
    ///
    /// # Panics
    ///
    /// When the name is none, or there is such a command already, or `A` has an
    /// argument that every command has.
    pub fn command<A: clap::Args>(
        &mut self,
        name: &str,
        run: impl Fn(A, &Config) -> Result<(), String> + Send + Sync + 'static,
    ) {
        assert!(is_name(name), "a command cannot be called {name:?}");
        let known = super::args::described("x", &Self::default());
        let is_ours = name == "help" || known.find_subcommand(name).is_some();
        assert!(!is_ours, "`{name}` is a command of purlin's own");
        let is_twice = self.commands.iter().any(|old| old.name == name);
        assert!(!is_twice, "command `{name}` is registered twice");
        let name = for_ever(name);
        for arg in A::augment_args(clap::Command::new(name)).get_arguments() {
            let long = arg
                .get_long()
                .filter(|long| ["conf", "set", "help"].contains(long));
            let short = arg.get_short().filter(|short| ['c', 'h'].contains(short));
            let id = arg.get_id();
            let is_ours = long.is_some() || short.is_some() || *id == "file" || *id == "overrides";
            assert!(
                !is_ours,
                "argument `{id}` of command `{name}` is one that every command has"
            );
        }
        self.commands.push(OwnCommand {
            name,
            args: A::augment_args,
            run: Box::new(move |matches, config| {
                let args = A::from_arg_matches(matches).map_err(|error| error.to_string())?;
                run(args, config)
            }),
        });
    }

    /// Runs command `name` with what was given behind it.
    ///
    /// # Errors
    ///
    /// What the command says.
    pub(super) fn run(
        &self,
        name: &str,
        matches: &ArgMatches,
        config: &Config,
    ) -> Result<(), String> {
        let mut commands = self.commands.iter();
        match commands.find(|command| command.name == name) {
            Some(command) => (command.run)(matches, config),
            None => Err(format!("there is no command `{name}`")),
        }
    }

    pub(super) fn has_command(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command.name == name)
    }

    /// `line` with the flags, and with the commands, which `complete` gives the
    /// arguments that every command has.
    pub(super) fn add_to(
        &self,
        mut line: clap::Command,
        complete: fn(clap::Command) -> clap::Command,
    ) -> clap::Command {
        for command in &self.commands {
            let own = (command.args)(clap::Command::new(command.name));
            // What every command has brings a sentence of its own along.
            let (about, long) = (own.get_about().cloned(), own.get_long_about().cloned());
            let mut own = complete(own)
                .about(None::<&'static str>)
                .long_about(None::<&'static str>);
            if let Some(about) = about {
                own = own.about(about);
            }
            if let Some(long) = long {
                own = own.long_about(long);
            }
            line = line.subcommand(own);
        }
        if let Some(about) = &self.about {
            line = line.about(about.clone());
        }
        let flagged = |command: clap::Command| {
            if has_conf(&command) {
                command.args(self.flags.iter().map(Flag::arg))
            } else {
                command
            }
        };
        flagged(line.mut_subcommands(flagged))
    }

    /// The keys that flags in `matches` give a value, in the order of their
    /// registration.
    pub(super) fn keys(&self, matches: &ArgMatches) -> Vec<(String, String)> {
        let given = |flag: &Flag| {
            let id = flag.id();
            let value = match flag.value {
                Some(_) => matches.try_get_one::<String>(id).ok()??.clone(),
                None => {
                    let given = matches.try_get_one::<bool>(id).ok()?;
                    given.filter(|given| **given)?.to_string()
                }
            };
            Some((flag.key.clone(), value))
        };
        self.flags.iter().filter_map(given).collect()
    }
}

impl Flag {
    const fn id(&self) -> &'static str {
        self.long
    }

    fn arg(&self) -> Arg {
        let help = format!("{} [key: {}]", self.help, self.key);
        let arg = Arg::new(self.id()).long(self.long).help(help);
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        match self.value {
            Some(value) => arg.value_name(value).action(ArgAction::Set),
            None => arg.action(ArgAction::SetTrue),
        }
    }
}
