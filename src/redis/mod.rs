//! A pool of connections to Redis or Valkey: made as they are needed, mended behind the
//! scenes, and never in the way of an answer.
//!
//! ```text
//! command --> an idle connection, or a new one while there are fewer than `pool`
//!    |           |            |
//!    |           | all busy: wait for one that is given back, or was mended
//!    |           |
//!    |           + none can be had: an error at once, but one command a second tries
//!    +--> one deadline for sending and the whole reply; a reply that is late is never
//!         read by the next command: its connection is gone
//! ```
//!
//! Invariants:
//! - No thread holds the pool's lock across a system call.
//! - A connection on which anything went wrong is closed, and with it all that are older
//!   than the fault.
//! - A command is sent twice only if that is the same as once, and then once more at most.
//!
//! ```no_run
//! use purlin::prelude::*;
//! use purlin::redis::Redis;
//!
//! let app = App::<()>::new().redis().on(1, |c, name: String| {
//!     let count: i64 = c.data::<Redis>().call(&["INCR", &format!("seen:{name}")])?;
//!     Ok::<_, Error>(count.to_string())
//! });
//! # drop(app);
//! ```

mod backoff;
mod command;
mod error;
mod link;
mod options;
mod pool;
mod reply;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use self::command::{is_repeatable, of_connection, packed};
use self::link::Link;
use self::pool::Pool;

pub use self::error::Error;
pub use self::options::Options;
pub use self::reply::{FromReply, Value};

use crate::scoreboard::Row;

/// Asks a server over a pool of connections. Cheap to clone, usable from any thread of
/// the process that made it; every method blocks, so not on the event loop.
#[derive(Clone)]
pub struct Redis(Arc<Pool>);

/// Nobody else's reply is to be read for one's own.
fn refuse<C: AsRef<[u8]>>(commands: &[impl AsRef<[C]>]) -> Result<(), Error> {
    match of_connection(commands) {
        None => Ok(()),
        Some(name) => {
            let text = format!("{name} is for a connection of one's own, and these are shared");
            Err(Error::Config(text.into()))
        }
    }
}

impl Redis {
    /// A pool as `options` say. Nothing is connected before the first command.
    ///
    /// # Errors
    ///
    /// [`Error::Config`]: the URL is none, or asks for what is not supported.
    pub fn new(options: &Options) -> Result<Self, Error> {
        Self::counted(options, None)
    }

    /// As [`Self::new`]; its connections are counted in `row`.
    pub(crate) fn counted(options: &Options, row: Option<Row>) -> Result<Self, Error> {
        Pool::new(options, row).map(Self)
    }

    /// Sends one command and gives its reply as a `T`: `()`, numbers, `bool`, `String`,
    /// `Vec<u8>`, [`Option`] where it may be nil, [`Vec`] of any, or [`Value`].
    ///
    /// ```no_run
    /// # let options = purlin::redis::Options::new("redis://127.0.0.1");
    /// let redis = purlin::redis::Redis::new(&options)?;
    /// let fields: Vec<Option<String>> = redis.call(&["HMGET", "user:1", "name", "mail"])?;
    /// # drop(fields);
    /// # Ok::<(), purlin::redis::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`]; whether the command may have been carried out all the same tells
    /// [`Error::may_have_run`].
    pub fn call<T: FromReply>(&self, command: &[impl AsRef<[u8]>]) -> Result<T, Error> {
        refuse(&[command])?;
        let repeatable = is_repeatable(command);
        let reply = self.exchange(&packed(command), 1, repeatable)?.pop();
        T::from_reply(reply.unwrap_or(Value::Nil))
    }

    /// As [`Self::call`], for a command of which the caller knows that twice is the same
    /// as once: after a connection has broken it is sent once more.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn call_again<T: FromReply>(&self, command: &[impl AsRef<[u8]>]) -> Result<T, Error> {
        refuse(&[command])?;
        let reply = self.exchange(&packed(command), 1, true)?.pop();
        T::from_reply(reply.unwrap_or(Value::Nil))
    }

    /// Sends several commands at once and gives their replies in order, each what the
    /// server said, an error of the server's among them.
    ///
    /// # Errors
    ///
    /// [`Error`], where not all replies came.
    pub fn pipeline<C: AsRef<[u8]>>(&self, commands: &[Vec<C>]) -> Result<Vec<Value>, Error> {
        refuse(commands)?;
        let repeatable = commands.iter().all(|command| is_repeatable(command));
        let bytes: Vec<u8> = commands.iter().flat_map(|one| packed(one)).collect();
        self.exchange(&bytes, commands.len(), repeatable)
    }

    /// The value of `key`; `None`: there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn get<T: FromReply>(&self, key: &str) -> Result<Option<T>, Error> {
        self.call(&["GET", key])
    }

    /// Gives `key` a value. Nothing but `OK` is taken for success.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.call(&[b"SET", key.as_bytes(), value.as_ref()])
    }

    /// Connections that are open.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.counts().open
    }

    /// Connections that nobody uses now.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.0.counts().idle
    }

    /// Callers that wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.counts().waiting
    }

    /// Connections that broke, or could not be made, and are not mended yet.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.0.counts().broken
    }

    fn exchange(
        &self,
        bytes: &[u8],
        replies: usize,
        repeatable: bool,
    ) -> Result<Vec<Value>, Error> {
        let result = self
            .0
            .with(|link, until| link.exchange(bytes, replies, until));
        match result {
            // Whoever sent it first has no time left if it was late.
            Err(Error::Broken { .. }) if repeatable => self
                .0
                .with(|link: &mut Link, until: Instant| link.exchange(bytes, replies, until)),
            Ok(_) | Err(_) => result,
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.0.server())
    }
}
