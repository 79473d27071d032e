//! The pool: who calls takes a connection and gives it back; one thread mends what broke
//! and closes what nobody uses.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::command::packed;
use super::error::Error;
use super::link::{Link, Server};
use super::options::Options;
use super::state::{Counts, Held, Limits, State, Turn};
use crate::scoreboard::{Counter, Row};

/// A connection that was unused for so long is asked whether it lives, first.
const STALE: Duration = Duration::from_secs(30);

/// Name of the thread that mends.
const NAME: &str = "redis";

pub(super) struct Pool {
    server: Arc<Server>,
    wait: Duration,
    timeout: Duration,
    shared: Arc<Shared>,
    /// Its thread, once there is a connection to care for.
    mender: OnceLock<()>,
    row: Option<Row>,
}

struct Shared {
    state: Mutex<Inner>,
    /// Something changed for who waits for a connection.
    freed: Condvar,
    /// Something changed for the thread that mends.
    changed: Condvar,
}

struct Inner {
    state: State<Link>,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that nobody foresees.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

impl Pool {
    pub(super) fn new(options: &Options, row: Option<Row>) -> Result<Arc<Self>, Error> {
        let limits = Limits {
            size: options.pool.max(1),
            idle: options.idle,
            max_lifetime: options.max_lifetime,
            backoff_max: options.backoff_max,
        };
        Ok(Arc::new(Self {
            server: Arc::new(Server::new(options)?),
            wait: options.wait,
            timeout: options.timeout,
            shared: Arc::new(Shared {
                state: Mutex::new(Inner {
                    state: State::new(limits),
                    is_over: false,
                }),
                freed: Condvar::new(),
                changed: Condvar::new(),
            }),
            mender: OnceLock::new(),
            row,
        }))
    }

    pub(super) fn server(&self) -> &str {
        &self.server.name
    }

    pub(super) fn counts(&self) -> Counts {
        self.shared.lock().state.counts()
    }

    /// Runs `f` with a connection and the moment until which it may take.
    pub(super) fn with<T>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Link, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut held = self.take()?;
        match f(&mut held.link, Instant::now() + self.timeout) {
            Ok(value) => {
                self.give_back(held);
                Ok(value)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// A connection that answers.
    fn take(self: &Arc<Self>) -> Result<Held<Link>, Error> {
        loop {
            let Some(mut held) = self.turn()? else {
                return self.make();
            };
            if held.used.elapsed() < STALE {
                return Ok(held);
            }
            let until = Instant::now() + self.timeout;
            match held.link.exchange(&packed(&["PING"]), 1, until) {
                Ok(_) => return Ok(held),
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Waits for an idle one; `None`: this caller makes one.
    fn turn(&self) -> Result<Option<Held<Link>>, Error> {
        let until = Instant::now() + self.wait;
        let mut inner = self.shared.lock();
        loop {
            let now = Instant::now();
            match inner.state.take(now) {
                Turn::Use(held) => {
                    self.report(&inner);
                    return Ok(Some(held));
                }
                Turn::Make => return Ok(None),
                Turn::Refuse(error) => return Err(error),
                Turn::Wait if now >= until => return Err(Error::Busy { waited: self.wait }),
                Turn::Wait => {
                    inner.state.waiting += 1;
                    self.report(&inner);
                    let waited = self.shared.freed.wait_timeout(inner, until - now);
                    (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
                    inner.state.waiting -= 1;
                }
            }
        }
    }

    fn make(self: &Arc<Self>) -> Result<Held<Link>, Error> {
        self.mender.get_or_init(|| mend(self));
        match self.server.link() {
            Ok(link) => Ok(self.made(link)),
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    fn made(&self, link: Link) -> Held<Link> {
        let mut inner = self.shared.lock();
        let held = inner.state.made(link, Instant::now(), random());
        self.report(&inner);
        // Whoever waits may make one of his own now.
        self.shared.freed.notify_all();
        held
    }

    fn give_back(&self, held: Held<Link>) {
        let mut inner = self.shared.lock();
        let is_first = inner.state.counts().idle == 0;
        let closed = inner.state.give_back(held, Instant::now());
        self.report(&inner);
        drop(inner);
        self.shared.freed.notify_one();
        if is_first {
            self.shared.changed.notify_one();
        }
        drop(closed);
    }

    fn failed(&self, error: &Error) {
        let mut inner = self.shared.lock();
        let was_well = inner.state.counts().broken == 0;
        let closed = inner.state.failed(error, Instant::now(), random());
        self.report(&inner);
        drop(inner);
        if was_well {
            log::warn!("{error}");
        }
        self.shared.freed.notify_all();
        self.shared.changed.notify_one();
        drop(closed);
    }

    fn report(&self, inner: &Inner) {
        let Some(row) = &self.row else { return };
        let counts = inner.state.counts();
        let of = |number: usize| number as u64;
        row.set(Counter::RedisIdle, of(counts.idle));
        row.set(Counter::RedisBusy, of(counts.open - counts.idle));
        row.set(Counter::RedisBroken, of(counts.broken));
        row.set(Counter::RedisWaiting, of(counts.waiting));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

/// Starts the thread that mends. Without it commands mend.
fn mend(pool: &Arc<Pool>) {
    let (shared, pool) = (Arc::clone(&pool.shared), Arc::downgrade(pool));
    let thread = thread::Builder::new().name(NAME.into());
    if let Err(error) = thread.spawn(move || keep(&shared, &pool)) {
        log::error!("start the thread that mends connections to redis: {error}");
    }
}

/// What the thread does, until the pool is gone.
fn keep(shared: &Shared, pool: &Weak<Pool>) {
    let mut inner = shared.lock();
    while !inner.is_over {
        let now = Instant::now();
        let closed = inner.state.expired(now);
        if inner.state.mends(now) {
            drop(inner);
            drop(closed);
            let Some(pool) = pool.upgrade() else { return };
            match pool.server.link() {
                Ok(link) => {
                    let held = pool.made(link);
                    pool.give_back(held);
                    log::info!("redis at {} answers again", pool.server());
                }
                Err(error) => pool.failed(&error),
            }
            drop(pool);
            inner = shared.lock();
            continue;
        }
        if !closed.is_empty() {
            drop(inner);
            drop(closed);
            inner = shared.lock();
            continue;
        }
        let next = inner.state.next();
        let pause = next.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        // A moment that is years away is one that the system does not take.
        let pause = pause.min(Duration::from_secs(3600));
        let waited = shared.changed.wait_timeout(inner, pause);
        (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
}
