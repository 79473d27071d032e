//! What the machine is, which of its cores is whose, and who used how much.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
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

    /// Moves the calling thread, and what it starts from now on, to the core
    /// of the servers.
    ///
    /// # Errors
    ///
    /// When the core went away.
    pub(crate) fn enter_server(self) -> Result<(), Failure> {
        match self {
            Self::Pinned { server, .. } => pin(Pid::from_raw(0), server),
            Self::Shared => Ok(()),
        }
    }

    /// Moves the calling thread to the core of the load client.
    ///
    /// # Errors
    ///
    /// As [`Self::enter_server`].
    pub(crate) fn enter_client(self) -> Result<(), Failure> {
        match self {
            Self::Pinned { client, .. } => pin(Pid::from_raw(0), client),
            Self::Shared => Ok(()),
        }
    }

    /// Moves every thread of `processes` to the core of the servers: some
    /// servers choose cores for themselves.
    ///
    /// # Errors
    ///
    /// When one of the processes is gone.
    pub(crate) fn hold_server(self, processes: &[Pid]) -> Result<(), Failure> {
        let Self::Pinned { server, .. } = self else {
            return Ok(());
        };
        for process in processes {
            for task in fs::read_dir(format!("/proc/{process}/task"))? {
                let name = task?.file_name();
                let thread = name.to_string_lossy().parse().map(Pid::from_raw)?;
                pin(thread, server)?;
            }
        }
        Ok(())
    }
}

fn pin(thread: Pid, core: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(thread, &set)
        .map_err(|error| format!("pin thread {thread} to core {core}: {error}").into())
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

/// CPU time used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// By the server, all its processes and threads, user and system.
    pub(crate) server: Duration,
    /// By this process.
    client: Duration,
    /// By everybody, interrupts and other guests of the host included.
    everybody: Duration,
}

impl Usage {
    /// What was used so far, from the clocks.
    ///
    /// # Errors
    ///
    /// When one of the server's processes is gone.
    pub(crate) fn read(server: &[Pid]) -> Result<Self, Failure> {
        let mut used = Duration::ZERO;
        for process in server {
            let clock = clock_getcpuclockid(*process)
                .map_err(|error| format!("CPU time of server process {process}: {error}"))?;
            used += Duration::from(clock.now()?);
        }
        Ok(Self {
            server: used,
            client: ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into(),
            everybody: busy()?,
        })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server.saturating_sub(earlier.server),
            client: self.client.saturating_sub(earlier.client),
            everybody: self.everybody.saturating_sub(earlier.everybody),
        }
    }

    /// Adds what was used from `start` to `end`.
    pub(crate) fn add(&mut self, start: Self, end: Self) {
        let used = end.since(start);
        self.server += used.server;
        self.client += used.client;
        self.everybody += used.everybody;
    }

    /// What neither the server nor the client used.
    pub(crate) fn others(self) -> Duration {
        self.everybody.saturating_sub(self.server + self.client)
    }
}

/// Time that the cores were not idle, from the first line of `/proc/stat`.
fn busy() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = |field: &str| field.parse::<u64>().unwrap_or(0);
    let mut fields = stat.split_whitespace().skip(1).map(ticks);
    let mut next = || fields.next().unwrap_or(0);
    let (user, nice, system) = (next(), next(), next());
    let (_idle, _waiting) = (next(), next());
    let (interrupts, soft_interrupts, steal) = (next(), next(), next());
    // What follows, guests, is part of user and nice already. The unit is
    // USER_HZ, 1/100 s on every machine that Rust's Linux targets run on.
    let total = user + nice + system + interrupts + soft_interrupts + steal;
    Ok(Duration::from_millis(total * 10))
}

/// One line about the machine.
pub(crate) fn describe(cores: Cores) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown CPU", |(_, value)| value.trim())
            .to_owned()
    };
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let place = match cores {
        Cores::Pinned { server, client } => {
            format!("servers on core {server}, load client on core {client}")
        }
        Cores::Shared => "ONE CORE ONLY: nothing is pinned, the client slows the servers".into(),
    };
    format!(
        "{}, {count} cores, Linux {}; {place}",
        field("model name"),
        kernel.trim()
    )
}
