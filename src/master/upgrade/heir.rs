//! The side of the new program: it comes up with what it inherited, and rules
//! when it is told to, or when nobody else is left to.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::bring_up::{Plan, absolute, slots};
use super::super::control::ControlSocket;
use super::super::edition::{Edition, settings};
use super::super::exit::{Ending, Exit};
use super::super::inherited::Sockets;
use super::super::notifier::Notifier;
use super::super::office::{ELDER, ELDERS, Ended, Office, Outfit, Step};
use super::super::pid_file::PidFile;
use super::super::socket_file::SocketFile;
use super::super::supervisor::{Command, ElderEvent, Event, Rows, Supervisor};
use super::papers::Papers;
use super::words::{Heard, ToElder, ToHeir, give, hear, tell};
use crate::log;
use crate::net::turn::Turn;
use crate::scoreboard::Scoreboard;
use crate::sys::channel::Channel;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::process::Pid;
use crate::sys::systemd::Handed;
use crate::sys::title;

/// By how much the epochs of a memory of our own are ahead of the elder's: its
/// workers may be replaced until it is.
const EPOCHS_AHEAD: u16 = 1 << 12;

/// The master before this one, until it is gone.
pub(in crate::master) struct Elder {
    pub(in crate::master) pid: i32,
    line: Rc<Channel>,
    /// The end of its family.
    elders: OwnedFd,
    /// Rows of its workers.
    taken: Rows,
    /// Unix sockets that it made.
    files: Vec<SocketFile>,
    /// Whether its workers count where ours do.
    is_shared: bool,
    /// What it had counted when we took over.
    counted: Vec<(String, u64)>,
    /// Ours to the service manager, for as long as that listens to the elder.
    notifier: Option<Notifier>,
    /// Whether its line is closed.
    is_silent: bool,
    /// Which of its workers have lines to which of ours.
    introduced: Vec<(usize, Pid)>,
}

/// Runs the new program's master. As [`run`](super::super::run).
///
/// # Errors
///
/// [`Ending`]; the elder was told.
pub(in crate::master) fn succeed(
    plan: &Plan<'_>,
    handed: Handed,
    papers: Papers,
) -> Result<(), Ending> {
    let line = Rc::clone(&papers.line);
    tell(&line, &ToElder::Listens);
    let prepared = prepare(plan, handed, papers);
    let (office, edition) = prepared.inspect_err(|Ending(_, text)| {
        tell(&line, &ToElder::failed(text));
    })?;
    drop(line);
    match office.run(edition, None) {
        Ended::Gone(result) => result,
        Ended::Recruit(recruit) => recruit.work(plan.application),
    }
}

/// Everything that can fail.
fn prepare<'a>(
    plan: &Plan<'a>,
    handed: Handed,
    mut papers: Papers,
) -> Result<(Office<'a>, Edition), Ending> {
    let config = (plan.load)()?;
    config.can_follow(&papers.started_with)?;
    log::init(&settings(&config, plan.is_daemon)?)
        .map_err(|error| Ending(Ending::of(&error), error.to_string()))?;
    log::forked("master");
    title::set(&format!("{}: master", plan.program));
    let sockets = Sockets::new(std::mem::take(&mut papers.sockets));
    let before = papers.as_before();
    let edition = Edition::prepare(
        config,
        plan.is_daemon,
        Some(&before),
        sockets,
        Duration::ZERO,
    )?;
    let files = papers.files.clone();
    match open(plan, handed, papers, &edition) {
        Ok(office) => Ok((office, edition)),
        Err(ending) => {
            edition.unlink_but(&files);
            Err(ending)
        }
    }
}

