//! The back end of the `log` facade: whole lines to standard error, to a file
//! and to syslog, from any thread of any process.
//!
//! ```text
//! warn!(…) --> one snapshot of the state --> line in a buffer of the thread
//!                                              |--> write(2) to stderr
//!                                              |--> write(2) to the file
//!                                              '--> send(2) to syslog
//! ```
//!
//! Invariants:
//! - A line is one system call for each place it goes to and at most 4,096
//!   bytes, so lines of several threads and processes never mix.
//! - A line uses one snapshot of the state. No lock is held while it is
//!   written: a thread that waits for the disk stops nobody else, and a reopen
//!   never waits for lines. A replaced file is closed behind its last line.
//! - Nothing here panics or waits for long because of a log that cannot be
//!   written. The line is lost, and standard error says so once.
//!
//! The process calls [`init`] once at its start, and [`forked`] first thing in
//! every child and after it has daemonized. The macros are the facade's:
//! `log::warn!` or, where this module is in scope, the same through it.

pub mod access_log;
mod fields;
mod limiter;
mod line;
mod logger;
mod sink;
mod syslog;
mod tap;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use ::log::LevelFilter;

pub use self::tap::{Tap, keep_in, tap};
pub use ::log::{debug, error, info, trace, warn};

pub use fields::set_context;
pub use limiter::{Limiter, Suppressed};
pub use line::Format;
pub use syslog::Target as SyslogTarget;

use logger::Logger;

/// A place that lines go to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Appended to; made when missing. A relative path is meant from the working
    /// directory at [`init`].
    File(PathBuf),
    /// Wherever descriptor 1 leads.
    StandardOutput,
    /// Wherever descriptor 2 leads.
    StandardError,
    /// The system log that [`Settings::syslog`] names, or its facility `daemon`;
    /// of [recorded](access_log) lines alone.
    Syslog,
}

/// The file at that path.
impl<P: Into<PathBuf>> From<P> for Output {
    fn from(path: P) -> Self {
        Self::File(path.into())
    }
}

/// Where lines go and which.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The least important level that is logged.
    pub level: LevelFilter,
    /// How lines look on standard error and in the file.
    pub format: Format,
    /// Where they go beside standard error.
    pub file: Option<Output>,
    /// Whether lines go to standard error.
    pub stderr: bool,
    /// Which syslog, if any.
    pub syslog: Option<SyslogTarget>,
    /// Where what is [recorded](access_log) goes, if anywhere.
    pub access_log: Option<Output>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: LevelFilter::Info,
            format: Format::Human,
            file: None,
            stderr: true,
            syslog: None,
            access_log: None,
        }
    }
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Opens what `settings` name and makes the facade's macros write there. A
/// later call replaces the settings.
///
/// # Errors
///
/// The file cannot be opened (the path is in the text; nothing was changed), or
/// the program has installed another logger. Syslog may come up later.
pub fn init(settings: &Settings) -> io::Result<()> {
    let logger = LOGGER.get_or_init(Logger::default);
    logger.configure(settings)?;
    logger.install()?;
    set_level(settings.level);
    Ok(())
}

/// A log that is kept in memory, for the lines of threads that are told so by
/// [`keep_in`]. Nothing else changes: other lines go where they went, and nowhere if
/// the log was not set up.
///
/// # Errors
///
/// The program has installed another logger.
pub fn keep(level: LevelFilter) -> io::Result<Tap> {
    let logger = LOGGER.get_or_init(Logger::silent);
    logger.install()?;
    set_level(level.max(::log::max_level()));
    Ok(Tap::new(level))
}

/// Whether [`init`] would open what `settings` name; changes nothing but that a
/// missing file is made.
///
/// # Errors
///
/// As [`init`].
pub fn probe(settings: &Settings) -> io::Result<()> {
    let mut all = settings.file.iter().chain(&settings.access_log);
    all.try_for_each(|output| match output {
        Output::File(path) => sink::Sink::file(path).map(drop),
        Output::StandardOutput | Output::StandardError | Output::Syslog => Ok(()),
    })
}

/// Tells the log that it is in another process, or that standard error leads
/// elsewhere now: `process` (such as `master`, `worker-2`) and the pid are in
/// every line from here on, and syslog is connected to anew.
///
/// Call it first thing in a child and after daemonizing, before any thread.
pub fn forked(process: &str) {
    if let Some(logger) = LOGGER.get() {
        logger.forked(process);
    }
}

