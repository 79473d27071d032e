//! The output buffer: what waits for a slow peer, in order.
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
use std::os::fd::BorrowedFd;
use std::{fmt, io};

use bytes::{Buf, Bytes};

use crate::protocol::{self, FilePart, Receipt};
use crate::sys::socket::{self, More};

/// Pieces that go out with one system call.
const GATHER: usize = 32;

/// Bytes of a file that go out before other connections get their turn.
pub(crate) const FILE_ROUND: u64 = 256 * 1024;

/// Pieces in order. Shorter pieces are appended to the last one while nobody
/// shares it, so that ten thousand small replies are not ten thousand pieces.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// `None`: nothing waits, as for most.
    queue: Option<Box<Queue>>,
    /// The sender's epoll watches the socket.
    pub(crate) armed: bool,
    /// End the connection when everything is sent.
    pub(crate) flush_then_close: bool,
    /// Nothing is written: another worker may have the connection by now.
    pub(crate) held: bool,
    /// A write has failed, and the reactor was asked to end the connection: no
    /// other is tried.
    pub(crate) failed: bool,
    /// Bytes that went out.
    pub(crate) out: u64,
    /// The last of them said that there is too much to do.
    pub(crate) overloaded: bool,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Small replies collected behind the last piece.
    tail: Vec<u8>,
    /// Parts of files among the pieces.
    files: u32,
    /// Bytes that came in, those of files included, and that went out.
    put: u64,
    out: u64,
    /// Who waits until so many bytes went out. In order.
    receipts: VecDeque<(u64, Box<dyn Receipt>)>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} pieces)", self.pieces.len())
    }
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    File(FilePart),
}

impl Piece {
    const fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::File(_) => None,
        }
    }
}

/// What one system call moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    /// So many bytes that were in memory.
    Bytes(usize),
    /// So many bytes of a file.
    File(usize),
}

impl Outbound {
    pub(crate) const fn is_empty(&self) -> bool {
        self.queue.is_none()
    }

    /// Whether nothing waits and nobody watches the socket.
    pub(crate) const fn is_at_rest(&self) -> bool {
        self.queue.is_none() && !self.armed
    }

    /// Whether a file is not out yet.
    pub(crate) fn has_files(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.files > 0)
    }

    /// Appends bytes that belong to nobody else, at least one.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let queue = self.queue.get_or_insert_default();
        queue.put += bytes.len() as u64;
        queue.tail.extend_from_slice(bytes);
    }

    /// Appends bytes that others share, at least one.
    pub(crate) fn append_shared(&mut self, bytes: Bytes) {
        if bytes.len() <= Self::WORTH_SHARING {
            return self.append(&bytes);
        }
        let queue = self.queue.get_or_insert_default();
        queue.seal();
        queue.put += bytes.len() as u64;
        queue.pieces.push_back(Piece::Bytes(bytes));
    }

    /// Appends a part of a file.
    pub(crate) fn append_file(&mut self, part: FilePart) {
        let queue = self.queue.get_or_insert_default();
        queue.seal();
        queue.files += 1;
        queue.put += part.len();
        queue.pieces.push_back(Piece::File(part));
    }

    const WORTH_SHARING: usize = 512;

    /// Tells `receipt` when all but the last `behind` bytes are out: at once if
    /// nothing waits.
    pub(crate) fn append_receipt(&mut self, behind: u64, receipt: Box<dyn Receipt>) {
        match &mut self.queue {
            None => receipt.complete(0),
            Some(queue) => {
                let at = queue.put.saturating_sub(behind);
                queue.receipts.push_back((at, receipt));
                queue.complete_receipts();
            }
        }
    }

    /// What went out, and what waits.
    pub(crate) fn sent(&self) -> protocol::Sent {
        protocol::Sent {
            out: self.out,
            left: self.left(),
            overloaded: self.overloaded,
        }
    }

    /// Bytes that wait, those of files included.
    pub(crate) fn left(&self) -> u64 {
        let queue = self.queue.as_ref();
        queue.map_or(0, |queue| queue.put - queue.out)
    }

    /// Writes with one system call what the kernel takes.
    ///
    /// # Errors
    ///
    /// As [`socket::send_pieces`], and as [`send_part`] for a file, which stays
    /// in front: nothing behind it goes out.
    pub(crate) fn write(&mut self, socket: BorrowedFd<'_>) -> io::Result<Sent> {
        let Some(queue) = &mut self.queue else {
            return Ok(Sent::Bytes(0));
        };
        let sent = queue.write(socket)?;
        queue.out += match sent {
            Sent::Bytes(bytes) | Sent::File(bytes) => bytes as u64,
        };
        queue.complete_receipts();
        // A drained connection is idle again and holds no buffer.
        if queue.pieces.is_empty() {
            self.queue = None;
        }
        Ok(sent)
    }

    /// Takes everything unsent out, in pieces of whole messages if nothing of
    /// it was ever sent and no file is among it.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        let mut queue = self.queue.take().unwrap_or_default();
        queue.seal();
        let receipts = queue.receipts.drain(..);
        receipts.for_each(|(_, receipt)| receipt.complete(0));
        let pieces = queue.pieces.iter().filter_map(Piece::bytes);
        pieces.cloned().collect()
    }

    /// Takes everything unsent out, for another worker.
    pub(crate) fn set_aside(&mut self) -> Option<Unsent> {
        let mut queue = self.queue.take()?;
        queue.seal();
        Some(Unsent(queue))
    }

    /// Puts back what was set aside, before what came since.
    pub(crate) fn put_back(&mut self, unsent: Unsent) {
        let Unsent(mut earlier) = unsent;
        if let Some(later) = self.queue.take() {
            earlier.append(*later);
        }
        self.queue = Some(earlier);
    }

    /// Drops everything unsent; tells how many bytes of memory that was.
    pub(crate) fn clear(&mut self) -> usize {
        self.queue.take().map_or(0, |mut queue| {
            for (at, receipt) in queue.receipts.drain(..) {
                receipt.complete(at.saturating_sub(queue.out));
            }
            let pieces = queue.pieces.iter().filter_map(Piece::bytes);
            pieces.map(Bytes::len).sum::<usize>() + queue.tail.len()
        })
    }
}

