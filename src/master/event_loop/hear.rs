//! What workers say, and what becomes of one that says what none says. On the
//! master's thread.

use super::kicks::Whom;
use super::{Master, Step, connections, kicks};
use crate::log;
use crate::master::plain::plain;
use crate::master::supervisor::{Event, SlotId};
use crate::master::workers::message::ToMaster;
use crate::sys::clock::coarse_millis;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::process;

/// Characters that a worker may say about its end.
const LAST_WORDS_MAX: usize = 1000;

impl Master<'_> {
    /// A worker has something to say.
    pub(super) fn rung_by(&mut self, slot: SlotId) -> Step {
        let Some(member) = self.workers.in_slot(slot) else {
            return Step::Continue(());
        };
        if !member.rang(coarse_millis()) {
            self.end_stranger(slot);
        }
        self.hear(slot)
    }

    /// Hears what a worker has said so far.
    pub(super) fn hear(&mut self, slot: SlotId) -> Step {
        let Some(member) = self.workers.in_slot(slot) else {
            return Step::Continue(());
        };
        let pid = member.pid;
        let (said, is_ours) = member.hear();
        for message in said {
            match message {
                ToMaster::Ready => {
                    kill_point(Spot::HeardReady);
                    self.supervise(Event::Ready { pid })?;
                    self.introduce();
                    self.introduce_to_old_master();
                }
                ToMaster::Listed => connections::hear(self, pid),
                ToMaster::Kicked(id, had_it) => {
                    kicks::hear(self, pid, Whom::Conn(id), had_it.into());
                }
                ToMaster::KickedUser(user, count) => {
                    kicks::hear(self, pid, Whom::User(user), count);
                }
                ToMaster::Failed(text) => {
                    if let Some(member) = self.workers.with_pid(pid) {
                        member.last_words = Some(plain(&text, LAST_WORDS_MAX));
                    }
                }
            }
        }
        if !is_ours {
            self.end_stranger(slot);
        }
        Step::Continue(())
    }

    /// Ends a worker that says what none of ours does: somebody else's code runs
    /// in it.
    fn end_stranger(&mut self, slot: SlotId) {
        let Some(member) = self.workers.in_slot(slot) else {
            return;
        };
        let (number, pid) = (member.number, member.pid);
        log::error!("worker {number}, pid {pid}, says what no worker says: it is killed");
        member.line.forget_letters(&self.epoll);
        if let Err(error) = process::kill(pid) {
            log::error!("kill worker {number}, pid {pid}: {error}");
        }
    }

    /// The other end of a worker's line is closed. Of one that was killed this
    /// descriptor goes first: the rest of its death may take a while, and nobody
    /// waits for it.
    pub(super) fn line_ended(&mut self, slot: SlotId) -> Step {
        self.hear(slot)?;
        if let Some(member) = self.workers.in_slot(slot) {
            member.line.forget_end(&self.epoll);
            self.accept_mutex.take_from(member.owner);
        }
        // No signal comes for a child that somebody else waited for.
        self.reap()
    }
}
