//! The lines of some threads, kept for who wants to read them: the test of a server
//! that runs in its process. Any thread.
//!
//! A thread that is not told otherwise has none; who starts threads for it passes
//! its own on.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::log::LevelFilter;

thread_local! {
    static TAP: RefCell<Option<Tap>> = const { RefCell::new(None) };
}

/// Lines that were written, from the first to the last.
#[derive(Clone)]
pub struct Tap(Arc<Kept>);

struct Kept {
    level: LevelFilter,
    lines: Mutex<Vec<String>>,
    added: Condvar,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tap({} lines)", self.lock().len())
    }
}

impl Tap {
    /// For lines of this level and above.
    pub(super) fn new(level: LevelFilter) -> Self {
        Self(Arc::new(Kept {
            level,
            lines: Mutex::default(),
            added: Condvar::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // Lines are whole whenever the lock is free.
        (self.0.lines.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn takes(&self, level: ::log::Level) -> bool {
        level <= self.0.level
    }

    pub(super) fn put(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        self.lock().push(line);
        self.0.added.notify_all();
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// The first line that contains `text`, once it is there; `None`: not within
    /// `patience`.
    #[must_use]
    pub fn wait(&self, text: &str, patience: Duration) -> Option<String> {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let is_missing = |lines: &mut Vec<String>| find(lines).is_none();
        let waited = (self.0.added).wait_timeout_while(self.lock(), patience, is_missing);
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        find(&lines)
    }
}

/// Where the lines of the calling thread are kept.
#[must_use]
pub fn tap() -> Option<Tap> {
    TAP.try_with(|own| own.borrow().clone()).ok().flatten()
}

/// Keeps the lines of the calling thread there from now on.
pub fn keep_in(tap: Option<Tap>) {
    let _ending_thread = TAP.try_with(|own| own.replace(tap));
}
