//! The admin process: that there is one, and what it is told. On the master's
//! thread, which never waits for it.

use std::path::Path;
use std::time::Instant;

use super::Master;
use crate::admin::{Facts, Listens, Reload, Terms, Worker};
use crate::config::Protocol;
use crate::log::Output;
use crate::master::supervisor::Status;
use crate::scoreboard::Counter;
use crate::sys::clock::wall_millis;
use crate::sys::process::{Cause, Pid};

/// The time of day, by the clock that deadlines are of: a step of the former moves
/// nothing that was told before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    born: Instant,
    wall: f64,
}

impl Times {
    pub(super) fn begin(born: Instant) -> Self {
        #[allow(
            clippy::cast_precision_loss,
            reason = "exact for longer than anybody runs"
        )]
        let wall = wall_millis() as f64 / 1000.0;
        Self { born, wall }
    }

    /// In seconds since 1970, to the millisecond.
    fn of(&self, at: Instant) -> f64 {
        let behind = at.saturating_duration_since(self.born).as_secs_f64();
        let before = self.born.saturating_duration_since(at).as_secs_f64();
        ((self.wall + behind - before) * 1000.0).round() / 1000.0
    }
}

const fn spoken_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Frame => "frame",
        Protocol::Http => "http",
        Protocol::Auto => "auto",
    }
}

impl Master<'_> {
    /// Sees to it that there is one, and that it knows what there is to know.
    pub(super) fn keep_admin(&mut self, now: Instant) {
        let mut admin = std::mem::take(&mut self.admin);
        if let Some(admin) = &mut admin {
            admin.publish(now, || self.facts());
            // Nobody knows before whom it is to be.
            let has_cycle = self.current.is_some() || self.incoming.is_some();
            if self.supervisor.is_ruling() && has_cycle {
                admin.keep(now, &self.board, &self.terms(), self.log_file());
            }
        }
        self.admin = admin;
    }

    /// Where it is, for programs.
    pub(super) fn admin_address(&self) -> Option<String> {
        let admin = self.admin.as_ref()?;
        admin.listener.address().map(ToString::to_string)
    }

    /// There is none any more, and nobody comes to where it was.
    pub(super) fn end_admin(&mut self) {
        if let Some(admin) = &mut self.admin {
            let is_replaced = self.supervisor.is_replaced() || self.supervisor.is_new_master();
            if !is_replaced {
                admin.listener.remove();
            }
            admin.end();
        }
    }

    pub(super) fn admin_is(&self, pid: Pid) -> bool {
        self.admin.as_ref().is_some_and(|admin| admin.is(pid))
    }

    pub(super) fn next_of_admin(&self) -> Option<Instant> {
        let admin = self.admin.as_ref()?;
        admin.next_deadline(self.supervisor.is_ruling())
    }

    /// Something happened.
    pub(super) fn has_news(&mut self) {
        if let Some(admin) = &mut self.admin {
            admin.has_news();
        }
    }

    /// A generation serves: the first one is no reload.
    pub(super) fn note_generation(&mut self) {
        if std::mem::replace(&mut self.has_served, true) {
            self.note_reload(true);
        }
    }

    /// Takes note of how a reload went, and counts it.
    pub(super) fn note_reload(&mut self, was_good: bool) {
        let counter = if was_good {
            Counter::ReloadsDone
        } else {
            Counter::ReloadsFailed
        };
        self.board.count(counter);
        let at = self.times.of(Instant::now());
        self.last_reload = Some(Reload { was_good, at });
        self.has_news();
    }

    /// Counts a worker that ended without being told to: one that is replaced.
    pub(super) fn count_death(&self, cause: Cause) {
        let counter = match cause {
            Cause::Exited(0) => return,
            Cause::Exited(_) | Cause::Unknown => Counter::RestartsExit,
            Cause::Killed { .. } => Counter::RestartsSignal,
        };
        self.board.count(counter);
    }

    /// The file of the log, if there is one.
    pub(super) fn log_file(&self) -> Option<&Path> {
        let cycle = self.current.as_ref().or(self.incoming.as_ref())?;
        match cycle.settings.file.as_ref()? {
            Output::File(path) => Some(path),
            Output::StandardOutput | Output::StandardError | Output::Syslog => None,
        }
    }

    /// The logs are other files now.
    pub(super) fn reopen_of_admin(&self) {
        if let Some(admin) = &self.admin {
            admin.reopen(self.log_file());
        }
    }

    fn terms(&self) -> Terms {
        let cycle = self.current.as_ref().or(self.incoming.as_ref());
        let identity = cycle.and_then(|cycle| cycle.identity.as_ref());
        let settings = cycle.map(|cycle| &cycle.settings);
        let is_json = settings.is_some_and(|settings| settings.format == crate::log::Format::Json);
        Terms {
            program: self.plan.program.clone(),
            hosts: cycle.map_or_else(Vec::new, |cycle| cycle.config.admin.hosts.0.clone()),
            ids_max: cycle.map_or(0, |cycle| cycle.config.admin.ids_max),
            user: identity.map(crate::sys::privileges::Identity::numbers),
            log_level: ::log::max_level().to_string(),
            is_json,
            is_heard: settings.is_some_and(|settings| settings.stderr),
        }
    }

    fn facts(&self) -> Facts {
        let cycle = self.current.as_ref();
        let file = self.plan.file.as_ref();
        let is_starting = self.supervisor.incoming().is_some() && cycle.is_none();
        let listeners = cycle.map(|cycle| {
            let spoken = cycle.config.listener.iter();
            let listeners = cycle
                .addresses()
                .zip(spoken)
                .map(|(address, spoken)| Listens {
                    address,
                    name: spoken.name.clone(),
                    protocol: spoken_name(spoken.protocol).to_owned(),
                });
            listeners.collect()
        });
        Facts {
            program: self.plan.program.clone(),
            pid: Pid::own().raw(),
            started: self.times.wall,
            generation: self.supervisor.current().map(|generation| generation.0),
            is_starting,
            is_stopping: self.supervisor.is_stopping(),
            upgrading: self.supervisor.successor().map(Pid::raw),
            replaces: self.old_master.as_ref().map(|old_master| old_master.pid),
            configuration: file.map(|file| file.to_string_lossy().into_owned()),
            accept: cycle
                .map_or("", |cycle| cycle.accept(&self.board).name())
                .to_owned(),
            listeners: listeners.unwrap_or_default(),
            workers: self
                .supervisor
                .status()
                .map(|one| self.of_worker(&one))
                .collect(),
            reload: self.last_reload,
        }
    }

    fn of_worker(&self, slot: &Status) -> Worker {
        Worker {
            number: slot.number,
            row: slot.slot.0,
            pid: slot.pid.map(Pid::raw),
            generation: slot.generation.0,
            state: slot.stage.name().to_owned(),
            since: self.times.of(slot.since),
            until: slot.until.map(|until| self.times.of(until)),
            restarts: slot.restarts,
            last_exit: slot.last_exit.map(|exit| exit.to_string()),
            is_stopped: slot.pid.is_some_and(|pid| self.watch.is_stopped(pid)),
        }
    }
}
