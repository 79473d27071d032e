//! Lends a connection the halves that serve it, for one turn.

use std::sync::Arc;

use crate::dispatch::service::Service;
use crate::protocol::Protocol;
use crate::sys::sync::lock;
use crate::worker::connection::Connection;
use crate::worker::connection::free_lists::FreeLists;
use crate::worker::connection::parts::{COMMON, Parts};
use crate::worker::shared::Shared;

/// Parts that a thread keeps for itself before the worker gets half of them.
const OWN: usize = 32;

/// What lends parts to connections; each thread that runs turns has its own.
#[derive(Debug, Default)]
pub(crate) struct Lender(FreeLists<Box<Parts>, { OWN + 1 }>);

impl Lender {
    /// Parts for the turn of `conn`, which has none of its own.
    pub(crate) fn acquire(
        &mut self,
        shared: &Shared,
        service: &dyn Service,
        conn: &Connection,
    ) -> Box<Parts> {
        let protocol = conn.protocol();
        let mut parts = self.find(shared, protocol).unwrap_or_else(|| {
            Box::new(Parts {
                server: protocol.server(),
                app: service.dispatcher(),
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
    pub(crate) fn release(
        &mut self,
        shared: &Shared,
        conn: &Connection,
        parts: Box<Parts>,
        kept: &mut Option<Box<Parts>>,
    ) {
        if !parts.is_idle() {
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
