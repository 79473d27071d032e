//! Where lines go that are no file's alone: a path, or a word for what every
//! process has. Pure.

use std::path::PathBuf;

use super::value::{Given, Refusal, Value, quoted};

/// A place that lines are written to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Standard output: `stdout`, or `-`.
    Stdout,
    /// Standard error: `stderr`.
    Stderr,
    /// The system log: `syslog`.
    Syslog,
    /// A file.
    File(PathBuf),
}

/// Words that say yes or no in other servers' files. As paths they would be files
/// that nobody looks for.
const SWITCHES: &[&str] = &[
    "off", "on", "no", "yes", "none", "null", "nil", "true", "false", "default", "journal",
    "journald", "console", "eventlog",
];

/// A place; empty for none.
impl Value for Option<Output> {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let text = given.text().ok_or_else(|| Self::refusal(limits))?;
        Ok(Some(match text {
            "" => return Ok(None),
            "-" | "stdout" => Output::Stdout,
            "stderr" => Output::Stderr,
            "syslog" => Output::Syslog,
            path if is_path(path) => Output::File(path.into()),
            _ => return Err(Self::refusal(limits)),
        }))
    }

    fn limits((): &()) -> String {
        "a path, stdout, stderr, syslog, or empty for none".into()
    }

    fn write(&self) -> String {
        quoted(&match self {
            None => "".into(),
            Some(Output::Stdout) => "stdout".into(),
            Some(Output::Stderr) => "stderr".into(),
            Some(Output::Syslog) => "syslog".into(),
            Some(Output::File(path)) => path.to_string_lossy(),
        })
    }
}

/// Whether it can be meant as the path of a file: no switch, no command behind a
/// pipe, no address such as `syslog:server=…`, `fd:1` or `http://…`, no folder. What
/// is meant after all can be written with its folder, as `./off`.
fn is_path(text: &str) -> bool {
    let is_switch = SWITCHES.iter().any(|word| text.eq_ignore_ascii_case(word));
    let is_word = ["stdout", "stderr", "syslog"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let has_scheme = scheme.is_some_and(|scheme| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let is_folder = text.ends_with('/') || matches!(text, "." | "..") || text.ends_with("/..");
    let is_text = !text.contains('\0') && !text.starts_with(char::is_whitespace);
    is_text && !is_switch && !is_word && !has_scheme && !is_folder && !text.starts_with(['|', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Option<Output>, String> {
        let flags = [("http.access_log".to_owned(), text.to_owned())];
        let config = Config::parse(None, [], &flags);
        Ok(config.map_err(|error| error.to_string())?.http.access_log)
    }

    #[test]
    fn words_are_places_and_paths_are_files() {
        for (text, expected) in [
            ("", None),
            ("-", Some(Output::Stdout)),
            ("stdout", Some(Output::Stdout)),
            ("stderr", Some(Output::Stderr)),
            ("syslog", Some(Output::Syslog)),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for path in [
            "access.log",
            "/var/log/a",
            "./off",
            "a b",
            "log",
            "./-",
            "x/http:1",
        ] {
            assert_eq!(read(path), Ok(Some(Output::File(path.into()))), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_makes_no_file_of_that_name() {
        for text in [
            "off",
            "Off",
            "on",
            "none",
            "null",
            "true",
            "journald",
            "STDOUT",
            "Syslog",
            "|cat",
            "| cat",
            "syslog:server=unix:/dev/log",
            "fd:1",
            "http://h/",
            "logs/",
            ".",
            "..",
            "a/..",
            "--",
            "-x",
            " a",
        ] {
            let error = read(text).unwrap_err();
            let expected = "must be a path, stdout, stderr, syslog, or empty for none";
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
