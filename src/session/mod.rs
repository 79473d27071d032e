//! Sessions, logins and passwords, whatever carries them: what a store keeps, when a
//! session is over, who may try again. How they go over HTTP and frames stands in `web`.
//!
//! Invariants:
//! - The store knows a session by the SHA-256 of its secret, and is never asked for
//!   anybody who shows none.
//! - What a store cannot be asked for is an error, never "nobody": who is logged in
//!   stays so while it is away.
//! - A login always begins a new session, of a new name.

pub(crate) mod cookie;
mod hasher;
mod id;
pub(crate) mod limits;
pub(crate) mod origin;
mod password;
mod record;
#[cfg(feature = "redis")]
mod redis_store;
mod sqlite_store;
mod store;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::record::Device;

use self::hasher::{Hashers, Work};
use self::id::Key;
use self::limits::{FAILURES, delay, origin};
use self::record::{TOUCH, Times};
use self::sqlite_store::{MIGRATIONS, SqliteStore};
use self::store::Store;
use crate::sqlite::Database;

pub(crate) use self::id::secret;
pub(crate) use self::password::{Hasher, check, is_current};
pub(crate) use self::record::Found;

/// Why something about a session could not be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Error {
    /// The store does not answer: try again later. Nobody is logged out by that.
    Down(String),
    /// Too many passwords wait to be hashed: try again later.
    Busy,
    /// The password is too short or too long.
    Password(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(why) => write!(f, "sessions cannot be asked for: {why}"),
            Self::Busy => f.write_str("too many log in at this moment"),
            Self::Password(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// Where sessions are, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) idle: Duration,
    pub(crate) max: Duration,
    pub(crate) renew: Duration,
    /// Threads that hash.
    pub(crate) hashers: usize,
    /// Origins whose pages may change something.
    pub(crate) trusted: Vec<String>,
    /// Whether cookies are for TLS alone; `None`: as the request came.
    pub(crate) secure: Option<bool>,
}

/// The sessions of a program, in one worker.
pub(crate) struct Sessions {
    store: Box<dyn Store>,
    times: Times,
    hashers: Hashers,
    pub(crate) trusted: Vec<String>,
    pub(crate) secure: Option<bool>,
    /// The worker's clock, and what time that was.
    started: (Duration, u64),
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    /// In a file; `clock` is the worker's now.
    pub(crate) fn in_file(
        path: &std::path::Path,
        options: Options,
        clock: Duration,
    ) -> Result<Self, Error> {
        let database = Database::open(path, MIGRATIONS)?;
        Self::new(Box::new(SqliteStore(database)), options, clock)
    }

    /// In Redis.
    #[cfg(feature = "redis")]
    pub(crate) fn in_redis(
        redis: crate::redis::Redis,
        options: Options,
        clock: Duration,
    ) -> Result<Self, Error> {
        Self::new(Box::new(redis_store::RedisStore(redis)), options, clock)
    }

    fn new(store: Box<dyn Store>, options: Options, clock: Duration) -> Result<Self, Error> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            store,
            times: Times::new(options.idle, options.max, options.renew),
            hashers: Hashers::start(options.hashers)?,
            trusted: options.trusted,
            secure: options.secure,
            started: (clock, time.as_secs()),
        })
    }

    /// Seconds since 1970, when the worker's clock shows `clock`.
    pub(crate) fn time(&self, clock: Duration) -> u64 {
        self.started.1 + clock.saturating_sub(self.started.0).as_secs()
    }

    /// How long a client may keep its cookie.
    pub(crate) const fn cookie_age(&self) -> u64 {
        self.times.max
    }

    /// The session that a client means; `None`: there is none, or it is over.
    pub(crate) fn find(&self, secret: &str, now: u64) -> Result<Option<Found>, Error> {
        let Some(key) = Key::of(secret) else {
            return Ok(None);
        };
        let found = self.store.find(&key, now)?;
        let Some(found) = found.filter(|found| !self.times.is_over(&found.device, now)) else {
            return Ok(None);
        };
        if now >= found.device.seen + TOUCH {
            self.store.touch(&found, &self.times, now)?;
        }
        Ok(Some(found))
    }

    /// A new name for a session that has had its own for long, if this request is the
    /// one to bring it.
    pub(crate) fn renewed(&self, found: &Found, now: u64) -> Result<Option<String>, Error> {
        if found.by_old_name || now < found.renewed + self.times.renew {
            return Ok(None);
        }
        let (secret, key) = secret()?;
        let is_ours = self.store.renew(found, &key, &self.times, now)?;
        Ok(is_ours.then_some(secret))
    }

    /// A session of `user` begins under the name of this secret.
    pub(crate) fn begin(
        &self,
        secret: &str,
        user: &str,
        (address, agent): (&str, &str),
        now: u64,
    ) -> Result<Found, Error> {
        let key = Key::of(secret).ok_or(Error::Down("no secret".to_owned()))?;
        let device = Device {
            id: id::public()?,
            user: user.to_owned(),
            since: now,
            seen: now,
            address: address.to_owned(),
            agent: agent.chars().take(200).collect(),
        };
        self.store.begin(&key, &device, &self.times)?;
        Ok(Found {
            device,
            key,
            renewed: now,
            by_old_name: false,
        })
    }

    pub(crate) fn get(&self, found: &Found, name: &str) -> Result<Option<String>, Error> {
        self.store.get(found, name)
    }

    pub(crate) fn set(&self, found: &Found, name: &str, value: &str) -> Result<bool, Error> {
        self.store.set(found, name, value)
    }

    pub(crate) fn end(&self, found: &Found) -> Result<(), Error> {
        self.store.end(found)
    }

    pub(crate) fn list(&self, user: &str, now: u64) -> Result<Vec<Device>, Error> {
        self.store.list(user, &self.times, now)
    }

    /// Ends one of a user's, or all; gives which.
    pub(crate) fn end_of(&self, user: &str, id: Option<&str>) -> Result<Vec<String>, Error> {
        self.store.end_of(user, id)
    }

    /// Forgets what is over.
    pub(crate) fn sweep(&self, now: u64) -> Result<(), Error> {
        self.store.sweep(&self.times, now)
    }

    /// Whether somebody at `address` may try the password of `account`; if so, how long
    /// that account is slowed down.
    pub(crate) fn may_try(
        &self,
        address: Option<IpAddr>,
        account: &str,
        now: u64,
    ) -> Result<Option<Duration>, Error> {
        let from = address.map_or_else(String::new, origin);
        let (failures, origins) = self.store.failures(&from, account, now)?;
        Ok((failures < FAILURES).then(|| delay(origins)))
    }

    /// The password was wrong.
    pub(crate) fn failed(
        &self,
        address: Option<IpAddr>,
        account: &str,
        now: u64,
    ) -> Result<(), Error> {
        let from = address.map_or_else(String::new, origin);
        self.store.failed(&from, account, now)
    }

    /// Has a thread for passwords do this.
    pub(crate) fn hash(&self, address: Option<IpAddr>, delay: Duration, work: Work) {
        let origin = address.map_or_else(String::new, limits::origin);
        self.hashers.submit(origin, delay, work);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
