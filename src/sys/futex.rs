//! Sleeping on a word that several processes map, and waking who sleeps there.
//!
//! The kernel compares 32 bits: of a word of 64 those at the lower end.

use std::sync::atomic::AtomicU64;

/// Sleeps until somebody calls [`wake`] on the word; not at all if its lower
/// half is no longer `expected`. May return for no reason: look again.
pub fn wait(word: &AtomicU64, expected: u32) {
    // SAFETY: the address is that of a word that outlives the call; the kernel
    // reads it and writes nothing. Without a time the fourth argument is null.
    // Every error (a signal, another value) means: look again.
    let _looked_again = unsafe {
        libc::syscall(
            libc::SYS_futex,
            low_half(word),
            libc::FUTEX_WAIT,
            expected,
            std::ptr::null::<libc::timespec>(),
        )
    };
}

/// Wakes one who sleeps on the word, in whatever process.
pub fn wake(word: &AtomicU64) {
    // SAFETY: the address names a mapped word; the kernel does not touch it.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, low_half(word), libc::FUTEX_WAKE, 1) };
}

fn low_half(word: &AtomicU64) -> *const u32 {
    let halves = word.as_ptr().cast_const().cast::<u32>();
    if cfg!(target_endian = "little") {
        halves
    } else {
        halves.wrapping_add(1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;
    use std::thread;

    use super::*;
    use crate::sys::memory::SharedWords;

    #[test]
    fn who_sleeps_in_one_mapping_is_woken_through_another() {
        let mine = SharedWords::new(1).unwrap();
        let file = mine.file().unwrap().as_fd().try_clone_to_owned().unwrap();
        let other = SharedWords::inherit(file).unwrap();
        let sleeper = thread::spawn(move || {
            while other[0].load(Ordering::SeqCst) == 0 {
                wait(&other[0], 0);
            }
        });
        mine[0].store(1 << 32 | 1, Ordering::SeqCst);
        while !sleeper.is_finished() {
            wake(&mine[0]);
            thread::yield_now();
        }
        sleeper.join().unwrap();
    }

    #[test]
    fn nobody_sleeps_on_another_value() {
        wait(&AtomicU64::new(7), 6);
    }
}
