//! Failures of the kernel, on demand: what a test of the rare errors needs.
//!
//! Only with the feature `failpoints`; without it a point is an empty function.
//! `PURLIN_FAILPOINTS` names a file of [`LEN`] little-endian 64-bit words, one
//! for each [`Point`] in order: how many of a million calls fail. All processes
//! map the file, so that a test changes the numbers while the server runs.
//!
//! The errors are those that the kernel's manual pages name as passing.

/// Words of the file.
pub const LEN: usize = 8;

/// A system call that may fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    /// `accept4`.
    Accept,
    /// `epoll_wait`.
    Wait,
    /// `epoll_ctl`, adding.
    Register,
    /// `recv`.
    Receive,
    /// `send`.
    Send,
    /// `fork`.
    Fork,
    /// `mmap`.
    Map,
}

/// Fails as often as the file says.
///
/// # Errors
///
/// One of those that the call may really return.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(super) fn point(_: Point) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub(super) use armed::point;

#[cfg(feature = "failpoints")]
mod armed {
    use std::cell::Cell;
    use std::fs::File;
    use std::hash::{BuildHasher, RandomState};
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    use super::{LEN, Point};
    use crate::sys::memory::SharedWords;

    impl Point {
        const fn errors(self) -> &'static [i32] {
            match self {
                Self::Accept => &[
                    libc::EMFILE,
                    libc::ENFILE,
                    libc::ENOMEM,
                    libc::EINTR,
                    libc::ECONNABORTED,
                ],
                Self::Wait => &[libc::EINTR],
                Self::Register => &[libc::ENOMEM, libc::ENOSPC],
                Self::Receive => &[libc::EINTR, libc::ENOMEM],
                Self::Send => &[libc::EINTR, libc::ENOMEM, libc::ENOBUFS],
                Self::Fork => &[libc::EAGAIN, libc::ENOMEM],
                Self::Map => &[libc::ENOMEM],
            }
        }
    }

    pub(in crate::sys) fn point(point: Point) -> io::Result<()> {
        let Some(words) = words() else { return Ok(()) };
        let chance = words[point as usize].load(Ordering::Relaxed);
        let dice = throw();
        if chance == 0 || dice % 1_000_000 >= chance {
            return Ok(());
        }
        let errors = point.errors();
        let which = usize::try_from(dice >> 32).unwrap_or(0) % errors.len();
        Err(io::Error::from_raw_os_error(errors[which]))
    }

    fn words() -> Option<&'static SharedWords> {
        static WORDS: OnceLock<Option<SharedWords>> = OnceLock::new();
        WORDS
            .get_or_init(|| {
                let path = std::env::var_os("PURLIN_FAILPOINTS")?;
                let file = File::options().read(true).write(true).open(&path);
                let words = file.and_then(|file| SharedWords::of_file(file.into(), LEN));
                Some(words.unwrap_or_else(|error| panic!("PURLIN_FAILPOINTS={path:?}: {error}")))
            })
            .as_ref()
    }

    /// A number that nobody foresees (xorshift64*), by thread.
    fn throw() -> u64 {
        thread_local! {
            static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
        }
        STATE.with(|state| {
            let mut x = state.get();
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            state.set(x);
            x.wrapping_mul(0x2545_F491_4F6C_DD1D)
        })
    }
}
