//! Whose the listeners are now: this worker's alone, everybody's, or theirs
//! who hold the accept mutex.
//!
//! ```text
//!             the mutex comes            full, out of descriptors
//! NotHolder --------------> Yes ---------------------------------> PoolFull,
//!      ^  <----------------/                                   OutOfDescriptors
//!      |    handed over, taken away                                   |
//!      +--------------------------------------------------------------+
//!                     a slot is free again, 100 ms passed
//! ```
//!
//! Without a mutex, `NotHolder` is passed through at once.
//!
//! Invariant: the listeners are in the epoll exactly while the state is `Yes`;
//! they leave it *before* the mutex does. All of it on the reactor thread.

use std::io;
use std::os::fd::OwnedFd;

use super::{ACCEPT_BELL, Accepting, LISTENER, Reactor};
use crate::net::accept_mutex::{AcceptMutex, Contender, Owner};
use crate::scoreboard::{Counter, Scoreboard};
use crate::sys::epoll::Interest;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::Ordering;
use crate::worker::setup::Accept;

/// Connections accepted from a listener of one's own before the others are
/// served.
const BATCH: usize = 64;

/// Accepts after which a listener is registered anew: the kernel wakes the one
/// who came last, so a worker that stays would starve or be buried.
const EXCLUSIVE_ACCEPTS: u32 = 16;

/// This worker's share of the listeners.
pub(in crate::worker) enum AcceptMode {
    /// Nobody else accepts from these sockets.
    Own,
    /// Others do, whenever the kernel wakes them.
    Exclusive {
        /// Since the registration.
        accepts: u32,
    },
    /// Whoever holds the mutex does.
    Mutex {
        contender: Contender<Scoreboard>,
        board: Scoreboard,
        row: usize,
    },
}

impl AcceptMode {
    pub(in crate::worker) fn new(accept: Accept, row: u8, epoch: u16) -> Self {
        match accept {
            Accept::ReusePort => Self::Own,
            Accept::Exclusive => Self::Exclusive { accepts: 0 },
            Accept::Mutex(board) => {
                let mutex = AcceptMutex::new(board.clone());
                Self::Mutex {
                    contender: Contender::new(mutex, Owner { row, epoch }),
                    board,
                    row: row.into(),
                }
            }
        }
    }

    /// Connections that may be taken at once. From a shared listener only the
    /// one that was announced: no call is in vain, and whoever has the mutex
    /// next, or was woken beside us, takes the next.
    pub(super) const fn batch(&self) -> usize {
        match self {
            Self::Own => BATCH,
            Self::Exclusive { .. } | Self::Mutex { .. } => 1,
        }
    }

    /// Whether nobody is known to accept from these sockets, after this worker
    /// has left.
    pub(super) fn is_left_by_all(&self) -> bool {
        match self {
            Self::Own | Self::Exclusive { .. } => true,
            Self::Mutex { board, .. } => AcceptMutex::new(board.clone()).holder().is_none(),
        }
    }
}

