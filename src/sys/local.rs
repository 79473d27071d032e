//! Unix sockets between processes of one owner: private, and never a trap.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket as kernel;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::TimeVal;

use super::socket::remove_stale;

/// Clients that the kernel queues.
const BACKLOG: i32 = 64;

/// Listens at `path`, for the owner of this process alone (mode 0600). A path
/// that nobody listens on any more is replaced.
///
/// # Errors
///
/// `AddrInUse` when somebody listens there; `AlreadyExists` when the path is
/// something else; else what `bind(2)` says.
pub fn listen_private(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = kernel::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // On the socket, before it has a path: the file is made with this mode, so
    // there is no moment at which others may connect.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    remove_stale(path)?;
    kernel::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    kernel::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

/// Connects to `path`; the stream blocks.
///
/// # Errors
///
/// `NotFound` and `ConnectionRefused` when nobody listens, `WouldBlock` when
/// the listener did not take the connection within `timeout`.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = kernel::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // `connect` waits while the backlog is full, for as long as a send may.
    let seconds = libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX);
    // 0 would mean "for ever".
    let micros = libc::suseconds_t::from(timeout.subsec_micros()).max(1);
    let limit = TimeVal::new(seconds, micros);
    kernel::setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    kernel::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

/// The effective user that the peer had when it connected.
///
/// # Errors
///
/// Only for a descriptor that is no Unix socket.
pub fn peer_user(socket: impl AsFd) -> io::Result<u32> {
    Ok(kernel::getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?.uid())
}

/// The effective user of this process.
#[must_use]
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn the_file_is_for_its_owner_alone_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctl");
        let listener = listen_private(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let _client = connect(&path, PATIENCE).unwrap();
        let (served, _) = crate::sys::socket::accept(listener.as_fd())
            .unwrap()
            .unwrap();
        assert_eq!(peer_user(&served).unwrap(), own_user());
    }

    #[test]
    fn one_in_use_is_refused_and_a_stale_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctl");
        let first = listen_private(&path).unwrap();
        let error = listen_private(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let error = connect(&path, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        listen_private(&path).unwrap();
    }

    #[test]
    fn connecting_to_one_that_never_accepts_ends_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctl");
        let _listener = listen_private(&path).unwrap();
        let start = Instant::now();
        let mut queued = Vec::new();
        let error = loop {
            match connect(&path, Duration::from_millis(50)) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(start.elapsed() < PATIENCE);
    }
}
