//! Registering where a program keeps what outlives it.

use super::App;

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
fn redis_of(
    worker: &crate::dispatch::service::WorkerContext,
) -> Result<crate::redis::Redis, String> {
    use crate::redis::{Options, Redis};
    let keys = worker.settings.find::<crate::config::Redis>();
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
    Redis::counted(&options, Some(worker.row.clone())).map_err(|error| error.to_string())
}
