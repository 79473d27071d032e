//! What tells a loop that is stuck from one that sleeps, for the master's eye.

use super::{AcceptMutex, Owner, Words};
use crate::sys::sync::Ordering;

impl<W: Words> AcceptMutex<W> {
    /// The turn of its event loop in which `worker` is awake; `None` while the
    /// loop sleeps: it has said so, and is not judged.
    ///
    /// A loop that is awake and still in the turn in which it was some time ago
    /// is stuck in a handler, or was stopped.
    #[must_use]
    pub fn awake_in(&self, worker: Owner) -> Option<u64> {
        let asleep = self.0.asleep(worker.row()).load(Ordering::Acquire);
        let loops = || self.0.loops(worker.row()).load(Ordering::Relaxed);
        (asleep == 0).then(loops)
    }
}
