//! The limits of this machine that a server meets, as they are now.
//!
//! Read from `/proc` and `/sys` of a root that a test may choose. What a kernel
//! or a container does not show is `None`.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

use super::cores;

/// What the machine allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Descriptors of a process, as far as it may raise them itself.
    pub nofile: Option<u64>,
    /// Descriptors up to which that can be raised (`fs.nr_open`).
    pub nr_open: Option<u64>,
    /// Open files of the whole machine (`fs.file-max`).
    pub file_max: Option<u64>,
    /// The longest backlog of a listener (`net.core.somaxconn`).
    pub somaxconn: Option<u64>,
    /// Handshakes that a listener remembers (`net.ipv4.tcp_max_syn_backlog`).
    pub syn_backlog: Option<u64>,
    /// Ports for outgoing connections (`net.ipv4.ip_local_port_range`).
    pub ports: Option<u64>,
    /// Whether such ports are used again at once (`net.ipv4.tcp_tw_reuse`):
    /// 0 never, 1 always, 2 on loopback.
    pub tw_reuse: Option<u64>,
    /// Cores that the affinity and the group's `cpu.max` leave.
    pub cores: Option<u64>,
    /// Bytes of the group (`memory.max`), or of the machine.
    pub memory: Option<u64>,
    /// How memory is promised (`vm.overcommit_memory`): 2 is strict.
    pub overcommit: Option<u64>,
}

impl Limits {
    /// Reads them from below `root`, `/` but in tests.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let words = |path: &str| -> Option<Vec<u64>> {
            let text = fs::read_to_string(root.join(path)).ok()?;
            text.split_whitespace()
                .map(|word| word.parse().ok())
                .collect()
        };
        let number = |path: &str| words(path)?.first().copied();
        let ports = words("proc/sys/net/ipv4/ip_local_port_range")
            .filter(|ends| ends.len() == 2)
            .map(|ends| (ends[1] + 1).saturating_sub(ends[0]));
        let group = number("sys/fs/cgroup/memory.max");
        let nr_open = number("proc/sys/fs/nr_open");
        let hard = getrlimit(Resource::RLIMIT_NOFILE)
            .ok()
            .map(|(_, hard)| hard);
        let nofile = if may_raise(root) {
            hard.max(nr_open)
        } else {
            hard
        };
        let machine = machine_memory(root);
        Self {
            nofile,
            nr_open,
            file_max: number("proc/sys/fs/file-max"),
            somaxconn: number("proc/sys/net/core/somaxconn"),
            syn_backlog: number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
            ports,
            tw_reuse: number("proc/sys/net/ipv4/tcp_tw_reuse"),
            cores: u64::try_from(cores::available_cores()).ok(),
            memory: group.into_iter().chain(machine).min(),
            overcommit: number("proc/sys/vm/overcommit_memory"),
        }
    }
}

/// The longest backlog of a listener, as the kernel has it now.
#[must_use]
pub fn somaxconn() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    text.trim().parse().ok()
}

/// Whether this process may go beyond its hard limits (`CAP_SYS_RESOURCE`).
fn may_raise(root: &Path) -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let text = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.is_some_and(|set| set & SYS_RESOURCE != 0)
}

fn machine_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_what_is_missing_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/sys/net/core/somaxconn", "128\n");
        write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        write("proc/meminfo", "MemTotal:  2048 kB\nMemFree: 1 kB\n");
        write("sys/fs/cgroup/memory.max", "max\n");
        let limits = Limits::read(root.path());
        assert_eq!(limits.somaxconn, Some(128));
        assert_eq!(limits.ports, Some(28_232));
        assert_eq!(limits.memory, Some(2 << 20));
        assert_eq!(limits.file_max, None);
        write("sys/fs/cgroup/memory.max", "1048576\n");
        assert_eq!(Limits::read(root.path()).memory, Some(1 << 20));
    }

    #[test]
    fn this_machine_tells_the_usual_ones() {
        let limits = Limits::read(Path::new("/"));
        for (name, value) in [
            ("nofile", limits.nofile),
            ("nr_open", limits.nr_open),
            ("somaxconn", limits.somaxconn),
            ("memory", limits.memory),
        ] {
            assert!(value.is_some_and(|value| value > 0), "{name}: {value:?}");
        }
    }
}
