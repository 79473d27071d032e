//! The start of the new program in an upgrade: it comes up with what it
//! inherited, and rules when it is told to, or when nobody else is left to.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::own_bus;
use crate::bus::Bus;
use crate::log;
use crate::master::admin::AdminListener;
use crate::master::control::ControlSocket;
use crate::master::cycle::inherited::Sockets;
use crate::master::cycle::{Cycle, settings};
use crate::master::daemon::service_manager::Notifier;
use crate::master::event_loop::{Ended, Master, Resources};
use crate::master::exit::{Ending, Exit};
use crate::master::pid_file::PidFile;
use crate::master::plan::{Plan, absolute, slots};
use crate::master::supervisor::{Rows, Supervisor};
use crate::master::upgrade::inheritance::Inheritance;
use crate::master::upgrade::links::OldMaster;
use crate::master::upgrade::words::{ToOldMaster, tell};
use crate::net::accept_mutex::AcceptMutex;
use crate::scoreboard::Scoreboard;
use crate::scoreboard::series::Shape;
use crate::sys::systemd::Handed;
use crate::sys::title;

/// By how much the epochs of a memory of our own are ahead of the old master's:
/// its workers may be replaced until it is.
const EPOCHS_AHEAD: u16 = 1 << 12;

/// Runs the new program's master. As [`run`](crate::master::run).
///
/// # Errors
///
/// [`Ending`]; the old master was told.
pub(in crate::master) fn succeed(
    plan: &Plan<'_>,
    handed: Handed,
    inheritance: Inheritance,
) -> Result<(), Ending> {
    let line = Rc::clone(&inheritance.line);
    tell(&line, &ToOldMaster::Listens);
    let prepared = prepare(plan, handed, inheritance);
    let (master, cycle) = prepared.inspect_err(|Ending { text, .. }| {
        tell(&line, &ToOldMaster::failed(text));
    })?;
    drop(line);
    match master.run(cycle, None) {
        Ended::Gone(result) => result,
        Ended::ForkedWorker(forked) => forked.work(plan.application),
    }
}

/// Everything that can fail.
fn prepare<'a>(
    plan: &Plan<'a>,
    handed: Handed,
    mut inheritance: Inheritance,
) -> Result<(Master<'a>, Cycle), Ending> {
    let config = (plan.load)()?;
    config.can_follow(&inheritance.started_with)?;
    log::init(&settings(&config, plan.is_daemon)?)
        .map_err(|error| Ending::new(Ending::of(&error), error.to_string()))?;
    log::forked("master");
    title::set(&format!("{}: master", plan.program));
    let sockets = Sockets::new(std::mem::take(&mut inheritance.sockets));
    let before = inheritance.as_before();
    let cycle = Cycle::prepare(config, plan.basis(), Some(&before), sockets, Duration::ZERO)?;
    let files = inheritance.files.clone();
    match open(plan, handed, inheritance, &cycle) {
        Ok(master) => Ok((master, cycle)),
        Err(ending) => {
            cycle.unlink_but(&files);
            Err(ending)
        }
    }
}

