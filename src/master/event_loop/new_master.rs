//! The side of the master that rules so far: it starts the new program, steps
//! down for it, or goes on as if nothing had been.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{HEIR, HEIRS, Office, Step};
use crate::log;
use crate::master::control::{self, Response};
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::{Command, Event, HeirEvent, Rows, Setback, SlotId};
use crate::master::upgrade::inheritance::Estate;
use crate::master::upgrade::life_pipe::Family;
use crate::master::upgrade::links::Launched;
use crate::master::upgrade::words::{Heard, ToElder, ToHeir, hear, tell};
use crate::net::accept_mutex::Owner;
use crate::sys::channel::Channel;
use crate::sys::epoll::Interest;
use crate::sys::process::{Cause, Pid};

impl Office<'_> {
    /// Begins an upgrade; `client` is told how that went.
    pub(super) fn upgrade(&mut self, client: Option<u64>) -> Step {
        if let Err(refusal) = self.supervisor.may_upgrade() {
            log::error!("upgrade refused: {refusal}");
            self.refuse(client, &Ending::refused(&refusal));
            return Step::Continue(());
        }
        log::info!("ordered: upgrade");
        self.supervise(Event::Ordered(Command::Upgrade))
    }

    /// Starts the new program.
    pub(super) fn launch(&mut self) -> Event {
        let event = match self.try_launch() {
            Ok((launched, pid)) => {
                log::info!("upgrade: the new binary is pid {pid}");
                self.launched = Some(launched);
                HeirEvent::Launched { pid }
            }
            Err(text) => {
                self.last_words = Some(text);
                HeirEvent::NotLaunched
            }
        };
        Event::Heir(event)
    }

    fn try_launch(&self) -> Result<(Launched, Pid), String> {
        let edition = self
            .current
            .as_ref()
            .ok_or("no configuration is in force")?;
        let control = self.control.as_ref().ok_or("no control socket is open")?;
        let failed = |error: std::io::Error| error.to_string();
        let (line, theirs) = Channel::pair().map_err(failed)?;
        let family = Family::new().map_err(failed)?;
        let rows = u8::try_from(self.board.rows()).unwrap_or(u8::MAX);
        let epochs: Vec<u16> = (0..rows).map(|row| self.turn.occupant(row).epoch).collect();
        let (memory, bells) = self.board.descriptors();
        let before = edition.as_before();
        let ours = self.supervisor.rows();
        let estate = Estate {
            line: &theirs,
            pid_file: self.pid_file.as_fd(),
            control: control.as_fd(),
            memory,
            bells: bells.collect(),
            elders: self.family.end(),
            family: &family,
            listeners: before.listeners,
            files: before.files,
            sockets: edition.sockets.all().collect(),
            taken: ours,
            epochs: &epochs,
            generation: self.supervisor.newest(),
            started_with: edition.config.started_with(),
        };
        let mut variables = self.notifier.variables();
        variables.push(estate.variable().map_err(failed)?);
        let binary = edition.config.upgrade_binary.as_ref();
        let binary = binary.map(std::path::absolute).transpose();
        let binary = binary.map_err(failed)?;
        let program = &self.plan.program_file;
        let name = binary.as_ref().unwrap_or(&program.path).display();
        let pid = program
            .launch(binary.as_deref(), &variables, &estate.descriptors())
            .map_err(|error| format!("{name}: {error}"))?;
        let listens = (self.epoll.add(&line, Interest::Read, HEIR))
            .and_then(|()| self.epoll.add(&family.reader, Interest::Read, HEIRS));
        if let Err(error) = listens {
            // It is not ready in time, then.
            log::error!("listen to the new binary: {error}");
        }
        let heirs = family.reader;
        let launched = Launched {
            line,
            heirs,
            epochs,
            ours,
            used: Rows::default(),
            last_words: None,
            was_promoted: false,
        };
        Ok((launched, pid))
    }

    /// What the new program says.
    pub(super) fn hear_heir(&mut self) -> Step {
        while let Some(launched) = &mut self.launched {
            let event = match hear(&launched.line) {
                Heard::Nothing => break,
                Heard::Word(ToElder::Listens) => HeirEvent::Listens,
                Heard::Word(ToElder::Ready) => HeirEvent::Ready,
                Heard::Word(ToElder::TookOver) => HeirEvent::TookOver,
                Heard::Word(ToElder::Hurry(millis)) => HeirEvent::Hurry {
                    by: Instant::now() + Duration::from_millis(millis),
                },
                Heard::Word(ToElder::Failed(text)) => {
                    launched.last_words = Some(text);
                    continue;
                }
                Heard::Line(ToElder::Successor { number, generation }, line) => {
                    self.give_successor(number, generation, line);
                    continue;
                }
                // A line without its end, or an end without its word.
                Heard::Word(ToElder::Successor { .. }) | Heard::Line(..) => continue,
                Heard::Silence => {
                    // Else it would be readable for ever.
                    let _deleted_before = self.epoll.delete(&launched.line);
                    // Its death or its deadline says the rest.
                    break;
                }
            };
            self.supervise(Event::Heir(event))?;
        }
        Step::Continue(())
    }

    /// The new program ended.
    pub(super) fn heir_ended(&mut self, cause: Cause) -> Step {
        self.hear_heir()?;
        let mut used = Rows::default();
        if let Some(launched) = &mut self.launched {
            let _deleted_before = self.epoll.delete(&launched.line);
            let changed = launched.epochs.iter().enumerate().filter(|(row, epoch)| {
                let row = u8::try_from(*row).expect("there are at most 255 rows");
                let is_ours = launched.ours.contains(SlotId(row.into()));
                !is_ours && self.turn.occupant(row).epoch != **epoch
            });
            used = changed.map(|(row, _)| SlotId(row)).collect();
            launched.used = used;
        }
        // They lose their master and drain: the turn is not to wait for them.
        owners(used).for_each(|row| {
            self.turn.take_from(self.turn.occupant(row));
        });
        if self.supervisor.is_replaced() {
            log::error!("the master that replaced this one {cause}; its workers drain");
        }
        self.supervise(Event::Heir(HeirEvent::Gone { cause, used }))?;
        self.reclaim();
        Step::Continue(())
    }

    /// The new program and all that it started are gone.
    pub(super) fn heirs_ended(&mut self) -> Step {
        let Some(launched) = &self.launched else {
            return Step::Continue(());
        };
        if self.supervisor.is_replaced() {
            let _registered = self.epoll.delete(&launched.heirs);
            return Step::Continue(());
        }
        // While it is not reaped it is not known which rows it used.
        let is_reaped = self.supervisor.successor().is_none();
        let Some(launched) = self.launched.take_if(|_| is_reaped) else {
            return Step::Continue(());
        };
        let _registered = self.epoll.delete(&launched.heirs);
        self.bury_strangers(launched.used);
        self.supervise(Event::Freed(launched.used))
    }

    /// Does for workers of another master's what it cannot do any more.
    pub(super) fn bury_strangers(&mut self, rows: Rows) {
        for row in owners(rows) {
            let owner: Owner = self.turn.occupant(row);
            self.turn.release_dead(owner);
            self.board.fold(row.into());
        }
    }

    /// Tells the new program to rule. Orders wait at the control socket.
    pub(super) fn promote(&mut self) {
        if let Some(control) = self.control.as_ref().filter(|_| self.is_listening) {
            let _registered = self.epoll.delete(control);
            self.is_listening = false;
        }
        if let Some(launched) = &mut self.launched {
            launched.was_promoted = true;
            tell(&launched.line, &ToHeir::TakeOver(self.board.counted()));
        }
    }

    /// Another master rules.
    pub(super) fn resign(&mut self, pid: Pid) {
        log::info!("upgraded: pid {pid} is the master; draining");
        // The manager believes the master alone, so it must hear it from us.
        self.notifier.resign(pid);
        // And before it hears the new one: worth a tenth of a second, which is
        // needed only when the manager is behind.
        self.notifier.close();
        self.tell_heir(&ToHeir::Named);
        // Whoever connects is the new master's.
        self.control = None;
        let text = format!(
            "upgraded: the master is pid {pid}; pid {} drains",
            Pid::own()
        );
        let done = Response::new(Exit::Ok as u8, text);
        let asked = [control::Command::Upgrade];
        self.clients.answer_all(&asked, &done, &self.epoll);
    }

    /// Everything is as it was before the upgrade.
    pub(super) fn upgrade_failed(&mut self, reason: Setback) {
        let mut text = format!("upgrade rolled back: {reason}");
        let launched = self.launched.as_mut();
        let words = launched.and_then(|launched| launched.last_words.take());
        if let Some(words) = words.or_else(|| self.last_words.take()) {
            text = format!("{text}: {words}");
        }
        log::error!("{text}");
        let exit = match reason {
            Setback::Died(Cause::Exited(code)) => Exit::from_code(code),
            Setback::Overruled => Exit::Running,
            Setback::CannotLaunch => Exit::Unavailable,
            Setback::Died(_) | Setback::NotReady => Exit::Internal,
        };
        // It may have ended well, which is no success of ours.
        let exit = if exit == Exit::Ok {
            Exit::Internal
        } else {
            exit
        };
        let response = Response::new(exit as u8, text);
        let asked = [control::Command::Upgrade];
        self.clients.answer_all(&asked, &response, &self.epoll);
    }

    /// Takes the name back, once the new program cannot write its own any more.
    /// The control socket is listened to by the next turn of the loop.
    fn reclaim(&mut self) {
        let was_promoted = self.launched.as_mut();
        let was_promoted = was_promoted.is_some_and(|one| std::mem::take(&mut one.was_promoted));
        if was_promoted
            && !self.supervisor.is_replaced()
            && let Err(error) = self.pid_file.write(Pid::own())
        {
            log::error!("{error}; it names a process that is gone");
        }
    }

    pub(super) fn tell_heir_to_end(&mut self) {
        self.tell_heir(&ToHeir::End);
    }

    /// The last word of a master that was replaced.
    pub(super) fn take_leave(&mut self) {
        let counted = self.board.counted();
        self.tell_heir(&ToHeir::Left(counted));
    }

    fn tell_heir(&self, word: &ToHeir) {
        if let Some(launched) = &self.launched {
            tell(&launched.line, word);
        }
    }
}

fn owners(rows: Rows) -> impl Iterator<Item = u8> {
    rows.iter().filter_map(|slot| u8::try_from(slot.0).ok())
}
