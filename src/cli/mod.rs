//! The command line that every program built on purlin has: what was asked for,
//! and with which code the program ends. Runs before any thread.

mod args;
mod doctor;
mod extensions;
mod packaging;
mod run;
#[cfg(feature = "stress")]
mod stress;
mod suspicions;
mod task;
mod top;
mod watch;

use std::path::Path;

pub use self::args::{Arguments, Command, Declined};
pub use self::extensions::Extensions;
pub use self::run::main;
use crate::config::{Config, ConfigError};
pub use crate::master::Exit;
pub use packaging::Artifact;

impl Arguments {
    /// The configuration that was asked for.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: print it and end with [`Exit::Config`].
    pub fn config(&self, env: &[(String, String)]) -> Result<Config, ConfigError> {
        let (file, env) = (self.file.as_deref(), env.iter().cloned());
        Config::load_for(&self.claims, file, env, &self.overrides)
    }

    /// The same, with the file named by where it is, seen from `folder`: whoever
    /// reads it again may be elsewhere by then.
    fn seen_from(&self, folder: Option<&Path>) -> Self {
        let file = self.file.as_ref();
        let file = file.map(|file| folder.map_or_else(|| file.clone(), |at| at.join(file)));
        let (command, overrides) = (self.command.clone(), self.overrides.clone());
        Self {
            command,
            file,
            overrides,
            claims: self.claims.clone(),
        }
    }

    /// What `-t` says about a configuration that could be loaded.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.file.as_deref().map(Path::display) {
            Some(file) => format!("configuration {file} is good"),
            None => "configuration is good; no file was given, the defaults are in force".into(),
        }
    }
}

/// The part of the environment that is ours, in any order. What is no text is
/// passed on with replacement characters, and refused where it is used.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
            (text(name), text(value))
        })
        .filter(|(name, _)| name.starts_with("PURLIN_"))
        .collect()
}

/// What `-v` prints. `program` is the name of the binary, which need not be ours,
/// and `own` its version, if it has one.
#[must_use]
pub fn version(program: &str, own: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match own {
        Some(own) => format!("{program} {own} (purlin {version})"),
        None if program == "purlin" => format!("purlin {version}"),
        None => format!("{program} (purlin {version})"),
    }
}

/// What `-V` prints: the version, and how purlin was built. The same source and
/// compiler give the same text.
#[must_use]
pub fn build(program: &str, own: Option<&str>) -> String {
    let features = match env!("PURLIN_FEATURES") {
        "" => "none",
        some => some,
    };
    format!(
        "{}\nfeatures: {features}\nbuilt: {}, {}, for {}",
        version(program, own),
        env!("PURLIN_RUSTC"),
        env!("PURLIN_PROFILE"),
        env!("PURLIN_TARGET"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(args: &[&str]) -> Arguments {
        let args = args.iter().map(Into::into);
        Arguments::parse(("purlin", &Extensions::default()), args, &[]).unwrap()
    }

    #[test]
    fn the_version_names_program_and_purlin() {
        let version = env!("CARGO_PKG_VERSION");
        for (program, own, expected) in [
            ("purlin", None, format!("purlin {version}")),
            ("chat", None, format!("chat (purlin {version})")),
            ("chat", Some("2.1"), format!("chat 2.1 (purlin {version})")),
        ] {
            assert_eq!(super::version(program, own), expected);
        }
    }

    #[test]
    fn the_build_tells_features_compiler_profile_and_target() {
        let text = build("purlin", None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("features: "), "{text}");
        assert!(lines[2].starts_with("built: rustc 1."), "{text}");
        assert!(lines[2].contains(std::env::consts::ARCH), "{text}");
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let arguments = arguments(&["-t"]);
        assert_eq!(arguments.config(&[]).unwrap(), Config::default());
        assert!(arguments.verdict().contains("the defaults are in force"));
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let arguments = arguments(&["-c", "/nonexistent/purlin.toml"]);
        let error = arguments.config(&[]).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/purlin.toml: "), "{error}");
        assert_eq!(
            arguments.verdict(),
            "configuration /nonexistent/purlin.toml is good"
        );
    }

    #[test]
    fn variables_and_flags_reach_the_configuration() {
        let env = [("PURLIN__LOG__FORMAT".to_owned(), "json".to_owned())];
        let arguments = arguments(&["run", "--set", "worker.business_threads=2"]);
        let config = arguments.config(&env).unwrap();
        assert_eq!(config.log.format, crate::config::LogFormat::Json);
        assert_eq!(config.worker.business_threads, 2);
    }
}
