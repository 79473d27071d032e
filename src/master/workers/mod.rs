//! The worker processes as the master knows them: which slot each has, and
//! the line to each. The master's thread alone uses it.

pub(super) mod child;
pub(super) mod line;
pub(super) mod message;
mod outbox;
pub(super) mod raw_lines;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::supervisor::{Generation, SlotId};
use crate::log;
use crate::net::accept_mutex::Owner;
use crate::net::{ConnId, UserName};
use crate::sys::channel::Channel;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::process::Pid;
use line::MasterEnd;
use message::{ToMaster, ToWorker};
use outbox::Nonsense;

/// Messages that may wait for a worker before it gets none of those that others can
/// answer as well.
const UNSENT: usize = 64;

/// A living worker, or one that was not buried yet.
pub(in crate::master) struct WorkerProcess {
    pub(in crate::master) pid: Pid,
    pub(in crate::master) slot: SlotId,
    pub(in crate::master) number: usize,
    pub(in crate::master) generation: Generation,
    pub(in crate::master) owner: Owner,
    pub(in crate::master) line: MasterEnd,
    /// What the line had no room for, with the files that go along.
    unsent: VecDeque<(ToWorker, Vec<OwnedFd>)>,
    /// The workers that it has lines to.
    pub(in crate::master) successors: Vec<Pid>,
    /// Why it ends, as far as it said so.
    pub(in crate::master) last_words: Option<String>,
    owed: Owed,
    /// It said what no worker says, and is not heard any more.
    pub(in crate::master) is_ignored: bool,
}

/// What the worker may still say: everything else is nonsense.
#[derive(Debug)]
struct Owed {
    ready: bool,
    lists: usize,
    kicks: Vec<ConnId>,
    user_kicks: Vec<UserName>,
    last_words: bool,
}

impl Owed {
    /// Of a worker that was just forked.
    const fn at_first() -> Self {
        Self {
            ready: true,
            lists: 0,
            kicks: Vec::new(),
            user_kicks: Vec::new(),
            last_words: true,
        }
    }

    fn asked(&mut self, message: ToWorker) {
        match message {
            ToWorker::List => self.lists += 1,
            ToWorker::Kick(id, _) => self.kicks.push(id),
            ToWorker::KickUser(user, _) => self.user_kicks.push(user),
            ToWorker::Refuse
            | ToWorker::Drain(_)
            | ToWorker::Retire(_)
            | ToWorker::Reopen
            | ToWorker::ReopenAccess
            | ToWorker::Successor(_)
            | ToWorker::Predecessor
            | ToWorker::LogLevel(_)
            | ToWorker::CheckAcceptMutex
            | ToWorker::Adopt(_) => {}
        }
    }

    fn said(&mut self, message: &ToMaster) -> Result<(), Nonsense> {
        let is_due = match message {
            ToMaster::Ready => std::mem::take(&mut self.ready),
            ToMaster::Failed(_) => std::mem::take(&mut self.last_words),
            ToMaster::Listed => {
                let is_due = self.lists > 0;
                self.lists -= usize::from(is_due);
                is_due
            }
            ToMaster::Kicked(id, _) => {
                let asked = self.kicks.iter().position(|asked| asked == id);
                asked.map(|at| self.kicks.swap_remove(at)).is_some()
            }
            ToMaster::KickedUser(user, _) => {
                let asked = self.user_kicks.iter().position(|asked| asked == user);
                asked.map(|at| self.user_kicks.swap_remove(at)).is_some()
            }
        };
        is_due.then_some(()).ok_or(Nonsense)
    }
}

impl WorkerProcess {
    pub(in crate::master) fn new(
        pid: Pid,
        (slot, number, generation): (SlotId, usize, Generation),
        owner: Owner,
        line: MasterEnd,
    ) -> Self {
        Self {
            pid,
            slot,
            number,
            generation,
            owner,
            line,
            unsent: VecDeque::new(),
            successors: Vec::new(),
            last_words: None,
            owed: Owed::at_first(),
            is_ignored: false,
        }
    }

    /// Tells the worker something, now or as soon as it listens again.
    pub(in crate::master) fn tell(&mut self, message: ToWorker) {
        self.hand(message, Vec::new());
    }

    /// Whether it takes what it is told: little of that waits.
    pub(in crate::master) fn reads(&self) -> bool {
        self.unsent.len() < UNSENT
    }

    /// Gives the worker one end of a line, with what it is for.
    pub(in crate::master) fn give(&mut self, message: ToWorker, line: Channel) {
        self.hand(message, vec![line.into()]);
    }

    /// As [`Self::tell`], and gives it `files`.
    pub(in crate::master) fn hand(&mut self, message: ToWorker, files: Vec<OwnedFd>) {
        self.owed.asked(message);
        self.unsent.push_back((message, files));
        self.send_on();
    }

    /// Has the worker look at the accept mutex. Who has not read what there is
    /// no room behind looks when it reads that.
    pub(in crate::master) fn wake(&mut self) {
        if self.unsent.is_empty() {
            self.tell(ToWorker::CheckAcceptMutex);
        }
    }