/// What waits to be sent, while another worker is asked to take it. Dropped
/// when it did: who waits for it waits there.
#[derive(Debug)]
pub(crate) struct Unsent(Box<Queue>);

/// A part of what waits to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnsentPiece<'a> {
    Bytes(&'a [u8]),
    File(&'a FilePart),
}

impl Unsent {
    /// In order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = UnsentPiece<'_>> {
        self.0.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => UnsentPiece::Bytes(bytes),
            Piece::File(part) => UnsentPiece::File(part),
        })
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let pieces = self.0.pieces.iter().filter_map(Piece::bytes);
        pieces.map(Bytes::len).sum()
    }

    /// Who waits, and how many bytes go before.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = (u64, &dyn Receipt)> {
        let out = self.0.out;
        let receipts = self.0.receipts.iter();
        receipts.map(move |(at, receipt)| (at.saturating_sub(out), &**receipt))
    }
}

impl Queue {
    /// What came behind all of this, and of which nothing is out.
    fn append(&mut self, later: Self) {
        let before = self.put;
        self.pieces.extend(later.pieces);
        self.tail = later.tail;
        self.files += later.files;
        self.put += later.put;
        let receipts = later.receipts.into_iter();
        self.receipts
            .extend(receipts.map(|(at, receipt)| (before + at, receipt)));
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = Bytes::from(std::mem::take(&mut self.tail));
            self.pieces.push_back(Piece::Bytes(tail));
        }
    }

    /// Tells those who wait for bytes that are out.
    fn complete_receipts(&mut self) {
        let out = self.out;
        while let Some((_, receipt)) = self.receipts.pop_front_if(|(at, _)| *at <= out) {
            receipt.complete(0);
        }
    }

    fn write(&mut self, socket: BorrowedFd<'_>) -> io::Result<Sent> {
        self.seal();
        if let Some(Piece::File(part)) = self.pieces.front_mut() {
            let sent = send_part(socket, part)?;
            if part.is_empty() {
                self.files -= 1;
                self.pieces.pop_front();
            }
            return Ok(Sent::File(sent));
        }
        let sent = if let [Piece::Bytes(only)] = self.pieces.as_slices().0
            && self.pieces.len() == 1
        {
            socket::send(socket, only)?
        } else {
            let run = self.pieces.iter().map_while(Piece::bytes).take(GATHER);
            let slices: Vec<_> = run.map(|piece| io::IoSlice::new(piece)).collect();
            let more = match self.pieces.get(slices.len()) {
                Some(Piece::File(_)) => More::Follows,
                Some(Piece::Bytes(_)) | None => More::None,
            };
            socket::send_pieces(socket, &slices, more)?
        };
        self.drop_sent(sent);
        Ok(Sent::Bytes(sent))
    }

    fn drop_sent(&mut self, mut sent: usize) {
        while let Some(Piece::Bytes(first)) = self.pieces.front_mut() {
            if sent < first.len() {
                first.advance(sent);
                return;
            }
            sent -= first.len();
            self.pieces.pop_front();
        }
    }
}

