//! Finds the end of the last whole frame, by lengths alone. The reactor's.

use std::sync::Arc;

use super::layout::Layout;
use crate::protocol::first_bytes::{self, Guess};
use crate::protocol::{Cut, Cutter, Then};

/// Finds frame boundaries.
#[derive(Debug)]
pub(super) struct FrameCutter {
    layout: Arc<Layout>,
    /// The connection's first bytes were looked at and are frames.
    trusted: bool,
}

impl FrameCutter {
    pub(super) const fn new(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            trusted: false,
        }
    }
}

impl Cutter for FrameCutter {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        if !self.trusted {
            match first_bytes::guess(bytes) {
                Guess::Frames => self.trusted = true,
                // A whole frame is a frame, whatever else it might begin like.
                Guess::NotYet => {}
                // A frame that ends within the token would have been cut had
                // the bytes come one by one: framing must not depend on that.
                Guess::Foreign(refusal, token) => match self.layout.measure(bytes) {
                    Ok(Some(total)) if total <= token => self.trusted = true,
                    Ok(_) | Err(_) => {
                        return Cut {
                            units: 0,
                            messages: 0,
                            then: Then::Refuse(refusal),
                        };
                    }
                },
            }
        }
        let (mut units, mut messages) = (0, 0);
        loop {
            match self.layout.measure(&bytes[units..]) {
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
                    };
                }
            }
        }
        self.trusted |= units > 0;
        Cut {
            units,
            messages,
            then: Then::Read,
        }
    }

    fn first(&self, units: &[u8], count: usize) -> usize {
        let mut len = 0;
        for _ in 0..count {
            let Ok(Some(total)) = self.layout.measure(&units[len..]) else {
                break;
            };
            len += total;
        }
        len
    }

    fn heartbeats(&self, mut units: &[u8]) -> usize {
        let mut found = 0;
        while let Ok(Some(frame)) = self.layout.frame(units) {
            found += usize::from(frame.id.is_some() && frame.id == self.layout.heartbeat);
            units = &units[frame.total..];
        }
        found
    }

    fn is_idle(&self) -> bool {
        self.trusted
    }

    fn reset(&mut self) {
        self.trusted = false;
    }

    fn resume(&mut self) {
        self.trusted = true;
    }
}
