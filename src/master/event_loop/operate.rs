//! What an operator changes while the server runs: how many workers there are,
//! what they log, which connections live. Nothing here waits: an answer that
//! depends on the workers is given when they have come that far.

use std::time::{Duration, Instant};

use ::log::LevelFilter;

use super::{Master, Step, connections, kicks};
use crate::log;
use crate::master::control::{Command, Response, Wanted};
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::{self, Event, Refusal, Stage};
use crate::master::workers::WorkerProcess;
use crate::master::workers::message::ToWorker;
use crate::sys::epoll::duplicate;

/// How long new workers may take before the operator is told that some do not
/// serve: longer than a worker may take until it is killed.
const SERVING: Duration = Duration::from_secs(35);

/// As many workers as `workers` of the configuration may say.
const WORKERS_MAX: usize = 64;

/// What an operator waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goal {
    /// No worker is left.
    Drained,
    /// As many workers serve.
    Serving(Wanted),
}

impl Goal {
    /// What those asked who wait for it.
    const fn command(self) -> Command {
        match self {
            Self::Drained => Command::Drain,
            Self::Serving(wanted) => Command::Workers(wanted),
        }
    }
}

/// Something that was asked and is not answered yet.
pub(super) struct Awaited {
    goal: Goal,
    /// When it is answered in any case; `None`: only when it is done.
    until: Option<Instant>,
}

