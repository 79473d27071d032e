//! Reloading: everything that can fail is done before the first fork, and the
//! old generation serves until the new one is ready. So a failure changes
//! nothing.

use std::time::Duration;

use super::{Master, Step};
use crate::log;
use crate::master::control::{Command, Response};
use crate::master::cycle::socket_file::SocketFile;
use crate::master::cycle::{Cycle, settings};
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::{self, Event, Failure, Generation, Refusal};
use crate::master::upgrade::links::OldMaster;
use crate::master::watchdog::Periods;
use crate::sys::process::Cause;

/// What those asked who are told how a reload went.
const RELOADS: [Command; 2] = [Command::Reload, Command::ReloadForced];

impl Master<'_> {
    /// Starts the first generation.
    pub(super) fn begin(&mut self, first: Cycle) -> Step {
        let workers = first.workers;
        self.incoming = Some(first);
        self.supervise(Event::Ordered(supervisor::Command::NewGeneration {
            workers,
        }))
    }

    /// Takes the configuration file over; `client` is told how that went. `force`:
    /// ends what leaves no room for it.
    pub(super) fn reload(&mut self, client: Option<u64>, force: bool) -> Step {
        if self.incoming.is_some() {
            // A signal has nobody to tell, so it is not forgotten.
            self.again |= client.is_none();
            let busy = Ending::new(Exit::Running, Refusal::Busy.to_string());
            self.refuse(client, &busy);
            return Step::Continue(());
        }
        if let Err(refusal) = self.supervisor.may_change() {
            log::error!("reload refused, nothing was changed: {refusal}");
            self.refuse(client, &Ending::refused(&refusal));
            return Step::Continue(());
        }
        self.notifier.reloading();
        let cycle = match self.prepare() {
            Ok(cycle) => cycle,
            Err(ending) => {
                self.notifier
                    .ready(&format!("reload refused: {}", ending.text));
                log::error!("reload refused, nothing was changed: {}", ending.text);
                self.note_reload(false);
                self.refuse(client, &ending);
                return Step::Continue(());
            }
        };
        log::info!("reload: starting {} workers", cycle.workers);
        if force {
            self.supervise(Event::Ordered(supervisor::Command::MakeRoom))?;
        }
        self.begin(cycle)
    }

    /// Everything of a new cycle that can fail.
    fn prepare(&self) -> Result<Cycle, Ending> {
        self.plan.go_to_folder();
        let config = (self.plan.load)()?;
        if let Some(current) = &self.current {
            current.config.can_become(&config)?;
        }
        let before = self.current.as_ref();
        let as_before = before.map(Cycle::as_before);
        let sockets = before.map(|before| before.sockets.clone());
        log::probe(&settings(&config, self.plan.is_daemon)?)
            .map_err(|error| Ending::new(Ending::of(&error), error.to_string()))?;
        let cycle = Cycle::prepare(
            config,
            self.plan.basis(),
            as_before.as_ref(),
            sockets.unwrap_or_default(),
            Duration::ZERO,
        )?;
        match self.can_count(&cycle) {
            Ok(()) => Ok(cycle),
            Err(ending) => {
                cycle.unlink_but(self.files_in_use());
                Err(ending)
            }
        }
    }

    /// Whether the tables, which were made at the start, can count the
    /// connections of each address.
    fn can_count(&self, cycle: &Cycle) -> Result<(), Ending> {
        let (limits, room) = (&cycle.limits, self.board.addresses(0).connections());
        if limits.connections_per_ip == 0 || limits.connections_max <= room {
            return Ok(());
        }
        let message = format!(
            "is over {room}, for which there was room at the start: while \
             limits.connections_per_ip is set, only a restart can go beyond it"
        );
        Err(cycle
            .config
            .refuse("worker.connections_max", &message)
            .into())
    }

    /// The Unix sockets that are needed, whatever becomes of a new cycle.
    fn files_in_use(&self) -> &[SocketFile] {
        match &self.current {
            Some(current) => current.files(),
            None => self.files_of_others(),
        }
    }

    /// Those that the old master listens on, until this one rules.
    pub(super) fn files_of_others(&self) -> &[SocketFile] {
        let old_master = self
            .old_master
            .as_ref()
            .filter(|_| self.supervisor.is_new_master());
        old_master.map_or(&[], OldMaster::files)
    }

    pub(super) fn refuse(&mut self, client: Option<u64>, Ending { exit, text }: &Ending) {
        if let Some(client) = client {
            let response = Response::new(*exit as u8, text.clone());
            self.clients.answer(client, &response, &self.epoll);
        }
    }

    /// What the generation that was started is made of is in force, before
    /// anybody is told to drain for it.
    pub(super) fn take_over(&mut self) {
        // None: workers came back after a drain, with the cycle that was there.
        let Some(cycle) = self.incoming.take() else {
            return;
        };
        self.wanted = cycle.workers;
        self.supervisor.set_policy(cycle.policy(self.board.rows()));
        self.watch.set(Periods::from(&cycle.config));
        if self.current.is_some()
            && let Err(error) = log::init(&cycle.settings)
        {
            log::error!("{error}; the master logs where it did");
        }
        cycle.set_backlogs();
        for address in cycle.addresses() {
            log::info!("listening on {address}");
        }
        if let Some(before) = self.current.replace(cycle) {
            before.unlink_but(self.files_in_use());
        }
    }

    pub(super) fn reload_done(&mut self, generation: Generation) {
        self.note_generation();
        let workers = self.wanted;
        let text = format!("generation {} serves: {workers} workers", generation.0);
        if let Some(Cycle { limits, .. }) = &self.current {
            log::info!(
                "ready: {text}, {} business threads and up to {} connections each",
                limits.business_threads,
                limits.connections_max
            );
        }
        self.notifier.ready(&text);
        let done = Response::new(Exit::Ok as u8, text);
        self.clients.answer_all(&RELOADS, &done, &self.epoll);
        if let Some(report) = self.report.take() {
            report.tell(&Ok(()));
        }
    }

    /// Gives the order to end when there is nothing to go back to.
    pub(super) fn reload_failed(
        &mut self,
        generation: Generation,
        reason: Failure,
    ) -> Option<Event> {
        self.drop_incoming();
        self.note_reload(false);
        let ending = self.explain(generation, reason);
        log::error!("{}", ending.text);
        let response = Response::new(ending.exit as u8, ending.text.clone());
        self.clients.answer_all(&RELOADS, &response, &self.epoll);
        if self.current.is_some() {
            self.notifier.ready(&ending.text);
            return None;
        }
        if reason == Failure::Overruled {
            return None;
        }
        self.notifier.stopping(&ending.text);
        self.result = Err(ending);
        Some(Event::Ordered(supervisor::Command::Stop))
    }

    fn explain(&mut self, generation: Generation, reason: Failure) -> Ending {
        if reason == Failure::NoGenerationLeft {
            let text = format!(
                "reload refused, nothing was changed: {}; wait until they are done, or end them \
                 with `reload --force`",
                self.holders()
            );
            return Ending::new(Exit::Running, text);
        }
        let mut text = format!("start generation {}: {reason}", generation.0);
        if let Some(words) = &self.last_words {
            text = format!("{text}: {words}");
        }
        let exit = match reason {
            Failure::Died {
                cause: Cause::Exited(code),
                ..
            } => Exit::from_code(code),
            Failure::Died { .. } | Failure::NotReady { .. } | Failure::CannotFork { .. } => {
                Exit::Internal
            }
            Failure::Overruled | Failure::NoGenerationLeft => Exit::Running,
        };
        Ending::new(exit, text)
    }

    /// What was made for a generation that will not be.
    fn drop_incoming(&mut self) {
        if let Some(cycle) = self.incoming.take() {
            cycle.unlink_but(self.files_in_use());
        }
    }

    pub(super) fn reload_refused(&mut self, refusal: Refusal) {
        self.drop_incoming();
        self.note_reload(false);
        log::error!("reload refused, nothing was changed: {refusal}");
        self.notifier.ready(&format!("reload refused: {refusal}"));
        let Ending { exit, text } = Ending::refused(&refusal);
        let response = Response::new(exit as u8, text);
        self.clients.answer_all(&RELOADS, &response, &self.epoll);
    }
}
