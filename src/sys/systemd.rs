//! What a service manager hands over: sockets that listen already, and where it
//! wants to hear how the service is. Taken once, before any thread; nothing of
//! it is left in the environment, so that no child takes it for its own.
//!
//! Words and variables come from `sd-notify`; the sending does not, because its
//! socket blocks: a manager that does not listen must cost the master nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
pub use sd_notify::NotifyState;

use super::process;
use super::socket::{Address, local_address};

/// Everything that was handed over.
#[derive(Debug, Default)]
pub struct Handed {
    /// Where to report to, if anybody wants to know.
    pub notify: Option<NotifySocket>,
    /// A manager that hears nothing for so long ends the service.
    pub watchdog: Option<Duration>,
    /// Sockets that listen already.
    pub sockets: Vec<Inherited>,
}

/// A socket that was bound by somebody else.
#[derive(Debug)]
pub struct Inherited {
    /// What the manager calls it.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Non-blocking, closed on exec.
    pub socket: OwnedFd,
}

impl AsFd for Inherited {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes over what was meant for this process.
///
/// # Errors
///
/// A variable that is no number, or a descriptor that is no listening stream
/// socket: the text says which.
///
/// # Panics
///
/// When this process has more than one thread: another one could read the
/// environment while it is changed.
pub fn take() -> io::Result<Handed> {
    let threads = process::thread_count()?;
    assert_eq!(threads, 1, "the environment is changed before any thread");
    let notify = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
    let notify = notify.as_deref().map(NotifySocket::new).transpose()?;
    // SAFETY: no other thread exists to use the environment: asserted above.
    let watchdog = unsafe { sd_notify::watchdog_enabled_and_unset_env() };
    let watchdog = watchdog.filter(|silence| !silence.is_zero());
    // SAFETY: as above.
    let sockets = unsafe { sd_notify::listen_fds_with_names_and_unset_env() }?;
    // SAFETY: as above.
    unsafe { std::env::remove_var("NOTIFY_SOCKET") };
    Ok(Handed {
        notify,
        watchdog,
        sockets: sockets
            .map(|(number, name)| {
                // SAFETY: the manager opened it for this process and nobody else
                // here knows its number: it was in the environment until now.
                let socket = unsafe { OwnedFd::from_raw_fd(number) };
                Inherited::new(name.clone(), socket).map_err(|error| {
                    let text = format!("socket `{name}`, descriptor {number}: {error}");
                    io::Error::new(error.kind(), text)
                })
            })
            .collect::<io::Result<_>>()?,
    })
}

impl Inherited {
    /// A socket that somebody bound, and made listen, before this program.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it does not listen.
    pub fn new(name: String, socket: OwnedFd) -> io::Result<Self> {
        if !getsockopt(&socket, sockopt::AcceptConn)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "does not listen; expected a stream socket with Accept=no",
            ));
        }
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self {
            address: local_address(&socket)?,
            name,
            socket,
        })
    }
}

/// Where a service manager listens. Sending never blocks.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    manager: SocketAddr,
    name: OsString,
}

impl NotifySocket {
    /// A socket that sends to `name`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    ///
    /// A name that is too long, or no descriptor is left.
    pub fn new(name: &OsStr) -> io::Result<Self> {
        let manager = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let name = name.to_owned();
        Ok(Self {
            socket,
            manager,
            name,
        })
    }

    /// What the next program is to be told, so that it reports there as well.
    #[must_use]
    pub fn variables(&self, watchdog: Option<Duration>) -> Vec<(&'static str, OsString)> {
        let silence = watchdog.map(|silence| silence.as_micros().to_string().into());
        let silence = silence.map(|silence| ("WATCHDOG_USEC", silence));
        let name = ("NOTIFY_SOCKET", self.name.clone());
        std::iter::once(name).chain(silence).collect()
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the manager has more to read than fits: try later.
    /// Others when it is gone.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to_addr(datagram, &self.manager)?;
        Ok(())
    }
}

/// One datagram's worth of states.
#[must_use]
pub fn datagram(states: &[NotifyState<'_>]) -> Vec<u8> {
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    lines.join("\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_listening_socket_is_taken_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let tcp = TcpListener::bind("127.0.0.77:0").unwrap();
        let at = tcp.local_addr().unwrap();
        for (socket, address) in [
            (OwnedFd::from(tcp), Address::Tcp(at)),
            (
                UnixListener::bind(&path).unwrap().into(),
                Address::Unix(path.clone()),
            ),
        ] {
            let inherited = Inherited::new("web".into(), socket).unwrap();
            assert_eq!(inherited.address, address);
            let nobody = super::super::socket::accept(inherited.as_fd()).unwrap();
            assert!(nobody.is_none(), "nobody connected, and nobody was awaited");
        }
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let udp = UdpSocket::bind("127.0.0.77:0").unwrap();
        let error = Inherited::new("dns".into(), udp.into()).unwrap_err();
        assert!(error.to_string().contains("does not listen"), "{error}");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Inherited::new("null".into(), file.into()).is_err());
    }

    #[test]
    fn datagrams_reach_paths_and_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("purlin-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, at) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let states = [NotifyState::Ready, NotifyState::Status("serves")];
            let socket = NotifySocket::new(&at).unwrap();
            socket.send(&datagram(&states)).unwrap();
            let mut bytes = [0; 64];
            let len = manager.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], b"READY=1\nSTATUS=serves");
        }
    }

    #[test]
    fn a_manager_that_does_not_read_or_is_gone_costs_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::new(path.as_os_str()).unwrap();
        let full = (0..100_000).find_map(|_| socket.send(b"WATCHDOG=1").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(manager);
        assert!(socket.send(b"WATCHDOG=1").is_err());
    }
}
