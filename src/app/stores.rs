//! Registering where a program keeps what outlives it.

use super::App;
#[cfg(any(feature = "redis", feature = "session"))]
use crate::dispatch::{Settings, service::WorkerContext};
#[cfg(feature = "redis")]
use crate::redis::Redis;
#[cfg(any(feature = "redis", feature = "session"))]
use crate::scoreboard::Row;
#[cfg(feature = "session")]
use crate::session::Sessions;

#[cfg(feature = "sqlite")]
impl<S: Default + Send + 'static> App<S> {
    /// A database in `file` of the [data folder](crate::dispatch::Settings::data_folder),
    /// opened in each worker after the fork: `c.data::<Database>()`. What `migrations`
    /// it has not had runs first: add to their end, and change none. For other
    /// [options](crate::sqlite::Options), or several databases,
    /// [`data_with`](Self::data_with).
    #[must_use]
    pub fn database(mut self, file: &str, migrations: &'static [&'static str]) -> Self {
        use crate::sqlite::Database;
        let file = file.to_owned();
        self.keeps_files = true;
        self.data_with(move |settings| {
            Database::open(settings.data_folder().join(&file), migrations)
        })
    }
}

#[cfg(feature = "redis")]
impl<S: Default + Send + 'static> App<S> {
    /// The Redis server of `[redis]` in the configuration: `c.data::<Redis>()`. Whether
    /// it can be reached is seen by the first command; without a `redis.url` no worker
    /// starts.
    #[must_use]
    pub fn redis(mut self) -> Self {
        self.data.push(Box::new(|data, worker| {
            data.insert(redis_of(worker)?);
            Ok(())
        }));
        self
    }
}

/// The pool of a worker.
#[cfg(feature = "redis")]
fn redis_of(worker: &WorkerContext) -> Result<Redis, String> {
    redis_from(&worker.settings, Some(worker.row.clone()))
}

/// The pool that the configuration asks for, counted in `row`.
#[cfg(feature = "redis")]
fn redis_from(settings: &Settings, row: Option<Row>) -> Result<Redis, String> {
    use crate::redis::Options;
    let keys = settings.find::<crate::config::Redis>();
    let Some((keys, url)) = keys.and_then(|keys| Some((keys, keys.url.as_deref()?))) else {
        return Err("redis.url is empty, and the program asks a Redis server".to_owned());
    };
    let options = Options {
        url: url.to_owned(),
        password_file: keys.password_file.clone(),
        pool: keys.pool.into(),
        wait: keys.wait,
        connect: keys.connect,
        timeout: keys.timeout,
        idle: keys.idle,
        max_lifetime: keys.max_lifetime,
        backoff_max: keys.backoff_max,
    };
    Redis::counted(&options, row).map_err(|error| error.to_string())
}

/// The sessions of a worker.
#[cfg(feature = "session")]
pub(super) fn sessions_of(worker: &WorkerContext) -> Result<Sessions, String> {
    let clock = std::time::Duration::from_millis(worker.worker.clock());
    sessions_from(&worker.settings, clock, Some(&worker.row))
}

/// The sessions that the configuration asks for; `clock` is the worker's now.
#[cfg(feature = "session")]
pub(super) fn sessions_from(
    settings: &Settings,
    clock: std::time::Duration,
    row: Option<&Row>,
) -> Result<Sessions, String> {
    use crate::config::{CookieSecure, SessionStore};
    let keys = settings.find::<crate::config::Session>();
    let keys = keys.cloned().unwrap_or_default();
    let options = crate::session::Options {
        idle: keys.idle,
        max: keys.max,
        renew: keys.renew,
        hashers: 1,
        trusted: keys.trusted_origins.0,
        secure: match keys.secure {
            CookieSecure::Auto => None,
            CookieSecure::Always => Some(true),
            CookieSecure::Never => Some(false),
        },
    };
    let opened = match keys.store {
        SessionStore::Sqlite => {
            let file = settings.data_folder().join("sessions.db");
            Sessions::in_file(&file, options, clock)
        }
        #[cfg(feature = "redis")]
        SessionStore::Redis => {
            Sessions::in_redis(redis_from(settings, row.cloned())?, options, clock)
        }
        #[cfg(not(feature = "redis"))]
        SessionStore::Redis => {
            let _nobody_counts = row;
            return Err("session.store is redis, which this program was built without".to_owned());
        }
    };
    opened.map_err(|error| error.to_string())
}