    fn send_on(&mut self) {
        while let Some((message, files)) = self.unsent.front() {
            match send(&self.line.channel, *message, files) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It is gone: its death is on its way here.
                Ok(()) | Err(_) => {
                    self.unsent.pop_front();
                }
            }
        }
    }

    /// What the worker said since it was heard last, in order, at most as much
    /// as one ring can stand for. Also whether it is a worker of ours: one that
    /// says what it was not asked for is to be ended.
    pub(in crate::master) fn hear(&mut self) -> (Vec<ToMaster>, bool) {
        let mut said = Vec::new();
        if self.is_ignored {
            return (said, true);
        }
        for _ in 0..MasterEnd::AT_ONCE {
            match self.line.hear() {
                Ok(None) => break,
                Ok(Some(message)) if self.owed.said(&message).is_ok() => said.push(message),
                Ok(Some(_)) | Err(Nonsense) => {
                    self.is_ignored = true;
                    break;
                }
            }
        }
        (said, !self.is_ignored)
    }

    /// Takes note of a ring of the worker's bell in this millisecond; `false`:
    /// there are more than any worker of ours has letters for.
    pub(in crate::master) fn rang(&mut self, millis: u64) -> bool {
        let is_ours = self.is_ignored || self.line.rang(millis).is_ok();
        self.is_ignored |= !is_ours;
        is_ours
    }
}

/// A reopened log is taken when it goes out: it may have been reopened again.
fn send(channel: &Channel, message: ToWorker, files: &[OwnedFd]) -> io::Result<()> {
    kill_point(Spot::Telling);
    let log = match message {
        ToWorker::Reopen => log::file_descriptor()?,
        ToWorker::ReopenAccess => log::access_descriptor()?,
        ToWorker::Refuse
        | ToWorker::Drain(_)
        | ToWorker::Retire(_)
        | ToWorker::Successor(_)
        | ToWorker::Predecessor
        | ToWorker::LogLevel(_)
        | ToWorker::List
        | ToWorker::Kick(..)
        | ToWorker::KickUser(..)
        | ToWorker::CheckAcceptMutex
        | ToWorker::Adopt(_) => {
            let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
            return channel.send(&message.datagram(), &files);
        }
    };
    match log {
        Some(file) => channel.send(&message.datagram(), &[file.as_fd()]),
        None => Ok(()),
    }
}

/// Letters in a ring of these words that a worker of ours could have said, until
/// the first that is nonsense.
pub(in crate::master) fn letters(ring: &[u64]) -> io::Result<usize> {
    let mut inbox = outbox::forged(ring)?;
    let mut understood = 0;
    while let Ok(Some(letter)) = inbox.take() {
        let Some(message) = ToMaster::parse(&letter) else {
            break;
        };
        let again = ToMaster::parse(&message.letter());
        assert_eq!(again.as_ref(), Some(&message), "said again, it is the same");
        understood += 1;
    }
    assert!(
        understood <= MasterEnd::AT_ONCE,
        "the ring has no room for more"
    );
    Ok(understood)
}

/// All of them.
#[derive(Default)]
pub(in crate::master) struct Workers(Vec<WorkerProcess>);

impl Workers {
    pub(in crate::master) fn add(&mut self, member: WorkerProcess) {
        self.0.push(member);
    }

    pub(in crate::master) fn in_slot(&mut self, slot: SlotId) -> Option<&mut WorkerProcess> {
        self.0.iter_mut().find(|member| member.slot == slot)
    }

    pub(in crate::master) fn with_pid(&mut self, pid: Pid) -> Option<&mut WorkerProcess> {
        self.0.iter_mut().find(|member| member.pid == pid)
    }

    pub(in crate::master) fn all(&mut self) -> impl Iterator<Item = &mut WorkerProcess> {
        self.0.iter_mut()
    }

    pub(in crate::master) fn remove(&mut self, pid: Pid) -> Option<WorkerProcess> {
        let index = self.0.iter().position(|member| member.pid == pid)?;
        // Its pid may be another one's soon.
        for member in &mut self.0 {
            member.successors.retain(|successor| *successor != pid);
        }
        Some(self.0.swap_remove(index))
    }

    /// Tries again to tell those who did not listen.
    pub(in crate::master) fn send_on(&mut self) {
        for member in &mut self.0 {
            member.send_on();
        }
    }

    pub(in crate::master) fn has_unsent(&self) -> bool {
        self.0.iter().any(|member| !member.unsent.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_may_say_once_what_it_was_asked_once() {
        let mut owed = Owed::at_first();
        let id = ConnId::first(1, 2, 3);
        let user: UserName = "ann".parse().unwrap();
        let failed = ToMaster::Failed("why".into());
        for message in [ToMaster::Ready, failed] {
            assert_eq!(owed.said(&message), Ok(()));
            assert_eq!(owed.said(&message), Err(Nonsense), "twice");
        }
        for (order, message) in [
            (ToWorker::List, ToMaster::Listed),
            (ToWorker::Kick(id, None), ToMaster::Kicked(id, true)),
            (
                ToWorker::KickUser(user, None),
                ToMaster::KickedUser(user, 1),
            ),
        ] {
            assert_eq!(owed.said(&message), Err(Nonsense), "unasked");
            owed.asked(order);
            owed.asked(order);
            assert_eq!(owed.said(&message), Ok(()));
            assert_eq!(owed.said(&message), Ok(()));
            assert_eq!(owed.said(&message), Err(Nonsense), "once too often");
        }
        owed.asked(ToWorker::Kick(id, None));
        let another = ToMaster::Kicked(id.next(), true);
        assert_eq!(owed.said(&another), Err(Nonsense));
    }
}
