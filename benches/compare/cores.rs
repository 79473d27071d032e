//! Which core is whose, and which processes belong to a server.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::Failure;

/// Where servers and the load client run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cores {
    /// On a core each.
    Pinned {
        /// Of the servers.
        server: usize,
        /// Of the load client.
        client: usize,
    },
    /// Wherever the kernel wants: there is only one core.
    Shared,
}

/// What a server may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// The core of the servers.
    OneCore,
    /// The core of the load client as well.
    BothCores,
}

impl Cores {
    /// The first two cores that this process may use.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub(crate) fn choose() -> Result<Self, Failure> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        Ok(match (cores.next(), cores.next()) {
            (Some(server), Some(client)) => Self::Pinned { server, client },
            _ => Self::Shared,
        })
    }

    /// Moves the calling thread, and what it starts from now on, to where a
    /// server belongs.
    ///
    /// # Errors
    ///
    /// When a core went away.
    pub(crate) fn enter_server(self, place: Place) -> Result<(), Failure> {
        self.pin_server(Pid::from_raw(0), place)
    }

    /// Moves the calling thread to the core of the load client.
    ///
    /// # Errors
    ///
    /// As [`Self::enter_server`].
    pub(crate) fn enter_client(self) -> Result<(), Failure> {
        match self {
            Self::Pinned { client, .. } => pin(Pid::from_raw(0), &[client]),
            Self::Shared => Ok(()),
        }
    }

    /// Moves every thread of `processes` to where the server belongs: some
    /// servers choose cores for themselves.
    ///
    /// # Errors
    ///
    /// When one of the processes is gone.
    pub(crate) fn hold_server(self, place: Place, processes: &[Pid]) -> Result<(), Failure> {
        for process in processes {
            for task in fs::read_dir(format!("/proc/{process}/task"))? {
                let name = task?.file_name();
                let thread = name.to_string_lossy().parse().map(Pid::from_raw)?;
                self.pin_server(thread, place)?;
            }
        }
        Ok(())
    }

    fn pin_server(self, thread: Pid, place: Place) -> Result<(), Failure> {
        match (self, place) {
            (Self::Pinned { server, .. }, Place::OneCore) => pin(thread, &[server]),
            (Self::Pinned { server, client }, Place::BothCores) => pin(thread, &[server, client]),
            (Self::Shared, _) => Ok(()),
        }
    }
}

fn pin(thread: Pid, cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    sched_setaffinity(thread, &set)
        .map_err(|error| format!("pin thread {thread} to cores {cores:?}: {error}").into())
}

/// `root` and all the processes below it, parents first.
pub(crate) fn process_tree(root: Pid) -> Vec<Pid> {
    let parents = parents();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(parents.iter().filter(|of| of.1 == parent).map(|of| of.0));
        next += 1;
    }
    tree
}

/// Every process with its parent.
fn parents() -> Vec<(Pid, Pid)> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| {
            let process: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // The name before the last parenthesis may hold anything.
            let (_, fields) = stat.rsplit_once(')')?;
            let parent = fields.split_whitespace().nth(1)?.parse().ok()?;
            Some((Pid::from_raw(process), Pid::from_raw(parent)))
        })
        .collect()
}
