//! What waits for a slow peer, in order.
//!
//! ```text
//!   reply of a turn --- nothing waits: send(2) ---> peer
//!                  \--- the rest, or all if something waits
//!   push of the hub ------------------------------> pieces --(sender, EPOLLOUT)--> peer
//! ```
//!
//! Invariant: while a piece waits, everything later goes behind it; and the
//! socket is armed for `EPOLLOUT` in the sender's epoll exactly while pieces
//! wait that the kernel has refused.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use bytes::{Buf, Bytes};

use crate::sys::socket;

/// Pieces that go out with one system call.
const GATHER: usize = 32;

/// Pieces in order. Shorter pieces are appended to the last one while nobody
/// shares it, so that ten thousand small replies are not ten thousand pieces.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pieces: VecDeque<Bytes>,
    /// Small replies collected behind the last piece.
    tail: Vec<u8>,
    /// The sender's epoll watches the socket.
    pub(crate) armed: bool,
    /// End the connection when everything is sent.
    pub(crate) flush_then_close: bool,
    /// Nothing is written: another worker may have the connection by now.
    pub(crate) held: bool,
}

impl Outbound {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Appends bytes that belong to nobody else.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends bytes that others share.
    pub(crate) fn append_shared(&mut self, bytes: Bytes) {
        if bytes.len() <= Self::WORTH_SHARING {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.seal();
        self.pieces.push_back(bytes);
    }

    const WORTH_SHARING: usize = 512;

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces
                .push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// Writes with one system call what the kernel takes; returns how much.
    ///
    /// # Errors
    ///
    /// As [`socket::send_pieces`].
    pub(crate) fn write(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.seal();
        let sent = if let [only] = self.pieces.as_slices().0
            && self.pieces.len() == 1
        {
            socket::send(socket, only)?
        } else {
            let slices: Vec<_> = self
                .pieces
                .iter()
                .take(GATHER)
                .map(|piece| io::IoSlice::new(piece))
                .collect();
            socket::send_pieces(socket, &slices)?
        };
        self.drop_sent(sent);
        Ok(sent)
    }

    fn drop_sent(&mut self, mut sent: usize) {
        while let Some(first) = self.pieces.front_mut() {
            if sent < first.len() {
                first.advance(sent);
                return;
            }
            sent -= first.len();
            self.pieces.pop_front();
        }
        // A drained connection is idle again and holds no buffer.
        self.pieces = VecDeque::new();
    }

    /// Takes everything unsent out, in pieces of whole messages if nothing of it
    /// was ever sent.
    pub(crate) fn take(&mut self) -> VecDeque<Bytes> {
        self.seal();
        std::mem::take(&mut self.pieces)
    }

    /// Drops everything unsent; tells how many bytes that was.
    pub(crate) fn clear(&mut self) -> usize {
        let unsent = self.pieces.iter().map(Bytes::len).sum::<usize>() + self.tail.len();
        self.pieces = VecDeque::new();
        self.tail = Vec::new();
        unsent
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn pieces_leave_in_order_however_they_came() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut outbound = Outbound::default();
        let mut expected = Vec::new();
        for n in 0..200_u8 {
            let bytes = vec![n; usize::from(n) * 7];
            expected.extend_from_slice(&bytes);
            if n % 3 == 0 {
                outbound.append(&bytes);
            } else {
                outbound.append_shared(Bytes::from(bytes));
            }
        }
        let mut got = Vec::new();
        let mut part = [0; 4096];
        while !outbound.is_empty() {
            if outbound.write(near.as_fd()).is_err() {
                let read = far.read(&mut part).unwrap();
                got.extend_from_slice(&part[..read]);
            }
        }
        drop(near);
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, expected);
        assert_eq!(outbound.clear(), 0);
    }

    #[test]
    fn what_is_cleared_is_counted() {
        let mut outbound = Outbound::default();
        outbound.append(b"abc");
        outbound.append_shared(Bytes::from(vec![0; 1000]));
        outbound.append(b"de");
        assert_eq!(outbound.clear(), 1005);
        assert!(outbound.is_empty());
    }
}
