//! Finds the end of the last whole request. The reactor's.
//!
//! A request that is whole with its head and has a short body is one unit.
//! Otherwise the head is a unit as soon as it is whole, for it alone may decide
//! what is answered; then the body is one, and a longer one is units as it comes.

use super::Limits;
use super::chunks::{ChunkLimits, ChunkScan, Scanned};
use super::refusal::Bad;
use super::scan::{HeadEnd, HeadScan, Length};
use crate::protocol::{Cut, Cutter, Refusal, Then};

/// Finds where requests end.
#[derive(Debug)]
pub(super) struct HttpCutter {
    limits: Limits,
    phase: Phase,
    /// The head of the request that goes on here was a unit already.
    headed: bool,
    /// What follows the last unit may not be HTTP.
    holds: bool,
}

/// What the bytes begin with that no unit has yet.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Head(HeadScan),
    /// A request that is whole with so many bytes.
    Fixed(usize),
    /// A head of so many bytes (none: it was a unit already) and chunks.
    Chunked(usize, ChunkScan),
    /// So many bytes of a body, which are units as they come.
    Rest(usize),
    /// Chunks that are units as they come.
    RestOfChunks(ChunkScan),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Head(HeadScan::default())
    }
}

impl HttpCutter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::default(),
            headed: false,
            holds: false,
        }
    }

    /// Length of the unit that `bytes` begin with, if there is one.
    fn unit(&mut self, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        let Phase::Head(scan) = &mut self.phase else {
            return self.body(bytes);
        };
        match scan.scan(bytes, &self.limits)? {
            Some(head) => self.head(head, bytes),
            None => Ok(None),
        }
    }

    /// The head is whole: is the body there, and is it short?
    fn head(&mut self, head: HeadEnd, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        self.holds = head.upgrades;
        self.phase = match head.length {
            Length::Fixed(length) if length > self.limits.kept() => {
                self.headed = true;
                self.phase = Phase::Rest(length);
                return Ok(Some(head.at));
            }
            Length::Fixed(length) => Phase::Fixed(head.at + length),
            Length::Chunked => Phase::Chunked(head.at, ChunkScan::default()),
        };
        // A body that is wrong must be found wrong behind the head, as it is
        // when it comes later.
        if let whole @ Ok(Some(_)) = self.body(bytes) {
            return whole;
        }
        self.headed = true;
        self.phase = match head.length {
            Length::Fixed(length) => Phase::Fixed(length),
            Length::Chunked => Phase::Chunked(0, ChunkScan::default()),
        };
        Ok(Some(head.at))
    }

    /// The head is known: is the body there?
    fn body(&mut self, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        let kept = ChunkLimits::held(&self.limits);
        let any = ChunkLimits::new(usize::MAX, &self.limits);
        match &mut self.phase {
            Phase::Head(_) => Ok(None),
            Phase::Fixed(total) if bytes.len() < *total => Ok(None),
            Phase::Fixed(total) => {
                let unit = *total;
                Ok(Some(self.end(unit)))
            }
            Phase::Chunked(head, scan) => match scan.scan(&bytes[*head..], kept, |_| ())? {
                Scanned::Part => Ok(None),
                Scanned::End(end) => {
                    let unit = *head + end;
                    Ok(Some(self.end(unit)))
                }
                Scanned::Over => {
                    let unit = *head + scan.consume();
                    self.phase = Phase::RestOfChunks(*scan);
                    self.headed = true;
                    Ok(Some(unit))
                }
            },
            Phase::Rest(left) => {
                let unit = bytes.len().min(*left);
                *left -= unit;
                let is_end = *left == 0;
                Ok(Some(if is_end { self.end(unit) } else { unit }))
            }
            Phase::RestOfChunks(scan) => {
                let scanned = scan.scan(bytes, any, |_| ());
                let unit = scan.consume();
                match scanned {
                    Ok(Scanned::End(_)) => Ok(Some(self.end(unit))),
                    Err(bad) if unit == 0 => Err(bad),
                    // What is wrong is wrong again, behind this unit.
                    Ok(Scanned::Part | Scanned::Over) | Err(_) => {
                        Ok(Some(unit).filter(|unit| *unit > 0))
                    }
                }
            }
        }
    }

    /// What came of the head of a request that is refused; the server has one
    /// that was a unit.
    fn about(&self, bytes: &[u8]) -> Vec<u8> {
        let len = if self.headed { 0 } else { self.limits.head };
        bytes[..bytes.len().min(len)].to_vec()
    }

    /// With `unit` the request ends.
    fn end(&mut self, unit: usize) -> usize {
        self.phase = Phase::default();
        self.headed = false;
        unit
    }
}

impl Cutter for HttpCutter {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        let (mut units, mut messages) = (0, 0);
        let mut refused = None;
        self.holds = false;
        while units < bytes.len() && !self.holds {
            // A request counts once, with the first part of it.
            let begins = !self.headed;
            match self.unit(&bytes[units..]) {
                Ok(None) => break,
                Ok(Some(len)) => {
                    units += len;
                    messages += usize::from(begins);
                }
                Err(bad) => {
                    refused = Some(bad);
                    break;
                }
            }
        }
        let then = match refused {
            Some(bad) => Then::Refuse(Refusal {
                about: self.about(&bytes[units..]),
                ..bad.into()
            }),
            None if self.holds => Then::Hold,
            None if self.headed => Then::ReadOn,
            None => Then::Read,
        };
        Cut {
            units,
            messages,
            then,
            reply: None,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head(_))
    }

    fn reset(&mut self) {
        self.phase = Phase::default();
        self.headed = false;
    }
}
