//! What goes along with a connection that changes its worker: packed into a
//! record by the one that leaves, unpacked by the one that stays. On the
//! reactors.
//!
//! Invariant: nobody serves the connection meanwhile. There its turn is taken,
//! here it is not found yet.

use super::clocks::MovedClocks;
use super::record::{PART, Record};
use crate::dispatch::handover::{CannotMove, MovedState, State};
use crate::dispatch::service::Service;
use crate::scoreboard::Counter;
use crate::sys::sync::try_lock;
use crate::worker::connection::Connection;
use crate::worker::connection::parts::Parts;
use crate::worker::reactor::inbound::Inbound;

/// Where a connection came in, for a worker that has the same listeners.
pub(super) struct Origin {
    /// The address as it is really bound.
    pub(super) listener: String,
    /// What the connection speaks.
    pub(super) protocol: String,
}

/// Why a connection does not go along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotPacked {
    /// It is tried again.
    Busy,
    /// It never can, counted under this name.
    Never(Counter),
}

impl From<CannotMove> for NotPacked {
    fn from(why: CannotMove) -> Self {
        Self::Never(match why {
            CannotMove::State => Counter::NotHandedState,
            CannotMove::Timer => Counter::NotHandedTimer,
        })
    }
}

/// Whether the stream of `conn` can be cut here: it is read, nothing waits to
/// be sent, and what has begun of a message is a part that goes along.
pub(super) fn is_between_messages(inbound: &Inbound, conn: &Connection) -> bool {
    let is_idle = inbound.reading && conn.unsent() == 0 && !conn.is_busy();
    // With nothing of a message there, what its cutter remembers is lost.
    let unfinished = inbound.unfinished.as_ref();
    let can_be_cut = unfinished.is_none_or(|one| (1..=PART).contains(&one.partial.len()));
    is_idle && can_be_cut
}

/// Everything that goes along with `conn`, whose turn the caller has. From now
/// on what is pushed to it is held back.
///
/// # Errors
///
/// It stays, and nothing of it was changed.
pub(super) fn pack(
    inbound: &Inbound,
    conn: &Connection,
    origin: Origin,
) -> Result<Box<Record>, NotPacked> {
    let locks = try_lock(&conn.turn).zip(try_lock(&conn.outbound));
    let (parts, mut outbound) = locks.ok_or(NotPacked::Busy)?;
    if !outbound.is_empty() || outbound.armed || outbound.flush_then_close {
        return Err(NotPacked::Busy);
    }
    let (rest, luggage) = match &*parts {
        Some(parts) => (
            parts.server.snapshot().ok_or(NotPacked::Busy)?,
            parts.app.pack()?,
        ),
        None => (0, MovedState::default()),
    };
    if matches!(&luggage.state, State::Bytes { bytes, .. } if bytes.len() > PART) {
        return Err(NotPacked::Never(Counter::NotHandedSize));
    }
    outbound.held = true;
    Ok(Box::new(Record {
        listener: origin.listener,
        protocol: origin.protocol,
        peer: conn.peer,
        clocks: MovedClocks::snapshot(conn, inbound.meter),
        rest,
        luggage,
        partial: inbound.partial().to_vec(),
    }))
}

/// Gives the connection what its turns have to remember. False: that cannot be
/// read.
pub(super) fn unpack(service: &dyn Service, conn: &mut Connection, record: &Record) -> bool {
    let (luggage, is_session) = (&record.luggage, conn.protocol().is_session());
    let is_member = luggage.user.is_some() || !luggage.rooms.is_empty();
    let remembers = is_member || record.rest != 0 || !luggage.timers.is_empty();
    if luggage.state == State::Empty && !remembers {
        // What has begun elsewhere cannot begin anew.
        return !is_session || !record.clocks.has_begun() || service.is_stateless();
    }
    let mut parts = Box::new(Parts {
        server: conn.protocol().server(),
        app: service.dispatcher(),
    });
    parts.server.restore(record.rest);
    let (id, peer, unknown_id) = (conn.id, conn.peer, conn.unknown_id);
    let state = &luggage.state;
    let unpacked = (parts.app).unpack(id, peer, unknown_id, is_session, state);
    *own_parts(conn) = unpacked.then_some(parts);
    unpacked
}

/// The parts of a connection that nobody finds.
pub(super) fn own_parts(conn: &mut Connection) -> &mut Option<Box<Parts>> {
    conn.turn.get_mut().expect("nobody else ever held it")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sys::sync::{Ordering, lock};

    fn origin() -> Origin {
        Origin {
            listener: "127.0.0.1:7000".into(),
            protocol: "frames".into(),
        }
    }

    #[test]
    fn a_connection_goes_between_two_messages_with_nothing_unsent() {
        let (mut inbound, conn) = (Inbound::default(), Arc::new(Connection::vacant()));
        assert!(!is_between_messages(&inbound, &conn), "it is not read");
        inbound.place(Arc::clone(&conn));
        assert!(is_between_messages(&inbound, &conn));
        conn.queued.store(1, Ordering::SeqCst);
        assert!(!is_between_messages(&inbound, &conn), "a byte is unsent");
        conn.queued.store(0, Ordering::SeqCst);
        conn.clocks.delayed.store(true, Ordering::Relaxed);
        assert!(!is_between_messages(&inbound, &conn), "it is delayed");
    }

    #[test]
    fn what_is_packed_holds_its_pushes_back_and_what_stays_does_not() {
        let (inbound, conn) = (Inbound::default(), Connection::vacant());
        lock(&conn.outbound).armed = true;
        let stays = pack(&inbound, &conn, origin()).err();
        assert_eq!(stays, Some(NotPacked::Busy));
        assert!(!lock(&conn.outbound).held);
        lock(&conn.outbound).armed = false;
        let record = pack(&inbound, &conn, origin()).expect("it goes");
        assert_eq!((record.rest, &record.luggage), (0, &MovedState::default()));
        assert!(lock(&conn.outbound).held);
    }
}
