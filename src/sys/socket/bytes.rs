//! Moving bytes through a socket that never blocks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use nix::sys::socket as kernel;
use nix::sys::socket::MsgFlags;

use crate::sys::fault::{self, Point};

/// Reads what is there. 0 means the peer has sent its last byte.
///
/// # Errors
///
/// `WouldBlock` when nothing is there; anything else: the connection is broken.
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    transfer(Point::Receive, || {
        // SAFETY: the kernel writes to `into` alone, at most its length; the
        // null pointers say that nobody asks for the sender's address.
        unsafe {
            libc::syscall(
                libc::SYS_recvfrom,
                fd,
                into.as_mut_ptr(),
                into.len(),
                libc::MSG_DONTWAIT,
                ptr::null_mut::<libc::sockaddr>(),
                ptr::null_mut::<libc::socklen_t>(),
            )
        }
    })
}

/// Makes a system call that moves bytes, again if a signal came first. A plain
/// call: glibc's `send` and `recv` would prepare for `pthread_cancel` each time.
fn transfer(point: Point, mut call: impl FnMut() -> libc::c_long) -> io::Result<usize> {
    loop {
        let moved = fault::point(point)
            .and_then(|()| usize::try_from(call()).map_err(|_| io::Error::last_os_error()));
        match moved {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes as much as the kernel takes.
///
/// # Errors
///
/// `WouldBlock` when it takes nothing; anything else: the connection is broken.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    send_flagged(socket, bytes, More::None)
}

/// Whether something follows at once, so that the kernel may wait for it with a
/// segment that is not full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum More {
    /// Nothing that is known of.
    None,
    /// The next call comes right behind this one.
    Follows,
}

impl More {
    const fn flag(self) -> libc::c_int {
        match self {
            Self::None => 0,
            Self::Follows => libc::MSG_MORE,
        }
    }
}

/// As [`send`], and says whether more follows.
///
/// # Errors
///
/// As there.
pub fn send_flagged(socket: impl AsFd, bytes: &[u8], more: More) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    transfer(Point::Send, || {
        // SAFETY: the kernel reads `bytes` alone; without an address its length
        // is 0.
        unsafe {
            libc::syscall(
                libc::SYS_sendto,
                fd,
                bytes.as_ptr(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | more.flag(),
                ptr::null::<libc::sockaddr>(),
                0 as libc::socklen_t,
            )
        }
    })
}

/// Writes several pieces with one call, as much as the kernel takes.
///
/// # Errors
///
/// As [`send`].
pub fn send_pieces(socket: impl AsFd, pieces: &[io::IoSlice<'_>], more: More) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    let flags =
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(more.flag());
    loop {
        let sent = fault::point(Point::Send)
            .and_then(|()| Ok(kernel::sendmsg::<()>(fd, pieces, &[], flags, None)?));
        match sent {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends `len` bytes of `file` from `offset` on without copying them into the
/// process, as much as the kernel takes; the file's own position stays. 0: the
/// file ends there. Waits for the disk when the pages are not in memory.
///
/// A program must ignore `SIGPIPE`, as those of Rust do: this call cannot ask
/// for that as [`send`] does.
///
/// # Errors
///
/// `WouldBlock` when the kernel takes nothing. [`is_of_file`] tells errors of
/// the file from those of the connection, which is broken.
pub fn send_file(socket: impl AsFd, file: &File, offset: u64, len: usize) -> io::Result<usize> {
    let out = socket.as_fd().as_raw_fd();
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    transfer(Point::Send, || {
        let mut at: libc::off64_t = offset;
        // SAFETY: the kernel writes the new offset to `at`, which outlives the
        // call; both descriptors are open for as long as they are borrowed.
        let sent = unsafe { libc::sendfile64(out, file.as_raw_fd(), &raw mut at, len) };
        libc::c_long::try_from(sent).unwrap_or(-1)
    })
}

/// Whether [`send_file`] failed because the file cannot be read, or ended early
/// if that was made an error.
#[must_use]
pub fn is_of_file(error: &io::Error) -> bool {
    let of_file = [
        libc::EIO,
        libc::EINVAL,
        libc::EOVERFLOW,
        libc::EISDIR,
        libc::ENODATA,
        libc::ESTALE,
    ];
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    ) || error
        .raw_os_error()
        .is_some_and(|code| of_file.contains(&code))
}

/// Bytes that the kernel holds for the peer: not sent, or not acknowledged yet.
/// 0 when it cannot say.
#[must_use]
pub fn unacknowledged(socket: impl AsFd) -> usize {
    let mut held: libc::c_int = 0;
    // SAFETY: the request writes one `int`, to which `held` is a valid pointer.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut held) };
    if result == 0 {
        usize::try_from(held).unwrap_or(0)
    } else {
        0
    }
}

/// Bytes that came from the peer, and bytes that it has acknowledged, since the
/// connection was made. `None` where the kernel does not count them: on Unix
/// sockets, and before Linux 4.1.
#[must_use]
pub fn bytes_moved(socket: impl AsFd) -> Option<(u64, u64)> {
    /// `struct tcp_info` up to the two counts, which libc does not declare.
    const ACKNOWLEDGED: usize = 120;
    const RECEIVED: usize = 128;
    let mut info = [0_u8; RECEIVED + 8];
    let mut len = libc::socklen_t::try_from(info.len()).ok()?;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which has as many,
    // and says in `len` how many it wrote.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let is_whole = result == 0 && usize::try_from(len) == Ok(info.len());
    let word = |at: usize| {
        let bytes = info[at..].first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    word(RECEIVED).zip(word(ACKNOWLEDGED)).filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn moved_bytes_are_counted_by_the_kernel_on_tcp_alone() {
        let listener = TcpListener::bind("127.0.0.78:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        server.write_all(b"hi").unwrap();
        client.read_exact(&mut [0; 2]).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // The acknowledgement may still be on its way.
        while bytes_moved(&server) != Some((5, 2)) {
            assert!(
                std::time::Instant::now() < until,
                "{:?}",
                bytes_moved(&server)
            );
        }
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(bytes_moved(&one), None);
    }
}
