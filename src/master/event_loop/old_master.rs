//! The side of the new program: it comes up with what it inherited, and rules
//! when it is told to, or when nobody else is left to.

use std::rc::Rc;
use std::time::Instant;

use super::{Master, Step};
use crate::log;
use crate::master::cycle::socket_file::SocketFile;
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::{Command, Event, OldMasterEvent, SlotId};
use crate::master::upgrade::links::OldMaster;
use crate::master::upgrade::words::{Heard, ToNewMaster, ToOldMaster, give, hear, tell};
use crate::sys::process::Pid;

impl Master<'_> {
    /// What the old master says.
    pub(super) fn hear_old_master(&mut self) -> Step {
        while let Some(old_master) = &mut self.old_master {
            match hear(&old_master.line) {
                Heard::Nothing => break,
                Heard::Line(..) => {}
                Heard::Word(ToNewMaster::Sums(sums)) => old_master.sums.extend(sums),
                Heard::Word(ToNewMaster::TakeOver(mut counted)) => {
                    counted.append(&mut old_master.sums);
                    if !old_master.is_shared {
                        self.board.add(&counted);
                        old_master.counted = counted;
                    }
                    self.supervise(Event::OldMaster(OldMasterEvent::Promoted))?;
                }
                Heard::Word(ToNewMaster::Named) => self.be_named(),
                Heard::Word(ToNewMaster::Wake { row }) => {
                    if !self.wake(row) && self.supervisor.is_replaced() {
                        self.tell_new_master(&ToNewMaster::Wake { row });
                    }
                }
                Heard::Word(ToNewMaster::Drains { generations, rows }) => {
                    let rows = rows.into_iter().filter(|row| *row < 256);
                    let rows = rows.map(SlotId).collect();
                    old_master.taken.keep(rows);
                    let drains = OldMasterEvent::Drains { generations, rows };
                    self.supervise(Event::OldMaster(drains))?;
                }
                Heard::Word(ToNewMaster::End) => {
                    let text = "the old binary rolled the upgrade back".to_owned();
                    self.result = Err(Ending::new(Exit::Running, text));
                    self.supervise(Event::OldMaster(OldMasterEvent::Ended))?;
                }
                Heard::Word(ToNewMaster::Left(mut counted)) => {
                    counted.append(&mut old_master.sums);
                    if !old_master.is_shared {
                        self.board.add(&since(&old_master.counted, counted));
                    }
                }
                Heard::Silence => {
                    old_master.is_silent = true;
                    let _registered = self.epoll.delete(&*old_master.line);
                    if !self.supervisor.is_new_master() {
                        self.be_named();
                    }
                    self.supervise(Event::OldMaster(OldMasterEvent::Silent))?;
                    break;
                }
            }
        }
        Step::Continue(())
    }

    /// The service manager listens to us now, and the old master changes
    /// nothing any more.
    fn be_named(&mut self) {
        let Some(old_master) = &mut self.old_master else {
            return;
        };
        // Once: the end of its line says it again.
        let Some(notifier) = old_master.notifier.take() else {
            return;
        };
        self.notifier = notifier;
        self.notifier.ready("upgraded");
        if let Some(current) = &self.current {
            let gone = old_master
                .files
                .iter()
                .filter(|file| !current.files().contains(file));
            gone.for_each(SocketFile::remove);
        }
        old_master.files.clear();
    }

    /// The old master and all of its workers are gone, or the `number`th before it
    /// and its own.
    pub(super) fn old_life_ended(&mut self, number: u64) -> Step {
        self.hear_old_master()?;
        let epoll = &self.epoll;
        let is_last = |old_master: &mut OldMaster| old_master.life_ended(number, epoll);
        let Some(old_master) = self.old_master.take_if(is_last) else {
            return self.chain_broke(number);
        };
        let _deleted_before = self.epoll.delete(&*old_master.line);
        let rows = old_master.taken;
        // What it did not live to do, if it was killed.
        self.bury_strangers(rows);
        log::info!(
            "the master before this one, pid {}, is gone",
            old_master.pid
        );
        self.supervise(Event::OldMaster(OldMasterEvent::Left))
    }

    /// The old master died before those before it: nobody says how much these drain.
    fn chain_broke(&mut self, number: u64) -> Step {
        let Some(old_master) = self.old_master.as_ref().filter(|_| number == 0) else {
            return Step::Continue(());
        };
        let (generations, rows) = (old_master.lives().count(), old_master.taken);
        let pid = old_master.pid;
        log::error!("the master before this one, pid {pid}, died before {generations} others");
        self.supervise(Event::OldMaster(OldMasterEvent::Drains {
            generations,
            rows,
        }))
    }

    pub(super) fn tell_ready(&mut self) {
        self.tell_old_master(&ToOldMaster::Ready);
    }

    /// This is the master from now on. Gives the order to end if it cannot be.
    pub(super) fn rule(&mut self) -> Option<Event> {
        if let Err(error) = self.pid_file.write(Pid::own()) {
            log::error!("{error}");
            self.result = Err(error.into());
            return Some(Event::Ordered(Command::Stop));
        }
        log::info!("this is the master now");
        // Before it has its workers drain.
        self.introduce_to_old_master();
        self.tell_old_master(&ToOldMaster::TookOver);
        if self
            .old_master
            .as_ref()
            .is_some_and(|old_master| old_master.is_silent)
        {
            self.be_named();
        }
        None
    }

    /// Sees to it that every worker of the old master's has lines to workers of
    /// this master, once it rules.
    pub(super) fn introduce_to_old_master(&mut self) {
        let Some(old_master) = self
            .old_master
            .as_ref()
            .filter(|_| self.supervisor.is_ruling())
        else {
            return;
        };
        let (line, known) = (Rc::clone(&old_master.line), old_master.introduced.clone());
        let leaving = old_master.workers;
        for (number, to, generation, end) in self.lines_for(leaving, &known) {
            let generation = generation.0;
            give(
                &line,
                &ToOldMaster::Successor { number, generation },
                Some(&end),
            );
            if let Some(old_master) = &mut self.old_master {
                old_master.introduced.push((number, to));
            }
        }
    }

    /// Has the other master wake its worker in this row.
    pub(super) fn have_woken(&self, row: usize) {
        if !self.have_woken_before(row) {
            self.tell_new_master(&ToNewMaster::Wake { row });
        }
    }

    /// Has the old master wake its worker in this row, or the one before it, if it is
    /// theirs.
    pub(super) fn have_woken_before(&self, row: usize) -> bool {
        let is_its = |old_master: &OldMaster| old_master.taken.contains(SlotId(row));
        let is_theirs = self.old_master.as_ref().is_some_and(is_its);
        if is_theirs {
            self.tell_old_master(&ToOldMaster::Wake { row });
        }
        is_theirs
    }

    pub(super) fn hurry_old_master(&mut self, by: Instant) {
        let left = by.saturating_duration_since(Instant::now());
        self.tell_old_master(&ToOldMaster::hurry(left));
    }

    /// The last word of one that does not rule.
    pub(super) fn give_up(&mut self) {
        if let Err(Ending { text, .. }) = &self.result {
            self.tell_old_master(&ToOldMaster::failed(text));
        }
    }

    pub(super) fn tell_old_master(&self, word: &ToOldMaster) {
        if let Some(old_master) = &self.old_master {
            tell(&old_master.line, word);
        }
    }
}

/// What was counted between two reports.
fn since(before: &[(String, u64)], now: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let earlier = |name: &str| {
        let found = before.iter().find(|(other, _)| other == name);
        found.map_or(0, |(_, count)| *count)
    };
    now.into_iter()
        .map(|(name, count)| {
            let count = count.saturating_sub(earlier(&name));
            (name, count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_since_is_added_and_no_more() {
        let pairs = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let before = pairs(&[("a", 3), ("b", 4)]);
        let now = pairs(&[("a", 5), ("b", 4), ("c", 1)]);
        assert_eq!(since(&before, now), pairs(&[("a", 2), ("b", 0), ("c", 1)]));
    }
}