/// Sends from the start of `part` what the kernel takes, one round of it at
/// most, and takes it off.
///
/// # Errors
///
/// As [`socket::send_file`], and `UnexpectedEof` when the file ends before the
/// part does.
pub(crate) fn send_part(socket: BorrowedFd<'_>, part: &mut FilePart) -> io::Result<usize> {
    let round = usize::try_from(part.len().min(FILE_ROUND)).expect("256 KiB fit");
    let sent = socket::send_file(socket, &part.file, part.range.start, round)?;
    if sent == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    part.range.start += sent as u64;
    Ok(sent)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    fn part(text: &[u8], range: std::ops::Range<u64>) -> FilePart {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("room for it");
        let file = Arc::new(file);
        FilePart { file, range }
    }

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
            } else if n % 7 == 0 {
                let end = bytes.len() as u64;
                outbound.append_file(part(
                    &[b"before", &bytes[..], b"behind"].concat(),
                    6..end + 6,
                ));
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
    fn what_was_set_aside_goes_before_what_came_since() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut outbound = Outbound::default();
        outbound.append(b"0123");
        outbound.append_file(part(b"a file", 2..6));
        assert_eq!(outbound.write(near.as_fd()).unwrap(), Sent::Bytes(4));
        let unsent = outbound.set_aside().expect("something is unsent");
        assert_eq!((unsent.bytes(), unsent.pieces().count()), (0, 1));
        assert!(outbound.is_empty() && !outbound.has_files());
        outbound.append(b" came since");
        outbound.put_back(unsent);
        assert_eq!((outbound.left(), outbound.has_files()), (15, true));
        while !outbound.is_empty() {
            outbound.write(near.as_fd()).unwrap();
        }
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        assert_eq!(got, "0123file came since");
    }

    #[test]
    fn what_is_cleared_is_counted() {
        let mut outbound = Outbound::default();
        outbound.append(b"abc");
        outbound.append_shared(Bytes::from(vec![0; 1000]));
        outbound.append(b"de");
        outbound.append_file(part(b"", 0..1 << 40));
        assert!(outbound.has_files());
        assert_eq!(outbound.clear(), 1005, "a file takes no memory");
        assert!(outbound.is_empty() && !outbound.has_files());
    }

    #[test]
    fn a_file_goes_out_in_rounds() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).unwrap();
            got.len() as u64
        });
        let mut outbound = Outbound::default();
        let text = vec![b'x'; 1 << 20];
        outbound.append_file(part(&text, 0..1 << 20));
        while !outbound.is_empty() {
            match outbound.write(near.as_fd()) {
                Ok(Sent::File(sent)) => assert!(sent as u64 <= FILE_ROUND),
                Ok(Sent::Bytes(_)) => panic!("there are none"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        drop(near);
        assert_eq!(reader.join().unwrap(), 1 << 20);
    }

    #[test]
    fn behind_a_file_that_is_too_short_nothing_goes_out() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut outbound = Outbound::default();
        outbound.append_file(part(b"abc", 1..4));
        outbound.append(b"the next reply");
        assert_eq!(outbound.write(near.as_fd()).unwrap(), Sent::File(2));
        for _ in 0..3 {
            let error = outbound.write(near.as_fd()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(socket::is_of_file(&error));
        }
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        assert_eq!(got, "bc");
    }
}