fn open<'a>(
    plan: &Plan<'a>,
    handed: Handed,
    papers: Papers,
    edition: &Edition,
) -> Result<Office<'a>, Ending> {
    let failed = |error: std::io::Error| Ending::internal("take over from the old binary", &error);
    let pid_file = PidFile::inherit(papers.pid_file, &absolute(&edition.config.pid_file)?)?;
    let path = absolute(&edition.config.control_socket)?;
    let control = ControlSocket::inherit(papers.control, &path)
        .map_err(|error| Ending(Exit::Unavailable, format!("{}: {error}", path.display())))?;
    let shared = Scoreboard::inherit(papers.memory, papers.bells).map_err(failed)?;
    let shared = shared.filter(|board| has_room(board, edition, papers.taken));
    let is_shared = shared.is_some();
    let board = shared.map_or_else(|| fresh(edition, &papers.epochs), Ok);
    let board = board.map_err(failed)?;
    let taken = if is_shared {
        papers.taken
    } else {
        Rows::default()
    };
    let supervisor = Supervisor::heir(edition.policy(board.rows()), papers.generation, taken);
    let manager = handed.notify.filter(|_| !plan.is_daemon);
    let elder = Elder {
        pid: papers.elder,
        line: papers.line,
        elders: papers.elders,
        taken,
        files: papers.files,
        is_shared,
        counted: Vec::new(),
        notifier: Some(Notifier::new(manager, handed.watchdog, Instant::now())),
        is_silent: false,
        introduced: Vec::new(),
    };
    let outfit = Outfit {
        control,
        board,
        notifier: Notifier::default(),
        pid_file,
        family: papers.family,
    };
    Office::open(plan.clone(), outfit, supervisor, Some(elder)).map_err(failed)
}

/// Whether what `edition` needs fits into the memory of the elder, whose size is
/// that of its start.
fn has_room(board: &Scoreboard, edition: &Edition, taken: Rows) -> bool {
    let rows = board.rows().saturating_sub(taken.iter().count());
    let limits = &edition.limits;
    let counts = limits.connections_per_ip == 0
        || limits.connections_max <= board.addresses(0).connections();
    counts && rows >= edition.workers
}

/// A memory of our own. Its connections are named unlike those of the elder.
fn fresh(edition: &Edition, epochs: &[u16]) -> std::io::Result<Scoreboard> {
    let board = Scoreboard::for_connections(slots(edition), edition.limits.connections_max)?;
    let turn = Turn::new(board.clone());
    let rows = u8::try_from(board.rows()).unwrap_or(u8::MAX);
    for (row, epoch) in (0..rows).zip(epochs) {
        turn.begin_behind(row, epoch.wrapping_add(EPOCHS_AHEAD));
    }
    Ok(board)
}

impl Elder {
    /// Has `epoll` tell of it.
    pub(in crate::master) fn listen(&self, epoll: &Epoll) -> std::io::Result<()> {
        epoll.add(&*self.line, Interest::Read, ELDER)?;
        epoll.add(&self.elders, Interest::Read, ELDERS)
    }

    /// The Unix sockets that it made.
    pub(in crate::master) fn files(&self) -> &[SocketFile] {
        &self.files
    }
}

