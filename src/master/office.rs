//! The master at work: one epoll over signals, the control socket and a line to
//! each worker. What they say goes to the supervisor; what it decides is done
//! here. Nothing here waits for anybody.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::bring_up::Plan;
use super::clients::{Clients, FIRST_TOKEN};
use super::control::{self, ControlSocket, Response};
use super::crew::{Crew, Member};
use super::detach::Report;
use super::edition::Edition;
use super::exit::{Ending, Exit};
use super::message::{ToMaster, ToWorker};
use super::notifier::Notifier;
use super::pid_file::PidFile;
use super::recruit::Recruit;
use super::supervisor::{Action, Command, Event, Generation, SlotId, Supervisor};
use super::upgrade::{Elder, Family, Launched};
use crate::log;
use crate::net::turn::{Owner, Turn, Watchdog};
use crate::scoreboard::Scoreboard;
use crate::sys::channel::Channel;
use crate::sys::epoll::{Epoll, Events, Interest};
use crate::sys::process::{self, Fork, Pid};
use crate::sys::signal::{Signal, Signals};
use crate::worker::Setup;

/// All that the master listens to; workers inherit them blocked.
const SIGNALS: [Signal; 10] = [
    Signal::Child,
    Signal::Hangup,
    Signal::Interrupt,
    Signal::Quit,
    Signal::Terminate,
    Signal::User1,
    Signal::User2,
    Signal::WindowChange,
    Signal::TtyIn,
    Signal::TtyOut,
];

const SIGNAL: u64 = 0;
const CONTROL: u64 = 1;
/// The worker in slot `n` has this token and `n`; clients come far above.
const WORKER: u64 = 2;
/// The line to a new program, and the end of all that it starts.
pub(super) const HEIR: u64 = 1 << 16;
pub(super) const HEIRS: u64 = HEIR + 1;
/// The line to the old one, and the end of it and its workers.
pub(super) const ELDER: u64 = HEIR + 2;
pub(super) const ELDERS: u64 = HEIR + 3;

/// How soon something is tried again that the kernel had no room for.
const RETRY: Duration = Duration::from_millis(100);

/// How often the holder of the accept turn is looked at.
const WATCH: Duration = Duration::from_secs(1);

/// How the master's loop ended.
pub(super) enum Ended {
    /// Everybody is gone.
    Gone(Result<(), Ending>),
    /// This is another process now.
    Recruit(Box<Recruit>),
}

/// Goes on, or leaves the loop.
pub(super) type Step = ControlFlow<Ended>;

/// What a master needs beside its configuration.
pub(super) struct Outfit {
    pub(super) control: ControlSocket,
    pub(super) board: Scoreboard,
    pub(super) notifier: Notifier,
    pub(super) pid_file: PidFile,
    pub(super) family: Family,
}

/// Everything of the master's.
pub(super) struct Office<'a> {
    pub(super) plan: Plan<'a>,
    pub(super) supervisor: Supervisor,
    pub(super) epoll: Epoll,
    pub(super) clients: Clients,
    pub(super) notifier: Notifier,
    pub(super) board: Scoreboard,
    pub(super) crew: Crew,
    /// What the workers that serve were started from.
    pub(super) current: Option<Edition>,
    /// What is being started.
    pub(super) incoming: Option<Edition>,
    /// Whether another reload was wanted meanwhile.
    pub(super) again: bool,
    /// Until the daemon's start was reported.
    pub(super) report: Option<Report>,
    /// Why the last worker that said so ended.
    pub(super) last_words: Option<String>,
    /// How the program is to end.
    pub(super) result: Result<(), Ending>,
    pub(super) born: Instant,
    pub(super) turn: Turn<Scoreboard>,
    pub(super) pid_file: PidFile,
    pub(super) family: Family,
    /// The new program, while an upgrade goes on.
    pub(super) launched: Option<Launched>,
    /// The old master, until it is gone.
    pub(super) elder: Option<Elder>,
    watchdog: Watchdog,
    /// When the watchdog looks again.
    watch_at: Instant,
    signals: Signals,
    /// Until another master has it.
    pub(super) control: Option<ControlSocket>,
    /// Whether the control socket is in the epoll.
    pub(super) is_listening: bool,
}

impl<'a> Office<'a> {
    pub(super) fn open(
        plan: Plan<'a>,
        outfit: Outfit,
        supervisor: Supervisor,
        elder: Option<Elder>,
    ) -> io::Result<Self> {
        let signals = Signals::block(&SIGNALS)?;
        let epoll = Epoll::new()?;
        epoll.add(&signals, Interest::Read, SIGNAL)?;
        let is_listening = supervisor.is_ruling();
        if is_listening {
            epoll.add(&outfit.control, Interest::Read, CONTROL)?;
        }
        if let Some(elder) = &elder {
            elder.listen(&epoll)?;
        }
        Ok(Self {
            plan,
            supervisor,
            epoll,
            clients: Clients::default(),
            notifier: outfit.notifier,
            turn: Turn::new(outfit.board.clone()),
            watchdog: Watchdog::default(),
            watch_at: Instant::now() + WATCH,
            board: outfit.board,
            crew: Crew::default(),
            current: None,
            incoming: None,
            again: false,
            report: None,
            last_words: None,
            result: Ok(()),
            born: Instant::now(),
            pid_file: outfit.pid_file,
            family: outfit.family,
            launched: None,
            elder,
            signals,
            control: Some(outfit.control),
            is_listening,
        })
    }

