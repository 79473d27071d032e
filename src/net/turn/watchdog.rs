//! The master's eye on the worker that holds the turn.

use super::{Owner, Turn, Words};
use crate::sys::sync::Ordering;

/// Takes the turn from a holder whose event loop does not advance.
///
/// The master asks it at a fixed pace, about once a second: a loop that is
/// awake, and is still in the turn it was in the last time, is stuck in a
/// handler or stopped. A loop that sleeps has said so and is not judged.
#[derive(Debug, Default)]
pub struct Watchdog {
    /// The holder and its loop counter, when it was seen awake.
    seen: Option<(Owner, u64)>,
}

impl Watchdog {
    /// Looks once. Returns from whom the turn was taken, if it was.
    pub fn look<W: Words>(&mut self, turn: &Turn<W>) -> Option<Owner> {
        let now = turn.holder().filter(|holder| {
            let asleep = turn.0.asleep(holder.row());
            asleep.load(Ordering::Acquire) == 0
        });
        let now = now.map(|holder| {
            let loops = turn.0.loops(holder.row());
            (holder, loops.load(Ordering::Relaxed))
        });
        let before = std::mem::replace(&mut self.seen, now);
        let (holder, _) = now.filter(|_| before == now)?;
        turn.take_from(holder).then_some(holder)
    }
}
