//! Introducing workers that leave to those that stay, so that connections can
//! go from one to the other. On the master's thread, before the order to drain.
//!
//! The master makes the lines and keeps no end of them: whoever dies ends its
//! lines by that, and nobody has to be told.

use super::Master;
use crate::log;
use crate::master::supervisor::{Generation, Stage};
use crate::master::upgrade::words::{ToOldMaster, give};
use crate::master::workers::message::ToWorker;
use crate::sys::channel::Channel;
use crate::sys::process::Pid;

impl Master<'_> {
    /// Sees to it that every worker that drains has lines to workers of the
    /// generation that serves.
    pub(super) fn introduce(&mut self) {
        let Some((generation, staying)) = self.staying() else {
            return;
        };
        let leaving: Vec<(usize, Pid)> = (self.supervisor.status())
            .filter(|slot| slot.stage == Stage::Draining)
            .filter_map(|slot| Some((slot.number, slot.pid?)))
            .collect();
        for &(number, from) in &leaving {
            for to in chosen(number, leaving.len(), &staying) {
                self.connect(from, to, generation);
            }
        }
    }

    /// The workers that serve, by number, and their generation; `None`: there
    /// is none, or it takes no connections over.
    fn staying(&self) -> Option<(Generation, Vec<(usize, Pid)>)> {
        let current = self.supervisor.current()?;
        let cycle = self.current.as_ref();
        cycle.filter(|cycle| cycle.config.handover)?;
        let mut staying: Vec<(usize, Pid)> = (self.supervisor.status())
            .filter(|slot| slot.stage == Stage::Serving && slot.generation == current)
            .filter_map(|slot| Some((slot.number, slot.pid?)))
            .collect();
        staying.sort_unstable_by_key(|one| one.0);
        Some((current, staying))
    }

    /// Makes lines from `leaving` workers of another master to those of this
    /// one, but for those of `known`: which of them, to whom, of which
    /// generation, and its end. The other ends are given away.
    pub(super) fn lines_for(
        &mut self,
        leaving: usize,
        known: &[(usize, Pid)],
    ) -> Vec<(usize, Pid, Generation, Channel)> {
        let Some((generation, staying)) = self.staying() else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for number in 0..leaving {
            for to in chosen(number, leaving, &staying) {
                if !known.contains(&(number, to))
                    && let Some((near, far)) = line()
                    && let Some(member) = self.workers.with_pid(to)
                {
                    member.give(ToWorker::Predecessor, far);
                    lines.push((number, to, generation, near));
                }
            }
        }
        lines
    }

    /// Another master's worker of this generation is at the other end of
    /// `line`: the worker that is to have it is one of ours, or of those of the
    /// master before, who are counted behind ours.
    pub(super) fn give_successor(&mut self, number: usize, generation: u64, line: Channel) {
        let ours: Vec<Pid> = (self.supervisor.status())
            .filter(|slot| matches!(slot.stage, Stage::Serving | Stage::Draining))
            .filter_map(|slot| slot.pid)
            .collect();
        if let Some(number) = number.checked_sub(ours.len())
            && let Some(old_master) = &self.old_master
        {
            let further = ToOldMaster::Successor { number, generation };
            give(&old_master.line, &further, Some(&line));
            return;
        }
        let chosen = ours.get(number % ours.len().max(1)).copied();
        if let Some(member) = chosen.and_then(|pid| self.workers.with_pid(pid)) {
            member.give(ToWorker::Successor(generation), line);
        }
    }

    /// Gives both the ends of a new line, unless they have one.
    fn connect(&mut self, from: Pid, to: Pid, generation: Generation) {
        let known = |master: &mut Self| {
            let member = master.workers.with_pid(from);
            member.is_none_or(|member| member.successors.contains(&to))
        };
        if known(self) || self.workers.with_pid(to).is_none() {
            return;
        }
        let Some((near, far)) = line() else { return };
        if let Some(member) = self.workers.with_pid(to) {
            member.give(ToWorker::Predecessor, far);
        }
        if let Some(member) = self.workers.with_pid(from) {
            member.successors.push(to);
            member.give(ToWorker::Successor(generation.0), near);
        }
    }
}

fn line() -> Option<(Channel, Channel)> {
    let pair = Channel::pair().inspect_err(|error| {
        log::warn!("make a line between workers: {error}; connections are not handed over");
    });
    pair.ok()
}

/// The workers that one of `leaving` gets lines to: two, or as many as it takes
/// for each to get connections; others for each `number`.
fn chosen(number: usize, leaving: usize, staying: &[(usize, Pid)]) -> impl Iterator<Item = Pid> {
    let count = staying.len();
    let each = count.div_ceil(leaving.max(1)).max(2).min(count);
    let at = move |n| (number * each + n) % count.max(1);
    (0..each).map(move |n| staying[at(n)].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everybody_who_stays_is_somebodys_successor() {
        for leaving in 1..=8 {
            for staying in 0..=8 {
                let pids: Vec<(usize, Pid)> = (0..staying)
                    .map(|n| (n, Pid::new(100 + i32::try_from(n).unwrap()).unwrap()))
                    .collect();
                let mut met = BTreeSet::new();
                for number in 0..leaving {
                    let chosen: Vec<i32> = chosen(number, leaving, &pids).map(Pid::raw).collect();
                    let different: BTreeSet<i32> = chosen.iter().copied().collect();
                    assert_eq!(different.len(), chosen.len(), "no line twice");
                    assert!(chosen.len() >= staying.min(2));
                    met.extend(different);
                }
                assert_eq!(met.len(), staying, "{leaving} leave, {staying} stay");
            }
        }
    }
}