    /// Works until everybody is gone, or until this is a worker.
    pub(super) fn run(mut self, first: Edition, report: Option<Report>) -> Ended {
        self.report = report;
        let mut step = self.begin(first);
        let mut events = Events::with_capacity(64);
        while step.is_continue() {
            step = self.turn(&mut events);
        }
        match step {
            ControlFlow::Break(Ended::Gone(_)) => Ended::Gone(self.close()),
            // A worker: dropping only closes.
            ControlFlow::Break(recruit) => recruit,
            ControlFlow::Continue(()) => unreachable!("the loop went on"),
        }
    }

    /// One turn of the loop.
    fn turn(&mut self, events: &mut Events) -> Step {
        let timeout = self.timeout(Instant::now());
        let tokens: Vec<u64> = match self.epoll.wait(events, timeout) {
            Ok(batch) => batch.map(|event| event.token).collect(),
            // A broken epoll: without supervision, end in order.
            Err(error) => {
                log::error!("wait for events: {error}");
                return self.supervise(Event::Ordered(Command::Stop));
            }
        };
        for token in tokens {
            match token {
                SIGNAL => self.take_signals()?,
                CONTROL => self.let_in(),
                HEIR => self.hear_heir()?,
                HEIRS => self.heirs_ended()?,
                ELDER => self.hear_elder()?,
                ELDERS => self.elders_ended()?,
                client if client >= FIRST_TOKEN => self.serve(client)?,
                worker => self.hear(slot_of(worker))?,
            }
        }
        let now = Instant::now();
        self.clients.expire(now, &self.epoll);
        self.crew.send_on();
        self.listen_again();
        self.watch(now);
        self.notifier.turn(now);
        if self.supervisor.next_deadline().is_some_and(|at| at <= now) {
            self.supervise(Event::Tick)?;
        }
        if std::mem::take(&mut self.again) && self.incoming.is_none() {
            self.reload(None)?;
        }
        Step::Continue(())
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let is_deaf = !self.is_listening && self.supervisor.is_ruling();
        let retry = (self.crew.has_unsent() || is_deaf).then(|| now + RETRY);
        let deadlines = [
            self.supervisor.next_deadline(),
            self.clients.next_deadline(),
            self.notifier.next_deadline(now),
            Some(self.watch_at),
            retry,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    fn watch(&mut self, now: Instant) {
        if now < self.watch_at {
            return;
        }
        self.watch_at = now + WATCH;
        if let Some(stuck) = self.watchdog.look(&self.turn) {
            let row = stuck.row;
            log::warn!("the worker in row {row} does not go on: another one accepts");
        }
    }

    fn take_signals(&mut self) -> Step {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::Child => self.reap()?,
                Signal::Terminate | Signal::Interrupt => self.order(Command::Stop)?,
                Signal::Quit => self.order(Command::Quit)?,
                Signal::Hangup => self.reload(None)?,
                Signal::User1 => self.reopen(None)?,
                Signal::User2 => self.upgrade(None)?,
                // A terminal sends it at every change of its size.
                Signal::WindowChange if !self.plan.is_daemon => {}
                Signal::WindowChange => self.order(Command::Winch)?,
                Signal::TtyIn => self.order(Command::WorkersPlus)?,
                Signal::TtyOut => self.order(Command::WorkersMinus)?,
            }
        }
        Step::Continue(())
    }

    pub(super) fn hear(&mut self, slot: SlotId) -> Step {
        while let Some(member) = self.crew.in_slot(slot) {
            let pid = member.pid;
            match member.hear(&self.epoll) {
                Some(ToMaster::Ready) => {
                    self.supervise(Event::Ready { pid })?;
                    self.introduce();
                }
                Some(ToMaster::Failed(text)) => member.last_words = Some(text),
                None => break,
            }
        }
        Step::Continue(())
    }

    fn let_in(&mut self) {
        let Some(control) = &self.control else { return };
        let accepted = self.clients.accept(control, &self.epoll, Instant::now());
        if let Err(error) = accepted {
            log::warn!("control socket: {error}; clients wait");
            let _registered = self.epoll.delete(control);
            self.is_listening = false;
        }
    }

    fn listen_again(&mut self) {
        let may_listen = !self.is_listening && self.supervisor.is_ruling();
        if let Some(control) = self.control.as_ref().filter(|_| may_listen) {
            let added = self.epoll.add(control, Interest::Read, CONTROL);
            self.is_listening = added.is_ok();
        }
    }

