//! The commands that look at, or talk to, a master that runs already.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::suspicions::suspicions;
use super::{Arguments, Exit};
use crate::config::{Accept, Config, written_control_socket};
use crate::master::control::{self, Command, ControlError, Response};
use crate::master::pid_file::{Holder, holder};
use crate::master::{self, Ending};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::socket::{self, Address};

/// How long an answer may take that needs no worker.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a reload may take: workers may take 30 s to be ready.
const RELOAD: Duration = Duration::from_secs(60);

/// How long a stop may take beyond `shutdown_timeout`.
const STOP: Duration = Duration::from_secs(10);

/// How long an upgrade may take beyond `upgrade_timeout`: it may have to wait for
/// those before.
const UPGRADE: Duration = Duration::from_secs(30);

/// How long a quit may take: as long as clients stay.
const QUIT: Duration = Duration::from_secs(7 * 86_400);

/// Why nobody can be asked.
const DEAF: &str = "control_socket is empty: the master hears no commands, but signals";

/// How often to look whether the master is gone.
const LOOK: Duration = Duration::from_millis(5);

/// Asks the master for something, and waits until it is done.
///
/// # Errors
///
/// [`Ending`]: there is no master, or it says no.
pub(super) fn ask(
    arguments: &Arguments,
    env: &[(String, String)],
    command: Command,
) -> Result<Response, Ending> {
    let config = arguments.config(env);
    let Some(path) = socket_path(arguments, env, &config) else {
        return Err(Ending::new(Exit::Config, DEAF));
    };
    let (reloads, upgrades) = (
        matches!(command, Command::Reload | Command::ReloadForced),
        matches!(command, Command::Upgrade | Command::UpgradeForced),
    );
    if reloads || upgrades {
        is_its_own(arguments, &path)?;
    }
    let limit = match (command, &config) {
        (Command::Stop, Ok(config)) => config.shutdown_timeout + STOP,
        (Command::Stop, Err(_)) => Duration::from_secs(3600) + STOP,
        (Command::Upgrade | Command::UpgradeForced, Ok(config)) => config.upgrade_timeout + UPGRADE,
        // The new binary refuses it as well; how long that takes is not known.
        (Command::Upgrade | Command::UpgradeForced, Err(_)) => Duration::from_secs(3600) + UPGRADE,
        (Command::Quit, _) => QUIT,
        (Command::Reload | Command::ReloadForced, _) => RELOAD,
        // As long as a stop: both wait for the last worker.
        (Command::Drain, Ok(config)) => config.shutdown_timeout + STOP,
        (Command::Drain, Err(_)) => Duration::from_secs(3600) + STOP,
        (Command::Workers(_), _) => RELOAD,
        (
            Command::Reopen
            | Command::Status
            | Command::StatusAll
            | Command::LogLevel(_)
            | Command::Connections
            | Command::Kick { .. }
            | Command::KickUser { .. },
            _,
        ) => PATIENCE,
    };
    let master = master(&config);
    let leaves = matches!(command, Command::Stop | Command::Quit);
    let answer = match control::request(&path, command, limit) {
        // It ended before it could say so.
        Err(ControlError::Broken(_)) if leaves => Response::new(Exit::Ok as u8, "stopped"),
        Err(ControlError::NotRunning(path)) if master.is_some() => {
            return by_signal(command, master, &path, limit);
        }
        answer => answer.map_err(|error| {
            let exit = match error {
                ControlError::NotRunning(_) => Exit::Unavailable,
                ControlError::Permission(_) => Exit::Permission,
                ControlError::Timeout(_) | ControlError::Broken(_) => Exit::Internal,
            };
            Ending::new(exit, error.to_string())
        })?,
    };
    if answer.code != 0 {
        return Err(Ending::new(
            Exit::from_code(answer.code.into()),
            answer.text,
        ));
    }
    if leaves {
        wait_until_gone(master, PATIENCE)?;
    }
    Ok(answer)
}

/// The master runs, by its pid file, and its socket at `path` is gone: tells it by
/// a signal what a signal can tell. It makes the socket anew when it hears one.
fn by_signal(
    command: Command,
    master: Option<Pid>,
    path: &Path,
    limit: Duration,
) -> Result<Response, Ending> {
    // With its folder: who asks from the wrong one is to see that.
    let path = absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let path = path.display();
    let signal = match command {
        Command::Stop => Some((Signal::Terminate, "SIGTERM")),
        Command::Quit => Some((Signal::Quit, "SIGQUIT")),
        Command::Reopen => Some((Signal::User1, "SIGUSR1")),
        // A signal does not say whether it was refused, or the file names another
        // socket than the master has.
        Command::Reload
        | Command::ReloadForced
        | Command::Upgrade
        | Command::UpgradeForced
        | Command::Status
        | Command::StatusAll
        | Command::Drain
        | Command::Workers(_)
        | Command::LogLevel(_)
        | Command::Connections
        | Command::Kick { .. }
        | Command::KickUser { .. } => None,
    };
    let (Some(pid), Some((signal, name))) = (master, signal) else {
        let pid = master.map_or_else(|| "PID".into(), |pid| pid.to_string());
        let text = format!(
            "no master listens on {path}, but master {pid} runs, by its pid file: it was started \
             with another control_socket, or that was removed; it makes a removed one anew \
             within a minute, or at once after `kill -USR1 {pid}`"
        );
        return Err(Ending::new(Exit::Unavailable, text));
    };
    process::send_signal(pid, signal)
        .map_err(|error| Ending::internal("signal the master", &error))?;
    let by = format!("no master listens on {path}: master {pid} was sent {name} instead");
    if matches!(command, Command::Stop | Command::Quit) {
        wait_until_gone(master, limit)?;
        return Ok(Response::new(Exit::Ok as u8, format!("{by}; stopped")));
    }
    let text = format!("{by}; its log says what came of it");
    Ok(Response::new(Exit::Ok as u8, text))
}

