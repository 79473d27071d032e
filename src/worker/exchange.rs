//! A mailbox by itself, for `benches/micro.rs`: what it costs to hand a chunk
//! over, without threads and sockets. Nothing else uses it.

use bytes::Bytes;

use super::connection::mailbox::{Mailbox, Posted};

/// Bytes that may wait; more than any bench posts.
const HIGH: usize = usize::MAX;

/// The mailbox of a connection that does not exist.
#[derive(Debug)]
pub struct Exchange(Mailbox<Bytes>);

impl Default for Exchange {
    fn default() -> Self {
        Self(Mailbox::new())
    }
}

impl Exchange {
    /// Posts as the reactor does. True: the connection has to be scheduled.
    pub fn post(&self, chunk: Bytes) -> bool {
        let len = chunk.len();
        let posted = self.0.post_units(chunk, len, HIGH);
        matches!(posted, Posted::Waits { schedule: true, .. })
    }

    /// Takes what waits and ends the turn, as a business thread does after the
    /// connection was scheduled. Returns the bytes that it took.
    pub fn take(&self) -> usize {
        let mut items = self.0.begin();
        let mut done = 0;
        while let Some(chunk) = items.pop_front() {
            done += chunk.len();
        }
        let (more, _) = self.0.finish(done, HIGH);
        done + more.map_or(0, |mut items| {
            items.pop_front().map_or(0, |chunk| chunk.len())
        })
    }
}
