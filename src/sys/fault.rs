//! Failures of the kernel and sudden deaths, on demand: what a test of the rare
//! errors needs.
//!
//! Only with the feature `failpoints`; without it a point is an empty function.
//! `PURLIN_FAILPOINTS` names a file of [`LEN`] little-endian 64-bit words. The
//! first are for each [`Point`] in order: how many of a million calls fail.
//! Those from [`SPOTS`] on are for each [`Spot`] in order: at which visit,
//! counted down to 0, the visitor kills itself; with [`STOP`] in the number it stops
//! itself, as by a SIGSTOP of an operator. All processes map the file, so
//! that a test changes the numbers while the server runs, and one number kills
//! one process.
//!
//! The errors are those that the kernel's manual pages name as passing.

/// Words of the file.
pub const LEN: usize = 64;

/// The word of the first [`Spot`].
pub const SPOTS: usize = 8;

/// In the word of a [`Spot`]: the visitor is stopped, not killed.
pub const STOP: u64 = 1 << 63;

macro_rules! spots {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A place in the code where a process can be killed at the worst
        /// moment.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Spot { $($(#[doc = $doc])+ $name,)+ }

        impl Spot {
            /// All of them, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

spots! {
    /// A worker has seen that the accept mutex is its own, and its epoll has no
    /// listener.
    TurnCame,
    /// It has the listeners in its epoll.
    ListenersWatched,
    /// It has taken them out and still has the accept mutex.
    ListenersUnwatched,
    /// The accept mutex was moved, and its new owner was not woken.
    TurnMoved,
    /// It was.
    TurnRung,
    /// Somebody's standing was changed, and the accept mutex was not looked at.
    StandingChanged,
    /// There is a slot for the next connection.
    BeforeAccept,
    /// It was accepted; nobody knows of it.
    Accepted,
    /// It was counted for its address.
    AddressCounted,
    /// It is in the epoll.
    Registered,
    /// It was counted as live.
    Settled,
    /// Bytes of it were read.
    Received,
    /// They were handled; nothing was written.
    Served,
    /// The reply was written.
    Replied,
    /// Nobody finds it any more; it still counts for its address.
    Decided,
    /// It is about to be closed.
    Recycling,
    /// A new worker, right after the fork.
    Forked,
    /// It is about to say that it serves.
    BeforeReady,
    /// It has said so.
    Ready,
    /// A worker has got an order.
    Ordered,
    /// It drains: it has given the accept mutex away.
    Draining,
    /// It has drained.
    Drained,
    /// The master has forked and knows nobody of that pid yet.
    HasForked,
    /// It is about to tell a worker something.
    Telling,
    /// It has heard that a worker is ready.
    HeardReady,
    /// It has reaped a worker, whose turn and counts are still there.
    Reaped,
    /// It has passed the accept mutex on.
    Released,
    /// It is adding what the dead one counted to the totals.
    Folding,
    /// A message is in a ring of the bus, and its reader sees nothing of it.
    Recording,
    /// The reader sees it, and was not woken.
    Recorded,
    /// Connections are packed; the worker that is to have them knows nothing of it.
    Offering,
    /// They are on their way.
    Offered,
    /// They are in their new worker, which has not said so.
    Deciding,
    /// It has said so.
    Verdicts,
    /// Their old worker lets them go, and nobody says anything meanwhile.
    LettingGo,
    /// They are gone there, and what was said to them last is not passed on.
    PassingOn,
    /// It was passed on, but for the mark of its end.
    PassedOn,
}

const _: () = assert!(SPOTS + Spot::ALL.len() <= LEN);

impl Spot {
    /// Whether a process comes there only where workers say something to each other's
    /// connections, or hand some over.
    #[must_use]
    pub const fn is_between_workers(self) -> bool {
        self as usize >= Self::Recording as usize
    }
}

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

/// Kills the calling process when its visit is the one that the file says.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn kill_point(_: Spot) {}

#[cfg(feature = "failpoints")]
pub use armed::kill_point;
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

    use super::{LEN, Point, SPOTS, STOP, Spot};
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

    /// See the empty one.
    pub fn kill_point(spot: Spot) {
        let Some(words) = words() else { return };
        let word = &words[SPOTS + spot as usize];
        if word.load(Ordering::Relaxed) == 0 {
            return;
        }
        let down = |word: u64| match word & !STOP {
            0 => None,
            1 => Some(0),
            _ => Some(word - 1),
        };
        let visit = word.try_update(Ordering::Relaxed, Ordering::Relaxed, down);
        if visit == Ok(1 | STOP) {
            let _goes_on_here = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
        if visit == Ok(1) {
            let _it_never_returns = crate::sys::process::kill(crate::sys::process::Pid::own());
        }
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