impl Reactor<'_> {
    /// Begins to take part: clients are served from now on.
    ///
    /// # Errors
    ///
    /// Those of epoll: without listeners the worker is of no use.
    pub(super) fn begin_accepting(&mut self) -> io::Result<()> {
        if let AcceptMode::Mutex {
            contender,
            board,
            row,
        } = &mut self.accept_mode
        {
            self.epoll
                .add(board.bell(*row), Interest::Read, ACCEPT_BELL)?;
            contender.open();
        } else {
            self.watch_listeners()?;
            self.accepting = Accepting::Yes;
        }
        self.check_accept_mutex();
        Ok(())
    }

    /// Accepts from `socket` as from listener `like`: the worker that it
    /// belonged to leaves.
    pub(super) fn adopt(&mut self, like: usize, socket: OwnedFd) {
        let Some(like) = self.listeners.get(like) else {
            // None of them: the worker drains.
            return;
        };
        let adopted = like.with(socket);
        let token = LISTENER - self.listeners.len() as u64;
        if self.accepting == Accepting::Yes
            && let Err(error) = self.epoll.add(&adopted.socket, Interest::Read, token)
        {
            ::log::error!("accept from another worker's {adopted}: {error}");
        }
        self.listeners.push(adopted);
    }

    /// Our bell has rung. It must be silent before the mutex is looked at: the
    /// other order would lose a mutex that comes in between.
    pub(super) fn answer_accept_bell(&mut self) {
        if let AcceptMode::Mutex { board, row, .. } = &self.accept_mode {
            board.bell(*row).hush_shared();
            self.shared.row.count(Counter::TurnWakes);
        }
        self.check_accept_mutex();
    }

    /// Brings the epoll in line with the mutex: it may have come, or have been
    /// taken away while this process was stopped. FollowUp every wait.
    pub(super) fn check_accept_mutex(&mut self) {
        let AcceptMode::Mutex { contender, .. } = &mut self.accept_mode else {
            return;
        };
        match (self.accepting, contender.check()) {
            (Accepting::NotHolder, true) => {
                self.shared.row.count(Counter::TurnsTaken);
                kill_point(Spot::TurnCame);
                self.resume_accepting();
            }
            (Accepting::Yes, false) => {
                self.unwatch_listeners();
                self.accepting = Accepting::NotHolder;
            }
            _ => {}
        }
    }

    /// Whether to accept now. Gives the mutex away when it is another's due.
    pub(super) fn may_accept(&mut self) -> bool {
        self.check_accept_mutex();
        while let (Accepting::Yes, AcceptMode::Mutex { contender, .. }) =
            (self.accepting, &mut self.accept_mode)
        {
            let Some(peer) = contender.successor() else {
                break;
            };
            self.hand_over_accept_mutex(peer);
        }
        self.accepting == Accepting::Yes
    }

    fn hand_over_accept_mutex(&mut self, peer: Owner) {
        self.unwatch_listeners();
        kill_point(Spot::ListenersUnwatched);
        self.accepting = Accepting::NotHolder;
        let AcceptMode::Mutex { contender, .. } = &mut self.accept_mode else {
            return;
        };
        if contender.hand_over(peer) {
            // The peer died or filled up meanwhile.
            self.resume_accepting();
        } else {
            self.shared.row.count(Counter::TurnsHandedOver);
        }
    }

    /// Takes note of an accepted connection, which is counted already.
    pub(super) fn accepted_one(&mut self) {
        match &mut self.accept_mode {
            AcceptMode::Own => {}
            AcceptMode::Exclusive { accepts } => {
                *accepts += 1;
                if *accepts >= EXCLUSIVE_ACCEPTS {
                    *accepts = 0;
                    self.unwatch_listeners();
                    self.resume_accepting();
                }
            }
            AcceptMode::Mutex { contender, .. } => {
                contender.accepted(1);
                self.may_accept();
            }
        }
    }

    /// Stops accepting for this reason; clients wait in the kernel's backlog,
    /// or for the next worker to have the mutex.
    pub(super) fn pause_accepting(&mut self, why: Accepting) {
        if self.accepting == Accepting::Over {
            return;
        }
        if self.accepting == Accepting::Yes {
            self.unwatch_listeners();
        }
        self.accepting = why;
        if let AcceptMode::Mutex { contender, .. } = &mut self.accept_mode {
            if why == Accepting::Over {
                contender.drain();
            } else {
                contender.fill();
            }
        }
    }

    /// There may be room again.
    pub(super) fn accept_again(&mut self) {
        if !matches!(
            self.accepting,
            Accepting::PoolFull { .. } | Accepting::OutOfDescriptors { .. }
        ) {
            return;
        }
        if matches!(self.accepting, Accepting::OutOfDescriptors { .. })
            && self.reserve.is_next(self.control.descriptor())
        {
            self.shared.wants_vacancy.store(true, Ordering::SeqCst);
            self.accepting = Accepting::out_of_descriptors(self.now);
            let _tried_again_anyway = self.make_room();
            return;
        }
        if let AcceptMode::Mutex { contender, .. } = &mut self.accept_mode {
            contender.open();
            self.accepting = Accepting::NotHolder;
            self.check_accept_mutex();
        } else {
            self.resume_accepting();
        }
    }

    fn resume_accepting(&mut self) {
        if self.watch_listeners().is_ok() {
            kill_point(Spot::ListenersWatched);
            self.accepting = Accepting::Yes;
        } else {
            // None of them is registered; the kernel's memory is as scarce as
            // descriptors.
            self.accepting = Accepting::NotHolder;
            self.pause_accepting(Accepting::out_of_descriptors(self.now));
        }
    }

    /// Registers all listeners or none.
    fn watch_listeners(&self) -> io::Result<()> {
        let interest = match self.accept_mode {
            AcceptMode::Own | AcceptMode::Mutex { .. } => Interest::Read,
            AcceptMode::Exclusive { .. } => Interest::ReadExclusive,
        };
        let watched = (0..)
            .zip(&self.listeners)
            .try_for_each(|(token, listener)| {
                self.epoll.add(&listener.socket, interest, LISTENER - token)
            });
        watched.inspect_err(|_| self.unwatch_listeners())
    }

    fn unwatch_listeners(&self) {
        for listener in &self.listeners {
            let _gone = self.epoll.delete(&listener.socket);
        }
    }
}
