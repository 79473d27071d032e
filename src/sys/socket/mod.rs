//! Sockets: addresses, listening, accepting, and the calls that move bytes.
//!
//! Everything is non-blocking and closed on exec. `MSG_NOSIGNAL` on every
//! write, so a vanished peer is an error code and never `SIGPIPE`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, io};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket as kernel;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr,
    sockopt,
};

use super::fault::{self, Point};

mod bytes;
mod rights;

pub use bytes::{
    More, bytes_moved, is_of_file, receive, send, send_file, send_flagged, send_pieces,
    unacknowledged,
};

pub use rights::{Rights, set_rights};

/// Where to listen or connect: `127.0.0.1:7000`, `[::1]:7000`, `unix:PATH`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

/// Bytes of a Unix socket's path: those of `sun_path` (unix(7)) but the last, which
/// is null.
pub const PATH_MAX: usize = 107;

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(format!("`{text}` names no path after `unix:`"));
            }
            if path.starts_with('@') {
                return Err(format!(
                    "`{text}` is an abstract socket, which every user can connect to; name a path, \
                     or `unix:./{path}` for a file of that name"
                ));
            }
            if path.len() > PATH_MAX {
                let len = path.len();
                return Err(format!(
                    "the path behind `unix:` has {len} bytes, and a socket's at most {PATH_MAX}"
                ));
            }
            if path.contains('\0') {
                return Err("the path behind `unix:` has a null byte".into());
            }
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "`{text}` is no address; expected IP:PORT such as `127.0.0.1:7000` or \
                 `[::1]:7000`, or `unix:PATH`"
            )
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The other end of a connection. Unix peers have no address of their own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process of this machine, over a Unix socket.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Binds and listens. The kernel queues at most `backlog` connections.
///
/// TCP sockets reuse addresses in `TIME_WAIT`, so a restart never waits. A Unix
/// path that nobody listens on any more is replaced; one in use is refused.
/// `share` lets several sockets be bound to one port (`SO_REUSEPORT`).
///
/// # Errors
///
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL` and what else `bind(2)` and
/// `listen(2)` say; name the address when you report it.
pub fn listen(address: &Address, backlog: u16, share: bool) -> io::Result<OwnedFd> {
    let manner = Manner {
        share,
        ipv6_only: true,
        rights: Rights::default(),
    };
    listen_so(address, backlog, &manner)
}

/// How to listen, beside where.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Manner {
    /// Whether several sockets may be bound to one port.
    pub share: bool,
    /// Whether an IPv6 address leaves IPv4 to others (`IPV6_V6ONLY`).
    pub ipv6_only: bool,
    /// Those of a Unix socket's file.
    pub rights: Rights,
}

/// As [`listen`], in a manner of one's own.
///
/// # Errors
///
/// As [`listen`], and `EPERM` for an owner or a group that this process may not
/// give away files to.
pub fn listen_so(address: &Address, backlog: u16, manner: &Manner) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = match address {
        Address::Tcp(at) => {
            let socket = tcp(*at, flags, manner.ipv6_only)?;
            kernel::setsockopt(&socket, sockopt::ReusePort, &manner.share)?;
            kernel::bind(socket.as_raw_fd(), &SockaddrStorage::from(*at))?;
            socket
        }
        Address::Unix(path) => {
            let socket = kernel::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            remove_stale(path)?;
            kernel::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
            // Before anybody can connect: it does not listen yet.
            if let Err(error) = set_rights(path, manner.rights) {
                let _gone_already = std::fs::remove_file(path);
                return Err(error);
            }
            socket
        }
    };
    set_backlog(&socket, backlog)?;
    Ok(socket)
}

fn tcp(at: SocketAddr, flags: SockFlag, ipv6_only: bool) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = kernel::socket(family, SockType::Stream, flags, None)?;
    kernel::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if at.is_ipv6() {
        kernel::setsockopt(&socket, sockopt::Ipv6V6Only, &ipv6_only)?;
    }
    Ok(socket)
}

/// Whether an IPv6 socket leaves IPv4 to others; `None`: it is another one.
#[must_use]
pub fn is_ipv6_only(socket: impl AsFd) -> Option<bool> {
    let address = local_address(&socket).ok()?;
    let is_ipv6 = matches!(address, Address::Tcp(at) if at.is_ipv6());
    let asked = is_ipv6.then(|| kernel::getsockopt(&socket.as_fd(), sockopt::Ipv6V6Only));
    asked?.ok()
}

/// Listens, or goes on listening, with a queue of `backlog` connections. Those
/// that wait already stay.
///
/// # Errors
///
/// Only for a descriptor that is no bound socket.
pub fn set_backlog(socket: impl AsFd, backlog: u16) -> io::Result<()> {
    let backlog = Backlog::new(i32::from(backlog)).unwrap_or(Backlog::MAXCONN);
    Ok(kernel::listen(&socket.as_fd(), backlog)?)
}

/// Whether `address` could be bound now: binds it for a moment, and never
/// listens, so that no client is taken from anybody.
///
/// # Errors
///
/// As [`listen`].
pub fn try_bind(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    let socket = tcp(address, SockFlag::SOCK_CLOEXEC, ipv6_only)?;
    kernel::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(())
}

/// Begins to connect. The socket is connected once [`wait`] says so and
/// [`connected`] agrees.
///
/// # Errors
///
/// Those of `connect(2)` that are known at once, as for a Unix socket that
/// nobody listens on; `WouldBlock` when the backlog of a Unix socket is full.
pub fn connect(address: &Address) -> io::Result<OwnedFd> {
    connect_from(address, None)
}

/// As [`connect`], from an address of this machine. Its port is chosen when the
/// destination is known (`IP_BIND_ADDRESS_NO_PORT`), so that each source has
/// all ports for each destination. A Unix socket ignores `source`.
///
/// # Errors
///
/// As [`connect`], and `EADDRNOTAVAIL` when this machine has no such address,
/// or no port is left.
pub fn connect_from(address: &Address, source: Option<IpAddr>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let begin = |family, at: &dyn SockaddrLike| {
        let socket = kernel::socket(family, SockType::Stream, flags, None)?;
        if let (Some(source), true) = (source, family != AddressFamily::Unix) {
            kernel::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            let source = SocketAddr::new(source, 0);
            kernel::bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
        }
        match kernel::connect(socket.as_raw_fd(), at) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS | nix::errno::Errno::EINTR) => Ok(socket),
            Err(error) => Err(io::Error::from(error)),
        }
    };
    match address {
        Address::Unix(path) => begin(AddressFamily::Unix, &UnixAddr::new(path)?),
        Address::Tcp(at @ SocketAddr::V4(_)) => {
            begin(AddressFamily::Inet, &SockaddrStorage::from(*at))
        }
        Address::Tcp(at @ SocketAddr::V6(_)) => {
            begin(AddressFamily::Inet6, &SockaddrStorage::from(*at))
        }
    }
}

/// How a connection that [`connect`] began has ended up.
///
/// # Errors
///
/// `ECONNREFUSED`, `ETIMEDOUT`, `EHOSTUNREACH` and what else `connect(2)` says.
pub fn connected(socket: impl AsFd) -> io::Result<()> {
    match kernel::getsockopt(&socket.as_fd(), sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
}

/// Which of two descriptors is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// The socket is what was wanted, or has ended.
    pub socket: bool,
    /// The bell has rung.
    pub bell: bool,
}

/// Waits until `socket` is what is wanted or has ended, or until `bell` can be
/// read; at most `timeout`, or until a signal comes.
///
/// # Errors
///
/// `ENOMEM` only.
pub fn wait(
    socket: impl AsFd,
    wanted: Wanted,
    bell: impl AsFd,
    timeout: Duration,
) -> io::Result<Ready> {
    let wanted = match wanted {
        Wanted::Read => PollFlags::POLLIN,
        Wanted::Write => PollFlags::POLLOUT,
        Wanted::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
    };
    let mut both = [
        PollFd::new(socket.as_fd(), wanted),
        PollFd::new(bell.as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut both, timeout)?;
    let [socket, bell] = both.map(|one| one.any().unwrap_or(true));
    Ok(Ready { socket, bell })
}

fn poll(descriptors: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
    // Rounded up: a wait that ends before its deadline would spin.
    let millis = i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    match nix::poll::poll(descriptors, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Unlinks the socket file at `path` if nobody listens on it.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket",
        ));
    }
    // Without blocking: who listens there may be too busy to let us in.
    match connect(&Address::Unix(path.to_path_buf())).map_err(|error| (error.kind(), error)) {
        Err((io::ErrorKind::ConnectionRefused, _)) => std::fs::remove_file(path),
        Ok(_) | Err((io::ErrorKind::WouldBlock, _)) => {
            Err(io::Error::from(io::ErrorKind::AddrInUse))
        }
        Err((_, error)) => Err(error),
    }
}

/// The address a listener is really bound to: port 0 became a real port.
///
/// # Errors
///
/// Only for a descriptor that is no socket.
pub fn local_address(socket: impl AsFd) -> io::Result<Address> {
    let found: SockaddrStorage = kernel::getsockname(socket.as_fd().as_raw_fd())?;
    if let Some(at) = found.as_sockaddr_in() {
        return Ok(Address::Tcp(SocketAddr::V4((*at).into())));
    }
    if let Some(at) = found.as_sockaddr_in6() {
        return Ok(Address::Tcp(SocketAddr::V6((*at).into())));
    }
    let path = found.as_unix_addr().and_then(UnixAddr::path);
    Ok(Address::Unix(path.unwrap_or(Path::new("")).to_path_buf()))
}

/// One waiting connection, or `None` when the backlog is empty.
///
/// A connection that its peer gave up while it waited (`ECONNABORTED`) is
/// skipped.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: out of a resource; the connection
/// stays in the backlog, so pause accepting instead of spinning.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, Peer)>> {
    loop {
        let mut storage = SockaddrStorageRaw::default();
        let result = fault::point(Point::Accept).and_then(|()| storage.accept(listener));
        match result {
            Ok(socket) => return Ok(Some((socket, storage.peer()))),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                Some(libc::EINTR | libc::ECONNABORTED | libc::EPROTO) => {}
                _ => return Err(error),
            },
        }
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("addresses are small")
}

/// Room for the peer's address, filled by the same call that accepts: asking
/// with `getpeername` afterwards would be a second system call, and fails when
/// the peer is gone already.
struct SockaddrStorageRaw {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Default for SockaddrStorageRaw {
    fn default() -> Self {
        Self {
            // SAFETY: all zeroes is a valid `sockaddr_storage` (AF_UNSPEC).
            storage: unsafe { std::mem::zeroed() },
            len: length_of::<libc::sockaddr_storage>(),
        }
    }
}

impl SockaddrStorageRaw {
    fn accept(&mut self, listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        // SAFETY: the kernel writes at most `len` bytes into `storage`, both
        // borrowed exclusively for the call.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                (&raw mut self.storage).cast(),
                &raw mut self.len,
                libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor; nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn peer(&self) -> Peer {
        // SAFETY: `storage` holds `len` bytes that the kernel wrote, and it is
        // large and aligned enough for every family.
        let found =
            unsafe { SockaddrStorage::from_raw((&raw const self.storage).cast(), Some(self.len)) };
        let Some(found) = found else {
            return Peer::Unix;
        };
        if let Some(at) = found.as_sockaddr_in() {
            return Peer::Tcp(SocketAddr::V4((*at).into()));
        }
        found.as_sockaddr_in6().map_or(Peer::Unix, |at| {
            let at = SocketAddr::V6((*at).into());
            // Over IPv4, to a socket that is for both.
            Peer::Tcp(SocketAddr::new(at.ip().to_canonical(), at.port()))
        })
    }
}

/// Sends small writes at once instead of waiting for more (`TCP_NODELAY`).
/// A Unix socket does so anyway and ignores this.
pub fn no_delay(socket: impl AsFd) {
    let _not_tcp = kernel::setsockopt(&socket.as_fd(), sockopt::TcpNoDelay, &true);
}

/// From now on the connection breaks with `ETIMEDOUT` when the peer's machine
/// acknowledges nothing of what was sent for so long (`TCP_USER_TIMEOUT`), rather
/// than after a quarter of an hour. A Unix socket needs and takes none.
pub fn bound_loss(socket: impl AsFd, within: Duration) {
    let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
    let _not_tcp = kernel::setsockopt(&socket.as_fd(), sockopt::TcpUserTimeout, &millis);
}

/// Tells the peer that nothing more will come; reading goes on.
pub fn finish(socket: impl AsFd) {
    let _already_gone = kernel::shutdown(socket.as_fd().as_raw_fd(), kernel::Shutdown::Write);
}

/// Closes a connection that nobody else has a descriptor of. A TCP peer sees a
/// reset, and the kernel keeps nothing of it; that of a Unix socket sees its end.
pub fn reset(socket: OwnedFd) {
    reset_on_close(socket.as_fd());
    drop(socket);
}

/// From now on closing does not wait for the peer to have read everything.
fn reset_on_close(socket: BorrowedFd<'_>) {
    let _not_tcp = kernel::setsockopt(
        &socket,
        sockopt::Linger,
        &libc::linger {
            l_onoff: 1,
            l_linger: 0,
        },
    );
}

/// Whether bytes have come that nobody has read: closing would reset the
/// connection, and what was sent last might be lost.
pub fn has_unread(socket: impl AsFd) -> bool {
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    kernel::recv(socket.as_fd().as_raw_fd(), &mut [0], look).is_ok_and(|came| came > 0)
}

/// Listens no more: the kernel refuses whoever connects from now on, for all that
/// have a descriptor of this socket. Who waits in its queue is refused too, over
/// TCP.
pub fn refuse(listener: impl AsFd) {
    let _did_not_listen = kernel::shutdown(listener.as_fd().as_raw_fd(), kernel::Shutdown::Read);
}

/// Ends both directions at once, dropping what waits to be sent; a TCP peer
/// sees a reset. The descriptor stays valid, and every later call on it fails.
pub fn abort(socket: impl AsFd) {
    let fd = socket.as_fd();
    reset_on_close(fd);
    let nowhere = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or_default(),
        sa_data: [0; 14],
    };
    // Connecting to AF_UNSPEC dissolves a TCP association with a reset, now
    // rather than when the last holder of the descriptor closes it.
    // SAFETY: `nowhere` is a complete `sockaddr` that outlives the call.
    let dissolved = unsafe {
        libc::connect(
            fd.as_raw_fd(),
            &raw const nowhere,
            length_of::<libc::sockaddr>(),
        )
    };
    if dissolved != 0 {
        let _already_gone = kernel::shutdown(fd.as_raw_fd(), kernel::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn pair() -> (TcpStream, OwnedFd, Peer) {
        let listener = listen(&"127.0.0.1:0".parse().unwrap(), 8, false).unwrap();
        let Address::Tcp(at) = local_address(&listener).unwrap() else {
            panic!("tcp")
        };
        let client = TcpStream::connect(at).unwrap();
        let (server, peer) = accept(listener.as_fd()).unwrap().unwrap();
        assert!(accept(listener.as_fd()).unwrap().is_none());
        (client, server, peer)
    }

    /// How many connections wait in the queue of a TCP listener, and how many may;
    /// `None` for other sockets. As `ss -l` shows them: linux/tcp.h.
    fn backlog(listener: impl AsFd) -> Option<(u32, u32)> {
        // SAFETY: all zeroes is a valid `tcp_info`.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut len = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
        // SAFETY: `info` and `len` outlive the call, and `len` is the size of `info`.
        let told = unsafe {
            libc::getsockopt(
                listener.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut len,
            )
        };
        (told == 0).then_some((info.tcpi_unacked, info.tcpi_sacked))
    }

    #[test]
    fn a_backlog_tells_who_waits_in_it_and_how_many_may() {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = listen(&Address::Tcp(any), 16, false).unwrap();
        let Address::Tcp(at) = local_address(&listener).unwrap() else {
            panic!("TCP")
        };
        assert_eq!(backlog(&listener), Some((0, 16)));
        let _waits: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(at).unwrap()).collect();
        assert_eq!(backlog(&listener), Some((5, 16)));
        let (other, _end) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(backlog(&other), None);
    }

    #[test]
    fn who_comes_to_a_listener_that_refuses_is_refused() {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = listen(&Address::Tcp(any), 16, false).unwrap();
        let Address::Tcp(at) = local_address(&listener).unwrap() else {
            panic!("TCP")
        };
        refuse(&listener);
        let error = TcpStream::connect(at).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:7000", "[::1]:7000", "unix:run/purlin.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["7000", "localhost", "127.0.0.1", "unix:", "127.0.0.1:99999"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_unread_is_seen_and_stays() {
        let (mut client, server, _) = pair();
        assert!(!has_unread(&server));
        client.write_all(b"abc").unwrap();
        let until = std::time::Instant::now() + PATIENCE;
        while !has_unread(&server) {
            assert!(std::time::Instant::now() < until);
        }
        assert_eq!(receive(&server, &mut [0; 8]).unwrap(), 3);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!has_unread(&server), "an end is no byte");
    }

    #[test]
    fn a_loss_is_noticed_in_the_time_that_was_said() {
        let (ours, _theirs, _) = pair();
        bound_loss(&ours, Duration::from_secs(7));
        let found = kernel::getsockopt(&ours, sockopt::TcpUserTimeout).unwrap();
        assert_eq!(found, 7_000);
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        bound_loss(&unix, Duration::from_secs(7));
    }

    #[test]
    fn connections_inherit_from_their_listener_that_they_do_not_delay() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap(), 8, false).unwrap();
        no_delay(&listener);
        let Address::Tcp(at) = local_address(&listener).unwrap() else {
            panic!("tcp")
        };
        let _client = TcpStream::connect(at).unwrap();
        let (server, _) = accept(listener.as_fd()).unwrap().unwrap();
        assert!(kernel::getsockopt(&server, sockopt::TcpNoDelay).unwrap());
    }

    #[test]
    fn accept_tells_the_peer_and_bytes_pass_both_ways() {
        let (mut client, server, peer) = pair();
        assert_eq!(peer, Peer::Tcp(client.local_addr().unwrap()));
        assert_eq!(
            receive(&server, &mut [0; 8]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(send(&server, b"abc").unwrap(), 3);
        let pieces = [io::IoSlice::new(b"de"), io::IoSlice::new(b"f")];
        assert_eq!(send_pieces(&server, &pieces, More::None).unwrap(), 3);
        finish(&server);
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "abcdef");
        client.write_all(b"x").unwrap();
        let mut into = [0; 8];
        while receive(&server, &mut into).is_err() {}
        assert_eq!(into[0], b'x');
    }

    #[test]
    fn who_is_turned_away_sees_a_reset() {
        let (mut client, server, _) = pair();
        reset(server);
        let error = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn an_abort_resets_the_peer_while_the_descriptor_lives() {
        let (mut client, server, _) = pair();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        abort(&server);
        let error = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(send(&server, b"late").is_err());
    }

    #[test]
    fn a_connection_is_begun_and_then_known_to_be_there_or_refused() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap(), 8, false).unwrap();
        let address = local_address(&listener).unwrap();
        let socket = connect(&address).unwrap();
        assert!(
            wait(&socket, Wanted::Write, &listener, PATIENCE)
                .unwrap()
                .socket
        );
        connected(&socket).unwrap();
        let (server, _) = accept(listener.as_fd()).unwrap().unwrap();
        let none = Ready {
            socket: false,
            bell: false,
        };
        assert_eq!(
            wait(&socket, Wanted::Read, &server, Duration::ZERO).unwrap(),
            none
        );
        send(&socket, b"x").unwrap();
        assert!(wait(&socket, Wanted::Read, &server, PATIENCE).unwrap().bell);
        drop(listener);
        let socket = connect(&address).unwrap();
        assert!(
            wait(&socket, Wanted::Write, &server, PATIENCE)
                .unwrap()
                .socket
        );
        let error = connected(&socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_connection_comes_from_the_address_that_was_asked_for() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap(), 8, false).unwrap();
        let address = local_address(&listener).unwrap();
        let source = "127.0.0.99".parse().unwrap();
        let socket = connect_from(&address, Some(source)).unwrap();
        assert!(
            wait(&socket, Wanted::Write, &listener, PATIENCE)
                .unwrap()
                .socket
        );
        let (_, peer) = accept(listener.as_fd()).unwrap().unwrap();
        assert!(matches!(peer, Peer::Tcp(at) if at.ip() == source), "{peer}");
        let elsewhere = Some("192.0.2.1".parse().unwrap());
        let error = connect_from(&address, elsewhere).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_stale_unix_path_is_replaced_and_a_live_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("s"));
        let first = listen(&address, 8, false).unwrap();
        assert_eq!(
            listen(&address, 8, false).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
        let second = listen(&address, 8, false).unwrap();
        assert_eq!(local_address(&second).unwrap(), address);
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(listen(&Address::Unix(folder.path().join("file")), 8, false).is_err());
    }
}
