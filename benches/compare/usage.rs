//! Who used how much of the cores.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use crate::Failure;

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
