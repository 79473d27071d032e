//! CPU that processes and threads have used.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// Of the calling thread.
pub(crate) fn own_thread() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Of a process with all that it has started and that live still, in nanoseconds'
/// resolution as far as the kernel has it.
pub(crate) fn of_family(pid: u32) -> Outcome<Duration> {
    let mut total = of_threads(pid)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    for child in children.split_whitespace() {
        total += of_family(child.parse()?)?;
    }
    Ok(total)
}

fn of_threads(pid: u32) -> Outcome<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let ran = text.split(' ').next().unwrap_or_default();
        total += Duration::from_nanos(ran.parse()?);
    }
    Ok(total)
}
