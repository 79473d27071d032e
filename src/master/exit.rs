//! With which code a program ends: the codes of sysexits(3), so that scripts and
//! service managers can tell what to do next.

use std::fmt;
use std::process::ExitCode;

use super::supervisor::Refusal;
use crate::config::ConfigError;
use crate::worker::BindError;

/// How the program ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// As asked.
    Ok = 0,
    /// Done as asked, and what was looked at is not in order: `stress`.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// An address could not be listened on, or no master runs.
    Unavailable = 69,
    /// A fault of the program.
    Internal = 70,
    /// Another instance runs already, or the master is busy: try again later.
    Running = 75,
    /// The system forbids it.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Unavailable,
        Self::Internal,
        Self::Running,
        Self::Permission,
        Self::Config,
    ];

    /// The one with this code; what no program of ours ends with is a fault.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        let known = Self::ALL.into_iter().find(|exit| *exit as i32 == code);
        known.unwrap_or(Self::Internal)
    }
}

/// Why the program ends other than as asked: a code, and what to tell. An empty
/// text was told already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// The code.
    pub exit: Exit,
    /// What to tell.
    pub text: String,
}

impl Ending {
    /// Ends with `exit`, and tells `text`.
    #[must_use]
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { exit, text }
    }

    /// Something failed that should not, on this machine: `doing` it gave `error`.
    #[must_use]
    pub fn internal(doing: &str, error: &impl fmt::Display) -> Self {
        Self::new(Exit::Internal, format!("{doing}: {error}"))
    }
}

impl From<ConfigError> for Ending {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

impl From<BindError> for Ending {
    fn from(error: BindError) -> Self {
        let denied = error.error.kind() == std::io::ErrorKind::PermissionDenied;
        let exit = if denied {
            Exit::Permission
        } else {
            Exit::Unavailable
        };
        Self::new(exit, error.to_string())
    }
}

impl Ending {
    /// What was asked for is not to be done now.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let exit = if refusal.is_passing() {
            Exit::Running
        } else {
            Exit::Unavailable
        };
        Self::new(exit, refusal.to_string())
    }

    /// With which code a file that cannot be used ends the program.
    pub(super) fn of(error: &std::io::Error) -> Exit {
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            Exit::Permission
        } else {
            Exit::Config
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits() {
        for (exit, code) in [
            (Exit::Ok, libc::EXIT_SUCCESS),
            (Exit::Failed, libc::EXIT_FAILURE),
            (Exit::Usage, 64),
            (Exit::Unavailable, 69),
            (Exit::Internal, 70),
            (Exit::Running, 75),
            (Exit::Permission, 77),
            (Exit::Config, 78),
        ] {
            assert_eq!(exit as i32, code);
            assert_eq!(Exit::from_code(code), exit);
        }
        assert_eq!(ExitCode::from(Exit::Ok), ExitCode::SUCCESS);
    }
}
