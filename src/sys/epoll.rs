//! epoll: which of many descriptors may be read or written now.
//!
//! A registration carries 64 bits of the caller's choice, its *token*; the
//! kernel gives it back with every event. Registrations outlive `close(2)`
//! while any copy of the descriptor exists (a forked child, a message in
//! flight), so they are always deleted explicitly.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::epoll as kernel;
use nix::sys::epoll::{EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::fault::{self, Point};

/// What to be told about a descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Readable, peer's end-of-file included; told again while it lasts.
    Read,
    /// Readable, peer's end-of-file included; told once for each arrival
    /// (`EPOLLET`), so the reader must read until there is nothing.
    ReadEdge,
    /// Readable, and of all the processes that wait only some are woken
    /// (`EPOLLEXCLUSIVE`): for listeners that several workers share.
    ReadExclusive,
    /// The other end is gone, and nothing else.
    HangUp,
    /// Room to write; told once, then silent until [`Epoll::rearm`].
    WriteOnce,
    /// Readable; told once, then silent until [`Epoll::rearm`].
    ReadOnce,
    /// Readable, or room to write; told again while it lasts.
    ReadWrite,
}

impl Interest {
    const fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN,
            Self::ReadEdge => EpollFlags::EPOLLIN
                .union(EpollFlags::EPOLLRDHUP)
                .union(EpollFlags::EPOLLET),
            Self::ReadExclusive => EpollFlags::EPOLLIN.union(EpollFlags::EPOLLEXCLUSIVE),
            // The kernel tells it unasked.
            Self::HangUp => EpollFlags::empty(),
            Self::WriteOnce => EpollFlags::EPOLLOUT.union(EpollFlags::EPOLLONESHOT),
            Self::ReadOnce => EpollFlags::EPOLLIN.union(EpollFlags::EPOLLONESHOT),
            Self::ReadWrite => EpollFlags::EPOLLIN.union(EpollFlags::EPOLLOUT),
        }
    }
}

/// What happened to the descriptor registered under a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// The number given at registration.
    pub token: u64,
    /// The connection is broken or hung up in both directions.
    pub broken: bool,
    /// The end of the stream, or a reset, is there to be read: with
    /// [`Interest::ReadEdge`] nothing will be told again.
    pub ends: bool,
}

/// Room for the events of one wait.
#[derive(Debug)]
pub struct Events(Vec<EpollEvent>);

const _: () = assert!(size_of::<EpollEvent>() == size_of::<libc::epoll_event>());

impl Events {
    /// Room for `capacity` events a wait.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(vec![EpollEvent::empty(); capacity])
    }

    fn first(&self, count: usize) -> impl Iterator<Item = Event> + '_ {
        self.0[..count].iter().map(|event| Event {
            token: event.data(),
            broken: event
                .events()
                .intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
            ends: event
                .events()
                .intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP),
        })
    }
}

/// One epoll instance. Registering is allowed from any thread.
#[derive(Debug)]
pub struct Epoll(kernel::Epoll);

impl Epoll {
    /// A new instance, closed on exec.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`: the process cannot serve; end it.
    pub fn new() -> io::Result<Self> {
        Ok(Self(kernel::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Registers `fd` under `token`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `ENOMEM` at the kernel's limits: close the descriptor.
    /// `EEXIST` when it is registered already.
    pub fn add(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        fault::point(Point::Register)?;
        Ok(self.0.add(fd, EpollEvent::new(interest.flags(), token))?)
    }

    /// Arms a [`Interest::WriteOnce`] registration again, or gives `fd` another
    /// interest.
    ///
    /// # Errors
    ///
    /// `ENOENT` when `fd` is not registered.
    pub fn rearm(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), token);
        Ok(self.0.modify(fd, &mut event)?)
    }

    /// Forgets `fd`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when it was not registered.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.0.delete(fd)?)
    }

