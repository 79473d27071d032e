//! What the supervisor is told, and what it orders.

use std::fmt;
use std::time::Instant;

use super::rows::Rows;
use super::slot::{Generation, SlotId};
use super::upgrade::Setback;
use crate::sys::process::{Cause, Pid};

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// An ordered [`Action::Fork`] was carried out.
    Started {
        /// The slot of the order.
        slot: SlotId,
        /// The new process.
        pid: Pid,
    },
    /// An ordered [`Action::Fork`] could not be carried out.
    ForkFailed {
        /// The slot of the order.
        slot: SlotId,
    },
    /// The worker said that it serves.
    Ready {
        /// Who said so. Unknown ones are ignored.
        pid: Pid,
    },
    /// A child was reaped.
    Exited {
        /// Which one. Unknown ones are ignored.
        pid: Pid,
        /// How it ended.
        cause: Cause,
    },
    /// Somebody wants something.
    Ordered(Command),
    /// An upgrade goes on, seen from the master that rules so far.
    NewMaster(NewMasterEvent),
    /// An upgrade goes on, seen from the new master.
    OldMaster(OldMasterEvent),
    /// Workers of somebody else's are gone, and so is the reason to leave their
    /// rows alone.
    Freed(Rows),
    /// Time passed:
    /// [`Supervisor::next_deadline`](super::Supervisor::next_deadline) is here.
    Tick,
}

/// What the old master hears of its new one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NewMasterEvent {
    /// [`Action::Launch`] was carried out.
    Launched {
        /// The new program.
        pid: Pid,
    },
    /// [`Action::Launch`] could not be carried out.
    NotLaunched,
    /// It is a master, and hears what it is told.
    Listens,
    /// All of its workers are ready.
    Ready,
    /// It rules: names itself and takes orders.
    TookOver,
    /// It ended.
    Gone {
        /// How.
        cause: Cause,
        /// The rows that its workers were given: some may live yet.
        used: Rows,
    },
    /// It is ending, and so are we to be, by then.
    Hurry {
        /// When to have left.
        by: Instant,
    },
}

/// What the new master hears of its old one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OldMasterEvent {
    /// It says: rule.
    Promoted,
    /// It says: end.
    Ended,
    /// Its end of the line was closed: it is gone.
    Silent,
    /// It and all of its workers are gone.
    Left,
    /// It is replaced, and this drains there and at those before it.
    Drains {
        /// One for each of these masters at least.
        generations: usize,
        /// Where their workers are.
        rows: Rows,
    },
}

/// What can be wanted, by signal or over the control socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Drain within the shutdown timeout, then exit. Given again, at least
    /// [`REPEAT`](super::REPEAT) later: kill, exit.
    Stop,
    /// Drain without a deadline, then exit.
    Quit,
    /// A configuration was accepted: start its workers, then drain the others.
    /// The first one is the start.
    NewGeneration {
        /// How many, from 1 up.
        workers: usize,
    },
    /// The logs were reopened.
    Reopen,
    /// The generation that serves is to have so many, until the next one. Means
    /// nothing while none serves or another one is being started.
    Workers {
        /// How many; never none, and no more than there is room for.
        count: usize,
    },
    /// Drain the workers and stay, until the next generation.
    Winch,
    /// End what leaves no room for another generation: the oldest that drain, and
    /// the master before this one.
    MakeRoom,
    /// Start the new binary beside this one, unless
    /// [`may_upgrade`](super::Supervisor::may_upgrade) says why not.
    Upgrade,
}