/// Goes on writing to what standard error is now, wherever descriptor 2 leads after
/// this.
///
/// # Errors
///
/// No descriptor is free.
pub fn keep_standard_error() -> io::Result<()> {
    LOGGER.get().map_or(Ok(()), Logger::keep_standard_error)
}

/// Names the calling thread in its lines and, cut to 15 bytes, in `ps`.
///
/// Threads that never call it are called what their builder called them.
pub fn name_thread(name: &str) {
    crate::sys::process::name_thread(name);
    logger::name_thread(name);
}

/// Changes the level.
pub fn set_level(level: LevelFilter) {
    ::log::set_max_level(level);
}

/// Opens the files again, after they were moved away. No line is lost or cut by
/// it.
///
/// # Errors
///
/// The file cannot be opened; the old one stays in use. Tell the operator.
pub fn reopen() -> io::Result<()> {
    LOGGER.get().map_or(Ok(()), Logger::reopen)
}

/// The open file, for handing it to another process; `None` without a file.
///
/// # Errors
///
/// No descriptor is left (`EMFILE`).
pub fn file_descriptor() -> io::Result<Option<OwnedFd>> {
    LOGGER.get().map_or(Ok(None), Logger::file_descriptor)
}

/// Writes to `file`, which another process opened, instead of the file so far.
pub fn adopt(file: OwnedFd) {
    if let Some(logger) = LOGGER.get() {
        logger.adopt(file);
    }
}

/// As [`file_descriptor`], of the access log.
///
/// # Errors
///
/// As there.
pub fn access_descriptor() -> io::Result<Option<OwnedFd>> {
    LOGGER.get().map_or(Ok(None), Logger::access_descriptor)
}

/// As [`adopt`], of the access log.
pub fn adopt_access_log(file: OwnedFd) {
    if let Some(logger) = LOGGER.get() {
        logger.adopt_access_log(file);
    }
}

/// Opens the access log alone, for a server that is part of another program.
///
/// # Errors
///
/// The file cannot be opened.
pub fn open_access_log(output: &Output) -> io::Result<()> {
    LOGGER.get_or_init(Logger::silent).open_access_log(output)
}

/// Writes whole lines to the access log; tells whether they are there.
fn put_access(lines: &[u8]) -> bool {
    LOGGER.get().is_some_and(|logger| logger.put_access(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    const FOLDER: &str = "PURLIN_TEST_LOG_FOLDER";

    /// The facade has one logger for each process, so it gets one of its own.
    #[test]
    fn the_facades_macros_write_here() {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact"])
            .arg("log::tests::a_process_that_logs")
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let texts = ["first", "moved", "log"].map(|name| {
            let lines = fs::read_to_string(folder.path().join(name)).unwrap();
            let said = lines.lines().map(|line| line.split_once("Z ").unwrap().1);
            said.map(|said| said.replace(char::is_numeric, ""))
                .collect::<Vec<String>>()
        });
        assert_eq!(
            texts,
            [
                vec!["info purlin/start : a"],
                vec!["debug worker-/start : c"],
                vec!["warn worker-/start : d", "error worker-/start : e"],
            ]
        );
    }

    #[test]
    #[ignore = "the process that the test above starts"]
    fn a_process_that_logs() {
        let Some(folder) = std::env::var_os(FOLDER) else {
            return;
        };
        let path = |name: &str| Path::new(&folder).join(name);
        let mut settings = Settings {
            file: Some(path("no folder/log").into()),
            stderr: false,
            ..Settings::default()
        };
        assert_eq!(reopen().map_err(|error| error.kind()), Ok(()));
        assert!(init(&settings).is_err());
        settings.file = Some(path("log").into());
        init(&settings).unwrap();
        name_thread("start");
        info!("a");
        debug!("b");
        fs::rename(path("log"), path("first")).unwrap();
        set_level(LevelFilter::Debug);
        forked("worker-2");
        reopen().unwrap();
        debug!("c");
        fs::rename(path("log"), path("moved")).unwrap();
        init(&settings).unwrap();
        warn!("d");
        debug!("not at this level");
        adopt(file_descriptor().unwrap().unwrap());
        error!("e");
        let lost = LOGGER.get().map(Logger::lost);
        assert_eq!(lost, Some(logger::tests::Lost::default()));
    }
}
