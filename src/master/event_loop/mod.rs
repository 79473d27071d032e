//! The master at work: one epoll over signals, the control socket and a line to
//! each worker. What they say goes to the supervisor; what it decides is done
//! here. Nothing here waits for anybody.

mod admin;
mod close;
pub(super) mod connections;
mod files;
mod fork;
mod hear;
mod holders;
mod introduce;
mod kicks;
mod new_master;
mod old_master;
mod operate;
mod raw_lines;
mod reap;
mod reload;
mod serve;
mod signals;
mod status;
mod wakes;
mod watch;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::admin::{Admin, AdminListener};
use super::control::ControlSocket;
use super::control::clients::{Clients, FIRST_TOKEN};
use super::cycle::Cycle;
use super::daemon::detach::Report;
use super::daemon::service_manager::Notifier;
use super::exit::Ending;
use super::pid_file::PidFile;
use super::plan::Plan;
use super::supervisor::{Action, Command, Event, SlotId, Supervisor};
use super::upgrade::inheritance::LIVES_MAX;
use super::upgrade::life_pipe::LifePipe;
use super::upgrade::links::{NewMaster, OldMaster};
use super::watchdog::{Periods, Watch};
use super::workers::Workers;
use super::workers::child::ForkedWorker;
use super::workers::message::ToWorker;
use crate::admin::Reload;
use crate::bus::Bus;
use crate::log::{self, Limiter};
use crate::net::accept_mutex::AcceptMutex;
use crate::scoreboard::Scoreboard;
use crate::sys::epoll::{Epoll, Events, Interest};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signals;
use admin::Times;
use connections::PendingList;
use kicks::PendingKick;
use operate::Awaited;
use raw_lines::StandardErrors;
use reap::STOPS_PER_SECOND;
pub(in crate::master) use signals::SIGNALS;
use wakes::MasterWords;
use watch::SLOW_PER_SECOND;

const SIGNAL: u64 = 0;
const CONTROL: u64 = 1;
/// The worker in slot `n` has this token and `n`: it has something to say.
const WORKER: u64 = 2;
/// The same for the end of its line; clients come far above.
const WORKER_END: u64 = 1 << 12;
/// What workers write past the log.
const RAW_LINES: u64 = 1 << 13;
/// The line to a new program, and the end of all that it starts.
const NEW_MASTER: u64 = 1 << 16;
const NEW_LIFE: u64 = NEW_MASTER + 1;
/// The line to the old one, and the end of it and its workers, and of those of each
/// before it.
const OLD_MASTER: u64 = NEW_MASTER + 2;
const OLD_LIFE: u64 = NEW_MASTER + 3;
/// Behind the last of these.
const OLD_LIVES: u64 = OLD_LIFE + LIVES_MAX as u64;

/// How soon something is tried again that the kernel had no room for.
const RETRY: Duration = Duration::from_millis(100);

/// How the master's loop ended.
pub(in crate::master) enum Ended {
    /// Everybody is gone.
    Gone(Result<(), Ending>),
    /// This is another process now.
    ForkedWorker(Box<ForkedWorker>),
}

/// Why the loop is left.
pub(super) enum Leave {
    /// Everybody is gone.
    Gone,
    /// This is another process now.
    ForkedWorker(Box<ForkedWorker>),
}

/// Goes on, or leaves the loop.
pub(super) type Step = ControlFlow<Leave>;

/// What a master needs beside its configuration.
pub(in crate::master) struct Resources {
    pub(in crate::master) control: ControlSocket,
    pub(in crate::master) board: Scoreboard,
    pub(in crate::master) bus: Bus,
    pub(in crate::master) notifier: Notifier,
    pub(in crate::master) pid_file: PidFile,
    pub(in crate::master) life_pipe: LifePipe,
    pub(in crate::master) admin: AdminListener,
}

