//! Forking workers: what the master does, and what the new process takes along.
//! On the master's thread, which is its only one.

use std::ops::ControlFlow;

use super::{Leave, Master, WORKER, WORKER_END};
use crate::log;
use crate::master::supervisor::{Event, Generation, SlotId};
use crate::master::workers::WorkerProcess;
use crate::master::workers::child::ForkedWorker;
use crate::master::workers::line::{WorkerEnd, line};
use crate::master::workers::raw_lines::{self, RawWriter};
use crate::net::accept_mutex::Owner;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::process::{self, Fork};
use crate::worker::Setup;

impl Master<'_> {
    pub(super) fn fork(
        &mut self,
        slot: SlotId,
        number: usize,
        generation: Generation,
    ) -> ControlFlow<Leave, Event> {
        let row = u8::try_from(slot.0).expect("there are at most 255 slots");
        let is_borne = |owner: Owner| self.bus.is_borne(owner.row, owner.epoch);
        let owner = self.accept_mutex.admit_unlike(row, is_borne);
        let ends = line().and_then(|ends| Ok((ends, raw_lines::pipe()?)));
        let forked = ends.and_then(|(ends, raw)| Ok((ends, raw, process::fork()?)));
        match forked {
            Ok(((_, theirs), (_, raw), Fork::Child)) => {
                let forked = self.forked((theirs, raw), owner, number, generation);
                ControlFlow::Break(Leave::ForkedWorker(Box::new(forked)))
            }
            Ok(((ours, _), (raw, _), Fork::Parent(pid))) => {
                kill_point(Spot::HasForked);
                let row = u64::from(row);
                let tokens = (WORKER + row, WORKER_END + row);
                if let Err(error) = ours.listen(&self.epoll, tokens) {
                    log::error!("listen to worker {pid}: {error}");
                }
                self.standard_errors.add(raw, pid, number, &self.epoll);
                let place = (slot, number, generation);
                self.workers
                    .add(WorkerProcess::new(pid, place, owner, ours));
                ControlFlow::Continue(Event::Started { slot, pid })
            }
            Err(error) => {
                log::error!("fork worker {number}: {error}");
                self.accept_mutex.release_dead(owner);
                ControlFlow::Continue(Event::ForkFailed { slot })
            }
        }
    }

    /// In the new process: everything that it needs of the master's.
    fn forked(
        &self,
        (line, raw_lines): (WorkerEnd, RawWriter),
        owner: Owner,
        number: usize,
        generation: Generation,
    ) -> ForkedWorker {
        let incoming = self.incoming.as_ref();
        let is_new = self.supervisor.incoming() == Some(generation);
        let cycle = incoming.filter(|_| is_new).or(self.current.as_ref());
        let cycle = cycle.expect("a generation has its cycle until it is over");
        // Fewer than the configuration says, if an operator wants it so.
        let is_new = is_new && incoming.is_some();
        let count = if is_new { cycle.workers } else { self.wanted };
        let listeners = cycle.listeners_of(number, count);
        ForkedWorker {
            program: self.plan.program.clone(),
            number,
            generation,
            line,
            raw_lines,
            setup: listeners.and_then(|(listeners, names)| {
                // What is dropped with the master is all that could be written.
                let board = self.board.for_worker()?;
                let setup = Setup {
                    listeners,
                    accept: cycle.accept(&board),
                    limits: cycle.limits,
                    settings: cycle.config.own_values().into(),
                    row: board.row(owner.row.into()),
                    bus: Some(self.bus.clone()),
                    number: owner.row,
                    epoch: owner.epoch,
                };
                Ok((setup, names))
            }),
            life_pipe: self.life_pipe.hold(),
            settings: is_new.then(|| cycle.settings.clone()),
            identity: cycle.identity.clone(),
            core: cycle.core(number),
            patience: cycle.config.shutdown_timeout,
        }
    }
}
