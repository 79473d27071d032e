//! Lines for the access log, from whoever knows that an answer is out.

use std::cell::Cell;
use std::fmt::Display;

use super::hub::Hub;
use crate::protocol::Receipt;
use crate::protocol::http::Sending;
use crate::sys::clock::{micros, wall_seconds};
use crate::sys::socket::Peer;

/// Records what `write` makes of a peer's name and the time of day. Waits for
/// nothing.
pub(super) fn record(hub: &Hub, peer: Peer, write: impl FnOnce(&dyn Display, u64, &mut Vec<u8>)) {
    thread_local! {
        /// Kept between lines, so that a line needs no memory of its own.
        static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut line = LINE.take();
    line.clear();
    let seconds = wall_seconds();
    match peer {
        Peer::Tcp(address) => write(&address.ip(), seconds, &mut line),
        Peer::Unix => write(&"unix:", seconds, &mut line),
    }
    hub.outlet().record(&line);
    LINE.set(line);
}

/// An answer that is recorded when its content is out.
pub(super) struct Awaited {
    pub(super) hub: Hub,
    pub(super) peer: Peer,
    pub(super) sending: Sending,
}

impl Receipt for Awaited {
    fn settle(self: Box<Self>, unsent: u64) {
        record(&self.hub, self.peer, |peer, seconds, line| {
            self.sending.write(unsent, (micros(), seconds), peer, line);
        });
    }
}
