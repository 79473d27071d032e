//! The last descriptors of a process: kept for what must go on in a full house.
//!
//! The kernel gives the lowest free number, so the number of a descriptor tells
//! how many there are: one from the top of what is allowed means that almost all
//! are taken.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors that clients do not get, where so many are allowed.
const DESCRIPTORS: u64 = 16;

/// The top of the descriptors that this process may have.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    begins: RawFd,
}

impl Reserve {
    /// The reserve under the limit of now: 16, or a quarter of a limit below 64.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell the limit.
    pub fn new() -> io::Result<Self> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let begins = limit - DESCRIPTORS.min(limit / 4);
        Ok(Self {
            begins: RawFd::try_from(begins).unwrap_or(RawFd::MAX),
        })
    }

    /// Whether `newest`, just made, is of the reserve: no further one should be
    /// taken.
    #[must_use]
    pub fn is_touched_by(self, newest: BorrowedFd<'_>) -> bool {
        newest.as_raw_fd() >= self.begins
    }

    /// Whether the next descriptor would be of the reserve. Makes one to see it,
    /// a copy of `any`.
    #[must_use]
    pub fn is_next(self, any: BorrowedFd<'_>) -> bool {
        copy(any).is_none_or(|copy| self.is_touched_by(copy.as_fd()))
    }
}

/// Descriptors held for one purpose, each for nothing but its number.
#[derive(Debug)]
pub struct Spares {
    held: Vec<OwnedFd>,
    count: usize,
}

impl Spares {
    /// Holds `count` copies of `any`, or as many as there can be.
    #[must_use]
    pub fn new(count: usize, any: BorrowedFd<'_>) -> Self {
        let mut spares = Self {
            held: Vec::new(),
            count,
        };
        spares.refill(any);
        spares
    }

    /// Frees their numbers; `false`: there were none.
    pub fn release(&mut self) -> bool {
        let had_some = !self.held.is_empty();
        self.held.clear();
        had_some
    }

    /// Holds as many as at first again, if there can be so many.
    pub fn refill(&mut self, any: BorrowedFd<'_>) {
        while self.held.len() < self.count
            && let Some(spare) = copy(any)
        {
            self.held.push(spare);
        }
    }
}

/// A copy of `any` under the lowest free number.
fn copy(any: BorrowedFd<'_>) -> Option<OwnedFd> {
    // SAFETY: copies a descriptor that is borrowed for the call.
    let copy = unsafe { libc::fcntl(any.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
    // SAFETY: the kernel has just made it, and nobody else knows it.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_the_top_of_what_is_allowed() {
        let file = tempfile::tempfile().unwrap();
        let reserve = Reserve::new().unwrap();
        assert!(!reserve.is_next(file.as_fd()));
        let full = Reserve { begins: 3 };
        assert!(full.is_touched_by(file.as_fd()) && full.is_next(file.as_fd()));
    }

    #[test]
    fn spares_are_released_once_and_held_again() {
        let file = tempfile::tempfile().unwrap();
        let mut spares = Spares::new(2, file.as_fd());
        assert!(spares.release() && !spares.release());
        spares.refill(file.as_fd());
        assert!(spares.release());
    }
}
