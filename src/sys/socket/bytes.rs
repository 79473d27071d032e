//! Moving bytes through a socket that never blocks.

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
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
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
pub fn send_pieces(socket: impl AsFd, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        let sent = fault::point(Point::Send)
            .and_then(|()| Ok(kernel::sendmsg::<()>(fd, pieces, &[], flags, None)?));
        match sent {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
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