fn open<'a>(
    plan: &Plan<'a>,
    handed: Handed,
    inheritance: Inheritance,
    cycle: &Cycle,
) -> Result<Master<'a>, Ending> {
    let failed = |error: std::io::Error| Ending::internal("take over from the old binary", &error);
    let path = cycle.config.pid_file.as_deref().map(absolute).transpose()?;
    let pid_file = PidFile::inherit(inheritance.pid_file, path.as_deref())?;
    let control = control(cycle, inheritance.control, inheritance.has_control_file)?;
    let shape = plan.application.figures(cycle.config.admin.ids_max.into());
    let inherit = |shared| Scoreboard::inherit(shared, Arc::clone(&shape));
    let shared = inheritance.shared.map(inherit).transpose();
    let shared = shared.map_err(failed)?.flatten();
    let shared = shared.filter(|board| has_room(board, cycle, inheritance.taken));
    let is_shared = shared.is_some();
    let workers = inheritance.taken.iter().count();
    let board = shared.map_or_else(|| fresh(cycle, &inheritance.epochs, Arc::clone(&shape)), Ok);
    let board = board.map_err(failed)?;
    let inherited = inheritance.bus.map(Bus::inherit).transpose();
    let inherited = inherited.map_err(failed)?.flatten();
    let (bus, is_bus_shared) = bus_of(inherited, cycle, board.rows(), workers)?;
    let taken = if is_shared || is_bus_shared {
        inheritance.taken
    } else {
        Rows::default()
    };
    let supervisor =
        Supervisor::new_master(cycle.policy(board.rows()), inheritance.generation, taken);
    let manager = handed.notify.filter(|_| !plan.is_daemon);
    let old_master = OldMaster {
        pid: inheritance.old_master,
        line: inheritance.line,
        lives: inheritance.lives.into_iter().map(Some).collect(),
        workers,
        taken,
        files: inheritance.files,
        is_shared,
        counted: Vec::new(),
        sums: Vec::new(),
        notifier: Some(Notifier::new(manager, handed.watchdog, Instant::now())),
        is_silent: false,
        introduced: Vec::new(),
    };
    let admin = AdminListener::inherit(&cycle.config, inheritance.admin);
    let resources = Resources {
        admin,
        control,
        board,
        bus,
        notifier: Notifier::default(),
        pid_file,
        life_pipe: inheritance.life_pipe,
    };
    Master::open(plan.clone(), resources, supervisor, Some(old_master)).map_err(failed)
}

/// The bus of the old master's workers, if it has room for ours, which is told; else one
/// of our own.
fn bus_of(
    inherited: Option<Bus>,
    cycle: &Cycle,
    rows: usize,
    workers: usize,
) -> Result<(Bus, bool), Ending> {
    let inherited = inherited.filter(|bus| {
        // Old workers keep their rows on it, whatever becomes of the counters.
        let free = rows.saturating_sub(workers);
        bus.shape().rows == rows && free >= cycle.workers
    });
    if let Some(bus) = inherited {
        return Ok((bus, true));
    }
    log::warn!(
        "upgrade: the workers of both binaries cannot share a bus; what is said to a room \
         or a user reaches those of one binary until the old ones are gone"
    );
    Ok((own_bus(cycle, rows)?, false))
}

/// The control socket of the old master; where a default one could not be made at
/// the start, it has no file.
fn control(cycle: &Cycle, socket: OwnedFd, has_file: bool) -> Result<ControlSocket, Ending> {
    let path = cycle.config.control_socket.as_deref();
    let path = path.filter(|_| has_file).map(absolute).transpose()?;
    ControlSocket::inherit(socket, path.as_deref()).map_err(|error| {
        let path = path.as_deref().unwrap_or("".as_ref()).display();
        Ending::new(Exit::Unavailable, format!("{path}: {error}"))
    })
}

/// Whether what `cycle` needs fits into the memory of the old master, whose
/// size is that of its start.
fn has_room(board: &Scoreboard, cycle: &Cycle, taken: Rows) -> bool {
    let rows = board.rows().saturating_sub(taken.iter().count());
    let limits = &cycle.limits;
    let counts = limits.connections_per_ip == 0
        || limits.connections_max <= board.addresses(0).connections();
    counts && rows >= cycle.workers
}

/// A memory of our own. Its connections are named unlike those of the old
/// master.
fn fresh(cycle: &Cycle, epochs: &[u16], shape: Arc<Shape>) -> std::io::Result<Scoreboard> {
    let board = Scoreboard::for_program(slots(cycle), cycle.limits.connections_max, shape)?;
    let mutex = AcceptMutex::new(board.clone());
    let rows = u8::try_from(board.rows()).unwrap_or(u8::MAX);
    for (row, epoch) in (0..rows).zip(epochs) {
        mutex.begin_behind(row, epoch.wrapping_add(EPOCHS_AHEAD));
    }
    Ok(board)
}
