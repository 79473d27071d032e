//! The file of a Unix socket: whose it is, and who may connect. Any thread.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::unistd::{Gid, Uid, fchownat};

/// Whose the file of a Unix socket is, and who may connect: who may write to it.
/// `None`: as the system makes files.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rights {
    /// As for `chmod`.
    pub mode: Option<u32>,
    /// The number of its owner.
    pub user: Option<u32>,
    /// The number of its group.
    pub group: Option<u32>,
}

/// Gives the socket's file at `path` these rights. What is there instead of a
/// socket is left alone, whoever put it there.
///
/// # Errors
///
/// `EPERM`, when this process may not; `InvalidInput` when it is no socket.
pub fn set_rights(path: &Path, rights: Rights) -> io::Result<()> {
    if rights == Rights::default() {
        return Ok(());
    }
    // A name could be another file's by the next call; this descriptor cannot.
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    if !file.metadata()?.file_type().is_socket() {
        let said = "what is there is no socket";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
    }
    // The owner first: a change of owner may take rights away.
    if rights.user.is_some() || rights.group.is_some() {
        let (user, group) = (
            rights.user.map(Uid::from_raw),
            rights.group.map(Gid::from_raw),
        );
        fchownat(&file, "", user, group, AtFlags::AT_EMPTY_PATH)?;
    }
    if let Some(mode) = rights.mode {
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mode = PermissionsExt::from_mode(mode);
        std::fs::set_permissions(name, mode)?;
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_gets_its_mode_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let _listener = UnixListener::bind(&path).unwrap();
        for mode in [0o600, 0o666, 0o060] {
            let rights = Rights {
                mode: Some(mode),
                ..Rights::default()
            };
            set_rights(&path, rights).unwrap();
            let found = std::fs::symlink_metadata(&path).unwrap().mode();
            assert_eq!(found & 0o7777, mode);
        }
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let rights = Rights {
            mode: Some(0o777),
            ..Rights::default()
        };
        for other in [file, link] {
            let error = set_rights(&other, rights).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                other.display()
            );
        }
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o060);
    }
}
