//! A line between two processes: whole datagrams both ways, descriptors too.
//!
//! A pair of `SOCK_SEQPACKET` sockets, made before the fork. A datagram arrives
//! whole or not at all, in order. When the last copy of one end is closed, the
//! other end reads [`Received::Closed`]: that is how a worker learns that its
//! master is gone, even by SIGKILL. So after each fork both sides close every
//! end that is not theirs; a forgotten copy keeps a dead process alive here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::sys::socket as kernel;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType};

/// Descriptors that one datagram can carry: the kernel's limit.
pub const DESCRIPTORS_MAX: usize = 253;

/// One end of the line, non-blocking, closed on exec.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received {
    /// A datagram of this many bytes, with what it carried.
    Datagram(usize, Vec<OwnedFd>),
    /// A datagram of this many bytes, which has brought none of its descriptors:
    /// this process can have no more. It still waits: receive it again when some
    /// are free, or [skip](Channel::skip) it.
    Undelivered(usize),
    /// Nothing is waiting.
    Nothing,
    /// The other end is gone; nothing will ever come.
    Closed,
}

/// Room for the control messages of one datagram, aligned as their headers.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [u8; CONTROL_LEN],
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "about a thousand bytes; `try_from` is not const"
)]
const CONTROL_LEN: usize = {
    let payload = DESCRIPTORS_MAX * size_of::<RawFd>();
    // SAFETY: computes a number from a number.
    (unsafe { libc::CMSG_SPACE(payload as libc::c_uint) }) as usize
};

impl Channel {
    /// Two ends of a new line.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) =
            kernel::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(one), Self(other)))
    }

    /// Nothing can be sent to this end any more, neither words nor descriptors;
    /// that the other end is gone is still seen
    /// ([`Interest::HangUp`](super::epoll::Interest::HangUp)).
    ///
    /// # Errors
    ///
    /// When the other end is gone.
    pub fn refuse_all(&self) -> io::Result<()> {
        Ok(kernel::shutdown(
            self.0.as_raw_fd(),
            kernel::Shutdown::Read,
        )?)
    }

    /// Gives this end the last of the first `descriptors` numbers, or leaves it
    /// where it is when that cannot be had.
    ///
    /// The kernel closes what a killed process had open from the highest number
    /// down, tens of milliseconds for thousands of connections: the highest one
    /// tells the other end at once. (Tried with 1,500: 1 ms instead of 50.)
    #[must_use]
    pub fn lift(self, descriptors: u64) -> Self {
        let number = i32::try_from(descriptors).unwrap_or(i32::MAX) - 1;
        // SAFETY: copies a descriptor that `self` keeps open for the call.
        let copy = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number.max(0)) };
        if copy < 0 {
            return self;
        }
        // SAFETY: the kernel has just made it, and nobody else knows it.
        Self(unsafe { OwnedFd::from_raw_fd(copy) })
    }

    /// Sends `datagram`, and copies of `descriptors` with it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the other end does not read fast enough: keep it and
    /// try again. `EMSGSIZE` when it is larger than the socket's buffer.
    /// `BrokenPipe` or `ConnectionReset` when the other end is gone.
    ///
    /// # Panics
    ///
    /// When `datagram` is empty, which reads like the end of the line, or
    /// carries more than [`DESCRIPTORS_MAX`].
    pub fn send(&self, datagram: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        assert!(!datagram.is_empty(), "an empty datagram means end-of-file");
        assert!(descriptors.len() <= DESCRIPTORS_MAX, "too many descriptors");
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[] } else { &rights[..] };
        let pieces = [io::IoSlice::new(datagram)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match kernel::sendmsg::<()>(self.0.as_raw_fd(), &pieces, rights, flags, None) {
                Err(nix::errno::Errno::EINTR) => {}
                result => return result.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Takes the next datagram, if any. Received descriptors are closed on exec.
    ///
    /// Looks before it takes, as the kernel throws away what it has no free
    /// numbers for: a process that is out of descriptors would lose what it was
    /// told.
    ///
    /// # Errors
    ///
    /// `InvalidData` when the datagram did not fit `into`: it is lost, and what
    /// came with it is closed.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<Received> {
        let mut control = Control {
            bytes: [0; CONTROL_LEN],
        };
        let mut piece = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        // SAFETY: all zeroes is a valid, empty `msghdr`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = CONTROL_LEN as _;

        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_PEEK;
        let len = loop {
            // SAFETY: `message` points at `into` and `control`, both borrowed
            // exclusively, with their true lengths.
            let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, flags) };
            if let Ok(len) = usize::try_from(len) {
                break len;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(Received::Nothing),
                // It closed without reading all that we had sent.
                Some(libc::ECONNRESET) => return Ok(Received::Closed),
                _ => return Err(error),
            }
        };
        // Before any error: what was received must be owned, or it leaks.
        let descriptors = take_descriptors(&message);
        if len == 0 {
            return Ok(Received::Closed);
        }
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            self.skip();
            let text = "a datagram was longer than any that is sent";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if message.msg_flags & libc::MSG_CTRUNC != 0 {
            return Ok(Received::Undelivered(len));
        }
        self.skip();
        Ok(Received::Datagram(len, descriptors))
    }

    /// Drops the datagram that waits, and what it carries.
    pub fn skip(&self) {
        let _looked_at_before =
            kernel::recv(self.0.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT);
    }
}