/// Everything of the master's.
pub(in crate::master) struct Master<'a> {
    plan: Plan<'a>,
    supervisor: Supervisor,
    epoll: Epoll,
    clients: Clients,
    notifier: Notifier,
    board: Scoreboard,
    /// The way between the workers.
    bus: Bus,
    workers: Workers,
    /// What the workers that serve were started from.
    current: Option<Cycle>,
    /// What is being started.
    incoming: Option<Cycle>,
    /// Whether another reload was wanted meanwhile.
    again: bool,
    /// How many workers the generation that serves is to have.
    wanted: usize,
    /// When the listeners are shut down, if the workers have not done it.
    refuse_by: Option<Instant>,
    /// When to look after the files of this master.
    files_at: Instant,
    /// What operators wait for.
    awaited: Vec<Awaited>,
    /// The list of connections that is being put together.
    pending_list: Option<PendingList>,
    pending_kicks: Vec<PendingKick>,
    /// Until the daemon's start was reported.
    report: Option<Report>,
    /// Why the last worker that said so ended.
    last_words: Option<String>,
    /// How the program is to end.
    result: Result<(), Ending>,
    born: Instant,
    accept_mutex: AcceptMutex<MasterWords>,
    /// Rows to which it went: their workers are to be woken.
    rung: Rc<RefCell<Vec<usize>>>,
    watch: Watch,
    /// When the workers are looked at again.
    watch_at: Instant,
    /// When the accept mutex is, and what its word was the last time.
    mutex_at: Instant,
    mutex_word: Option<u64>,
    /// With how many slow handlers the log can bear.
    slow: Limiter,
    /// With how many that are stopped.
    stops: Limiter,
    standard_errors: StandardErrors,
    pid_file: PidFile,
    life_pipe: LifePipe,
    /// The new program, while an upgrade goes on.
    new_master: Option<NewMaster>,
    /// The old master, until it is gone.
    old_master: Option<OldMaster>,
    signals: Signals,
    /// Until another master has it.
    control: Option<ControlSocket>,
    /// Whether the control socket is in the epoll.
    is_listening: bool,
    /// Where figures are shown; taken for as long as it is asked.
    admin: Option<Admin>,
    times: Times,
    last_reload: Option<Reload>,
    /// Whether a generation of this master's has served.
    has_served: bool,
}

impl<'a> Master<'a> {
    pub(in crate::master) fn open(
        plan: Plan<'a>,
        resources: Resources,
        supervisor: Supervisor,
        old_master: Option<OldMaster>,
    ) -> io::Result<Self> {
        let signals = Signals::block(&SIGNALS)?;
        let epoll = Epoll::new()?;
        epoll.add(&signals, Interest::Read, SIGNAL)?;
        let is_listening = supervisor.is_ruling();
        if is_listening {
            epoll.add(&resources.control, Interest::Read, CONTROL)?;
        }
        if let Some(old_master) = &old_master {
            old_master.listen(&epoll, (OLD_MASTER, OLD_LIFE))?;
        }
        let admin = Admin::new(resources.admin)?;
        let born = Instant::now();
        let words = MasterWords::new(resources.board.clone());
        Ok(Self {
            plan,
            supervisor,
            epoll,
            clients: Clients::default(),
            notifier: resources.notifier,
            rung: words.rung(),
            accept_mutex: AcceptMutex::new(words),
            watch: Watch::new(Periods::OFF),
            watch_at: Instant::now(),
            mutex_at: Instant::now(),
            mutex_word: None,
            slow: Limiter::new(1, SLOW_PER_SECOND),
            stops: Limiter::new(1, STOPS_PER_SECOND),
            standard_errors: StandardErrors::new(),
            board: resources.board,
            bus: resources.bus,
            workers: Workers::default(),
            current: None,
            incoming: None,
            again: false,
            wanted: 0,
            refuse_by: None,
            files_at: Instant::now(),
            awaited: Vec::new(),
            pending_list: None,
            pending_kicks: Vec::new(),
            report: None,
            last_words: None,
            result: Ok(()),
            born,
            pid_file: resources.pid_file,
            life_pipe: resources.life_pipe,
            new_master: None,
            old_master,
            signals,
            control: Some(resources.control),
            is_listening,
            admin: Some(admin),
            times: Times::begin(born),
            last_reload: None,
            has_served: false,
        })
    }

    /// Works until everybody is gone, or until this is a worker.
    pub(in crate::master) fn run(mut self, first: Cycle, report: Option<Report>) -> Ended {
        self.report = report;
        let mut step = self.begin(first);
        let mut events = Events::with_capacity(64);
        let leave = loop {
            match step {
                Step::Continue(()) => step = self.turn(&mut events),
                Step::Break(leave) => break leave,
            }
        };
        match leave {
            Leave::Gone => Ended::Gone(self.close()),
            // Dropping what was the master's only closes it.
            Leave::ForkedWorker(forked) => Ended::ForkedWorker(forked),
        }
    }

