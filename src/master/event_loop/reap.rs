//! What becomes of the workers: their deaths, and their being stopped. On the
//! master's thread, whenever `SIGCHLD` came.

use super::{Master, Step};
use crate::log;
use crate::master::admin::Admin;
use crate::master::supervisor::Event;
use crate::sys::clock::coarse_millis;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::process::{self, Cause, Change, Pid, Reaped};

/// Lines about workers that are stopped and go on: one can have that done to
/// itself as often as it likes.
pub(super) const STOPS_PER_SECOND: u32 = 50;

impl Master<'_> {
    /// Takes everything back that a dead worker had.
    pub(super) fn bury(&mut self, pid: Pid) {
        let Some(member) = self.workers.remove(pid) else {
            return;
        };
        member.line.forget_end(&self.epoll);
        member.line.forget_letters(&self.epoll);
        self.accept_mutex.release_dead(member.owner);
        kill_point(Spot::Released);
        self.board.fold(member.slot.0);
        self.bus.bury(member.slot.0);
    }

    /// Takes note of all that became of the workers.
    pub(super) fn reap(&mut self) -> Step {
        let reaped = process::reap();
        // Before any of them is replaced.
        let lost = self.lost(&reaped);
        for (pid, change) in reaped.changes {
            match change {
                Change::Stopped => self.stopped(pid),
                Change::Continued => self.continued(pid),
                Change::Ended(cause) => self.ended(pid, cause)?,
            }
        }
        for pid in lost {
            self.ended(pid, Cause::Unknown)?;
        }
        Step::Continue(())
    }

    /// Those whose end is never told: there is no child any more, because somebody
    /// else in this process waited for it, or the kernel was told that nobody
    /// would.
    fn lost(&self, reaped: &Reaped) -> Vec<Pid> {
        if !reaped.is_childless {
            return Vec::new();
        }
        let workers = self.supervisor.status().filter_map(|slot| slot.pid);
        let admin = self.admin.as_ref().and_then(Admin::pid);
        let all = workers.chain(self.supervisor.successor()).chain(admin);
        let is_told = |pid: &Pid| reaped.changes.iter().any(|(told, _)| told == pid);
        all.filter(|pid| !is_told(pid)).collect()
    }

    fn ended(&mut self, pid: Pid, cause: Cause) -> Step {
        if self.supervisor.successor() == Some(pid) {
            return self.new_master_ended(cause);
        }
        if self.admin_is(pid) {
            self.admin.iter_mut().for_each(|admin| admin.ended(cause));
            return Step::Continue(());
        }
        kill_point(Spot::Reaped);
        // What it said last may not have been read yet.
        if let Some(slot) = self.workers.with_pid(pid).map(|member| member.slot) {
            self.hear(slot)?;
            self.hear_last_lines(pid, cause);
            self.tell_of_death(pid, cause);
            let mut slots = self.supervisor.status();
            if slots.any(|one| one.pid == Some(pid) && one.is_wanted) {
                self.count_death(cause);
            }
        }
        self.supervise(Event::Exited { pid, cause })
    }

    /// The watchdog cannot tell a worker that sleeps from one that was stopped
    /// in its sleep.
    fn stopped(&mut self, pid: Pid) {
        if let Some(member) = self.workers.with_pid(pid) {
            let number = member.number;
            if let Some(suppressed) = self.stops.admit(0, coarse_millis()) {
                log::warn!(
                    "worker {number}, pid {pid}, was stopped: it gets no connections{suppressed}"
                );
            }
            self.accept_mutex.take_from(member.owner);
            self.watch.stopped(pid, true);
        }
    }

    fn continued(&mut self, pid: Pid) {
        if let Some(member) = self.workers.with_pid(pid) {
            let number = member.number;
            if let Some(suppressed) = self.stops.admit(0, coarse_millis()) {
                log::info!("worker {number}, pid {pid}, goes on{suppressed}");
            }
            self.accept_mutex.wake(member.owner);
            self.watch.stopped(pid, false);
        }
    }

    fn tell_of_death(&mut self, pid: Pid, cause: Cause) {
        let Some(member) = self.workers.with_pid(pid) else {
            return;
        };
        let (number, generation) = (member.number, member.generation.0);
        self.last_words.clone_from(&member.last_words);
        let why = member.last_words.as_deref().unwrap_or_default();
        let colon = if why.is_empty() { "" } else { ": " };
        let level = if cause == Cause::Exited(0) {
            ::log::Level::Info
        } else {
            ::log::Level::Error
        };
        ::log::log!(
            level,
            "worker {number} of generation {generation}, pid {pid}, {cause}{colon}{why}"
        );
    }
}
