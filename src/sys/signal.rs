//! Signals as readable events, never as handlers.
//!
//! Signals coalesce: two of a kind may arrive as one. So a signal is a reason
//! to look, never a count.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Kernel, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that purlin's processes listen to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Signal {
    /// A child ended, stopped or went on.
    Child,
    /// Terminal closed; by custom: reload.
    Hangup,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\; by custom: graceful end.
    Quit,
    /// Polite request to end.
    Terminate,
    /// By custom: reopen the logs.
    User1,
    /// By custom: upgrade the binary.
    User2,
    /// The terminal changed its size; by custom: drain the workers.
    WindowChange,
    /// By custom: one worker more.
    TtyIn,
    /// By custom: one worker fewer.
    TtyOut,
}

const TABLE: [(Signal, Kernel); 10] = [
    (Signal::Child, Kernel::SIGCHLD),
    (Signal::Hangup, Kernel::SIGHUP),
    (Signal::Interrupt, Kernel::SIGINT),
    (Signal::Quit, Kernel::SIGQUIT),
    (Signal::Terminate, Kernel::SIGTERM),
    (Signal::User1, Kernel::SIGUSR1),
    (Signal::User2, Kernel::SIGUSR2),
    (Signal::WindowChange, Kernel::SIGWINCH),
    (Signal::TtyIn, Kernel::SIGTTIN),
    (Signal::TtyOut, Kernel::SIGTTOU),
];

impl Signal {
    /// The kernel's name of it.
    pub(super) fn kernel(self) -> Kernel {
        let row = TABLE.iter().find(|(signal, _)| *signal == self);
        row.expect("the table has every signal").1
    }
}

fn set(signals: &[Signal]) -> SigSet {
    TABLE
        .iter()
        .filter(|(signal, _)| signals.contains(signal))
        .map(|&(_, kernel)| kernel)
        .collect()
}

/// Forgets what whoever started this program wanted of signals: none is ignored,
/// and those of `blocked` alone are blocked. Both survive `exec`, and a program
/// that cannot know its starter cannot rely on either: with `SIGCHLD` ignored no
/// child can be waited for, with `SIGABRT` blocked none can be aborted.
///
/// `SIGPIPE` stays as it is: the runtime has it ignored. So do handlers, which are
/// this program's own. Call it before any thread exists.
///
/// # Errors
///
/// Never in practice.
pub fn start_afresh(blocked: &[Signal]) -> io::Result<()> {
    // Numbers, not names: real-time signals have none.
    for number in 1..=libc::SIGRTMAX() {
        if number != libc::SIGPIPE && is_ignored(number) {
            // SAFETY: the default action is no function, so nothing can run.
            let _cannot_fail = unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set(blocked)), None)?;
    Ok(())
}

fn is_ignored(number: libc::c_int) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed; the kernel writes one `sigaction`, borrowed for
    // the call.
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), found.as_mut_ptr()) };
    // SAFETY: all zeroes are a `sigaction`, of the default action.
    let found = unsafe { found.assume_init() };
    asked == 0 && found.sa_sigaction == libc::SIG_IGN
}

/// A descriptor that is readable while one of its signals is pending.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks `signals` in this thread and those it starts, and collects them.
    ///
    /// Call it before any thread exists: a thread with them unblocked would
    /// take the signal's default action, death, for the whole process.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE`.
    pub fn block(signals: &[Signal]) -> io::Result<Self> {
        let set = set(signals);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next pending signal, if any.
    ///
    /// # Errors
    ///
    /// Never in practice; a broken descriptor is a programming error.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.0.read_signal()? else {
            return Ok(None);
        };
        Ok(TABLE
            .iter()
            .find(|(_, kernel)| u32::try_from(*kernel as i32) == Ok(info.ssi_signo))
            .map(|&(signal, _)| signal))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
