//! The line between the master and one worker, both ways.
//!
//! ```text
//! master --- orders, with descriptors: a channel that refuses all else ---> worker
//! master <-- letters: memory of the two, and a bell that says so ---------- worker
//! ```
//!
//! Made before the fork; each process keeps one end and closes the other.
//!
//! Invariant: nothing that the master does with its end waits for the worker.
//! It sends without waiting, receives nothing over the channel, and does not
//! read the bell, whose open file the worker shares: each ring is an edge.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::message::ToMaster;
use super::outbox::{Inbox, LETTERS, Nonsense, Outbox};
use crate::sys::channel::Channel;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::eventfd::Bell;

/// Times in a second that a worker may ask to be heard. It has a letter to say
/// for each order of an operator, and a handful of its own.
const RINGS_PER_SECOND: u32 = 1000;

/// The master's end.
#[derive(Debug)]
pub(in crate::master) struct MasterEnd {
    pub(super) channel: Channel,
    inbox: Inbox,
    bell: Bell,
    /// The second that this is about, and how often the bell rang in it.
    rings: (u64, u32),
}

/// The worker's end.
#[derive(Debug)]
pub(in crate::master) struct WorkerEnd {
    pub(super) channel: Channel,
    outbox: Outbox,
    bell: Bell,
    /// What the outbox had no room for.
    unsent: Mutex<VecDeque<Vec<u8>>>,
}

/// Both ends of a new line.
///
/// # Errors
///
/// `EMFILE`, `ENFILE` or `ENOMEM`.
pub(in crate::master) fn line() -> io::Result<(MasterEnd, WorkerEnd)> {
    let (ours, theirs) = Channel::pair()?;
    ours.refuse_all()?;
    let outbox = Outbox::new()?;
    let bell = Bell::new()?;
    let master = MasterEnd {
        channel: ours,
        inbox: Inbox::new(outbox.clone()),
        bell: bell.try_clone()?,
        rings: (0, 0),
    };
    let worker = WorkerEnd {
        channel: theirs,
        outbox,
        bell,
        unsent: Mutex::default(),
    };
    Ok((master, worker))
}

impl MasterEnd {
    /// Has `epoll` tell of letters, and of the worker's end.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `ENOMEM` at the kernel's limits.
    pub(in crate::master) fn listen(
        &self,
        epoll: &Epoll,
        (letter, end): (u64, u64),
    ) -> io::Result<()> {
        epoll.add(&self.channel, Interest::HangUp, end)?;
        epoll.add(&self.bell, Interest::ReadEdge, letter)
    }

    /// Has `epoll` tell no more of the worker's end: it would do so until the
    /// worker is reaped.
    pub(in crate::master) fn forget_end(&self, epoll: &Epoll) {
        let _deleted_before = epoll.delete(&self.channel);
    }

    /// Has `epoll` tell no more of letters.
    pub(in crate::master) fn forget_letters(&self, epoll: &Epoll) {
        let _deleted_before = epoll.delete(&self.bell);
    }

    /// Takes note that the bell rang, in this millisecond.
    ///
    /// # Errors
    ///
    /// [`Nonsense`]: so often no worker of ours has anything to say.
    pub(super) fn rang(&mut self, millis: u64) -> Result<(), Nonsense> {
        let second = millis / 1000;
        if self.rings.0 != second {
            self.rings = (second, 0);
        }
        self.rings.1 = self.rings.1.saturating_add(1);
        if self.rings.1 > RINGS_PER_SECOND {
            return Err(Nonsense);
        }
        Ok(())
    }

    /// The next letter, if there is one.
    ///
    /// # Errors
    ///
    /// [`Nonsense`]: no worker of ours says that.
    pub(super) fn hear(&mut self) -> Result<Option<ToMaster>, Nonsense> {
        let Some(letter) = self.inbox.take()? else {
            return Ok(None);
        };
        ToMaster::parse(&letter).map(Some).ok_or(Nonsense)
    }

    /// Letters that are heard at one ring: more than there is room for come with
    /// another ring.
    pub(super) const AT_ONCE: usize = LETTERS;
}

impl WorkerEnd {
    /// The end with the highest of the first `descriptors` numbers: see
    /// [`Channel::lift`].
    #[must_use]
    pub(super) fn lift(self, descriptors: u64) -> Self {
        let channel = self.channel.lift(descriptors);
        Self { channel, ..self }
    }

    /// Says `message`, now or when there is room. A master that is gone is
    /// noticed by the end of the channel.
    pub(super) fn say(&self, message: &ToMaster) {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        unsent.push_back(message.letter());
        self.put(&mut unsent);
    }

    /// Says what there was no room for.
    pub(super) fn say_on(&self) {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut unsent);
    }

    fn put(&self, unsent: &mut VecDeque<Vec<u8>>) {
        while let Some(letter) = unsent.front() {
            if !self.outbox.put(letter) {
                return;
            }
            unsent.pop_front();
            self.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::Events;
    use std::time::Duration;

    fn told(epoll: &Epoll) -> Vec<u64> {
        let mut events = Events::with_capacity(4);
        let batch = epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        batch.map(|event| event.token).collect()
    }

    #[test]
    fn each_letter_is_told_once_and_then_the_end() {
        let (mut master, worker) = line().unwrap();
        let epoll = Epoll::new().unwrap();
        master.listen(&epoll, (1, 2)).unwrap();
        assert!(told(&epoll).is_empty());
        for message in [ToMaster::Ready, ToMaster::Failed("no room".into())] {
            worker.say(&message);
            assert_eq!(told(&epoll), [1]);
            assert!(told(&epoll).is_empty(), "an edge");
            assert_eq!(master.hear(), Ok(Some(message)));
        }
        worker.say(&ToMaster::Listed);
        drop(worker);
        let mut both = told(&epoll);
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
        assert_eq!(master.hear(), Ok(Some(ToMaster::Listed)), "said before");
        master.forget_end(&epoll);
        assert!(told(&epoll).is_empty());
    }

    #[test]
    fn what_there_is_no_room_for_is_said_later() {
        let (mut master, worker) = line().unwrap();
        for _ in 0..3 * LETTERS {
            worker.say(&ToMaster::Listed);
        }
        for _ in 0..3 {
            for _ in 0..LETTERS {
                assert_eq!(master.hear(), Ok(Some(ToMaster::Listed)));
            }
            assert_eq!(master.hear(), Ok(None));
            worker.say_on();
        }
        assert_eq!(master.hear(), Ok(None));
    }

    #[test]
    fn a_bell_that_never_stops_is_nonsense_and_a_quick_one_is_not() {
        let (mut master, _worker) = line().unwrap();
        for second in 0..3 {
            for _ in 0..RINGS_PER_SECOND {
                assert_eq!(master.rang(second * 1000 + 5), Ok(()));
            }
        }
        assert_eq!(master.rang(2999), Err(Nonsense));
    }

    #[test]
    fn words_that_no_worker_says_are_nonsense() {
        let (mut master, worker) = line().unwrap();
        assert!(worker.outbox.put(b"dance"));
        assert_eq!(master.hear(), Err(Nonsense));
    }
}