    fn serve(&mut self, client: u64) -> Step {
        let Some(command) = self.clients.serve(client, &self.epoll) else {
            return Step::Continue(());
        };
        match command {
            // Answered when the master ends.
            control::Command::Stop => self.order(Command::Stop)?,
            control::Command::Quit => self.order(Command::Quit)?,
            control::Command::Reload => self.reload(Some(client))?,
            control::Command::Reopen => self.reopen(Some(client))?,
            control::Command::Upgrade => self.upgrade(Some(client))?,
            control::Command::Status => {
                let status = self.status();
                self.clients.answer(client, &status, &self.epoll);
            }
        }
        Step::Continue(())
    }

    fn order(&mut self, command: Command) -> Step {
        log::info!("ordered: {command:?}");
        if matches!(command, Command::Stop | Command::Quit) {
            self.notifier.stopping("draining");
        }
        self.supervise(Event::Ordered(command))
    }

    fn reopen(&mut self, client: Option<u64>) -> Step {
        if let Err(refusal) = self.supervisor.may_change() {
            log::error!("reopen refused: {refusal}");
            self.refuse(client, &Ending::refused(&refusal));
            return Step::Continue(());
        }
        let response = match log::reopen() {
            Ok(()) => {
                self.supervise(Event::Ordered(Command::Reopen))?;
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
    fn act(&mut self, action: Action) -> ControlFlow<Ended, Option<Event>> {
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
            Action::TellReopen(pid) => {
                self.tell(pid, ToWorker::Reopen);
                self.tell(pid, ToWorker::ReopenAccess);
            }
            Action::Kill(pid) => {
                if let Err(error) = process::kill(pid) {
                    log::error!("kill worker {pid}: {error}");
                }
            }
            Action::ReloadDone { generation } => self.reload_done(generation),
            Action::ReloadFailed { generation, reason } => {
                return ControlFlow::Continue(self.reload_failed(generation, reason));
            }
            Action::ReloadRefused(refusal) => self.reload_refused(refusal),
            Action::Launch => return ControlFlow::Continue(Some(self.launch())),
            Action::Promote => self.promote(),
            Action::Resign { pid } => self.resign(pid),
            Action::EndHeir => self.tell_heir_to_end(),
            Action::UpgradeFailed(setback) => self.upgrade_failed(setback),
            Action::TellReady => self.tell_ready(),
            Action::Rule => return ControlFlow::Continue(self.rule()),
            Action::HurryElder { by } => self.hurry_elder(by),
            Action::Exit => return ControlFlow::Break(Ended::Gone(Ok(()))),
        }
        ControlFlow::Continue(None)
    }

    fn tell(&mut self, pid: Pid, message: ToWorker) {
        if let Some(member) = self.crew.with_pid(pid) {
            member.tell(message);
        }
    }

    fn fork(
        &mut self,
        slot: SlotId,
        number: usize,
        generation: Generation,
    ) -> ControlFlow<Ended, Event> {
        let row = u8::try_from(slot.0).expect("there are at most 255 slots");
        let owner = self.turn.admit(row);
        let forked = Channel::pair().and_then(|ends| Ok((ends, process::fork()?)));
        match forked {
            Ok(((_, theirs), Fork::Child)) => {
                let recruit = self.recruit(theirs, owner, number, generation);
                ControlFlow::Break(Ended::Recruit(Box::new(recruit)))
            }
            Ok(((ours, _), Fork::Parent(pid))) => {
                let token = WORKER + u64::from(row);
                if let Err(error) = self.epoll.add(&ours, Interest::Read, token) {
                    log::error!("listen to worker {pid}: {error}");
                }
                let place = (slot, number, generation);
                self.crew.add(Member::new(pid, place, owner, ours));
                ControlFlow::Continue(Event::Started { slot, pid })
            }
            Err(error) => {
                log::error!("fork worker {number}: {error}");
                self.turn.release_dead(owner);
                ControlFlow::Continue(Event::ForkFailed { slot })
            }
        }
    }

    /// In the new process: everything that it needs of the master's.
    fn recruit(
        &self,
        channel: Channel,
        owner: Owner,
        number: usize,
        generation: Generation,
    ) -> Recruit {
        let incoming = self.incoming.as_ref();
        let is_new = self.supervisor.incoming() == Some(generation);
        let edition = incoming.filter(|_| is_new).or(self.current.as_ref());
        let edition = edition.expect("a generation has its edition until it is over");
        Recruit {
            program: self.plan.program.clone(),
            number,
            generation,
            channel,
            setup: edition.listeners_of(number).map(|listeners| Setup {
                listeners,
                accept: edition.accept(&self.board),
                limits: edition.limits,
                row: self.board.row(owner.row.into()),
                number: owner.row,
                epoch: owner.epoch,
            }),
            family: self.family.member(),
            settings: is_new.then(|| edition.settings.clone()),
            identity: edition.identity.clone(),
            core: edition.core(number),
            patience: edition.config.shutdown_timeout,
        }
    }

    fn bury(&mut self, pid: Pid) {
        let Some(member) = self.crew.remove(pid) else {
            return;
        };
        let _deleted_before = self.epoll.delete(&member.channel);
        self.turn.release_dead(member.owner);
        self.board.fold(member.slot.0);
    }
}

fn slot_of(token: u64) -> SlotId {
    SlotId(usize::try_from(token - WORKER).unwrap_or(usize::MAX))
}
