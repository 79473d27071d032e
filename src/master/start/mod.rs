//! From nothing to a master that supervises, in the order of the first page.

mod upgraded;

use std::time::{Duration, Instant};

use super::control::ControlSocket;
use super::cycle::inherited::Sockets;
use super::cycle::{Edition, settings};
use super::daemon::detach::{Detached, Report, detach};
use super::daemon::service_manager::Notifier;
use super::event_loop::{Ended, Office, Outfit};
use super::exit::{Ending, Exit};
use super::pid_file::PidFile;
use super::supervisor::Supervisor;
use super::upgrade::inheritance::Papers;
use super::upgrade::life_pipe::Family;
use crate::log;
use crate::master::plan::{Plan, absolute, slots};
use crate::scoreboard::Scoreboard;
use crate::sys::process::{self, Pid};
use crate::sys::{systemd, title};
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
    let threads = process::thread_count().unwrap_or(1);
    if threads != 1 {
        let text = format!("{threads} threads run already; call main() before starting any");
        return Err(Ending(Exit::Internal, text));
    }
    let handed = systemd::take().map_err(|error| {
        let text = format!("take over what the service manager hands over: {error}");
        Ending(Exit::Config, text)
    })?;
    let papers = Papers::take().map_err(|error| Ending(Exit::Config, error.to_string()))?;
    if let Some(papers) = papers {
        return succeed(plan, handed, papers);
    }
    let config = (plan.load)()?;
    log::init(&settings(&config, false)?)
        .map_err(|error| Ending(Ending::of(&error), error.to_string()))?;
    let pid_file = PidFile::lock(&absolute(&config.pid_file)?)?;
    let sockets = Sockets::new(handed.sockets);
    let edition = Edition::prepare(config, plan.is_daemon, None, sockets, BIND)?;
    let path = absolute(&edition.config.control_socket)?;
    let control = ControlSocket::bind(&path).map_err(|error| {
        edition.unlink_but(&[]);
        let text = format!("control socket {}: {error}", path.display());
        Ending(Ending::of(&error), text)
    })?;
    let board = Scoreboard::for_connections(slots(&edition), edition.limits.connections_max)
        .map_err(|error| Ending::internal("make the shared memory", &error))?;
    // In the background the shell is told, and nobody else waits.
    let manager = handed.notify.filter(|_| !plan.is_daemon);
    let notifier = Notifier::new(manager, handed.watchdog, Instant::now());
    let family = Family::new().map_err(|error| Ending::internal("make a pipe", &error))?;
    let outfit = Outfit {
        control,
        board,
        notifier,
        pid_file,
        family,
    };
    let serve = |report| serve(plan, edition, outfit, report);
    if !plan.is_daemon {
        return serve(None);
    }

    match detach()? {
        Detached::Shell(result) => result,
        Detached::Daemon(report) => serve(Some(report)),
    }
}

fn serve(
    plan: &Plan<'_>,
    edition: Edition,
    outfit: Outfit,
    report: Option<Report>,
) -> Result<(), Ending> {
    log::forked("master");
    title::set(&format!("{}: master", plan.program));
    let named = log::init(&edition.settings)
        .map_err(|error| Ending(Ending::of(&error), error.to_string()))
        .and_then(|()| Ok(outfit.pid_file.write(Pid::own())?));
    let ended = match named {
        Ok(()) => {
            let supervisor = Supervisor::new(edition.policy(outfit.board.rows()));
            Office::open(plan.clone(), outfit, supervisor, None)
                .map_err(|error| Ending::internal("start the master", &error))
        }
        Err(ending) => {
            outfit.pid_file.remove();
            Err(ending)
        }
    };
    match ended {
        Ok(office) => match office.run(edition, report) {
            Ended::Gone(result) => result,
            Ended::Recruit(recruit) => recruit.work(plan.application),
        },
        Err(ending) => {
            edition.unlink_but(&[]);
            if let Some(report) = report {
                report.tell(&Err(ending.clone()));
            }
            Err(ending)
        }
    }
}
