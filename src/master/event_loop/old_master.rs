//! The side of the new program: it comes up with what it inherited, and rules
//! when it is told to, or when nobody else is left to.

use std::rc::Rc;
use std::time::Instant;

use super::{Office, Step};
use crate::log;
use crate::master::cycle::socket_file::SocketFile;
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::{Command, ElderEvent, Event};
use crate::master::upgrade::words::{Heard, ToElder, ToHeir, give, hear, tell};
use crate::sys::process::Pid;

impl Office<'_> {
    /// What the old master says.
    pub(super) fn hear_elder(&mut self) -> Step {
        while let Some(elder) = &mut self.elder {
            match hear(&elder.line) {
                Heard::Nothing => break,
                Heard::Line(..) => {}
                Heard::Word(ToHeir::TakeOver(counted)) => {
                    if !elder.is_shared {
                        self.board.add(&counted);
                        elder.counted = counted;
                    }
                    self.supervise(Event::Elder(ElderEvent::Promoted))?;
                }
                Heard::Word(ToHeir::Named) => self.be_named(),
                Heard::Word(ToHeir::End) => {
                    let text = "the old binary rolled the upgrade back".to_owned();
                    self.result = Err(Ending(Exit::Running, text));
                    self.supervise(Event::Elder(ElderEvent::Ended))?;
                }
                Heard::Word(ToHeir::Left(counted)) => {
                    if !elder.is_shared {
                        self.board.add(&since(&elder.counted, counted));
                    }
                }
                Heard::Silence => {
                    elder.is_silent = true;
                    let _registered = self.epoll.delete(&*elder.line);
                    if !self.supervisor.is_heir() {
                        self.be_named();
                    }
                    self.supervise(Event::Elder(ElderEvent::Silent))?;
                    break;
                }
            }
        }
        Step::Continue(())
    }

    /// The service manager listens to us now, and the elder changes nothing any
    /// more.
    fn be_named(&mut self) {
        let Some(elder) = &mut self.elder else { return };
        // Once: the end of its line says it again.
        let Some(notifier) = elder.notifier.take() else {
            return;
        };
        self.notifier = notifier;
        self.notifier.ready("upgraded");
        if let Some(current) = &self.current {
            let gone = elder
                .files
                .iter()
                .filter(|file| !current.files().contains(file));
            gone.for_each(SocketFile::remove);
        }
        elder.files.clear();
    }

    /// The old master and all of its workers are gone.
    pub(super) fn elders_ended(&mut self) -> Step {
        self.hear_elder()?;
        let Some(elder) = self.elder.take() else {
            return Step::Continue(());
        };
        let _registered = self.epoll.delete(&elder.elders);
        let _deleted_before = self.epoll.delete(&*elder.line);
        let rows = elder.taken;
        // What it did not live to do, if it was killed.
        self.bury_strangers(rows);
        log::info!("the master before this one, pid {}, is gone", elder.pid);
        self.supervise(Event::Elder(ElderEvent::Left { rows }))
    }

    pub(super) fn tell_ready(&mut self) {
        self.tell_elder(&ToElder::Ready);
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
        self.introduce_to_elder();
        self.tell_elder(&ToElder::TookOver);
        if self.elder.as_ref().is_some_and(|elder| elder.is_silent) {
            self.be_named();
        }
        None
    }

    /// Sees to it that every worker of the elder's has lines to workers of this
    /// master, once it rules.
    pub(super) fn introduce_to_elder(&mut self) {
        let Some(elder) = self.elder.as_ref().filter(|_| self.supervisor.is_ruling()) else {
            return;
        };
        let (line, known) = (Rc::clone(&elder.line), elder.introduced.clone());
        let leaving = elder.taken.iter().count();
        for (number, to, generation, end) in self.lines_for(leaving, &known) {
            let generation = generation.0;
            give(
                &line,
                &ToElder::Successor { number, generation },
                Some(&end),
            );
            if let Some(elder) = &mut self.elder {
                elder.introduced.push((number, to));
            }
        }
    }

    pub(super) fn hurry_elder(&mut self, by: Instant) {
        let left = by.saturating_duration_since(Instant::now());
        self.tell_elder(&ToElder::hurry(left));
    }

    /// The last word of one that does not rule.
    pub(super) fn give_up(&mut self) {
        if let Err(Ending(_, text)) = &self.result {
            self.tell_elder(&ToElder::failed(text));
        }
    }

    fn tell_elder(&self, word: &ToElder) {
        if let Some(elder) = &self.elder {
            tell(&elder.line, word);
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
