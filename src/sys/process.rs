//! This process and its children: fork, reap, signals, threads, limits.

use std::fmt;
use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use nix::unistd::ForkResult;

use super::fault::{self, Point};
use super::signal::Signal;

/// Names a process until it has been reaped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pid(i32);

impl Pid {
    /// The calling process. Asks the kernel each time: a cached one would be
    /// wrong after a fork.
    #[must_use]
    pub fn own() -> Self {
        Self(nix::unistd::getpid().as_raw())
    }

    /// The parent of the calling process; another one after that died.
    #[must_use]
    pub fn parent() -> Self {
        Self(nix::unistd::getppid().as_raw())
    }

    /// A pid from outside, from 1 up. Refuses 0 and negative numbers: for
    /// `kill(2)` these name whole groups of processes.
    #[must_use]
    pub fn new(raw: i32) -> Option<Self> {
        (raw > 0).then_some(Self(raw))
    }

    /// The kernel's number, from 1 up.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    const fn kernel(self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.0)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the two processes the caller is in after [`fork`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fork {
    /// The one that called; the other one has this pid.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Splits the process in two.
///
/// # Errors
///
/// `EAGAIN` at the process limit, `ENOMEM` when the kernel has no memory, `EMFILE`
/// when no descriptor is free to ask `/proc` with: try again later.
///
/// # Panics
///
/// When this process has more than one thread: the child would inherit locks whose
/// owners do not exist in it. Fork first, start threads after.
pub fn fork() -> io::Result<Fork> {
    let threads = thread_count()?;
    assert_eq!(threads, 1, "fork after a thread was started");
    fault::point(Point::Fork)?;
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the wrapper the rule points to"
    )]
    // SAFETY: the child may run any code only if no other thread held a lock at
    // the time of the fork; the assertion above leaves no other thread.
    let result = unsafe { nix::unistd::fork() }?;
    Ok(match result {
        ForkResult::Parent { child } => Fork::Parent(Pid(child.as_raw())),
        ForkResult::Child => Fork::Child,
    })
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// By itself, with this exit code.
    Exited(i32),
    /// Somebody else was told how: it is no child of this process any more.
    Unknown,
    /// By a signal.
    Killed {
        /// The kernel's number of the signal.
        signal: i32,
        /// Whether a core file was written.
        core: bool,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Unknown => f.write_str("is gone, nobody knows how"),
            Self::Killed { signal, core } => {
                match nix::sys::signal::Signal::try_from(signal) {
                    Ok(name) => write!(f, "killed by {name}")?,
                    Err(_) => write!(f, "killed by signal {signal}")?,
                }
                f.write_str(if core { " (core dumped)" } else { "" })
            }
        }
    }
}

/// What became of a child.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Change {
    /// It is gone, and its pid may soon be another's.
    Ended(Cause),
    /// `SIGSTOP` and the like: it lives, and does nothing.
    Stopped,
    /// `SIGCONT`: it goes on.
    Continued,
}

/// What [`reap`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reaped {
    /// In the order in which the kernel told it.
    pub changes: Vec<(Pid, Change)>,
    /// Whether no child is left, those in `changes` aside: of whoever else was
    /// one, the end will never be told.
    pub is_childless: bool,
}

/// What became of the children since the last call. The end of each is reported
/// once; of stops and continuations in quick succession only the last may be.
///
/// `SIGCHLD` coalesces, so one signal may stand for many of them; call this
/// whenever it arrived. It collects *every* child of the process, so nothing
/// else in it may wait for children of its own.
#[must_use]
pub fn reap() -> Reaped {
    let mut reaped = Reaped::default();
    let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    loop {
        let mut status = 0;
        // Not nix's `waitpid`: it loses a child that a real-time signal killed.
        // SAFETY: the kernel writes one `int`, borrowed for the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, options) };
        match pid {
            1.. => {
                let change = decode(status).map(|change| (Pid(pid), change));
                reaped.changes.extend(change);
            }
            0 => return reaped,
            // A signal cannot interrupt a call that never waits.
            ..0 => {
                reaped.is_childless = Errno::last() == Errno::ECHILD;
                return reaped;
            }
        }
    }
}

