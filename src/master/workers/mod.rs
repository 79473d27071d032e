//! The worker processes as the master knows them: which slot each has, and
//! the line to each. The master's thread alone uses it.

pub(super) mod child;
pub(super) mod message;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::supervisor::{Generation, SlotId};
use crate::log;
use crate::net::accept_mutex::Owner;
use crate::sys::channel::{Channel, Received};
use crate::sys::epoll::Epoll;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::process::Pid;
use message::{TEXT_MAX, ToMaster, ToWorker};

/// A living worker, or one that was not buried yet.
pub(in crate::master) struct WorkerProcess {
    pub(in crate::master) pid: Pid,
    pub(in crate::master) slot: SlotId,
    pub(in crate::master) number: usize,
    pub(in crate::master) generation: Generation,
    pub(in crate::master) owner: Owner,
    pub(in crate::master) channel: Channel,
    /// What the channel had no room for, with the files that go along.
    unsent: VecDeque<(ToWorker, Vec<OwnedFd>)>,
    /// The workers that it has lines to.
    pub(in crate::master) successors: Vec<Pid>,
    /// Why it ends, as far as it said so.
    pub(in crate::master) last_words: Option<String>,
    /// Nothing more comes: it ends, and was not reaped yet.
    pub(in crate::master) hung_up: bool,
}

impl WorkerProcess {
    pub(in crate::master) fn new(
        pid: Pid,
        (slot, number, generation): (SlotId, usize, Generation),
        owner: Owner,
        channel: Channel,
    ) -> Self {
        Self {
            pid,
            slot,
            number,
            generation,
            owner,
            channel,
            unsent: VecDeque::new(),
            successors: Vec::new(),
            last_words: None,
            hung_up: false,
        }
    }

    /// Tells the worker something, now or as soon as it listens again.
    pub(in crate::master) fn tell(&mut self, message: ToWorker) {
        self.hand(message, Vec::new());
    }

    /// Gives the worker one end of a line, with what it is for.
    pub(in crate::master) fn give(&mut self, message: ToWorker, line: Channel) {
        self.hand(message, vec![line.into()]);
    }

    /// As [`Self::tell`], and gives it `files`.
    pub(in crate::master) fn hand(&mut self, message: ToWorker, files: Vec<OwnedFd>) {
        self.unsent.push_back((message, files));
        self.send_on();
    }

    fn send_on(&mut self) {
        while let Some((message, files)) = self.unsent.front() {
            match send(&self.channel, *message, files) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It is gone: its death is on its way here.
                Ok(()) | Err(_) => {
                    self.unsent.pop_front();
                }
            }
        }
    }

    /// What the worker said; `None` when there is nothing more now.
    pub(in crate::master) fn hear(&mut self, epoll: &Epoll) -> Option<ToMaster> {
        let mut datagram = [0; TEXT_MAX];
        loop {
            match self.channel.receive(&mut datagram) {
                Ok(Received::Datagram(len, _)) => match ToMaster::parse(&datagram[..len]) {
                    Some(message) => return Some(message),
                    None => log::error!("worker-{} said something unknown", self.number),
                },
                Ok(Received::Nothing) => return None,
                // Else it would be readable until the worker is reaped.
                Ok(Received::Closed) | Err(_) => {
                    self.hung_up = true;
                    let _deleted_before = epoll.delete(&self.channel);
                    return None;
                }
            }
        }
    }
}

/// A reopened log is taken when it goes out: it may have been reopened again.
fn send(channel: &Channel, message: ToWorker, files: &[OwnedFd]) -> io::Result<()> {
    kill_point(Spot::Telling);
    let log = match message {
        ToWorker::Reopen => log::file_descriptor()?,
        ToWorker::ReopenAccess => log::access_descriptor()?,
        ToWorker::Drain(_)
        | ToWorker::Successor(_)
        | ToWorker::Predecessor
        | ToWorker::LogLevel(_)
        | ToWorker::List
        | ToWorker::Kick(_)
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
