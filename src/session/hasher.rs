//! The threads that hash passwords: few, of low priority, each with one block of memory
//! that it keeps. Who asks is parked, and nobody else waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::password::Hasher;
use crate::sys::threads;

/// Name of each thread.
const NAME: &str = "passwords";

/// Those that may wait.
const WAITING: usize = 256;

/// Those of one origin.
const OF_ONE: usize = 10;

/// How long one may.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a thread.
pub(crate) type Work = Box<dyn FnOnce(Result<&mut Hasher, Error>) + Send>;

struct Waiting {
    work: Work,
    /// Whose it is: an address, or a network of them.
    origin: String,
    since: Instant,
    /// Not before this.
    from: Instant,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    is_over: bool,
}

pub(crate) struct Hashers(Arc<(Mutex<Queue>, Condvar)>);

impl Hashers {
    pub(crate) fn start(count: usize) -> Result<Self, Error> {
        let shared = Arc::<(Mutex<Queue>, Condvar)>::default();
        for _ in 0..count {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(NAME.into());
            let started = thread.spawn(move || {
                threads::lower_priority();
                run(&shared.0, &shared.1);
            });
            started.map_err(|error| Error::Down(format!("start a thread: {error}")))?;
        }
        Ok(Self(shared))
    }

    /// Has it done, `delay` from now, unless too many wait, of `origin` or in all, or it
    /// would wait too long: `work` is told so.
    pub(crate) fn submit(&self, origin: String, delay: Duration, work: Work) {
        let (queue, changed) = &*self.0;
        let since = Instant::now();
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let own = queue.waiting.iter().filter(|one| one.origin == origin);
        if own.count() >= OF_ONE || queue.waiting.len() >= WAITING {
            drop(queue);
            return work(Err(Error::Busy));
        }
        queue.waiting.push_back(Waiting {
            work,
            origin,
            since,
            from: since + delay,
        });
        changed.notify_one();
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().waiting.len()
    }
}

impl Drop for Hashers {
    fn drop(&mut self) {
        let (queue, changed) = &*self.0;
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.is_over = true;
        // Who waits is told by what is dropped with his work.
        queue.waiting.clear();
        changed.notify_all();
    }
}

/// What a thread does, until the worker ends.
fn run(queue: &Mutex<Queue>, changed: &Condvar) {
    let mut hasher = Hasher::default();
    let mut locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
    while !locked.is_over {
        let now = Instant::now();
        let due = locked.waiting.iter().position(|one| one.from <= now);
        let Some(one) = due.and_then(|at| locked.waiting.remove(at)) else {
            let next = locked.waiting.iter().map(|one| one.from).min();
            let pause = next.map_or(Duration::from_secs(3600), |at| at - now);
            let waited = changed.wait_timeout(locked, pause);
            (locked, _) = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(locked);
        let is_late = now.duration_since(one.since) > PATIENCE;
        let given = if is_late {
            Err(Error::Busy)
        } else {
            Ok(&mut hasher)
        };
        // It has functions of the program's in it. Who waits for its reply gets an error
        // when what is to send that is dropped.
        if catch_unwind(AssertUnwindSafe(|| (one.work)(given))).is_err() {
            log::error!("what was to be done with a password's hash panicked");
            hasher = Hasher::default();
        }
        locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn so_many_wait_and_no_more() {
        let hashers = Hashers::start(1).unwrap();
        let (go, may_go) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let first = tell.clone();
        hashers.submit(
            "first".into(),
            Duration::ZERO,
            Box::new(move |_| {
                first.send(true).unwrap();
                let _until_told = may_go.recv();
            }),
        );
        assert!(told.recv().unwrap());
        for n in 0..WAITING + 10 {
            let tell = tell.clone();
            let work: Work = Box::new(move |hasher| tell.send(hasher.is_ok()).unwrap());
            hashers.submit((n / OF_ONE).to_string(), Duration::ZERO, work);
        }
        assert_eq!(hashers.waiting(), WAITING);
        go.send(()).unwrap();
        drop(tell);
        let results: Vec<bool> = told.iter().collect();
        let refused = results.iter().filter(|is_ok| !**is_ok).count();
        assert_eq!((results.len(), refused), (WAITING + 10, 10));
    }

    #[test]
    fn who_is_delayed_keeps_nobody_else_waiting() {
        let hashers = Hashers::start(1).unwrap();
        let (tell, told) = mpsc::channel();
        for (name, delay) in [("late", 300), ("now", 0)] {
            let tell = tell.clone();
            let work: Work = Box::new(move |_| tell.send(name).unwrap());
            hashers.submit(delay.to_string(), Duration::from_millis(delay), work);
        }
        drop(tell);
        assert_eq!(told.iter().collect::<Vec<_>>(), ["now", "late"]);
    }

    #[test]
    fn one_origin_has_few_places_and_a_panic_ends_no_thread() {
        let hashers = Hashers::start(1).unwrap();
        let (tell, told) = mpsc::channel();
        hashers.submit(
            "a".into(),
            Duration::ZERO,
            Box::new(|_| panic!("on purpose")),
        );
        let submit = |origin: &str, delay| {
            let tell = tell.clone();
            let work: Work = Box::new(move |hasher| tell.send(hasher.is_ok()).unwrap());
            hashers.submit(origin.into(), delay, work);
        };
        let later = Duration::from_secs(3600);
        for _ in 0..=OF_ONE {
            submit("b", later);
        }
        assert!(!told.recv().unwrap(), "one too many of b");
        submit("c", Duration::ZERO);
        assert!(told.recv().unwrap(), "others go on");
    }
}
