//! A counting semaphore that costs no system call while nobody waits, as
//! glibc's does not.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Counts posts that nobody has taken yet. Any thread.
#[derive(Debug, Default)]
pub(crate) struct Semaphore {
    state: Mutex<State>,
    posted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    waiting: usize,
}

impl Semaphore {
    /// One more may pass.
    pub(crate) fn post(&self) {
        let mut state = self.lock();
        state.count += 1;
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            self.posted.notify_one();
        }
    }

    /// Passes, or sleeps until it may.
    pub(crate) fn wait(&self) {
        let mut state = self.lock();
        while state.count == 0 {
            state.waiting += 1;
            state = self
                .posted
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.count -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