impl Office<'_> {
    /// What the old master says.
    pub(in crate::master) fn hear_elder(&mut self) -> Step {
        while let Some(elder) = &mut self.elder {
            match hear(&elder.line) {
                Heard::Nothing => break,
                Heard::Line(..) => {}
                Heard::Word(ToHeir::TakeOver(counted)) => {
                    if !elder.is_shared {
                        self.board.add(&counted);
                        elder.counted = counted;
                    }
                    self.supervise(Event::Elder(ElderEvent::Promoted))?;
                }
                Heard::Word(ToHeir::Named) => self.be_named(),
                Heard::Word(ToHeir::End) => {
                    let text = "the old binary rolled the upgrade back".to_owned();
                    self.result = Err(Ending(Exit::Running, text));
                    self.supervise(Event::Elder(ElderEvent::Ended))?;
                }
                Heard::Word(ToHeir::Left(counted)) => {
                    if !elder.is_shared {
                        self.board.add(&since(&elder.counted, counted));
                    }
                }
                Heard::Silence => {
                    elder.is_silent = true;
                    let _registered = self.epoll.delete(&*elder.line);
                    if !self.supervisor.is_heir() {
                        self.be_named();
                    }
                    self.supervise(Event::Elder(ElderEvent::Silent))?;
                    break;
                }
            }
        }
        Step::Continue(())
    }

    /// The service manager listens to us now, and the elder changes nothing any
    /// more.
    fn be_named(&mut self) {
        let Some(elder) = &mut self.elder else { return };
        // Once: the end of its line says it again.
        let Some(notifier) = elder.notifier.take() else {
            return;
        };
        self.notifier = notifier;
        self.notifier.ready("upgraded");
        if let Some(current) = &self.current {
            let gone = elder
                .files
                .iter()
                .filter(|file| !current.files().contains(file));
            gone.for_each(SocketFile::remove);
        }
        elder.files.clear();
    }

    /// The old master and all of its workers are gone.
    pub(in crate::master) fn elders_ended(&mut self) -> Step {
        self.hear_elder()?;
        let Some(elder) = self.elder.take() else {
            return Step::Continue(());
        };
        let _registered = self.epoll.delete(&elder.elders);
        let _deleted_before = self.epoll.delete(&*elder.line);
        let rows = elder.taken;
        // What it did not live to do, if it was killed.
        self.bury_strangers(rows);
        log::info!("the master before this one, pid {}, is gone", elder.pid);
        self.supervise(Event::Elder(ElderEvent::Left { rows }))
    }

    pub(in crate::master) fn tell_ready(&mut self) {
        self.tell_elder(&ToElder::Ready);
    }

    /// This is the master from now on. Gives the order to end if it cannot be.
    pub(in crate::master) fn rule(&mut self) -> Option<Event> {
        if let Err(error) = self.pid_file.write(Pid::own()) {
            log::error!("{error}");
            self.result = Err(error.into());
            return Some(Event::Ordered(Command::Stop));
        }
        log::info!("this is the master now");
        // Before it has its workers drain.
        self.introduce_to_elder();
        self.tell_elder(&ToElder::TookOver);
        if self.elder.as_ref().is_some_and(|elder| elder.is_silent) {
            self.be_named();
        }
        None
    }

    /// Sees to it that every worker of the elder's has lines to workers of this
    /// master, once it rules.
    pub(in crate::master) fn introduce_to_elder(&mut self) {
        let Some(elder) = self.elder.as_ref().filter(|_| self.supervisor.is_ruling()) else {
            return;
        };
        let (line, known) = (Rc::clone(&elder.line), elder.introduced.clone());
        let leaving = elder.taken.iter().count();
        for (number, to, generation, end) in self.lines_for(leaving, &known) {
            let generation = generation.0;
            give(
                &line,
                &ToElder::Successor { number, generation },
                Some(&end),
            );
            if let Some(elder) = &mut self.elder {
                elder.introduced.push((number, to));
            }
        }
    }

    pub(in crate::master) fn hurry_elder(&mut self, by: Instant) {
        let left = by.saturating_duration_since(Instant::now());
        self.tell_elder(&ToElder::hurry(left));
    }

    /// The last word of one that does not rule.
    pub(in crate::master) fn give_up(&mut self) {
        if let Err(Ending(_, text)) = &self.result {
            self.tell_elder(&ToElder::failed(text));
        }
    }

    fn tell_elder(&self, word: &ToElder) {
        if let Some(elder) = &self.elder {
            tell(&elder.line, word);
        }
    }
}

/// What was counted between two reports.
fn since(before: &[(String, u64)], now: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let earlier = |name: &str| {
        let found = before.iter().find(|(other, _)| other == name);
        found.map_or(0, |(_, count)| *count)
    };
    now.into_iter()
        .map(|(name, count)| {
            let count = count.saturating_sub(earlier(&name));
            (name, count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_since_is_added_and_no_more() {
        let pairs = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let before = pairs(&[("a", 3), ("b", 4)]);
        let now = pairs(&[("a", 5), ("b", 4), ("c", 1)]);
        assert_eq!(since(&before, now), pairs(&[("a", 2), ("b", 0), ("c", 1)]));
    }
}
