//! What can go wrong with a database.

use std::{fmt, io};

/// Why a database was not opened, or a transaction not committed.
#[derive(Debug)]
pub enum Error {
    /// Its folder cannot be made, or its thread not be started.
    Folder(io::Error),
    /// The file was migrated so often by a newer program, which has migrations that this
    /// one has not: start that one.
    Newer {
        /// Migrations of the file.
        file: usize,
        /// Migrations of this program.
        program: usize,
    },
    /// Somebody reads what fills the log: nothing is written until he has left.
    LogFull,
    /// The function that was to write panicked; its message is in the log.
    Panicked,
    /// The function ended the transaction, which others share: whether anything of it was
    /// kept is not known.
    Ended,
    /// Asked in a function of another write, for which this one would wait for ever.
    Within,
    /// The thread that writes is gone.
    Closed,
    /// What SQLite says.
    Sql(rusqlite::Error),
}

impl Error {
    /// Whether a row was refused because a constraint does not allow it: a name that is
    /// taken, for example.
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        self.has_code(rusqlite::ErrorCode::ConstraintViolation)
    }

    /// Whether others kept the file locked for five seconds.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.has_code(rusqlite::ErrorCode::DatabaseBusy)
    }

    fn has_code(&self, code: rusqlite::ErrorCode) -> bool {
        let Self::Sql(error) = self else { return false };
        error.sqlite_error_code() == Some(code)
    }

    /// For another one whose write stood in the same group.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::LogFull => Self::LogFull,
            Self::Panicked => Self::Panicked,
            Self::Within => Self::Within,
            Self::Ended => Self::Ended,
            Self::Folder(_) | Self::Newer { .. } | Self::Closed => Self::Closed,
            Self::Sql(error) => Self::Sql(error.sqlite_error().map_or_else(
                || rusqlite::Error::InvalidQuery,
                |code| rusqlite::Error::SqliteFailure(*code, Some(error.to_string())),
            )),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => write!(f, "make room for the database: {error}"),
            Self::Newer { file, program } => write!(
                f,
                "the database has {file} migrations, this program {program}: a newer one made it"
            ),
            Self::LogFull => {
                f.write_str("the log of the database is full of what a reader still sees")
            }
            Self::Panicked => f.write_str("the function that was to write panicked"),
            Self::Within => f.write_str("a write within another write would wait for it"),
            Self::Ended => f.write_str("the function ended the transaction that it was given"),
            Self::Closed => f.write_str("the database is closed"),
            Self::Sql(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Folder(error) => Some(error),
            Self::Sql(error) => Some(error),
            Self::Newer { .. }
            | Self::LogFull
            | Self::Panicked
            | Self::Ended
            | Self::Within
            | Self::Closed => None,
        }
    }
}
