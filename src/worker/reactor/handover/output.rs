//! What waits to be sent to a connection that changes its worker: taken out
//! where it leaves, written into its record, put back where it arrives. On the
//! reactors.
//!
//! ```text
//! closes u8 | finished u8 | progress u64 | pieces: n, each 0 + bytes or
//!   1 + number of the file, first byte, byte behind the last
//! | receipts: n, each bytes before it + as it was packed
//! ```
//!
//! A file goes as its descriptor, which comes with the datagram behind that of
//! the connection. Whatever its content is and wherever it lies, the other worker
//! sends on from the byte where this one stopped.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::record::{PART, Reader, number, text};
use crate::dispatch::service::Dispatcher;
use crate::protocol::FilePart;
use crate::sys::sync::Ordering;
use crate::worker::connection::Connection;
use crate::worker::connection::outbound::{Outbound, Unsent, UnsentPiece};

/// Files that go along with one connection at most.
pub(super) const FILES: usize = 8;

/// Pieces that go along at most.
const PIECES: usize = 256;

/// See the module.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Output {
    /// The connection is closed behind it.
    pub(super) closes: bool,
    /// The peer has sent its last byte.
    pub(super) finished: bool,
    /// Until when the peer took what was sent as fast as it has to; 0: it had
    /// all.
    pub(super) progress: u64,
    pieces: Vec<Piece>,
    receipts: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Bytes(Vec<u8>),
    /// These bytes of a file that comes along.
    File {
        number: u32,
        first: u64,
        end: u64,
    },
}

impl Output {
    /// That of `conn`, which closes behind it or not, and its files. `None`: some
    /// of it cannot go, or not yet.
    pub(super) fn pack(
        conn: &Connection,
        unsent: Option<&Unsent>,
        closes: bool,
    ) -> Option<(Self, Vec<Arc<File>>)> {
        let mut output = Self {
            closes,
            finished: conn.peer_done.load(Ordering::SeqCst),
            progress: conn.clocks.progress.load(Ordering::Relaxed),
            ..Self::default()
        };
        let mut files: Vec<Arc<File>> = Vec::new();
        let Some(unsent) = unsent else {
            return Some((output, files));
        };
        if unsent.bytes() > PART || unsent.pieces().count() > PIECES {
            return None;
        }
        for piece in unsent.pieces() {
            output.pieces.push(match piece {
                UnsentPiece::Bytes(bytes) => Piece::Bytes(bytes.to_vec()),
                UnsentPiece::File(part) => {
                    let known = files.iter().position(|file| Arc::ptr_eq(file, &part.file));
                    let number = known.unwrap_or(files.len());
                    if known.is_none() {
                        files.push(Arc::clone(&part.file));
                    }
                    Piece::File {
                        number: u32::try_from(number).ok()?,
                        first: part.range.start,
                        end: part.range.end,
                    }
                }
            });
        }
        for (at, receipt) in unsent.receipts() {
            output.receipts.push((at, receipt.pack()?));
        }
        (files.len() <= FILES).then_some((output, files))
    }

