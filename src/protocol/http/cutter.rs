//! Finds the end of the last whole request. The reactor's.

use super::Limits;
use super::chunks::ChunkScan;
use super::refusal::Bad;
use super::scan::{HeadScan, Length};
use crate::protocol::{Cut, Cutter, Then};

/// Finds where requests end.
#[derive(Debug)]
pub(super) struct HttpCutter {
    limits: Limits,
    phase: Phase,
}

/// What the bytes begin with that no unit has yet.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Head(HeadScan),
    /// A request that is whole with so many bytes.
    Fixed(usize),
    /// A head of so many bytes (none: it was a unit already) and chunks.
    Chunked(usize, ChunkScan),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Head(HeadScan::default())
    }
}

impl HttpCutter {
    pub(super) fn new(limits: Limits) -> Self {
        let phase = Phase::default();
        Self { limits, phase }
    }

    /// The unit that `bytes` begin with, if there is one.
    fn unit(&mut self, bytes: &[u8]) -> Result<Option<Unit>, Bad> {
        let Phase::Head(scan) = &mut self.phase else {
            return self.body(bytes);
        };
        let Some(head) = scan.scan(bytes, &self.limits)? else {
            return Ok(None);
        };
        self.phase = match head.length {
            Length::Fixed(length) if length > self.limits.body => return Err(Bad::BodyTooLong),
            Length::Fixed(length) => Phase::Fixed(head.at + length),
            Length::Chunked => Phase::Chunked(head.at, ChunkScan::default()),
        };
        let whole = self.body(bytes);
        // A body that is wrong must be found wrong behind the head, as it is
        // when it comes later.
        if !head.expects || matches!(whole, Ok(Some(_))) {
            return whole;
        }
        self.phase = match head.length {
            Length::Fixed(length) => Phase::Fixed(length),
            Length::Chunked => Phase::Chunked(0, ChunkScan::default()),
        };
        Ok(Some(Unit::Head(head.at)))
    }

    /// The head is known: is the body there?
    fn body(&mut self, bytes: &[u8]) -> Result<Option<Unit>, Bad> {
        let total = match &mut self.phase {
            Phase::Head(_) => None,
            Phase::Fixed(total) => (bytes.len() >= *total).then_some(*total),
            Phase::Chunked(head, scan) => scan
                .scan(&bytes[*head..], &self.limits, |_| ())?
                .map(|end| *head + end),
        };
        Ok(total.map(Unit::Whole))
    }
}

/// What can be passed on, and its length.
enum Unit {
    /// A request, or its body when the head went before.
    Whole(usize),
    /// The head of a request whose client may wait for our word.
    Head(usize),
}

impl Cutter for HttpCutter {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        // A head that goes before its body is a message to whoever counts.
        let (mut units, mut messages) = (0, 0);
        while units < bytes.len() {
            match self.unit(&bytes[units..]) {
                Ok(None) => break,
                Ok(Some(Unit::Whole(len))) => {
                    units += len;
                    messages += 1;
                    self.phase = Phase::default();
                }
                Ok(Some(Unit::Head(len))) => {
                    units += len;
                    messages += 1;
                }
                Err(bad) => {
                    return Cut {
                        units,
                        messages,
                        then: Then::Refuse(bad.into()),
                    };
                }
            }
        }
        Cut {
            units,
            messages,
            then: Then::Read,
        }
    }

    fn rests(&self) -> bool {
        matches!(self.phase, Phase::Head(_))
    }

    fn reset(&mut self) {
        self.phase = Phase::default();
    }
}
