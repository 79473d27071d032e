//! The load tool's place in the command line: what ends with which code.

use std::io;

use super::Exit;
use crate::master::Ending;
use crate::stress::{self, Options, StressError};

/// Runs the load.
///
/// # Errors
///
/// [`Ending`]: there was no load, or a client was not served rightly.
pub(super) fn run(options: &Options) -> Result<(), Ending> {
    match stress::run(options, &mut io::stdout()) {
        Ok(None) => Ok(()),
        Ok(Some(complaint)) => Err(Ending::new(Exit::Failed, complaint)),
        Err(error) => Err(Ending::new(exit(&error), error.to_string())),
    }
}

fn exit(error: &StressError) -> Exit {
    match error {
        StressError::Usage(_) => Exit::Usage,
        StressError::First(_) => Exit::Failed,
        StressError::Connect(..) => Exit::Unavailable,
        StressError::Descriptors { .. } | StressError::Plot(..) => Exit::Permission,
        StressError::System(..) => Exit::Internal,
    }
}
