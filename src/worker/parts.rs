//! The halves of a protocol and of the program that serve a connection, lent to
//! it for a turn.
//!
//! Most connections are idle, and most idle ones have nothing that their parts
//! would have to remember: no reply is owed, the state has no bytes, no room was
//! joined. Such parts go back behind the turn to the thread that ran it, where
//! the next turn of any connection finds them warm; an idle connection holds
//! none. A connection with something to remember keeps its own.
//!
//! ```text
//!   turn begins: the connection's own, else the thread's shelf, else the worker's
//!   turn ends:   remembers something --> the connection
//!                rests ---------------> the thread's shelf --> the worker's
//! ```
//!
//! Invariant: parts on a shelf remember nothing of anybody.

use std::sync::Arc;

use super::connection::Connection;
use super::shared::Shared;
use super::shelves::Shelves;
use crate::dispatch::outlet::{Seat, Service};
use crate::protocol::{Protocol, Server};
use crate::sys::sync::lock;

/// Parts that a thread keeps for itself before the worker gets half of them.
const OWN: usize = 32;

/// Parts of one kind that the worker keeps for its threads.
const COMMON: usize = 1024;

/// Serves one connection at a time.
pub(crate) struct Parts {
    pub(crate) server: Box<dyn Server>,
    pub(crate) app: Box<dyn Seat>,
}

impl Parts {
    fn rest(&self) -> bool {
        self.server.rests() && self.app.rests()
    }
}

/// What lends parts to connections; each thread that runs turns has its own.
#[derive(Debug, Default)]
pub(crate) struct Lender(Shelves<Box<Parts>, { OWN + 1 }>);

/// Parts that wait for any thread of the worker.
pub(crate) type Common = Shelves<Box<Parts>, COMMON>;

impl Lender {
    /// Parts for the turn of `conn`, which has none of its own.
    pub(crate) fn lend(
        &mut self,
        shared: &Shared,
        service: &dyn Service,
        conn: &Connection,
    ) -> Box<Parts> {
        let protocol = conn.protocol();
        let mut parts = self.find(shared, protocol).unwrap_or_else(|| {
            Box::new(Parts {
                server: protocol.server(),
                app: service.seat(),
            })
        });
        parts
            .app
            .take(conn.id, conn.peer, conn.unknown_id, protocol.is_session());
        parts
    }

    fn find(&mut self, shared: &Shared, protocol: &Arc<dyn Protocol>) -> Option<Box<Parts>> {
        let own = self.0.of(protocol)?;
        if own.is_empty() {
            let mut common = lock(&shared.parts);
            let common = common.of(protocol)?;
            let left = common.len().saturating_sub(OWN / 2);
            own.extend(common.drain(left..));
        }
        own.pop()
    }

    /// The turn of `conn` is over: gives what it has to remember to the
    /// connection, whose place for it is `kept`.
    pub(crate) fn take_back(
        &mut self,
        shared: &Shared,
        conn: &Connection,
        parts: Box<Parts>,
        kept: &mut Option<Box<Parts>>,
    ) {
        if !parts.rest() {
            *kept = Some(parts);
            return;
        }
        let protocol = conn.protocol();
        let Some(own) = self.0.of(protocol) else {
            return;
        };
        own.push(parts);
        if own.len() > OWN {
            let mut common = lock(&shared.parts);
            if let Some(common) = common.of(protocol) {
                let room = COMMON.saturating_sub(common.len()).min(OWN / 2);
                common.extend(own.drain(own.len() - room..));
            }
            own.truncate(OWN);
        }
    }
}
