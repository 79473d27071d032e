//! What the log is told of a configuration. Pure.

use crate::config::{Config, LogFormat, Output};
use crate::log::{self, Format, Settings};
use crate::master::exit::Ending;

/// What the log is told.
///
/// # Errors
///
/// [`Ending`], when `log.syslog` names none.
pub(in crate::master) fn settings(config: &Config, is_daemon: bool) -> Result<Settings, Ending> {
    let syslog = config.log.syslog.as_deref().map(str::parse).transpose();
    // In the background nobody reads stderr: what is logged must go somewhere.
    let lost = is_daemon && config.log.syslog.is_none();
    let beside = config.pid_file.as_ref().filter(|_| lost);
    let beside = beside.map(|pid_file| pid_file.with_file_name("purlin.log"));
    Ok(Settings {
        level: config.log.level,
        format: match config.log.format {
            LogFormat::Human => Format::Human,
            LogFormat::Json => Format::Json,
        },
        file: log_file(config, is_daemon)?
            .or(beside.map(log::Output::File))
            .map(whole),
        stderr: !is_daemon,
        syslog: syslog.map_err(|error: String| config.refuse("log.syslog", &error))?,
        access_log: access_log(config, is_daemon)?.map(whole),
    })
}

/// The same wherever it is opened again.
fn whole(output: log::Output) -> log::Output {
    match output {
        log::Output::File(file) => log::Output::File(std::path::absolute(&file).unwrap_or(file)),
        log::Output::StandardOutput | log::Output::StandardError | log::Output::Syslog => output,
    }
}

const NOWHERE: &str = "leads nowhere in the background; name a file or syslog, or use `run`";

fn log_file(config: &Config, is_daemon: bool) -> Result<Option<log::Output>, Ending> {
    let refuse = |why: &str| Err(config.refuse("log.file", why).into());
    match &config.log.file {
        None => Ok(None),
        Some(Output::File(path)) => Ok(Some(log::Output::File(path.clone()))),
        Some(Output::Syslog) => refuse("is syslog, which is for log.syslog to name"),
        Some(Output::Stdout | Output::Stderr) if is_daemon => refuse(NOWHERE),
        Some(Output::Stdout) => Ok(Some(log::Output::StandardOutput)),
        // It is written in any case.
        Some(Output::Stderr) => Ok(None),
    }
}

fn access_log(config: &Config, is_daemon: bool) -> Result<Option<log::Output>, Ending> {
    Ok(Some(match &config.http.access_log {
        None => return Ok(None),
        Some(Output::File(path)) => log::Output::File(path.clone()),
        Some(Output::Syslog) => log::Output::Syslog,
        Some(Output::Stdout | Output::Stderr) if is_daemon => {
            return Err(config.refuse("http.access_log", NOWHERE).into());
        }
        Some(Output::Stdout) => log::Output::StandardOutput,
        Some(Output::Stderr) => log::Output::StandardError,
    }))
}
