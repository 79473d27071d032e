//! What the admin process is started with: the number of each descriptor and what
//! to obey, as JSON in the one variable that its environment has. Read once, before
//! any thread, and removed.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use crate::scoreboard::ReadOnly;
use crate::sys::channel::Channel;
use crate::sys::exec;
use crate::sys::process::Pid;

/// The variable.
const NAME: &str = "PURLIN_ADMIN";

/// What is said of it beside its descriptors.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Terms {
    /// What the program is called.
    pub program: String,
    /// Names by which it may be asked.
    pub hosts: Vec<String>,
    /// Message ids with figures of their own.
    pub ids_max: u16,
    /// Whom it becomes, by numbers; `None`: it stays who the master is.
    pub user: Option<(u32, u32)>,
    /// The least important level that is logged.
    pub log_level: String,
    /// Whether lines are JSON.
    pub is_json: bool,
    /// Whether they go to standard error.
    pub is_heard: bool,
}

#[derive(Deserialize, Serialize)]
struct Written {
    terms: Terms,
    listener: RawFd,
    memory: RawFd,
    ledger: RawFd,
    facts: RawFd,
    line: RawFd,
    log: Option<RawFd>,
    tail: Option<RawFd>,
}

/// What the master puts in.
#[derive(Debug)]
pub struct Offer<'a> {
    /// What to obey.
    pub terms: Terms,
    /// Where clients come.
    pub listener: BorrowedFd<'a>,
    /// What is counted.
    pub counted: &'a ReadOnly<OwnedFd>,
    /// What the master knows.
    pub facts: BorrowedFd<'a>,
    /// The file of the log.
    pub log: Option<BorrowedFd<'a>>,
    /// The same for reading, if its end may be shown.
    pub tail: Option<BorrowedFd<'a>>,
}

impl Offer<'_> {
    /// Starts the admin process; gives the master's end of its line.
    ///
    /// # Errors
    ///
    /// `EMFILE`, or no process can be started.
    pub fn start(&self) -> io::Result<(Pid, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let written = Written {
            terms: self.terms.clone(),
            listener: self.listener.as_raw_fd(),
            memory: self.counted.memory.as_raw_fd(),
            ledger: self.counted.ledger.as_raw_fd(),
            facts: self.facts.as_raw_fd(),
            line: theirs.as_fd().as_raw_fd(),
            log: self.log.map(|log| log.as_raw_fd()),
            tail: self.tail.map(|tail| tail.as_raw_fd()),
        };
        let text: OsString = serde_json::to_string(&written)?.into();
        let mut keep = vec![
            self.listener,
            self.counted.memory.as_fd(),
            self.counted.ledger.as_fd(),
            self.facts,
            theirs.as_fd(),
        ];
        keep.extend(self.log);
        keep.extend(self.tail);
        let name = format!("{}: admin", self.terms.program);
        let pid = exec::start_again(&name, (NAME, &text), &keep, self.terms.is_heard)?;
        Ok((pid, ours))
    }
}

/// What the admin process has in its hands.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) terms: Terms,
    pub(super) listener: OwnedFd,
    pub(super) counted: ReadOnly<OwnedFd>,
    pub(super) facts: OwnedFd,
    pub(super) line: Channel,
    pub(super) log: Option<OwnedFd>,
    pub(super) tail: Option<OwnedFd>,
}

/// Whether this process was started to be one.
#[must_use]
pub fn is_offered() -> bool {
    std::env::var_os(NAME).is_some()
}

/// Takes it.
///
/// # Errors
///
/// What stands in the variable is not what a master of this binary writes.
pub(super) fn take() -> io::Result<Taken> {
    let text = exec::take_variable(NAME)?.unwrap_or_default();
    let written: Written = serde_json::from_str(&text.to_string_lossy())?;
    Ok(Taken {
        terms: written.terms,
        listener: exec::adopt(written.listener)?,
        counted: ReadOnly {
            memory: exec::adopt(written.memory)?,
            ledger: exec::adopt(written.ledger)?,
        },
        facts: exec::adopt(written.facts)?,
        line: exec::adopt(written.line)?.into(),
        log: written.log.map(exec::adopt).transpose()?,
        tail: written.tail.map(exec::adopt).transpose()?,
    })
}
