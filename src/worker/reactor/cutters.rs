//! Cutters between two messages: the reactor's, lent to whoever is read.
//!
//! A connection between two messages has nothing for a cutter to remember, so
//! it has none. Whoever is read takes the one that lies on top, still warm, and
//! keeps it only while a message is unfinished.

use std::sync::Arc;

use crate::protocol::{Cutter, Protocol};
use crate::worker::connection::free_lists::FreeLists;

/// Cutters that wait for somebody to be read.
const SPARE: usize = 64;

/// Room for the start of a message that a waiting cutter may keep.
const ROOM: usize = 4096;

/// A message that has begun.
pub(super) struct Unfinished {
    pub(super) cutter: Box<dyn Cutter>,
    /// Its bytes; none while the cutter alone has something to remember.
    pub(super) partial: Vec<u8>,
}

/// Those that wait, by protocol.
#[derive(Default)]
pub(super) struct Cutters(FreeLists<Box<Unfinished>, SPARE>);

impl Cutters {
    /// A cutter for a stream of `protocol` that stands between two messages,
    /// or, unless it has `begun`, before the first.
    pub(super) fn acquire(&mut self, protocol: &Arc<dyn Protocol>, begun: bool) -> Box<Unfinished> {
        let mut lent = self.0.of(protocol).and_then(Vec::pop).unwrap_or_else(|| {
            Box::new(Unfinished {
                cutter: protocol.cutter(),
                partial: Vec::new(),
            })
        });
        if begun {
            lent.cutter.resume();
        } else {
            lent.cutter.reset();
        }
        lent
    }

    /// Takes back what a stream of `protocol` needs no more: that there is
    /// nothing to remember is the caller's to know.
    pub(super) fn release(&mut self, protocol: &Arc<dyn Protocol>, mut back: Box<Unfinished>) {
        if let Some(list) = self.0.of(protocol)
            && list.len() < SPARE
        {
            back.partial.clear();
            back.partial.shrink_to(ROOM);
            list.push(back);
        }
    }
}