/// `None` for what this Linux does not know yet.
fn decode(status: libc::c_int) -> Option<Change> {
    if libc::WIFEXITED(status) {
        return Some(Change::Ended(Cause::Exited(libc::WEXITSTATUS(status))));
    }
    if libc::WIFSTOPPED(status) {
        return Some(Change::Stopped);
    }
    if libc::WIFCONTINUED(status) {
        return Some(Change::Continued);
    }
    libc::WIFSIGNALED(status).then(|| {
        Change::Ended(Cause::Killed {
            signal: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        })
    })
}

/// Whether the process exists and has not ended. For one that is not our own
/// child: its number may be another's by the time of the answer.
#[must_use]
pub fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // Dead, and not waited for by its parent.
    stat.is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"))
    })
}

/// Sends `signal` to `pid`. A process that is gone already is no error.
///
/// # Errors
///
/// `EPERM` when the process belongs to somebody else.
pub fn send_signal(pid: Pid, signal: Signal) -> io::Result<()> {
    send_to(pid, signal.kernel())
}

/// Ends `pid` at once (`SIGKILL`). A process that is gone already is no error.
///
/// # Errors
///
/// As [`send_signal`].
pub fn kill(pid: Pid) -> io::Result<()> {
    send_to(pid, nix::sys::signal::SIGKILL)
}

/// Ends a child at once, and waits until it has ended.
pub fn end(child: Pid) {
    let _gone = kill(child);
    let _reaped = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child.0), None);
}

/// Ends all processes of the group that `pid` leads, if it leads one.
pub fn kill_group(pid: Pid) {
    let group = nix::unistd::Pid::from_raw(pid.raw());
    let _leads_none = nix::sys::signal::killpg(group, nix::sys::signal::SIGKILL);
}

/// Goes back to the process group of whoever started this process, who had it
/// lead one of its own until now. Where that cannot be, it goes on as it is.
pub fn rejoin_group() {
    let parent = nix::unistd::getpgid(Some(nix::unistd::getppid()));
    let _stays = parent.and_then(|group| nix::unistd::setpgid(nix::unistd::Pid::this(), group));
}

/// Has `pid` end with a core dump, where those are written (`SIGABRT`), even when
/// it is stopped. A process that is gone already is no error.
///
/// # Errors
///
/// As [`send_signal`].
pub fn abort(pid: Pid) -> io::Result<()> {
    send_to(pid, nix::sys::signal::SIGABRT)?;
    // Whoever is stopped would only get to hear of it later.
    send_to(pid, nix::sys::signal::SIGCONT)
}

fn send_to(pid: Pid, signal: nix::sys::signal::Signal) -> io::Result<()> {
    match nix::sys::signal::kill(pid.kernel(), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Threads of this process, as the kernel counts them.
///
/// # Errors
///
/// When `/proc` is not mounted.
pub fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Lets another thread that is ready run on this core first.
///
/// After handing work to a sleeping thread this saves the batch from being
/// handed over one by one: measured at 0.82 without it and 0.99 with it, of
/// the rate of a loop that needs no other thread.
pub fn yield_now() {
    let _always_succeeds = nix::sched::sched_yield();
}

/// Raises the soft limit of open descriptors to `wanted`, or as far as allowed.
/// Returns the limit that is now in force.
///
/// # Errors
///
/// Only when the kernel refuses to tell the limit.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    // Root may raise the hard limit too; everybody else stops there.
    if wanted > hard && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    let reachable = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, reachable, hard)?;
    Ok(reachable)
}

/// What a process uses of what it may: nobody else may ask for all of it.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Milliseconds on a core so far.
    pub cpu: u64,
    /// Descriptors that are open.
    pub descriptors: u64,
    /// So many may be.
    pub descriptors_max: u64,
}

/// That of this process.
///
/// # Errors
///
/// When `/proc` is not mounted.
pub fn usage() -> io::Result<Usage> {
    let used = getrusage(UsageWho::RUSAGE_SELF)?;
    let millis =
        |time: nix::sys::time::TimeVal| u64::try_from(time.num_milliseconds()).unwrap_or(0);
    // Since Linux 6.2 the kernel says how many there are.
    let size = fs::metadata("/proc/self/fd")?.len();
    let counted = || fs::read_dir("/proc/self/fd").map(|all| all.count() as u64);
    Ok(Usage {
        cpu: millis(used.user_time()) + millis(used.system_time()),
        descriptors: if size > 0 { size } else { counted()? },
        descriptors_max: getrlimit(Resource::RLIMIT_NOFILE)?.0,
    })
}

