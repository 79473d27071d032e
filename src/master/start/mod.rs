//! From nothing to a master that supervises, in the order of the first page.

mod upgraded;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::admin::AdminListener;
use super::control::ControlSocket;
use super::cycle::inherited::Sockets;
use super::cycle::{Cycle, settings};
use super::daemon::detach::{Detached, Report, detach};
use super::daemon::service_manager::Notifier;
use super::event_loop::{Ended, Master, Resources, SIGNALS};
use super::exit::{Ending, Exit};
use super::pid_file::PidFile;
use super::supervisor::Supervisor;
use super::upgrade::inheritance::Inheritance;
use super::upgrade::life_pipe::LifePipe;
use crate::bus::Bus;
use crate::config::{Config, Place};
use crate::log;
use crate::master::plan::{Plan, absolute, slots};
use crate::scoreboard::Scoreboard;
use crate::sys::process::{self, Pid};
use crate::sys::signal;
use crate::sys::starter;
use crate::sys::systemd::{self, Handed};
use crate::sys::title;
use crate::worker::shape;
use upgraded::succeed;

/// How long an address may be in use at the start: by workers whose master
/// was killed, until they have noticed.
const BIND: Duration = Duration::from_secs(1);

/// Runs the master. Returns when it has ended, in the process that was started,
/// in the background, or in a worker: the caller ends the process in any case.
///
/// # Errors
///
/// [`Ending`], for the caller to print unless its text is empty.
pub fn run(plan: &Plan<'_>) -> Result<(), Ending> {
    // Of the program before this one in an upgrade, signals are inherited blocked:
    // one that comes before this program listens must not end it.
    let blocked = if Inheritance::is_offered() {
        &SIGNALS[..]
    } else {
        &[]
    };
    signal::start_afresh(blocked).map_err(|error| Ending::internal("reset signals", &error))?;
    let threads = process::thread_count().map_err(|error| {
        let text = format!("ask /proc for the own threads: {error}; it has to be mounted");
        Ending::new(Exit::Internal, text)
    })?;
    if threads != 1 {
        let text = format!("{threads} threads run already; call main() before starting any");
        return Err(Ending::new(Exit::Internal, text));
    }
    let handed = systemd::take().map_err(|error| {
        let text = format!("take over what the service manager hands over: {error}");
        Ending::new(Exit::Config, text)
    })?;
    let inheritance =
        Inheritance::take().map_err(|error| Ending::new(Exit::Config, error.to_string()))?;
    if let Err(error) = starter::close_inherited() {
        log::warn!("close what the shell left open: {error}");
    }
    if let Some(inheritance) = inheritance {
        return succeed(plan, handed, inheritance);
    }
    let config = (plan.load)()?;
    log::init(&settings(&config, false)?)
        .map_err(|error| Ending::new(Ending::of(&error), error.to_string()))?;
    let pid_file = match &config.pid_file {
        Some(path) => PidFile::lock(&absolute(path)?)?,
        None if plan.is_daemon => {
            let error = "is empty, which is for `run`: in the background nothing else names \
                         the master";
            return Err(config.refuse("pid_file", error).into());
        }
        None => {
            PidFile::none().map_err(|error| Ending::internal("go without a pid file", &error))?
        }
    };
    let (cycle, resources) = match prepare(plan, config, handed) {
        Ok((cycle, made)) => (cycle, made.with(pid_file)),
        Err(ending) => {
            pid_file.remove();
            return Err(ending);
        }
    };
    let serve = |report| serve(plan, cycle, resources, report);
    if !plan.is_daemon {
        return serve(None);
    }

    match detach()? {
        // What was made is the daemon's.
        Detached::Shell(result) => result,
        Detached::Daemon(report) => serve(Some(report)),
    }
}

/// What is made for a start, but for the pid file.
struct Made {
    control: ControlSocket,
    board: Scoreboard,
    bus: Bus,
    notifier: Notifier,
    life_pipe: LifePipe,
    admin: AdminListener,
}

impl Made {
    fn with(self, pid_file: PidFile) -> Resources {
        Resources {
            control: self.control,
            board: self.board,
            bus: self.bus,
            notifier: self.notifier,
            pid_file,
            life_pipe: self.life_pipe,
            admin: self.admin,
        }
    }
}

