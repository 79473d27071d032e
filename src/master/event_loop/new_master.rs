//! The side of the master that rules so far: it starts the new program, steps
//! down for it, or goes on as if nothing had been.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Master, NEW_LIFE, NEW_MASTER, Step};
use crate::log;
use crate::master::control::{self, Response};
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::{Command, Event, NewMasterEvent, Refusal, Rows, Setback, SlotId};
use crate::master::upgrade::inheritance::Bequest;
use crate::master::upgrade::life_pipe::LifePipe;
use crate::master::upgrade::links::{NewMaster, OldMaster};
use crate::master::upgrade::words::{Heard, ToNewMaster, ToOldMaster, hear, sums, tell};
use crate::net::accept_mutex::Owner;
use crate::sys::channel::Channel;
use crate::sys::epoll::Interest;
use crate::sys::process::{Cause, Pid};

/// What those asked who are told how an upgrade went.
const UPGRADES: [control::Command; 2] =
    [control::Command::Upgrade, control::Command::UpgradeForced];

impl Master<'_> {
    /// Begins an upgrade; `client` is told how that went. `force`: ends what leaves
    /// no room for it.
    pub(super) fn upgrade(&mut self, client: Option<u64>, force: bool) -> Step {
        if let Err(refusal) = self.supervisor.may_upgrade() {
            log::error!("upgrade refused: {refusal}");
            self.refuse(client, &Ending::refused(&refusal));
            return Step::Continue(());
        }
        let names_itself = |old_master: &OldMaster| old_master.notifier.is_some();
        if self.old_master.as_ref().is_some_and(names_itself) {
            // The service manager would not hear of the next one.
            let refusal = Refusal::Upgrading;
            log::error!("upgrade refused: {refusal}");
            self.refuse(client, &Ending::refused(&refusal));
            return Step::Continue(());
        }
        log::info!("ordered: upgrade");
        if force {
            self.supervise(Event::Ordered(Command::MakeRoom))?;
        }
        self.supervise(Event::Ordered(Command::Upgrade))
    }

    fn upgrade_refused(&self) -> String {
        format!(
            "upgrade refused, nothing was changed: {}; wait until they are done, or end them with \
             `upgrade --force`",
            self.holders()
        )
    }

    /// Starts the new program.
    pub(super) fn launch(&mut self) -> Event {
        let event = match self.try_launch() {
            Ok((new_master, pid)) => {
                log::info!("upgrade: the new binary is pid {pid}");
                // Before that has workers.
                self.tell_old_master(&ToOldMaster::Replaced);
                self.new_master = Some(new_master);
                NewMasterEvent::Launched { pid }
            }
            Err(text) => {
                self.last_words = Some(text);
                NewMasterEvent::NotLaunched
            }
        };
        Event::NewMaster(event)
    }

    fn try_launch(&self) -> Result<(NewMaster, Pid), String> {
        self.plan.go_to_folder();
        let cycle = self
            .current
            .as_ref()
            .ok_or("no configuration is in force")?;
        let control = self.control.as_ref().ok_or("no control socket is open")?;
        let failed = |error: std::io::Error| error.to_string();
        let (line, theirs) = Channel::pair().map_err(failed)?;
        let life_pipe = LifePipe::new().map_err(failed)?;
        let epochs = self.epochs();
        let shared = self.board.descriptors();
        let shared = shared.ok_or("the shared memory has no descriptor")?;
        let before = cycle.as_before();
        // Also those of masters that are older still.
        let taken = self.supervisor.rows();
        let older = self.old_master.iter().flat_map(OldMaster::lives);
        let lives = [self.life_pipe.end()].into_iter().chain(older);
        let bequest = Bequest {
            line: &theirs,
            pid_file: self.pid_file.as_fd(),
            control: control.as_fd(),
            has_control_file: control.has_file(),
            shared,
            bus: self.bus.file(),
            lives: lives.collect(),
            life_pipe: &life_pipe,
            listeners: before.listeners,
            files: before.files,
            sockets: cycle.sockets.all().collect(),
            taken,
            epochs: &epochs,
            generation: self.supervisor.newest(),
            started_with: cycle.config.started_with(),
            admin: self
                .admin
                .as_ref()
                .and_then(|admin| admin.listener.socket()),
        };
        let mut variables = self.notifier.variables();
        variables.push(bequest.variable().map_err(failed)?);
        let binary = cycle.config.upgrade_binary.as_ref();
        let binary = binary.map(std::path::absolute).transpose();
        let binary = binary.map_err(failed)?;
        let program = &self.plan.program_file;
        let name = binary.as_ref().unwrap_or(&program.path).display();
        let pid = program
            .launch(binary.as_deref(), &variables, &bequest.descriptors())
            .map_err(|error| format!("{name}: {error}"))?;
        let listens = (self.epoll.add(&line, Interest::Read, NEW_MASTER))
            .and_then(|()| self.epoll.add(&life_pipe.reader, Interest::Read, NEW_LIFE));
        if let Err(error) = listens {
            // It is not ready in time, then.
            log::error!("listen to the new binary: {error}");
        }
        let life = life_pipe.reader;
        let new_master = NewMaster {
            line,
            life,
            epochs,
            taken,
            used: Rows::default(),
            last_words: None,
            was_promoted: false,
            is_replaced: false,
        };
        Ok((new_master, pid))
    }

    /// The newest worker of each row.
    fn epochs(&self) -> Vec<u16> {
        let rows = u8::try_from(self.board.rows()).unwrap_or(u8::MAX);
        (0..rows)
            .map(|row| self.accept_mutex.occupant(row).epoch)
            .collect()
    }

    /// What the new program says.
    pub(super) fn hear_new_master(&mut self) -> Step {
        while let Some(new_master) = &mut self.new_master {
            let event = match hear(&new_master.line) {
                Heard::Nothing => break,
                Heard::Word(ToOldMaster::Listens) => NewMasterEvent::Listens,
                Heard::Word(ToOldMaster::Ready) => NewMasterEvent::Ready,
                Heard::Word(ToOldMaster::TookOver) => NewMasterEvent::TookOver,
                Heard::Word(ToOldMaster::Wake { row }) => {
                    if !self.wake(row) {
                        self.have_woken_before(row);
                    }
                    continue;
                }
                Heard::Word(ToOldMaster::Replaced) => {
                    new_master.is_replaced = true;
                    continue;
                }
                Heard::Word(ToOldMaster::Hurry(millis)) => NewMasterEvent::Hurry {
                    by: Instant::now() + Duration::from_millis(millis),
                },
                Heard::Word(ToOldMaster::Failed(text)) => {
                    new_master.last_words = Some(text);
                    continue;
                }
                Heard::Line(ToOldMaster::Successor { number, generation }, line) => {
                    self.give_successor(number, generation, line);
                    continue;
                }
                // A line without its end, or an end without its word.
                Heard::Word(ToOldMaster::Successor { .. }) | Heard::Line(..) => continue,
                Heard::Silence => {
                    // Else it would be readable for ever.
                    let _deleted_before = self.epoll.delete(&new_master.line);
                    // Its death or its deadline says the rest.
                    break;
                }
            };
            self.supervise(Event::NewMaster(event))?;
        }
        Step::Continue(())
    }

    /// The new program ended.
    pub(super) fn new_master_ended(&mut self, cause: Cause) -> Step {
        self.hear_new_master()?;
        let mut used = Rows::default();
        if let Some(new_master) = &mut self.new_master {
            let _deleted_before = self.epoll.delete(&new_master.line);
            let changed = new_master.epochs.iter().enumerate().filter(|(row, epoch)| {
                let row = u8::try_from(*row).expect("there are at most 255 rows");
                let was_taken = new_master.taken.contains(SlotId(row.into()));
                !was_taken && self.accept_mutex.occupant(row).epoch != **epoch
            });
            // In those rows are another master's by now, which lives.
            let changed = changed.filter(|_| !new_master.is_replaced);
            used = changed.map(|(row, _)| SlotId(row)).collect();
            new_master.used = used;
        }
        // They lose their master and drain: the mutex is not to wait for them.
        owners(used).for_each(|row| {
            self.accept_mutex.take_from(self.accept_mutex.occupant(row));
        });
        if self.supervisor.is_replaced() {
            log::error!("the master that replaced this one {cause}; its workers drain");
        }
        self.supervise(Event::NewMaster(NewMasterEvent::Gone { cause, used }))?;
        self.reclaim();
        Step::Continue(())
    }

    /// The new program and all that it started are gone.
    pub(super) fn new_life_ended(&mut self) -> Step {
        let Some(new_master) = &self.new_master else {
            return Step::Continue(());
        };
        if self.supervisor.is_replaced() {
            let _registered = self.epoll.delete(&new_master.life);
            return Step::Continue(());
        }
        // While it is not reaped it is not known which rows it used.
        let is_reaped = self.supervisor.successor().is_none();
        let Some(new_master) = self.new_master.take_if(|_| is_reaped) else {
            return Step::Continue(());
        };
        let _registered = self.epoll.delete(&new_master.life);
        self.bury_strangers(new_master.used);
        self.supervise(Event::Freed(new_master.used))
    }

    /// Does for workers of another master's what it cannot do any more.
    pub(super) fn bury_strangers(&mut self, rows: Rows) {
        for row in owners(rows) {
            let owner: Owner = self.accept_mutex.occupant(row);
            self.accept_mutex.release_dead(owner);
            self.board.fold(row.into());
            self.bus.bury(row.into());
        }
    }

    /// Tells the new program to rule. Orders wait at the control socket.
    pub(super) fn promote(&mut self) {
        if let Some(control) = self.control.as_ref().filter(|_| self.is_listening) {
            let _registered = self.epoll.delete(control);
            self.is_listening = false;
        }
        // What it has shown is not more than what the new one begins with.
        if let Some(admin) = &mut self.admin {
            admin.end();
        }
        if let Some(new_master) = &mut self.new_master {
            new_master.was_promoted = true;
            for part in sums(&self.board.sums_by_name()) {
                tell(&new_master.line, &part);
            }
            tell(
                &new_master.line,
                &ToNewMaster::TakeOver(self.board.bequeathed()),
            );
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
        self.tell_new_master(&ToNewMaster::Named);
        // Whoever connects is the new master's.
        self.control = None;
        if let Some(admin) = &mut self.admin {
            admin.give_up();
        }
        let text = format!(
            "upgraded: the master is pid {pid}; pid {} drains",
            Pid::own()
        );
        let done = Response::new(Exit::Ok as u8, text);
        self.clients.answer_all(&UPGRADES, &done, &self.epoll);
    }

    /// Everything is as it was before the upgrade.
    pub(super) fn upgrade_failed(&mut self, reason: Setback) {
        let mut text = format!("upgrade rolled back: {reason}");
        if reason == Setback::NoGenerationLeft {
            text = self.upgrade_refused();
        }
        let new_master = self.new_master.as_mut();
        let words = new_master.and_then(|new_master| new_master.last_words.take());
        if let Some(words) = words.or_else(|| self.last_words.take()) {
            text = format!("{text}: {words}");
        }
        log::error!("{text}");
        let exit = match reason {
            Setback::Died(Cause::Exited(code)) => Exit::from_code(code),
            Setback::Overruled | Setback::NoGenerationLeft => Exit::Running,
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
        self.clients.answer_all(&UPGRADES, &response, &self.epoll);
    }

    /// Takes the name back, once the new program cannot write its own any more.
    /// The control socket is listened to by the next turn of the loop.
    fn reclaim(&mut self) {
        let was_promoted = self.new_master.as_mut();
        let was_promoted = was_promoted.is_some_and(|one| std::mem::take(&mut one.was_promoted));
        if was_promoted
            && !self.supervisor.is_replaced()
            && let Err(error) = self.pid_file.write(Pid::own())
        {
            log::error!("{error}; it names a process that is gone");
        }
    }

    pub(super) fn tell_new_master_to_end(&mut self) {
        self.tell_new_master(&ToNewMaster::End);
    }

    pub(super) fn tell_drains(&self, generations: usize, rows: Rows) {
        let rows = rows.iter().map(|slot| slot.0).collect();
        self.tell_new_master(&ToNewMaster::Drains { generations, rows });
    }

    /// The last word of a master that was replaced.
    pub(super) fn take_leave(&mut self) {
        for part in sums(&self.board.sums_by_name()) {
            self.tell_new_master(&part);
        }
        let counted = self.board.counted();
        self.tell_new_master(&ToNewMaster::Left(counted));
    }

    pub(super) fn tell_new_master(&self, word: &ToNewMaster) {
        if let Some(new_master) = &self.new_master {
            tell(&new_master.line, word);
        }
    }
}

fn owners(rows: Rows) -> impl Iterator<Item = u8> {
    rows.iter().filter_map(|slot| u8::try_from(slot.0).ok())
}
