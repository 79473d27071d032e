//! What the kernel lets anybody read of a process.

use std::fs;

use serde::Serialize;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::admin) struct Figures {
    /// Bytes of resident memory.
    #[serde(rename = "resident_bytes")]
    pub(in crate::admin) resident: u64,
    pub(in crate::admin) threads: u64,
}

impl Figures {
    /// `None`: there is no such process.
    pub(in crate::admin) fn of(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&status)
    }

    fn parse(status: &str) -> Option<Self> {
        let figure = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            value.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            resident: figure("VmRSS:")?.saturating_mul(1024),
            threads: figure("Threads:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_memory_and_threads() {
        let figures = Figures::of(crate::sys::process::Pid::own().raw()).unwrap();
        assert!(
            figures.resident > 100_000 && figures.threads > 0,
            "{figures:?}"
        );
        assert_eq!(Figures::parse("Name:\tpurlin\nThreads:\t3\n"), None);
        let text = "VmRSS:\t    12 kB\nThreads:\t3\n";
        let expected = Figures {
            resident: 12_288,
            threads: 3,
        };
        assert_eq!(Figures::parse(text), Some(expected));
    }
}
