//! Where a value was written, and the errors that say so. Pure.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a value came from. Later ones win over earlier ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Nobody wrote it.
    Default,
    /// A line of the file.
    File(FilePlace),
    /// The environment variable of this name.
    Variable(String),
    /// A `--set KEY=VALUE` on the command line, as it was written.
    Flag(String),
}

/// A stretch of one line of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilePlace {
    /// The file, as its path was given.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// First character, counted from 1.
    pub column: usize,
    /// Characters; at least 1.
    pub width: usize,
    /// The whole line.
    pub text: String,
}

impl FilePlace {
    /// The place of the bytes `span` of `text`, which is what `file` contains.
    /// A span of several lines is cut to its first.
    pub(super) fn new(file: &Path, text: &str, span: Range<usize>) -> Self {
        let at = text.floor_char_boundary(span.start);
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text[start..].lines().next().unwrap_or_default();
        let end = text.floor_char_boundary(span.end).min(start + rest.len());
        Self {
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[start..at].chars().count() + 1,
            width: text.get(at..end).unwrap_or_default().chars().count().max(1),
            text: rest.to_owned(),
        }
    }

    /// The line with carets below the stretch.
    fn write_excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a terminal would act on is replaced one for one, so that the
        // carets stay below what they mean; tabs are kept above and below.
        let harmless = |c: char| match c {
            '\t' => '\t',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        let text: String = self.text.chars().map(harmless).collect();
        let before = text.chars().take(self.column - 1);
        let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
        let line = self.line.to_string();
        let gutter = " ".repeat(line.len());
        let carets = "^".repeat(self.width);
        write!(
            f,
            "\n{gutter} |\n{line} | {text}\n{gutter} | {indent}{carets}"
        )
    }
}

/// Without the column: what `-T` says behind a value.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(at) => write!(f, "{}:{}", printable(&at.file.to_string_lossy()), at.line),
            Self::Variable(name) => f.write_str(&printable(name)),
            Self::Flag(_) => f.write_str("--set"),
        }
    }
}

/// Why there is no configuration. All of them are for the operator to mend:
/// print the text, which may have several lines, and exit with 78.
#[derive(Debug)]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    Unreadable {
        /// Its path, as given.
        file: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Something that was written is wrong.
    Refused {
        /// Where it was written.
        place: Place,
        /// Key, value, and what was expected.
        message: String,
    },
    /// Something that has no default was written nowhere.
    Missing {
        /// The key.
        message: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => {
                // A relative path says nothing to who reads it elsewhere.
                let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
                write!(f, "{}: cannot read the file: {error}", file.display())
            }
            Self::Missing { message } => f.write_str(message),
            Self::Refused { place, message } => match place {
                Place::Default | Place::Variable(_) => write!(f, "{place}: {message}"),
                Place::Flag(text) => write!(f, "--set {}: {message}", printable(text)),
                Place::File(at) => {
                    write!(f, "{place}:{}: {message}", at.column)?;
                    at.write_excerpt(f)
                }
            },
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Refused { .. } | Self::Missing { .. } => None,
        }
    }
}

/// `text` on one line, without what a terminal would act on, and cut when it is
/// long.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_from_its_bytes() {
        let text = "one\n\tä = 5\r\nlast";
        for (span, line, column, width) in [
            (0..3, 1, 1, 3),
            (5..7, 2, 2, 1),
            (10..11, 2, 6, 1),
            (10..17, 2, 6, 1),
            (3..3, 1, 4, 1),
            (17..17, 3, 5, 1),
            (90..99, 3, 5, 1),
        ] {
            let at = FilePlace::new(Path::new("f"), text, span.clone());
            assert_eq!(
                (at.line, at.column, at.width),
                (line, column, width),
                "{span:?}"
            );
        }
    }

    #[test]
    fn carets_stand_below_what_they_mean_even_behind_tabs() {
        let place = Place::File(FilePlace::new(Path::new("f"), "\ta\u{1b} = 55", 6..8));
        let message = "a is 55".into();
        assert_eq!(
            ConfigError::Refused { place, message }.to_string(),
            "f:1:7: a is 55\n  |\n1 | \ta\u{fffd} = 55\n  | \t     ^^"
        );
    }

    #[test]
    fn what_is_printed_stays_on_its_line() {
        assert_eq!(printable("a\nb\u{1b}"), "a\\nb\\u{1b}");
        assert_eq!(printable(&"x".repeat(81)), "x".repeat(80) + "…");
    }
}
