//! A word of shared memory that belongs to the calling thread, found without
//! being handed down: where it says what it is doing.
//!
//! A load, a test and a store: under a nanosecond. What the word means is for
//! the owner to say (see `scoreboard`).

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// Null, or the word of an enclosing [`with`].
    static WORD: Cell<*const AtomicU64> = const { Cell::new(ptr::null()) };
}

/// Runs `work`, during which `word` is the calling thread's. No other thread may
/// write to it meanwhile: what it writes would be lost.
pub fn with<R>(word: &AtomicU64, work: impl FnOnce() -> R) -> R {
    let _back = Back(WORD.replace(word));
    work()
}

/// Gives the thread the word that it had before, on unwinding as well.
struct Back(*const AtomicU64);

impl Drop for Back {
    fn drop(&mut self) {
        WORD.set(self.0);
    }
}

/// Changes the thread's word, if it has one. Relaxed: the word is a fact of its
/// own and announces no other.
#[inline]
pub fn change(change: impl FnOnce(u64) -> u64) {
    let word = WORD.get();
    // SAFETY: only `with` stores a pointer that is not null, made from a borrow
    // that lasts until it has taken the pointer back; no other thread sees it.
    if let Some(word) = unsafe { word.as_ref() } {
        word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_innermost_one_and_none_outside() {
        let (outer, inner) = (AtomicU64::new(0), AtomicU64::new(0));
        change(|_| unreachable!("this thread has no word"));
        with(&outer, || {
            change(|word| word + 1);
            let panicked = std::panic::catch_unwind(|| {
                with(&inner, || {
                    change(|word| word + 10);
                    std::panic::resume_unwind(Box::new("as asked"));
                })
            });
            assert!(panicked.is_err());
            change(|word| word + 1);
        });
        change(|_| unreachable!("this thread has no word any more"));
        assert_eq!((outer.into_inner(), inner.into_inner()), (2, 10));
    }

    #[test]
    fn another_thread_has_another_word() {
        let word = AtomicU64::new(0);
        with(&word, || {
            std::thread::scope(|scope| {
                scope.spawn(|| change(|_| 7));
            });
        });
        assert_eq!(word.into_inner(), 0);
    }
}
