//! Lends a connection the halves that serve it, for one turn.

use std::sync::Arc;

use crate::dispatch::service::Service;
use crate::protocol::Protocol;
use crate::scoreboard::Counter;
use crate::sys::clock::{coarse_millis, millis};
use crate::sys::sync::{Ordering, lock};
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
        parts.app.take(
            conn.named(),
            conn.peer(),
            conn.origin,
            protocol.is_session(),
        );
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
            note_owed(shared, conn, parts.server.owes());
            *kept = Some(parts);
            return;
        }
        note_owed(shared, conn, 0);
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

/// A turn is over that leaves so many replies owed. Nearly always as many as
/// before: none.
#[inline]
fn note_owed(shared: &Shared, conn: &Connection, replies: usize) {
    let before = conn.clocks.replies.load(Ordering::Relaxed) as usize;
    if before != replies {
        owed_changed(shared, conn, (before, replies));
    }
}

#[cold]
fn owed_changed(shared: &Shared, conn: &Connection, (before, after): (usize, usize)) {
    let now = coarse_millis();
    let word = u32::try_from(after).unwrap_or(u32::MAX);
    conn.clocks.replies.store(word, Ordering::Relaxed);
    shared
        .row
        .add(Counter::RepliesOwed, after.saturating_sub(before) as u64);
    (shared.row).subtract(Counter::RepliesOwed, before.saturating_sub(after) as u64);
    if before > 0 && after > before {
        return;
    }
    conn.clocks.owed.store(now, Ordering::Relaxed);
    if before == 0
        && let Some(limit) = shared.limits.reply_max
    {
        let at = now.saturating_add(millis(limit));
        shared.heartbeat.watch(conn.id.slot(), at);
    }
}
