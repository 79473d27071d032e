//! With which code a program ends: the codes of sysexits(3), so that scripts and
//! service managers can tell what to do next.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// As asked.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// An address could not be listened on.
    Bind = 69,
    /// A fault of the program.
    Internal = 70,
    /// Another instance runs already.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits() {
        for (exit, code) in [
            (Exit::Ok, libc::EXIT_SUCCESS),
            (Exit::Usage, 64),
            (Exit::Bind, 69),
            (Exit::Internal, 70),
            (Exit::Running, 75),
            (Exit::Permission, 77),
            (Exit::Config, 78),
        ] {
            assert_eq!(exit as i32, code);
        }
        assert_eq!(ExitCode::from(Exit::Ok), ExitCode::SUCCESS);
    }
}
