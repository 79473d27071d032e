//! Locks and atomics that the loom model checker can see into.
//!
//! Mailbox, run queue and turn use these; under `--cfg loom` they become
//! loom's, which tries every interleaving. Outside of it they are std's.

#[cfg(not(loom))]
pub use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// Locks `mutex`.
///
/// # Panics
///
/// When another thread panicked while it held the lock. Handlers run outside
/// of all locks and their panics are caught, so what is half-changed then is
/// our own state: the worker must die and be replaced.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("a thread died while it changed this state")
}

/// Locks `mutex` unless another thread has it.
///
/// # Panics
///
/// As [`lock`].
pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::WouldBlock) => None,
        Err(std::sync::TryLockError::Poisoned(_)) => {
            panic!("a thread died while it changed this state")
        }
    }
}