/// What to do, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Fork a worker; answer with [`Event::Started`] or [`Event::ForkFailed`]
    /// before any other event.
    Fork {
        /// Its slot, and its row in the shared memory.
        slot: SlotId,
        /// Which of its generation's workers, from 0.
        number: usize,
        /// Whose configuration it runs.
        generation: Generation,
    },
    /// The process is gone: free the accept mutex, fold its row, close its
    /// ends.
    Bury(Pid),
    /// Tell it to drain. A second one for the same worker gives less time.
    Drain {
        /// Whom.
        pid: Pid,
        /// When to close what is left; `None`: never.
        deadline: Option<Instant>,
    },
    /// Tell it to drain for as long as it makes progress: others serve.
    Retire(Pid),
    /// End it at once, by SIGKILL.
    Kill(Pid),
    /// Say that this generation, which still drains, is cut short because an
    /// operator wants room.
    CutShort {
        /// Which one.
        generation: Generation,
    },
    /// Hand it the reopened logs.
    TellReopen(Pid),
    /// All workers of this generation are ready: it serves from here on, for
    /// the caller as for [`Supervisor::current`](super::Supervisor::current).
    /// Those before it are told to drain by the actions that follow.
    TakeOver {
        /// The one that serves now.
        generation: Generation,
    },
    /// Those before this generation were told to drain: say that it serves.
    ReloadDone {
        /// The one that serves now.
        generation: Generation,
    },
    /// The new generation is given up; the one before it serves on.
    ReloadFailed {
        /// The one that is given up.
        generation: Generation,
        /// Why.
        reason: Failure,
    },
    /// The new generation was not even begun.
    ReloadRefused(Refusal),
    /// Start the new program; answer with [`NewMasterEvent::Launched`] or
    /// [`NewMasterEvent::NotLaunched`] before any other event.
    Launch,
    /// Tell the new master to rule.
    Promote,
    /// The new master rules: take no more orders. The workers were told to
    /// drain.
    Resign {
        /// The master from now on.
        pid: Pid,
    },
    /// Tell the new master to end.
    EndNewMaster,
    /// The upgrade is over, and nothing was changed.
    UpgradeFailed(Setback),
    /// Tell the old master that this one is ready to rule.
    TellReady,
    /// Name this process in the pid file, take orders, tell the old master.
    Rule,
    /// Tell the old master to have left by then.
    HurryOldMaster {
        /// When this master ends at the latest.
        by: Instant,
    },
    /// Tell the master that rules what drains here and before.
    TellDrains {
        /// One for each of these masters at least.
        generations: usize,
        /// Where their workers are.
        rows: Rows,
    },
    /// Everybody is gone and was buried; the master may leave.
    Exit,
}

/// Why a new generation was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// A worker of it died before all of them were ready.
    Died {
        /// Which one, from 0.
        number: usize,
        /// How.
        cause: Cause,
    },
    /// A worker of it was not ready in time.
    NotReady {
        /// Which one, from 0.
        number: usize,
    },
    /// A worker of it could not be forked.
    CannotFork {
        /// Which one, from 0.
        number: usize,
    },
    /// The workers were ordered to drain meanwhile.
    Overruled,
    /// As many generations live as may, and none left within
    /// [`ROOM_WITHIN`](super::ROOM_WITHIN).
    NoGenerationLeft,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died { number, cause } => {
                write!(f, "new worker {number} {cause} before all were ready")
            }
            Self::NotReady { number } => write!(f, "new worker {number} was not ready in time"),
            Self::CannotFork { number } => write!(f, "new worker {number} could not be forked"),
            Self::Overruled => f.write_str("ordered to stop meanwhile"),
            Self::NoGenerationLeft => f.write_str("those before it still drain"),
        }
    }
}

/// Places for workers that are made at the least: a small server can be
/// reloaded into one for a larger machine.
pub const PLACES_MIN: usize = 16;

/// Why a new generation was not begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Another one is being started: try again when that is decided.
    Busy,
    /// The master is on its way out.
    Stopping,
    /// A new binary is being started.
    Upgrading,
    /// What an upgrade that failed has left is not gone yet.
    RollingBack,
    /// The master is process 1: its end would be that of its container.
    FirstProcess,
    /// Too many workers, most likely because old ones are still draining.
    NoRoom {
        /// Slots asked for.
        wanted: usize,
        /// Slots free.
        free: usize,
    },
}

impl Refusal {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::FirstProcess)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another reload is going on"),
            Self::Stopping => f.write_str("the master is stopping"),
            Self::Upgrading => f.write_str("an upgrade is going on"),
            Self::RollingBack => f.write_str(
                "an upgrade failed, and not all of what it started has ended; try again soon",
            ),
            Self::FirstProcess => f.write_str(
                "the master is process 1, whose end ends its container; replace the container",
            ),
            Self::NoRoom { wanted, free } => {
                write!(
                    f,
                    "{wanted} workers wanted, and there is room for {free}: places are made at \
                     the start, six for each worker and at least {PLACES_MIN}; wait until old \
                     workers have drained, or stop and start"
                )
            }
        }
    }
}
