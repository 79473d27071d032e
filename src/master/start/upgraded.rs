//! The start of the new program in an upgrade: it comes up with what it
//! inherited, and rules when it is told to, or when nobody else is left to.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::log;
use crate::master::control::ControlSocket;
use crate::master::cycle::inherited::Sockets;
use crate::master::cycle::{Edition, settings};
use crate::master::daemon::service_manager::Notifier;
use crate::master::event_loop::{Ended, Office, Outfit};
use crate::master::exit::{Ending, Exit};
use crate::master::pid_file::PidFile;
use crate::master::plan::{Plan, absolute, slots};
use crate::master::supervisor::{Rows, Supervisor};
use crate::master::upgrade::inheritance::Papers;
use crate::master::upgrade::links::Elder;
use crate::master::upgrade::words::{ToElder, tell};
use crate::net::accept_mutex::Turn;
use crate::scoreboard::Scoreboard;
use crate::sys::systemd::Handed;
use crate::sys::title;

/// By how much the epochs of a memory of our own are ahead of the elder's: its
/// workers may be replaced until it is.
const EPOCHS_AHEAD: u16 = 1 << 12;

/// Runs the new program's master. As [`run`](crate::master::run).
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