    /// Waits until something happens or `timeout` passes (`None`: for ever).
    ///
    /// A signal that interrupts the wait gives no events and no error.
    ///
    /// # Errors
    ///
    /// Only when the descriptor is not an epoll instance: a programming error.
    pub fn wait<'a>(
        &self,
        events: &'a mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = Event> + 'a> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            // Rounded up: a wait that ends before its deadline would spin.
            Some(limit) => {
                let millis = limit.as_nanos().div_ceil(1_000_000);
                EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX))
                    .unwrap_or(EpollTimeout::NONE)
            }
        };
        let waited = fault::point(Point::Wait)
            .and_then(|()| self.0.wait(&mut events.0, timeout).map_err(io::Error::from));
        let count = match waited {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(events.first(count))
    }

    /// As [`Self::wait`], with a timeout that is exact to the microsecond, not
    /// rounded up to the next millisecond.
    ///
    /// # Errors
    ///
    /// As there, and `ENOSYS` on a Linux before 5.11: wait in milliseconds.
    pub fn wait_exactly<'a>(
        &self,
        events: &'a mut Events,
        timeout: Duration,
    ) -> io::Result<impl Iterator<Item = Event> + 'a> {
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
        };
        let room = libc::c_int::try_from(events.0.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the kernel writes at most `room` events, all of them within
        // `events`, whose element is a `libc::epoll_event` and nothing else; a
        // null signal mask leaves that of the thread alone.
        let count = unsafe {
            libc::epoll_pwait2(
                self.0.0.as_raw_fd(),
                events.0.as_mut_ptr().cast(),
                room,
                &raw const limit,
                std::ptr::null(),
            )
        };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        Ok(events.first(count))
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// Two copies name one open file: what happens to one happens to both.
///
/// # Errors
///
/// `EMFILE` at the limit of descriptors.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn tokens_come_back_and_one_shot_is_one_shot() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_capacity(8);
        epoll.add(&far, Interest::Read, u64::MAX - 1).unwrap();
        near.write_all(b"x").unwrap();
        let seen: Vec<Event> = epoll.wait(&mut events, None).unwrap().collect();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].token, u64::MAX - 1);
        assert!(!seen[0].broken);

        epoll.add(&near, Interest::WriteOnce, 7).unwrap();
        epoll.delete(&far).unwrap();
        let now = Some(Duration::ZERO);
        assert_eq!(epoll.wait(&mut events, now).unwrap().count(), 1);
        assert_eq!(epoll.wait(&mut events, now).unwrap().count(), 0);
        epoll.rearm(&near, Interest::WriteOnce, 7).unwrap();
        assert_eq!(epoll.wait(&mut events, now).unwrap().count(), 1);
    }

    #[test]
    fn an_interest_in_both_is_told_of_both_and_an_exact_wait_of_everything() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_capacity(8);
        let begin = Instant::now();
        let short = Duration::from_micros(300);
        assert_eq!(epoll.wait_exactly(&mut events, short).unwrap().count(), 0);
        assert!(begin.elapsed() >= short);
        epoll.add(&far, Interest::ReadWrite, 5).unwrap();
        let long = Duration::from_secs(10);
        for _ in 0..2 {
            let seen: Vec<Event> = epoll.wait_exactly(&mut events, long).unwrap().collect();
            assert_eq!(seen.len(), 1);
            assert_eq!((seen[0].token, seen[0].broken), (5, false));
        }
        epoll.rearm(&far, Interest::Read, 5).unwrap();
        let none = Duration::ZERO;
        assert_eq!(epoll.wait_exactly(&mut events, none).unwrap().count(), 0);
        near.write_all(b"x").unwrap();
        assert_eq!(epoll.wait_exactly(&mut events, long).unwrap().count(), 1);
    }

    #[test]
    fn deleting_what_was_never_added_is_an_error() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert!(Epoll::new().unwrap().delete(&near).is_err());
    }
}
