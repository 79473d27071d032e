//! Why there was no load: one variant for each thing to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::sys::socket::Address;

/// Why a load could not be run.
#[derive(Debug)]
pub enum StressError {
    /// The options contradict each other or the format: correct them.
    Usage(String),
    /// Not one connection could be made: start the server.
    Connect(Address, io::Error),
    /// The server answered what is sent first with an error: correct that.
    First(String),
    /// More descriptors are needed than this process may open: raise the limit.
    Descriptors {
        /// Connections that were asked for.
        connections: u32,
        /// Open files that these need.
        needed: u64,
        /// Open files that are allowed.
        allowed: u64,
    },
    /// The page cannot be written: name another path.
    Plot(PathBuf, io::Error),
    /// The system refused something else.
    System(&'static str, io::Error),
}

impl fmt::Display for StressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::First(text) => f.write_str(text),
            Self::Connect(address, error) => {
                write!(f, "connect to {address}: {error}")?;
                let nobody = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
                if nobody.contains(&error.kind()) {
                    f.write_str("; start the server (`purlin run`), or name its address")?;
                }
                Ok(())
            }
            Self::Descriptors {
                connections,
                needed,
                allowed,
            } => write!(
                f,
                "{connections} connections need {needed} open files, and this process may have \
                 {allowed}; raise the limit with `ulimit -Hn {needed}` as root, or use fewer \
                 connections"
            ),
            Self::Plot(path, error) => write!(f, "write {}: {error}", path.display()),
            Self::System(doing, error) => write!(f, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for StressError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(_) | Self::First(_) | Self::Descriptors { .. } => None,
            Self::Connect(_, error) | Self::Plot(_, error) | Self::System(_, error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_to_do() {
        let address: Address = "127.0.0.1:7000".parse().unwrap();
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, expected) in [
            (StressError::Connect(address, refused), "start the server"),
            (
                StressError::Descriptors {
                    connections: 10_000,
                    needed: 10_064,
                    allowed: 1024,
                },
                "`ulimit -Hn 10064`",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
