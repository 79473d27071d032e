//! The processor cores that this process may use, and how much of them.
//!
//! Two limits count: the affinity mask, and the quota of every control group
//! (version 2) from the root down to the process. A container that is given
//! two of 64 cores usually shows it in the quota alone.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};

const OWN: nix::unistd::Pid = nix::unistd::Pid::from_raw(0);

/// Cores that this process can keep busy, from 1 up.
#[must_use]
pub fn available_cores() -> usize {
    let allowed = allowed_cores().map_or(1, |cores| cores.len());
    let quota = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| quota_along(&group(&text)?, Path::new("/sys/fs/cgroup")));
    allowed.min(quota.unwrap_or(usize::MAX)).max(1)
}

/// The numbers of the cores in the affinity mask, ascending.
///
/// # Errors
///
/// `EINVAL` on a machine with more than 1024 cores.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(OWN)?;
    Ok((0..CpuSet::count())
        .filter(|&core| set.is_set(core).unwrap_or(false))
        .collect())
}

/// Keeps the calling thread, and those it starts from now on, on `core`.
///
/// # Errors
///
/// `EINVAL` when the core does not exist or is not allowed: run without.
pub fn set_affinity(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(OWN, &set)?)
}

/// The group of version 2 in the text of `/proc/self/cgroup`.
fn group(text: &str) -> Option<PathBuf> {
    text.lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .map(PathBuf::from)
}

/// The smallest quota from `group` up to the `root` of the hierarchy.
fn quota_along(group: &Path, root: &Path) -> Option<usize> {
    // `..` shows up when the process sits outside of its namespace's root:
    // those groups are not visible here.
    let visible = group
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let group = if visible { group } else { Path::new("") };
    group
        .ancestors()
        .filter_map(|folder| fs::read_to_string(root.join(folder).join("cpu.max")).ok())
        .filter_map(|text| quota(&text))
        .min()
}

/// Whole cores, rounded up, that the text of a `cpu.max` allows; `None` when it
/// sets no limit. A worker for half a core is better than half a core unused.
fn quota(text: &str) -> Option<usize> {
    let mut numbers = text.split_ascii_whitespace();
    let quota: usize = numbers.next()?.parse().ok()?;
    let period: usize = numbers.next()?.parse().ok().filter(|&period| period > 0)?;
    Some(quota.div_ceil(period).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_rounded_up_to_whole_cores() {
        for (text, cores) in [
            ("max 100000\n", None),
            ("100000 100000\n", Some(1)),
            ("150000 100000\n", Some(2)),
            ("200000 100000\n", Some(2)),
            ("1000 100000\n", Some(1)),
            ("0 100000\n", Some(1)),
            ("100000 0\n", None),
            ("100000\n", None),
            ("", None),
            ("-1 100000\n", None),
        ] {
            assert_eq!(quota(text), cores, "{text:?}");
        }
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("pod/container");
        fs::create_dir_all(&inner).unwrap();
        let group = Path::new("pod/container");
        assert_eq!(quota_along(group, root.path()), None);
        fs::write(inner.join("cpu.max"), "400000 100000").unwrap();
        assert_eq!(quota_along(group, root.path()), Some(4));
        fs::write(root.path().join("pod/cpu.max"), "300000 100000").unwrap();
        assert_eq!(quota_along(group, root.path()), Some(3));
        fs::write(root.path().join("cpu.max"), "max 100000").unwrap();
        assert_eq!(quota_along(group, root.path()), Some(3));
        assert_eq!(quota_along(Path::new("../.."), root.path()), None);
    }

    #[test]
    fn the_group_is_the_line_of_version_two() {
        for (text, expected) in [
            ("0::/user.slice/a\n", Some("user.slice/a")),
            ("4:memory:/x\n1:cpu:/y\n0::/\n", Some("")),
            ("4:memory:/x\n", None),
        ] {
            assert_eq!(group(text), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn a_thread_stays_where_it_was_put() {
        let last = *allowed_cores().unwrap().last().unwrap();
        assert!(available_cores() >= 1);
        std::thread::spawn(move || {
            set_affinity(last).unwrap();
            assert_eq!(allowed_cores().unwrap(), [last]);
            assert_eq!(available_cores(), 1);
            assert!(set_affinity(CpuSet::count() - 1).is_err() || last == CpuSet::count() - 1);
        })
        .join()
        .unwrap();
    }
}
