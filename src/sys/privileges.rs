//! Giving up root's rights, for good and completely.
//!
//! The order matters and cannot be taken apart: groups while still root, the
//! group before the user, and at last a proof that there is no way back.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::unistd::{Gid, Group, Uid, User, initgroups, setgroups, setresgid, setresuid, setuid};

/// Whom a worker becomes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// `None`: the directory does not know it.
    name: Option<CString>,
    user: Uid,
    group: Gid,
}

/// Which of the two names there is nobody of.
#[derive(Debug)]
pub enum Unknown {
    /// The user.
    User(io::Error),
    /// The group.
    Group(io::Error),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::User(error) | Self::Group(error)) = self;
        error.fmt(f)
    }
}

enum Found {
    Entry(User),
    /// Of which the directory has no entry.
    Number(Uid),
}

/// The user of this name, or of this number where no name is like it.
fn find_user(text: &str) -> io::Result<Found> {
    if let Some(entry) = User::from_name(text)? {
        return Ok(Found::Entry(entry));
    }
    let number = Uid::from_raw(number(text).ok_or_else(|| missing("user", text))?);
    Ok(User::from_uid(number)?.map_or(Found::Number(number), Found::Entry))
}

/// The user's number by name or number.
///
/// # Errors
///
/// `NotFound`, naming it.
pub fn user_number(text: &str) -> io::Result<u32> {
    Ok(match find_user(text)? {
        Found::Entry(entry) => entry.uid.as_raw(),
        Found::Number(number) => number.as_raw(),
    })
}

/// The group's number by name or number.
///
/// # Errors
///
/// `NotFound`, naming it.
pub fn group_number(text: &str) -> io::Result<u32> {
    Ok(find_group(text)?.as_raw())
}

fn find_group(text: &str) -> io::Result<Gid> {
    if let Some(entry) = Group::from_name(text)? {
        return Ok(entry.gid);
    }
    let number = number(text).ok_or_else(|| missing("group", text))?;
    Ok(Gid::from_raw(number))
}

/// A number that can be somebody's: the last one means nobody to the kernel.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain);
    number.filter(|number| *number != u32::MAX)
}

fn missing(what: &str, name: &str) -> io::Error {
    let said = format!("{what} `{name}` does not exist");
    io::Error::new(io::ErrorKind::NotFound, said)
}

impl Identity {
    /// Looks `user` and `group` up; without a group, the user's own is taken.
    /// Both may be numbers, also such as no directory knows: containers have them.
    ///
    /// Do it in the master: the directory behind the names may be slow, and
    /// leaves descriptors open.
    ///
    /// # Errors
    ///
    /// [`Unknown`]: a fault of the configuration.
    pub fn look_up(user: &str, group: Option<&str>) -> Result<Self, Unknown> {
        let found = find_user(user).map_err(Unknown::User)?;
        let group = match (group, &found) {
            (Some(name), _) => find_group(name).map_err(Unknown::Group)?,
            (None, Found::Entry(entry)) => entry.gid,
            (None, Found::Number(number)) => {
                let said = format!("user {number} has no entry that tells its group: name one");
                return Err(Unknown::Group(io::Error::new(
                    io::ErrorKind::NotFound,
                    said,
                )));
            }
        };
        let (name, user) = match found {
            Found::Entry(entry) => {
                let name = CString::new(entry.name);
                (
                    Some(name.map_err(|error| Unknown::User(error.into()))?),
                    entry.uid,
                )
            }
            Found::Number(number) => (None, number),
        };
        Ok(Self { name, user, group })
    }

    /// That of these numbers, without the user's further groups.
    #[must_use]
    pub const fn of_numbers((user, group): (u32, u32)) -> Self {
        Self {
            name: None,
            user: Uid::from_raw(user),
            group: Gid::from_raw(group),
        }
    }

    /// The kernel's numbers of user and group.
    #[must_use]
    pub fn numbers(&self) -> (u32, u32) {
        (self.user.as_raw(), self.group.as_raw())
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
    match &identity.name {
        Some(name) => initgroups(name, identity.group)?,
        None => setgroups(&[identity.group])?,
    }
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

    #[test]
    fn numbers_name_users_and_groups_with_and_without_an_entry() {
        let numbers = |user, group| {
            let found = Identity::look_up(user, group);
            found
                .map(|found| found.numbers())
                .map_err(|error| error.to_string())
        };
        assert_eq!(numbers("0", None), Ok((0, 0)));
        assert!(Identity::look_up("0", None).unwrap().is_root());
        assert_eq!(
            numbers("3999999999", Some("65534")),
            Ok((3_999_999_999, 65534))
        );
        assert_eq!(numbers("root", Some("3999999999")), Ok((0, 3_999_999_999)));
        let error = numbers("3999999999", None).unwrap_err();
        assert!(error.contains("tells its group: name one"), "{error}");
        for wrong in ["4294967295", "4294967296", "-1", "+5", "1e3", ""] {
            let error = numbers(wrong, None).unwrap_err();
            assert_eq!(error, format!("user `{wrong}` does not exist"));
        }
        let is_of_the_group = |error| matches!(error, Err(Unknown::Group(_)));
        assert!(is_of_the_group(Identity::look_up(
            "root",
            Some("no-such-group")
        )));
        assert!(!is_of_the_group(Identity::look_up(
            "no-such-user",
            Some("no-such-group")
        )));
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
