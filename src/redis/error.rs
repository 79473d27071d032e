//! What can go wrong with a command.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no reply, or not the one that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Error {
    /// The URL is none, or asks for what is not supported: correct it.
    Config(Arc<str>),
    /// No connection could be made, now or a moment ago. The command was not sent.
    Unavailable {
        /// Where it was tried.
        server: Arc<str>,
        /// What the system said.
        cause: Arc<str>,
    },
    /// The server does not take the password, or the user may not do this. Not carried
    /// out: correct the configuration.
    Denied {
        /// Who refuses.
        server: Arc<str>,
        /// What it said.
        cause: Arc<str>,
    },
    /// All connections were busy for as long as a caller may wait. Not sent.
    Busy {
        /// How long that was.
        waited: Duration,
    },
    /// No whole reply came in time. It may have been carried out.
    Timeout {
        /// Who did not answer.
        server: Arc<str>,
        /// How long it had.
        after: Duration,
    },
    /// The connection ended before the reply. It may have been carried out.
    Broken {
        /// Whose connection it was.
        server: Arc<str>,
        /// How it ended.
        cause: Arc<str>,
    },
    /// The server is part of a cluster, and the key is another part's: this pool asks one
    /// server.
    Cluster(Arc<str>),
    /// The server refused the command.
    Server {
        /// Its first word: `ERR`, `WRONGTYPE`.
        code: Arc<str>,
        /// The rest.
        text: Arc<str>,
    },
    /// The reply is of another type than the caller takes.
    Type {
        /// What was asked for.
        wanted: &'static str,
        /// What came.
        found: &'static str,
    },
}

impl Error {
    /// Whether the server could not be asked or did not answer: it may do so a moment
    /// later. False: the command is at fault, or the configuration.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Denied { .. }
            | Self::Busy { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. } => true,
            Self::Config(_) | Self::Cluster(_) | Self::Server { .. } | Self::Type { .. } => false,
        }
    }

    /// Whether nobody knows if the command was carried out.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Broken { .. })
    }

    /// What a server says instead of a reply.
    pub(super) fn said(server: &Arc<str>, code: &str, text: &str) -> Self {
        let cause = || format!("{code} {text}").trim_end().into();
        match code {
            "WRONGPASS" | "NOAUTH" | "NOPERM" => Self::Denied {
                server: Arc::clone(server),
                cause: cause(),
            },
            // Of a server without a password, or with one that was not given.
            "ERR" if text.contains("AUTH") => Self::Denied {
                server: Arc::clone(server),
                cause: cause(),
            },
            // It has just been started, or its own server is gone.
            "LOADING" | "MASTERDOWN" => Self::Unavailable {
                server: Arc::clone(server),
                cause: cause(),
            },
            "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" | "TRYAGAIN" => Self::Cluster(cause()),
            _ => Self::Server {
                code: code.into(),
                text: text.into(),
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => f.write_str(text),
            Self::Unavailable { server, cause } => {
                write!(f, "connect to redis at {server}: {cause}")
            }
            Self::Denied { server, cause } => {
                write!(f, "redis at {server} lets nobody in: {cause}")
            }
            Self::Busy { waited } => {
                write!(
                    f,
                    "no connection to redis was free for {waited:?}; raise redis.pool"
                )
            }
            Self::Timeout { server, after } => {
                write!(f, "redis at {server} did not answer within {after:?}")
            }
            Self::Broken { server, cause } => {
                write!(f, "the connection to redis at {server} ended: {cause}")
            }
            Self::Cluster(text) => write!(
                f,
                "redis is a cluster, which this pool does not follow; name one server that has all \
                 keys: {text}"
            ),
            Self::Server { code, text } => write!(f, "redis says {code} {text}"),
            Self::Type { wanted, found } => write!(f, "redis answered {found} instead of {wanted}"),
        }
    }
}

impl std::error::Error for Error {}
