//! Giving up root's rights, for good and completely.
//!
//! The order matters and cannot be taken apart: groups while still root, the
//! group before the user, and at last a proof that there is no way back.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Group, Uid, User, initgroups, setresgid, setresuid, setuid};

/// Whom a worker becomes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    name: CString,
    user: Uid,
    group: Gid,
}

impl Identity {
    /// Looks `user` and `group` up; without a group, the user's own is taken.
    ///
    /// Do it in the master: the directory behind the names may be slow, and
    /// leaves descriptors open.
    ///
    /// # Errors
    ///
    /// `NotFound`, naming the unknown one: a fault of the configuration.
    pub fn look_up(user: &str, group: Option<&str>) -> io::Result<Self> {
        let missing = |what: &str, name: &str| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{what} `{name}` does not exist"),
            )
        };
        let found = User::from_name(user)?.ok_or_else(|| missing("user", user))?;
        let group = match group {
            None => found.gid,
            Some(name) => {
                Group::from_name(name)?
                    .ok_or_else(|| missing("group", name))?
                    .gid
            }
        };
        Ok(Self {
            name: CString::new(found.name)?,
            user: found.uid,
            group,
        })
    }

    /// Whether this is the user who may do everything.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.user.is_root()
    }
}

/// Whether the calling process has root's rights.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Whose rights the calling process has, for the log.
#[must_use]
pub fn whose() -> String {
    format!("user {} and group {}", Uid::effective(), Gid::effective())
}

/// Becomes `identity`, with no supplementary group that the directory does not
/// give it.
///
/// For the workers, after the fork and before any thread.
///
/// # Errors
///
/// `EPERM` when not started as root, or when root's rights could be taken back:
/// the process must end, it may hold any mixture of rights.
pub fn drop_privileges(identity: &Identity) -> io::Result<()> {
    initgroups(&identity.name, identity.group)?;
    setresgid(identity.group, identity.group, identity.group)?;
    setresuid(identity.user, identity.user, identity.user)?;
    if !identity.user.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the process could become root again",
        ));
    }
    Ok(())
}

/// Gives up every right of root's that the calling process has by other ways than
/// its user: capabilities that a service was started with, that an ambient set
/// would hand on, or that were kept over a change of user.
///
/// For the workers, behind [`drop_privileges`].
///
/// # Errors
///
/// Never on a Linux that can run this crate: rights can always be given up.
pub fn drop_capabilities() -> io::Result<()> {
    // SAFETY: the call takes numbers and changes this thread's sets alone.
    let cleared = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    if cleared != 0 {
        return Err(io::Error::last_os_error());
    }
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let none = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads one header and two sets, to which the pointers are
    // valid; it changes this thread's sets alone.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// 64 capabilities in two words each, see capset(2).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    /// 0: the calling thread.
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// From now on no program that this process runs gains rights by its file mode.
///
/// # Errors
///
/// Never on a Linux that can run this crate.
pub fn forbid_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    #[test]
    fn unknown_names_are_told() {
        let error = Identity::look_up("no-such-user", None).unwrap_err();
        assert_eq!(error.to_string(), "user `no-such-user` does not exist");
        let error = Identity::look_up("root", Some("no-such-group")).unwrap_err();
        assert_eq!(error.to_string(), "group `no-such-group` does not exist");
        let root = Identity::look_up("root", None).unwrap();
        assert!(root.user.is_root());
    }

    /// In a process of its own: there is no way back. Only root can show it.
    #[test]
    fn nothing_of_root_is_left() {
        if !is_root() {
            let own = Identity::look_up("root", None).unwrap();
            assert!(drop_privileges(&own).is_err(), "became root");
            return;
        }
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "sys::privileges::tests::nobody"])
            .env("PURLIN_TEST_ALONE", "1")
            .status();
        assert!(status.unwrap().success());
    }

    #[test]
    #[ignore = "run by `nothing_of_root_is_left`"]
    fn nobody() {
        if std::env::var_os("PURLIN_TEST_ALONE").is_none() {
            return;
        }
        let identity = Identity::look_up("nobody", None).unwrap();
        drop_privileges(&identity).unwrap();
        forbid_new_privileges().unwrap();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().split_ascii_whitespace().collect::<Vec<_>>()
        };
        let (user, group) = (identity.user.to_string(), identity.group.to_string());
        assert_eq!(field("Uid:"), vec![user; 4]);
        assert_eq!(field("Gid:"), vec![group.clone(); 4]);
        assert_eq!(field("Groups:"), vec![group]);
        assert_eq!(field("CapEff:"), ["0000000000000000"]);
        assert_eq!(field("NoNewPrivs:"), ["1"]);
    }
}
