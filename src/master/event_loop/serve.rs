//! Who asks over the control socket, and what for. On the master's thread.

use std::time::Instant;

use super::kicks::Whom;
use super::{CONTROL, Master, Step, connections, kicks};
use crate::log;
use crate::master::control;
use crate::master::supervisor::Command;
use crate::sys::epoll::Interest;

impl Master<'_> {
    pub(super) fn let_in(&mut self) {
        let Some(control) = &self.control else { return };
        let accepted = self.clients.accept(control, &self.epoll, Instant::now());
        if let Err(error) = accepted {
            log::warn!("control socket: {error}; clients wait");
            let _registered = self.epoll.delete(control);
            self.is_listening = false;
        }
    }

    pub(super) fn listen_again(&mut self) {
        let may_listen = !self.is_listening && self.supervisor.is_ruling();
        if let Some(control) = self.control.as_ref().filter(|_| may_listen) {
            let added = self.epoll.add(control, Interest::Read, CONTROL);
            self.is_listening = added.is_ok();
        }
    }

    pub(super) fn serve(&mut self, client: u64) -> Step {
        let Some(command) = self.clients.serve(client, &self.epoll) else {
            return Step::Continue(());
        };
        match command {
            // Answered when the master ends.
            control::Command::Stop => self.order(Command::Stop)?,
            control::Command::Quit => self.order(Command::Quit)?,
            control::Command::Reload => self.reload(Some(client), false)?,
            control::Command::ReloadForced => self.reload(Some(client), true)?,
            control::Command::Reopen => self.reopen(Some(client))?,
            control::Command::Upgrade => self.upgrade(Some(client), false)?,
            control::Command::UpgradeForced => self.upgrade(Some(client), true)?,
            command @ (control::Command::Status | control::Command::StatusAll) => {
                let status = self.status(command == control::Command::StatusAll);
                self.clients.answer(client, &status, &self.epoll);
            }
            control::Command::Drain => self.drain(client)?,
            control::Command::Workers(wanted) => self.set_workers(client, wanted)?,
            control::Command::LogLevel(level) => self.set_log_level(client, level),
            control::Command::Connections => connections::begin(self, Instant::now()),
            control::Command::Kick { id, say } => {
                kicks::begin(self, (Whom::Conn(id), say), Instant::now());
            }
            control::Command::KickUser { user, say } => {
                kicks::begin(self, (Whom::User(user), say), Instant::now());
            }
        }
        Step::Continue(())
    }
}
