//! Finds the end of the last whole frame, by lengths alone. The reactor's.

use std::sync::Arc;

use super::format::Format;
use crate::protocol::first_bytes::{self, Guess};
use crate::protocol::{Cut, Cutter, Then};

/// Finds frame boundaries.
#[derive(Debug)]
pub(in crate::protocol) struct FrameCutter<F: Format> {
    format: Arc<F>,
    /// The connection's first bytes were looked at and are frames.
    trusted: bool,
    /// What is known of the frame that is not whole.
    looked: F::Looked,
}

impl<F: Format> FrameCutter<F> {
    pub(in crate::protocol) fn new(format: Arc<F>) -> Self {
        Self {
            trusted: !format.refuses_foreign(),
            format,
            looked: F::Looked::default(),
        }
    }

    /// Length of the first of these whole frames.
    fn whole(&self, units: &[u8]) -> Option<usize> {
        let mut looked = F::Looked::default();
        self.format.measure(units, &mut looked).ok().flatten()
    }
}

impl<F: Format> Cutter for FrameCutter<F> {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        if !self.trusted {
            match first_bytes::guess(bytes) {
                Guess::Frames => self.trusted = true,
                // A whole frame is a frame, whatever else it might begin like.
                Guess::NotYet => {}
                // A frame that ends within the token would have been cut had
                // the bytes come one by one: framing must not depend on that.
                Guess::Foreign(refusal, token) => match self.whole(bytes) {
                    Some(total) if total <= token => self.trusted = true,
                    Some(_) | None => {
                        return Cut {
                            units: 0,
                            messages: 0,
                            then: Then::Refuse(refusal),
                            reply: None,
                        };
                    }
                },
            }
        }
        let (mut units, mut messages) = (0, 0);
        loop {
            match self.format.measure(&bytes[units..], &mut self.looked) {
                Ok(Some(total)) => {
                    units += total;
                    messages += 1;
                }
                Ok(None) => break,
                // Foreign first bytes may look like a bad length: the next
                // bytes will tell what to call it.
                Err(_) if !self.trusted && units == 0 => break,
                Err(refusal) => {
                    return Cut {
                        units,
                        messages,
                        then: Then::Refuse(refusal),
                        reply: None,
                    };
                }
            }
        }
        self.trusted |= units > 0;
        Cut {
            units,
            messages,
            then: Then::Read,
            reply: None,
        }
    }

    fn first(&self, units: &[u8], count: usize) -> usize {
        let mut len = 0;
        for _ in 0..count {
            let Some(total) = self.whole(&units[len..]) else {
                break;
            };
            len += total;
        }
        len
    }

    fn heartbeats(&self, mut units: &[u8]) -> usize {
        let heartbeat = self.format.heartbeat();
        let mut found = 0;
        while let Ok(Some(frame)) = self.format.frame(units) {
            let id = F::id(&frame);
            found += usize::from(id.is_some() && id == heartbeat);
            units = &units[F::total(&frame)..];
        }
        found
    }

    fn is_idle(&self) -> bool {
        self.trusted && F::is_at_start(self.looked)
    }

    fn reset(&mut self) {
        self.trusted = !self.format.refuses_foreign();
        self.looked = F::Looked::default();
    }

    fn resume(&mut self) {
        self.trusted = true;
        self.looked = F::Looked::default();
    }
}