/// Everything that can fail; what was made of it is gone, then.
fn prepare(plan: &Plan<'_>, config: Config, handed: Handed) -> Result<(Cycle, Made), Ending> {
    let sockets = Sockets::new(handed.sockets);
    let cycle = Cycle::prepare(config, plan.basis(), None, sockets, BIND)?;
    let admin = AdminListener::bind(&cycle.config).inspect_err(|_| cycle.unlink_but(&[]))?;
    let control = match control_socket(&cycle.config, plan.is_daemon) {
        Ok(control) => control,
        Err(ending) => {
            admin.remove();
            cycle.unlink_but(&[]);
            return Err(ending);
        }
    };
    let shape = plan.application.figures(cycle.config.admin.ids_max.into());
    let rows = slots(&cycle);
    let shared = Scoreboard::for_program(rows, cycle.limits.connections_max, shape)
        .map_err(|error| Ending::internal("make the shared memory", &error))
        .and_then(|board| {
            let pipe = LifePipe::new();
            Ok((
                own_bus(&cycle, board.rows())?,
                board,
                pipe.map_err(|error| Ending::internal("make a pipe", &error))?,
            ))
        });
    let (bus, board, life_pipe) = match shared {
        Ok(made) => made,
        Err(ending) => {
            admin.remove();
            control.remove();
            cycle.unlink_but(&[]);
            return Err(ending);
        }
    };
    // In the background the shell is told, and nobody else waits.
    let manager = handed.notify.filter(|_| !plan.is_daemon);
    let notifier = Notifier::new(manager, handed.watchdog, Instant::now());
    let made = Made {
        control,
        board,
        bus,
        notifier,
        life_pipe,
        admin,
    };
    Ok((cycle, made))
}

/// A bus of so many rows, which this master has made.
fn own_bus(cycle: &Cycle, rows: usize) -> Result<Bus, Ending> {
    let shape = shape(&cycle.config, rows);
    Bus::new(shape).map_err(|error| {
        let text = format!(
            "make the bus between the workers: {error}; {rows} x {rows} rings of {} bytes are \
             mapped, and used as they are needed; lower bus.ring or workers",
            cycle.config.bus.ring
        );
        Ending::new(Exit::Unavailable, text)
    })
}

/// Where commands are heard. Who does without a pid file, as on a file system
/// where nothing can be written, does without a control socket that nobody asked
/// for as well.
fn control_socket(config: &Config, is_daemon: bool) -> Result<ControlSocket, Ending> {
    let none =
        || ControlSocket::none().map_err(|error| Ending::internal("go without commands", &error));
    let Some(path) = &config.control_socket else {
        return none();
    };
    let path = absolute(path)?;
    let is_asked_for =
        config.pid_file.is_some() || is_daemon || *config.place("control_socket") != Place::Default;
    ControlSocket::bind(&path).or_else(|error| {
        let cannot_write = matches!(
            error.kind(),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
        );
        let path = path.display();
        if is_asked_for || !cannot_write {
            let text = format!("control socket {path}: {error}");
            return Err(Ending::new(Ending::of(&error), text));
        }
        log::warn!("no control socket at {path}: {error}; signals alone are heard");
        none()
    })
}

fn serve(
    plan: &Plan<'_>,
    cycle: Cycle,
    resources: Resources,
    report: Option<Report>,
) -> Result<(), Ending> {
    log::forked("master");
    title::set(&format!("{}: master", plan.program));
    let named = log::init(&cycle.settings)
        .map_err(|error| Ending::new(Ending::of(&error), error.to_string()))
        .and_then(|()| Ok(resources.pid_file.write(Pid::own())?));
    let ended = match named {
        Ok(()) => {
            for suspicion in (plan.suspicions)(&cycle.config) {
                log::warn!("{suspicion}");
            }
            let supervisor = Supervisor::new(cycle.policy(resources.board.rows()));
            Master::open(plan.clone(), resources, supervisor, None)
                .map_err(|error| Ending::internal("start the master", &error))
        }
        Err(ending) => {
            resources.pid_file.remove();
            resources.control.remove();
            resources.admin.remove();
            Err(ending)
        }
    };
    match ended {
        Ok(master) => match master.run(cycle, report) {
            Ended::Gone(result) => result,
            Ended::ForkedWorker(forked) => forked.work(plan.application),
        },
        Err(ending) => {
            cycle.unlink_but(&[]);
            if let Some(report) = report {
                report.tell(&Err(ending.clone()));
            }
            Err(ending)
        }
    }
}
