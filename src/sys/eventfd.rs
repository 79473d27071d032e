//! A bell: one thread or process rings, another sleeps in epoll on it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes whoever has it in an epoll. Ringing twice wakes once.
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// A silent bell, non-blocking, closed on exec.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    /// The same bell under another descriptor, for a process to keep when the
    /// other one is closed.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::from(self.0.as_fd().try_clone_to_owned()?))
    }

    /// Wakes the sleeper, or makes its next wait return at once.
    pub fn ring(&self) {
        // Fails only when the counter is at its maximum; then the sleeper has
        // been woken already and has not looked yet.
        let _already_ringing = self.0.write(1);
    }

    /// As [`Self::ring`], of a bell whose open file is also a stranger's, who
    /// may have made it a blocking one and full: then it rings already.
    pub fn ring_shared(&self) {
        if self.would_be_ready(PollFlags::POLLOUT) {
            self.ring();
        }
    }

    /// As [`Self::hush`], likewise: it may be silent by now.
    pub fn hush_shared(&self) {
        if self.would_be_ready(PollFlags::POLLIN) {
            self.hush();
        }
    }

    fn would_be_ready(&self, what: PollFlags) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), what)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// Makes the bell silent. Do this *before* looking at what it announces:
    /// the other order loses what is announced in between.
    pub fn hush(&self) {
        let _was_silent = self.0.read();
    }
}

/// A bell that was inherited from the process before, as [`Bell::new`] made it.
impl From<OwnedFd> for Bell {
    fn from(bell: OwnedFd) -> Self {
        // SAFETY: of any other descriptor reads and writes fail, which a bell
        // takes for silence; no memory is touched.
        Self(unsafe { EventFd::from_owned_fd(bell) })
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, Events, Interest};
    use std::time::Duration;

    #[test]
    fn one_that_a_stranger_filled_and_made_blocking_waits_for_nobody() {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};

        let bell = Bell::new().unwrap();
        fcntl(&bell, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        bell.hush_shared();
        bell.0.write(u64::MAX - 1).unwrap();
        bell.ring_shared();
        bell.hush_shared();
        bell.hush_shared();
        bell.ring_shared();
        assert!(bell.would_be_ready(PollFlags::POLLIN));
    }

    #[test]
    fn it_rings_until_hushed() {
        let bell = Bell::new().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(&bell, Interest::Read, 3).unwrap();
        let mut events = Events::with_capacity(4);
        let mut rings = |epoll: &Epoll| {
            epoll
                .wait(&mut events, Some(Duration::ZERO))
                .unwrap()
                .count()
        };
        assert_eq!(rings(&epoll), 0);
        bell.ring();
        bell.ring();
        assert_eq!(rings(&epoll), 1);
        assert_eq!(rings(&epoll), 1, "level-triggered until hushed");
        bell.hush();
        assert_eq!(rings(&epoll), 0);
        bell.hush();
    }
}
