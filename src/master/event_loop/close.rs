//! The end of the master: what it made is taken away, and whoever waits for its
//! end is told. On the master's thread, once.

use std::time::{Duration, Instant};

use super::Master;
use crate::log;
use crate::master::control::{self, Response};
use crate::master::cycle::Cycle;
use crate::master::exit::{Ending, Exit};
use crate::master::workers::message::ToWorker;

/// Time that the workers have to serve who waits to be accepted.
const LAST_ACCEPTS: Duration = Duration::from_secs(2);

impl Master<'_> {
    /// The end was ordered: new clients are refused at once and do not wait for
    /// a server that is about to go. Who waits in a backlog was there before:
    /// the workers serve him first. Not where another master goes on.
    pub(super) fn refuse_clients(&mut self) {
        if !self.supervisor.is_ruling() || self.supervisor.is_stopping() {
            return;
        }
        self.workers
            .all()
            .for_each(|one| one.tell(ToWorker::Refuse));
        self.refuse_by = Some(Instant::now() + LAST_ACCEPTS);
    }

    /// Whether or not the workers could.
    pub(super) fn refuse_late(&mut self, now: Instant) {
        if self.refuse_by.take_if(|by| *by <= now).is_some() {
            let cycles = [&self.current, &self.incoming].into_iter().flatten();
            cycles.for_each(Cycle::refuse_clients);
        }
    }

    /// The last things: nobody else is left, but for another master perhaps.
    pub(super) fn close(mut self) -> Result<(), Ending> {
        self.end_admin();
        let stopped = Response::new(Exit::Ok as u8, "stopped");
        let asked = [control::Command::Stop, control::Command::Quit];
        let counted = self.board.counted().into_iter();
        let counted: Vec<String> = counted.map(|(name, n)| format!("{name}={n}")).collect();
        log::info!("counted: {}", counted.join(" "));
        if self.supervisor.is_replaced() {
            self.take_leave();
        } else {
            for cycle in [&self.current, &self.incoming].into_iter().flatten() {
                cycle.unlink_but(self.files_of_others());
            }
        }
        if self.supervisor.is_new_master() {
            self.give_up();
        } else if let Some(control) = self.control.take() {
            control.remove();
        }
        self.notifier.close();
        // Unless it names somebody else.
        self.pid_file.remove();
        if let Some(report) = self.report {
            let early = Ending::new(Exit::Internal, "stopped before all workers were ready");
            report.tell(&self.result.clone().and(Err(early)));
        }
        self.clients.answer_all(&asked, &stopped, &self.epoll);
        self.result
    }
}