    /// One turn of the loop.
    fn turn(&mut self, events: &mut Events) -> Step {
        self.wake_rung();
        let timeout = self.timeout(Instant::now());
        let tokens: Vec<u64> = match self.epoll.wait(events, timeout) {
            Ok(batch) => batch.map(|event| event.token).collect(),
            // A broken epoll: without supervision, end in order.
            Err(error) => {
                log::error!("wait for events: {error}");
                return self.supervise(Event::Ordered(Command::Stop));
            }
        };
        if !tokens.is_empty() {
            self.has_news();
        }
        for token in tokens {
            match token {
                SIGNAL => self.take_signals()?,
                CONTROL => self.let_in(),
                NEW_MASTER => self.hear_new_master()?,
                NEW_LIFE => self.new_life_ended()?,
                OLD_MASTER => self.hear_old_master()?,
                life @ OLD_LIFE..OLD_LIVES => self.old_life_ended(life - OLD_LIFE)?,
                client if client >= FIRST_TOKEN => self.serve(client)?,
                raw if raw >= RAW_LINES => self.standard_errors.hear(raw, &self.epoll),
                worker if worker >= WORKER_END => self.line_ended(slot_of(worker - WORKER_END))?,
                worker => self.rung_by(slot_of(worker - WORKER))?,
            }
            self.wake_rung();
        }
        let now = Instant::now();
        self.clients.expire(now, &self.epoll);
        self.workers.send_on();
        self.listen_again();
        self.watch(now);
        self.look_at_mutex(now);
        self.answer_what_is_done(now);
        self.refuse_late(now);
        self.keep_files(now);
        self.notifier.turn(now);
        self.standard_errors.turn(now, &self.epoll);
        if self.supervisor.next_deadline().is_some_and(|at| at <= now) {
            self.supervise(Event::Tick)?;
            self.has_news();
        }
        if std::mem::take(&mut self.again) && self.incoming.is_none() {
            self.reload(None, false)?;
        }
        self.keep_admin(now);
        Step::Continue(())
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let is_deaf = !self.is_listening && self.supervisor.is_ruling();
        let retry = (self.workers.has_unsent() || is_deaf).then(|| now + RETRY);
        let deadlines = [
            self.supervisor.next_deadline(),
            self.clients.next_deadline(),
            self.next_answer(),
            self.notifier.next_deadline(now),
            self.next_look(),
            self.standard_errors.next_deadline(),
            self.refuse_by,
            self.next_of_admin(),
            Some(self.files_at),
            retry,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    pub(super) fn order(&mut self, command: Command) -> Step {
        log::info!("ordered: {command:?}");
        if matches!(command, Command::Stop | Command::Quit) {
            self.notifier.stopping("draining");
            self.refuse_clients();
        }
        self.supervise(Event::Ordered(command))
    }

    /// Tells the supervisor, and does what it says.
    pub(super) fn supervise(&mut self, event: Event) -> Step {
        let mut actions: VecDeque<Action> = self.supervisor.on_event(event, Instant::now()).into();
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.act(action)? {
                actions.extend(self.supervisor.on_event(event, Instant::now()));
            }
        }
        Step::Continue(())
    }

    /// Does one thing; gives what came of it.
    fn act(&mut self, action: Action) -> ControlFlow<Leave, Option<Event>> {
        match action {
            Action::Fork {
                slot,
                number,
                generation,
            } => return self.fork(slot, number, generation).map_continue(Some),
            Action::Bury(pid) => self.bury(pid),
            Action::Drain { pid, deadline } => {
                // Before it hears that it has to leave.
                self.introduce();
                let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                self.tell(pid, ToWorker::Drain(left));
            }
            Action::Retire(pid) => {
                self.introduce();
                let talk = self
                    .current
                    .as_ref()
                    .map(|cycle| cycle.config.shutdown_timeout);
                self.tell(pid, ToWorker::Retire(talk.unwrap_or_default() / 2));
            }
            Action::TellReopen(pid) => {
                self.tell(pid, ToWorker::Reopen);
                self.tell(pid, ToWorker::ReopenAccess);
            }
            Action::CutShort { generation } => {
                let number = generation.0;
                log::warn!("generation {number} still drains: it ends now, as ordered");
            }
            Action::Kill(pid) => {
                if self.supervisor.successor() == Some(pid) {
                    // Whatever it is: what it has started ends with it.
                    process::kill_group(pid);
                }
                if let Err(error) = process::kill(pid) {
                    log::error!("kill worker {pid}: {error}");
                }
            }
            Action::TakeOver { .. } => self.take_over(),
            Action::ReloadDone { generation } => self.reload_done(generation),
            Action::ReloadFailed { generation, reason } => {
                return ControlFlow::Continue(self.reload_failed(generation, reason));
            }
            Action::ReloadRefused(refusal) => self.reload_refused(refusal),
            Action::Launch => return ControlFlow::Continue(Some(self.launch())),
            Action::Promote => self.promote(),
            Action::Resign { pid } => self.resign(pid),
            Action::EndNewMaster => self.tell_new_master_to_end(),
            Action::UpgradeFailed(setback) => self.upgrade_failed(setback),
            Action::TellReady => self.tell_ready(),
            Action::Rule => return ControlFlow::Continue(self.rule()),
            Action::HurryOldMaster { by } => self.hurry_old_master(by),
            Action::TellDrains { generations, rows } => self.tell_drains(generations, rows),
            Action::Exit => return ControlFlow::Break(Leave::Gone),
        }
        ControlFlow::Continue(None)
    }

    fn tell(&mut self, pid: Pid, message: ToWorker) {
        if let Some(member) = self.workers.with_pid(pid) {
            member.tell(message);
        }
    }
}

fn slot_of(number: u64) -> SlotId {
    SlotId(usize::try_from(number).unwrap_or(usize::MAX))
}
