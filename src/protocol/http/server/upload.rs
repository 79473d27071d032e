//! A body on its way to an intake, and the head that it belongs to.

use crate::protocol::Error;
use crate::protocol::http::chunks::{ChunkLimits, ChunkScan, Piece, Scanned};
use crate::protocol::http::encode::Asked;
use crate::protocol::http::intake::Intake;
use crate::protocol::http::limits::Limits;
use crate::protocol::http::refusal::Bad;
use crate::protocol::http::scan::Length;
use crate::protocol::http::trailers;

/// A request whose body comes in pieces.
pub(super) struct Upload {
    /// The head, as it came.
    pub(super) head: Box<[u8]>,
    pub(super) asked: Asked,
    /// Bytes that the body may have.
    pub(super) max: usize,
    /// Who takes the body; `None`: nothing of it was taken, and it is kept.
    pub(super) intake: Option<Box<dyn Intake>>,
    /// The lines of the trailers.
    pub(super) trailers: Vec<u8>,
    rest: Rest,
}

/// What is missing of the body.
enum Rest {
    Fixed(usize),
    Chunked(ChunkScan),
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload(of at most {} bytes)", self.max)
    }
}

/// Why a piece was not taken.
pub(super) enum Refused {
    /// The peer broke a rule.
    Bad(Bad),
    /// The intake said no.
    ByIntake(Error),
}

impl Upload {
    pub(super) fn new(
        head: &[u8],
        asked: Asked,
        length: Length,
        max: usize,
        intake: Option<Box<dyn Intake>>,
    ) -> Self {
        let rest = match length {
            Length::Fixed(length) => Rest::Fixed(length),
            Length::Chunked => Rest::Chunked(ChunkScan::default()),
        };
        Self {
            head: head.into(),
            asked,
            max,
            intake,
            trailers: Vec::new(),
            rest,
        }
    }

    /// How the body is laid out, as long as nothing of it was taken.
    pub(super) const fn length(&self) -> Length {
        match self.rest {
            Rest::Fixed(length) => Length::Fixed(length),
            Rest::Chunked(_) => Length::Chunked,
        }
    }

    /// Gives what `bytes` have of the body to `take`; tells how many bytes that
    /// were, and whether the body is whole.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(usize, bool), Refused> {
        let scan = match &mut self.rest {
            Rest::Fixed(left) => {
                let len = bytes.len().min(*left);
                take(&bytes[..len]).map_err(Refused::ByIntake)?;
                *left -= len;
                return Ok((len, *left == 0));
            }
            Rest::Chunked(scan) => scan,
        };
        let room = ChunkLimits::new(self.max, limits);
        let (mut refused, lines) = (None, &mut self.trailers);
        let scanned = scan.scan(bytes, room, |piece| match piece {
            Piece::Data(data) if refused.is_none() => refused = take(data).err(),
            Piece::Data(_) => {}
            Piece::Trailer(line) => trailers::keep(line, lines),
        });
        let len = scan.consume();
        if let Some(error) = refused {
            return Err(Refused::ByIntake(error));
        }
        match scanned.map_err(Refused::Bad)? {
            Scanned::Over => Err(Refused::Bad(Bad::BodyTooLong)),
            // The cutter passes whole lines on; were it wrong, this ends one
            // connection and not the worker.
            Scanned::Part if len < bytes.len() => {
                Err(Refused::Bad(Bad::Syntax("a chunk that is not whole")))
            }
            Scanned::Part => Ok((len, false)),
            Scanned::End(_) => Ok((len, true)),
        }
    }
}