    /// How many files come along.
    pub(super) fn files(&self) -> usize {
        let numbers = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(_) => 0,
            Piece::File { number, .. } => *number as usize + 1,
        });
        numbers.max().unwrap_or(0)
    }

    /// Whether there is nothing to be told.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what is unsent was read as it could be written.
    fn is_sound(&self) -> bool {
        let is_sound = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => !bytes.is_empty(),
            Piece::File { first, end, .. } => first < end,
        };
        self.files() <= FILES && self.pieces.iter().all(is_sound)
    }

    /// Gives it to `conn`, which nobody finds yet. Tells how many bytes of memory
    /// it takes.
    pub(super) fn unpack(
        &self,
        conn: &mut Connection,
        files: Vec<OwnedFd>,
        app: &mut dyn Dispatcher,
    ) -> usize {
        let files: Vec<Arc<File>> = files.into_iter().map(|fd| Arc::new(fd.into())).collect();
        let mut outbound = Outbound::default();
        let (mut bytes, mut all) = (0, 0);
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(own) => {
                    outbound.append(own);
                    bytes += own.len();
                    all += own.len() as u64;
                }
                Piece::File { number, first, end } => {
                    let file = files.get(*number as usize).cloned();
                    let file = file.expect("as many came as the pieces name");
                    let range = *first..*end;
                    outbound.append_file(FilePart { file, range });
                    all += end - first;
                    conn.in_file.store(true, Ordering::SeqCst);
                }
            }
        }
        for (at, packed) in &self.receipts {
            if let Some(receipt) = app.unpack_receipt(packed) {
                outbound.append_receipt(all.saturating_sub(*at), receipt);
            }
        }
        outbound.flush_then_close = self.closes;
        conn.queued.store(bytes, Ordering::SeqCst);
        conn.peer_done.store(self.finished, Ordering::SeqCst);
        *conn.outbound.get_mut().expect("nobody else ever held it") = outbound;
        bytes
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&[u8::from(self.closes), u8::from(self.finished)]);
        to.extend_from_slice(&self.progress.to_le_bytes());
        number(to, self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => {
                    to.push(0);
                    text(to, bytes);
                }
                Piece::File { number, first, end } => {
                    to.push(1);
                    to.extend_from_slice(&number.to_le_bytes());
                    to.extend_from_slice(&first.to_le_bytes());
                    to.extend_from_slice(&end.to_le_bytes());
                }
            }
        }
        number(to, self.receipts.len());
        for (at, packed) in &self.receipts {
            to.extend_from_slice(&at.to_le_bytes());
            text(to, packed);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let flag = |from: &mut Reader<'_>| match from.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        };
        let (closes, finished) = (flag(from)?, flag(from)?);
        let progress = u64::from_le_bytes(from.array()?);
        let pieces = (0..from.number()?).map(|_| match from.array()? {
            [0] => Some(Piece::Bytes(from.text()?.to_vec())),
            [1] => Some(Piece::File {
                number: u32::from_le_bytes(from.array()?),
                first: u64::from_le_bytes(from.array()?),
                end: u64::from_le_bytes(from.array()?),
            }),
            _ => None,
        });
        let pieces = pieces.collect::<Option<_>>()?;
        let receipts = (0..from.number()?)
            .map(|_| Some((u64::from_le_bytes(from.array()?), from.text()?.to_vec())))
            .collect::<Option<_>>()?;
        let output = Self {
            closes,
            finished,
            progress,
            pieces,
            receipts,
        };
        output.is_sound().then_some(output)
    }
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;

    /// Two parts of one file, a head before each, and who waits for them.
    pub(in crate::worker::reactor::handover) fn output() -> Output {
        let file = |first, end| Piece::File {
            number: 0,
            first,
            end,
        };
        let head = || Piece::Bytes(b"head".to_vec());
        Output {
            closes: true,
            finished: false,
            progress: 7,
            pieces: vec![head(), file(5, 1 << 40), head(), file(0, 1)],
            receipts: vec![(9, b"line".to_vec())],
        }
    }

    #[test]
    fn the_bytes_of_what_is_unsent_are_those_of_every_release() {
        let mut bytes = Vec::new();
        output().write(&mut bytes);
        let expected: &[u8] = b"\x01\0\x07\0\0\0\0\0\0\0\
            \x04\0\0\0\
            \0\x04\0\0\0head\
            \x01\0\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\
            \0\x04\0\0\0head\
            \x01\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\
            \x01\0\0\0\x09\0\0\0\0\0\0\0\x04\0\0\0line";
        assert_eq!(bytes, expected);
        assert_eq!(Output::read(&mut Reader(&bytes)), Some(output()));
    }

    #[test]
    fn what_no_worker_could_have_written_is_nothing() {
        let bytes = |change: fn(&mut Output)| {
            let mut bytes = Vec::new();
            let mut output = output();
            change(&mut output);
            output.write(&mut bytes);
            bytes
        };
        let file = |number| Piece::File {
            number,
            first: 1,
            end: 2,
        };
        assert!(Output::read(&mut Reader(&bytes(|_| {}))).is_some());
        for wrong in [
            bytes(|output| output.pieces[0] = Piece::Bytes(Vec::new())),
            bytes(|output| {
                output.pieces[1] = Piece::File {
                    number: 0,
                    first: 2,
                    end: 2,
                };
            }),
        ] {
            assert_eq!(Output::read(&mut Reader(&wrong)), None);
        }
        let many = Output {
            pieces: vec![file(u32::MAX)],
            ..Output::default()
        };
        let mut bytes = Vec::new();
        many.write(&mut bytes);
        assert_eq!(Output::read(&mut Reader(&bytes)), None);
        bytes[0] = 2;
        assert_eq!(Output::read(&mut Reader(&bytes)), None);
    }
}