/// Owns every descriptor that came with `message`, just filled by `recvmsg`.
fn take_descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    // SAFETY: the kernel filled in the control buffer and its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so a whole header within the buffer, well aligned.
        let found = unsafe { header.read() };
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes a number from a number.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (found.cmsg_len as usize - empty) / size_of::<RawFd>();
            // SAFETY: points behind the header, within the buffer.
            let data = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
            for index in 0..count {
                // SAFETY: `cmsg_len` says that `count` descriptors are there;
                // the format aligns them for headers only, hence unaligned.
                let raw = unsafe { data.add(index).read_unaligned() };
                // SAFETY: the kernel just made it for this call.
                taken.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: `header` came from this same message.
        header = unsafe { libc::CMSG_NXTHDR(ptr::from_ref(message), header) };
    }
    taken
}

/// An end that came over another line, or was inherited from the process before,
/// as [`Channel::pair`] made it.
impl From<OwnedFd> for Channel {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::time::Duration;

    use crate::sys::epoll::{Epoll, Events, Interest};

    fn receive(channel: &Channel) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut into = [0; 64];
        match channel.receive(&mut into).unwrap() {
            Received::Datagram(len, descriptors) => (into[..len].to_vec(), descriptors),
            none @ (Received::Undelivered(_) | Received::Nothing | Received::Closed) => {
                panic!("{none:?}")
            }
        }
    }

    #[test]
    fn an_end_goes_up_and_is_the_same_line() {
        let (one, other) = Channel::pair().unwrap();
        let one = one.lift(900);
        assert!(one.as_fd().as_raw_fd() >= 899);
        // Nobody has so many: it stays.
        let one = one.lift(u64::MAX);
        one.send(b"up here", &[]).unwrap();
        let mut datagram = [0; 16];
        let received = other.receive(&mut datagram).unwrap();
        assert!(matches!(received, Received::Datagram(7, _)));
        drop(one);
        let received = other.receive(&mut datagram).unwrap();
        assert!(matches!(received, Received::Closed), "no copy is left");
    }

    #[test]
    fn datagrams_arrive_whole_and_in_order_both_ways() {
        let (one, other) = Channel::pair().unwrap();
        assert!(matches!(
            one.receive(&mut [0; 8]).unwrap(),
            Received::Nothing
        ));
        one.send(b"first", &[]).unwrap();
        one.send(b"second", &[]).unwrap();
        other.send(b"back", &[]).unwrap();
        assert_eq!(receive(&other).0, b"first");
        assert_eq!(receive(&other).0, b"second");
        assert_eq!(receive(&one).0, b"back");
    }

    #[test]
    fn descriptors_come_along_and_are_closed_on_exec() {
        let (one, other) = Channel::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        one.send(b"two of them", &[file.as_fd(), file.as_fd()])
            .unwrap();
        drop(file);
        let (text, mut descriptors) = receive(&other);
        assert_eq!(
            (text.as_slice(), descriptors.len()),
            (&b"two of them"[..], 2)
        );
        let copy = descriptors.pop().unwrap();
        let flags = fcntl(&copy, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        let mut text = String::new();
        File::from(copy).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn the_most_descriptors_fit() {
        let (one, other) = Channel::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        one.send(b"x", &[file.as_fd(); DESCRIPTORS_MAX]).unwrap();
        assert_eq!(receive(&other).1.len(), DESCRIPTORS_MAX);
    }

    #[test]
    fn end_of_file_means_the_other_one_is_gone() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"last words", &[]).unwrap();
        drop(one);
        assert_eq!(receive(&other).0, b"last words");
        assert!(matches!(
            other.receive(&mut [0; 8]).unwrap(),
            Received::Closed
        ));
        assert_eq!(
            other.send(b"x", &[]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn an_end_that_did_not_read_is_gone_as_well() {
        let (one, other) = Channel::pair().unwrap();
        other.send(b"unread", &[]).unwrap();
        drop(one);
        let mut into = [0; 8];
        while !matches!(other.receive(&mut into).unwrap(), Received::Closed) {}
    }

    /// Else a worker could have its master close a socket that lingers.
    #[test]
    fn an_end_that_refuses_gets_neither_words_nor_descriptors_and_sees_the_end() {
        let (master, worker) = Channel::pair().unwrap();
        master.refuse_all().unwrap();
        let file = tempfile::tempfile().unwrap();
        for descriptors in [&[][..], &[file.as_fd()]] {
            let error = worker.send(b"x", descriptors).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        master.send(b"order", &[file.as_fd()]).unwrap();
        assert_eq!(receive(&worker).0, b"order");
        let epoll = Epoll::new().unwrap();
        epoll.add(&master, Interest::HangUp, 7).unwrap();
        let mut events = Events::with_capacity(4);
        let mut told = |timeout| epoll.wait(&mut events, Some(timeout)).unwrap().count();
        assert_eq!(told(Duration::ZERO), 0);
        drop(worker);
        assert_eq!(told(Duration::from_secs(10)), 1);
    }

    #[test]
    fn a_cut_datagram_is_an_error_and_a_full_line_blocks() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"longer than two", &[]).unwrap();
        let error = other.receive(&mut [0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = std::iter::repeat_with(|| one.send(&[7; 4096], &[]))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