/// Refuses another file, or another value, than the master was started with: it
/// reads its own again, and would serve on as if it had been told nothing.
fn is_its_own(arguments: &Arguments, path: &Path) -> Result<(), Ending> {
    // One that does not answer is told of by who asks next; one that does not
    // know is of an older version.
    let Ok(status) = control::request(path, Command::Status, PATIENCE) else {
        return Ok(());
    };
    let (conf, set) = (status.json.get("conf"), status.json["set"].as_array());
    let refuse = |text| Err(Ending::new(Exit::Usage, text));
    if let (Some(file), Some(conf)) = (&arguments.file, conf)
        && !conf.as_str().is_some_and(|own| is_same(file, own.as_ref()))
    {
        let own = conf
            .as_str()
            .map(|own| format!("{own}, which it was started with"));
        let own = own.unwrap_or_else(|| "no file: it was started without one".into());
        let file = absolute(file).unwrap_or_else(|_| file.clone());
        return refuse(format!(
            "the master reads {own}, not {}; to change that, stop it and start it with the other",
            file.display()
        ));
    }
    for (key, value) in &arguments.overrides {
        let says_where = matches!(&**key, "control_socket" | "pid_file");
        let given = format!("{key}={value}");
        if let Some(set) = set.filter(|_| !says_where)
            && !set.iter().any(|own| *own == *given)
        {
            return refuse(format!(
                "--set {given}: the master was not started with it, and keeps to what it was \
                 started with; write it into the file, or stop it and start it so"
            ));
        }
    }
    Ok(())
}

/// Whether both are one file, by name or by what the names lead to.
fn is_same(given: &Path, own: &Path) -> bool {
    let identity = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    absolute(given).is_ok_and(|given| given == own)
        || identity(given).is_some_and(|given| identity(own) == Some(given))
}

/// Where the master listens, even when the configuration is broken: a master
/// must be reachable then, too.
fn socket_path(
    arguments: &Arguments,
    env: &[(String, String)],
    config: &Result<Config, crate::config::ConfigError>,
) -> Option<PathBuf> {
    if let Ok(config) = config {
        return config.control_socket.clone();
    }
    let file = arguments.file.as_deref();
    let named = |pairs: &[(String, String)], key: &str| {
        let last = pairs.iter().rfind(|(name, _)| name == key);
        last.map(|(_, path)| PathBuf::from(path))
    };
    named(&arguments.overrides, "control_socket")
        .or_else(|| named(env, "PURLIN__CONTROL_SOCKET"))
        .or_else(|| written_control_socket(file?))
        .or_else(|| Config::default().control_socket)
        .filter(|path| !path.as_os_str().is_empty())
}

/// The master that the configuration names, if it runs.
fn master(config: &Result<Config, crate::config::ConfigError>) -> Option<Pid> {
    match holder(config.as_ref().ok()?.pid_file.as_deref()?) {
        Ok(Holder::Master(pid)) => Some(pid),
        Ok(Holder::Nobody | Holder::Starting) | Err(_) => None,
    }
}

/// The answer comes a moment before the end of the process.
fn wait_until_gone(master: Option<Pid>, patience: Duration) -> Result<(), Ending> {
    let until = Instant::now() + patience;
    while master.is_some_and(process::is_running) {
        if Instant::now() > until {
            let text = "the master said that it stopped, and still runs";
            return Err(Ending::new(Exit::Internal, text));
        }
        sleep(LOOK);
    }
    Ok(())
}

/// What can be seen of a configuration without acting on it: whether its
/// addresses are free, or held by the instance that it belongs to. Gives what to
/// warn of: whoever has an address now may be gone when the server is started.
///
/// # Errors
///
/// [`Ending`] names what no start could use.
pub(super) fn test(config: &Config) -> Result<Vec<String>, Ending> {
    master::check(config)?;
    let mut warnings: Vec<String> = suspicions(config);
    if config.accept == Accept::Reuseport {
        // A socket bound for a moment would take connections of the others.
        return Ok(warnings);
    }
    let mut own: Option<Vec<String>> = None;
    for (n, listener) in config.listener.iter().enumerate() {
        let Address::Tcp(at) = &listener.address else {
            continue;
        };
        let Err(error) = socket::try_bind(*at, config.is_ipv6_only(n)) else {
            continue;
        };
        let own = own.get_or_insert_with(|| running_listeners(config));
        let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
        if is_in_use && own.contains(&at.to_string()) {
            continue;
        }
        let address = listener.address.clone();
        let error = crate::worker::BindError { address, error };
        if !is_in_use {
            return Err(error.into());
        }
        warnings.push(format!("listener.{n}.address cannot be had now: {error}"));
    }
    Ok(warnings)
}

/// Where the instance that the configuration names listens, if it runs.
fn running_listeners(config: &Config) -> Vec<String> {
    let path = config.control_socket.as_deref();
    let status = path.map(|path| control::request(path, Command::Status, PATIENCE));
    let Some(Ok(status)) = status else {
        return Vec::new();
    };
    let listeners = status.json["listeners"].as_array();
    let listeners = listeners.into_iter().flatten();
    listeners
        .filter_map(|address| Some(address.as_str()?.to_owned()))
        .collect()
}