impl Master<'_> {
    /// Has another number of workers, as a client asks for.
    pub(super) fn set_workers(&mut self, client: u64, wanted: Wanted) -> Step {
        match self.workers(wanted) {
            Ok(step) => {
                self.await_until(Goal::Serving(wanted), Some(Instant::now() + SERVING));
                step
            }
            Err(refused) => {
                self.clients.answer(client, &refused, &self.epoll);
                Step::Continue(())
            }
        }
    }

    /// Has all processes log at this level.
    pub(super) fn set_log_level(&mut self, client: u64, level: LevelFilter) {
        log::set_level(level);
        let told = self.workers.all();
        told.for_each(|member| member.tell(ToWorker::LogLevel(level)));
        let level = level.as_str().to_ascii_lowercase();
        let text = format!("log level {level} in all processes, until the next reload");
        log::info!("ordered: {text}");
        let done = Response::new(Exit::Ok as u8, text);
        self.clients.answer(client, &done, &self.epoll);
    }

    fn await_until(&mut self, goal: Goal, until: Option<Instant>) {
        self.awaited.push(Awaited { goal, until });
    }

    /// Has all workers leave, and stays.
    pub(super) fn drain(&mut self, client: u64) -> Step {
        let may = self.supervisor.may_change();
        let may = may.and(if self.supervisor.is_stopping() {
            Err(Refusal::Stopping)
        } else {
            Ok(())
        });
        if let Err(refusal) = may {
            let refusal = Response::new(Exit::Running as u8, refusal.to_string());
            self.clients.answer(client, &refusal, &self.epoll);
            return Step::Continue(());
        }
        self.await_until(Goal::Drained, None);
        self.order(supervisor::Command::Winch)
    }

    /// Has another number of workers, until the next reload; after a drain,
    /// starts them from the configuration that served last.
    pub(super) fn workers(&mut self, wanted: Wanted) -> Result<Step, Response> {
        let refused = |refusal: Refusal| Response::new(Exit::Running as u8, refusal.to_string());
        if self.supervisor.is_stopping() {
            return Err(refused(Refusal::Stopping));
        }
        self.supervisor.may_change().map_err(refused)?;
        if self.supervisor.incoming().is_some() || self.current.is_none() {
            return Err(refused(Refusal::Busy));
        }
        let current = self.supervisor.current();
        let slots = || self.supervisor.status();
        let have = slots()
            .filter(|slot| Some(slot.generation) == current && slot.is_wanted)
            .count();
        let count = match wanted {
            Wanted::Exactly(count) => usize::from(count.get()),
            Wanted::By(change) => have.saturating_add_signed(change.into()),
        };
        if count == 0 {
            let text = format!("{wanted} of {have} workers leaves none: that is `drain`");
            return Err(Response::new(Exit::Usage as u8, text));
        }
        if count > WORKERS_MAX {
            let text = format!("{wanted} of {have} workers makes {count}, must be from 1 to 64");
            return Err(Response::new(Exit::Usage as u8, text));
        }
        if count > 1 && self.is_single_worker() {
            let text = format!(
                "{wanted} of {have} workers makes {count}: the program keeps what it knows in one \
                 worker (App::single_worker)"
            );
            return Err(Response::new(Exit::Usage as u8, text));
        }
        let free = have + self.supervisor.free();
        if count > free {
            let wanted = count;
            return Err(refused(Refusal::NoRoom { wanted, free }));
        }
        let order = if current.is_some() {
            supervisor::Command::Workers { count }
        } else {
            supervisor::Command::NewGeneration { workers: count }
        };
        log::info!("ordered: {count} workers instead of {have}, until the next reload");
        self.wanted = count;
        self.hand_on_listeners();
        Ok(self.supervise(Event::Ordered(order)))
    }

    fn is_single_worker(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|cycle| cycle.config.is_single_worker())
    }

    /// The listeners of those who are about to leave get other keepers before,
    /// so that clients who wait there are accepted.
    fn hand_on_listeners(&mut self) {
        let (Some(cycle), Some(generation)) = (&self.current, self.supervisor.current()) else {
            return;
        };
        for (number, name, open) in cycle.handed_on(self.wanted) {
            let is_keeper = |member: &&mut WorkerProcess| {
                member.generation == generation && member.number == number
            };
            let keeper = self.workers.all().find(is_keeper);
            match (keeper, duplicate(&open.socket)) {
                (Some(keeper), Ok(socket)) => keeper.hand(ToWorker::Adopt(name), vec![socket]),
                // The one that replaces it is forked with the socket.
                (None, Ok(_)) => {}
                (_, Err(error)) => log::error!("hand on the listener {open}: {error}"),
            }
        }
    }

    /// Opens the logs again, here and in the workers.
    pub(super) fn reopen(&mut self, client: Option<u64>) -> Step {
        if let Err(refusal) = self.supervisor.may_change() {
            log::error!("reopen refused: {refusal}");
            self.refuse(client, &Ending::refused(&refusal));
            return Step::Continue(());
        }
        self.plan.go_to_folder();
        let response = match log::reopen() {
            Ok(()) => {
                self.supervise(Event::Ordered(supervisor::Command::Reopen))?;
                self.reopen_of_admin();
                log::info!("the logs were reopened");
                Response::new(Exit::Ok as u8, "the logs were reopened")
            }
            Err(error) => {
                log::error!("reopen the logs: {error}; the old file stays in use");
                Response::new(Ending::of(&error) as u8, error.to_string())
            }
        };
        if let Some(client) = client {
            self.clients.answer(client, &response, &self.epoll);
        }
        Step::Continue(())
    }

    /// The same by a signal, which has nobody to answer.
    pub(super) fn workers_by(&mut self, change: i16) -> Step {
        self.workers(Wanted::By(change)).unwrap_or_else(|refused| {
            log::warn!("{change:+} workers: {}", refused.text);
            Step::Continue(())
        })
    }

    /// Answers those whose thing is done, or takes too long.
    pub(super) fn answer_what_is_done(&mut self, now: Instant) {
        connections::look(self, now);
        kicks::look(self, now);
        let goals: Vec<(Goal, bool)> = (self.awaited.iter())
            .map(|one| (one.goal, one.until.is_some_and(|until| until <= now)))
            .collect();
        for (goal, is_late) in goals {
            let answer = match goal {
                Goal::Drained => self.drained(),
                Goal::Serving(_) => self.all_serve(is_late),
            };
            if let Some(answer) = answer {
                self.answer_awaited(goal, &answer);
            }
        }
    }

    pub(super) fn next_answer(&self) -> Option<Instant> {
        let awaited = self.awaited.iter().filter_map(|one| one.until);
        awaited
            .chain(self.pending_list.as_ref().map(|one| one.until))
            .chain(self.pending_kicks.iter().map(|one| one.until))
            .min()
    }

    fn answer_awaited(&mut self, goal: Goal, answer: &Response) {
        self.awaited.retain(|one| one.goal != goal);
        self.clients
            .answer_all(&[goal.command()], answer, &self.epoll);
    }

    fn drained(&self) -> Option<Response> {
        if self.supervisor.current().is_some() || self.supervisor.incoming().is_some() {
            let text = "the workers were brought back meanwhile";
            return Some(Response::new(Exit::Running as u8, text));
        }
        self.supervisor.status().next().is_none().then(|| {
            let text = "drained: no workers are left and clients wait in the kernel's queue; \
                        `reload` or `workers N` brings workers back, `stop` ends the master";
            Response::new(Exit::Ok as u8, text)
        })
    }

    fn all_serve(&self, is_late: bool) -> Option<Response> {
        let Some(generation) = self.supervisor.current().or(self.supervisor.incoming()) else {
            let text = "the workers were told to leave meanwhile";
            return Some(Response::new(Exit::Running as u8, text));
        };
        let wanted = self.supervisor.status();
        let wanted = wanted.filter(|slot| slot.generation == generation && slot.is_wanted);
        let (serve, wait): (Vec<_>, Vec<_>) = wanted.partition(|slot| slot.stage == Stage::Serving);
        let (serve, all) = (serve.len(), serve.len() + wait.len());
        let number = generation.0;
        if serve == all {
            let text = format!("generation {number}: {all} workers serve, until the next reload");
            return Some(Response::new(Exit::Ok as u8, text));
        }
        is_late.then(|| {
            let text = format!(
                "generation {number}: only {serve} of {all} workers serve so far; `status` and \
                 the log say why"
            );
            Response::new(Exit::Internal as u8, text)
        })
    }
}
