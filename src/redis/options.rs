//! How a pool is made. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// Which server, how many connections, how long anything may take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// `redis://user:password@host:6379/0`, `valkey://…`, `unix:///path`.
    pub url: String,
    /// A file whose first line is the password, read at each connect. `None`: that of the
    /// URL.
    pub password_file: Option<PathBuf>,
    /// Connections at most.
    pub pool: usize,
    /// How long a command waits for a connection when all are busy.
    pub wait: Duration,
    /// How long a connection may take to be made, password and all.
    pub connect: Duration,
    /// How long a command may take, from its first byte to the last of its reply.
    pub timeout: Duration,
    /// Unused for so long, a connection is closed.
    pub idle: Duration,
    /// Open for so long, less up to 2.5 % by chance, it is closed when nobody uses it.
    pub max_lifetime: Duration,
    /// The longest delay between two attempts to mend.
    pub backoff_max: Duration,
}

impl Options {
    /// As by default, for the server of this URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            password_file: None,
            pool: 8,
            wait: Duration::from_millis(500),
            connect: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            idle: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(1800),
            backoff_max: Duration::from_secs(1024),
        }
    }
}