/// Names the calling thread in `ps`, `top` and `/proc`; cut to 15 bytes.
pub fn name_thread(name: &str) {
    let short: String = name.chars().filter(char::is_ascii).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(short) {
        let _cosmetic = nix::sys::prctl::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn only_one_process_has_a_pid_above_zero() {
        assert_eq!(Pid::new(0), None);
        assert_eq!(Pid::new(-1), None);
        assert_eq!(Pid::new(7).map(Pid::raw), Some(7));
        assert_eq!(Pid::own().to_string(), std::process::id().to_string());
    }

    #[test]
    #[should_panic(expected = "fork after a thread was started")]
    fn a_process_with_threads_cannot_fork() {
        std::thread::scope(|scope| {
            let (end, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let _panics = fork();
            drop(end);
        });
    }

    #[test]
    fn causes_are_told_in_words() {
        for (cause, words) in [
            (Cause::Exited(3), "exited with code 3"),
            (
                Cause::Killed {
                    signal: 9,
                    core: false,
                },
                "killed by SIGKILL",
            ),
            (
                Cause::Killed {
                    signal: 11,
                    core: true,
                },
                "killed by SIGSEGV (core dumped)",
            ),
            (
                Cause::Killed {
                    signal: 40,
                    core: false,
                },
                "killed by signal 40",
            ),
        ] {
            assert_eq!(cause.to_string(), words);
        }
    }

    /// In a process of its own: `reap` would steal other tests' children.
    #[test]
    fn every_child_is_reaped_once_with_its_cause() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "sys::process::tests::reaper"])
            .env("PURLIN_TEST_ALONE", "1")
            .status();
        assert!(status.unwrap().success());
    }

    #[test]
    #[ignore = "run by `every_child_is_reaped_once_with_its_cause`"]
    #[allow(
        clippy::zombie_processes,
        reason = "waiting for them is what is tested"
    )]
    fn reaper() {
        if std::env::var_os("PURLIN_TEST_ALONE").is_none() {
            return;
        }
        let scripts = [
            ("exit 0", Cause::Exited(0)),
            ("exit 7", Cause::Exited(7)),
            ("kill -9 $$", killed(libc::SIGKILL)),
            ("kill -40 $$", killed(40)),
        ];
        let mut expected = HashMap::new();
        for (script, cause) in scripts {
            let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            expected.insert(i32::try_from(child.id()).unwrap(), cause);
        }
        let sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        let sleeper = Pid::new(i32::try_from(sleeper.id()).unwrap()).unwrap();
        for (signal, change) in [
            (nix::sys::signal::SIGSTOP, Change::Stopped),
            (nix::sys::signal::SIGCONT, Change::Continued),
        ] {
            send_to(sleeper, signal).unwrap();
            let mut seen = Vec::new();
            while !seen.contains(&(sleeper, change)) {
                seen = reap().changes;
                for &(pid, other) in seen.iter().filter(|(pid, _)| *pid != sleeper) {
                    let cause = expected.remove(&pid.raw());
                    assert_eq!(cause.map(Change::Ended), Some(other));
                }
                yield_now();
            }
        }
        send_signal(sleeper, Signal::Terminate).unwrap();
        expected.insert(sleeper.raw(), killed(libc::SIGTERM));

        let give_up = Instant::now() + Duration::from_secs(30);
        while !expected.is_empty() {
            assert!(Instant::now() < give_up, "not reaped: {expected:?}");
            for (pid, change) in reap().changes {
                let cause = expected.remove(&pid.raw());
                assert_eq!(cause.map(Change::Ended), Some(change));
            }
            yield_now();
        }
        let childless = Reaped {
            changes: Vec::new(),
            is_childless: true,
        };
        assert_eq!(reap(), childless, "nobody is left whose end could be told");
        let mut another = Command::new("sleep").arg("1000").spawn().unwrap();
        assert_eq!(reap(), Reaped::default());
        another.kill().unwrap();
        kill(sleeper).expect("a process that is gone is no error");
    }

    fn killed(signal: i32) -> Cause {
        Cause::Killed {
            signal,
            core: false,
        }
    }
}
