//! What goes along with a connection that changes its worker: packed into a
//! record by the one that leaves, unpacked by the one that stays. On the
//! reactors.
//!
//! Invariant: nobody serves the connection meanwhile. There its turn is taken,
//! here it is not found yet.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::clocks::MovedClocks;
use super::output::Output;
use super::record::{PART, Record};
use crate::dispatch::handover::{CannotMove, State};
use crate::dispatch::service::Service;
use crate::scoreboard::Counter;
use crate::sys::sync::{Ordering, try_lock};
use crate::worker::connection::mailbox::Resting;
use crate::worker::connection::outbound::{Outbound, Unsent};
use crate::worker::connection::parts::Parts;
use crate::worker::connection::{Connection, Item};
use crate::worker::reactor::inbound::Inbound;
use crate::worker::shared::Shared;
use crate::worker::turn::write;

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

/// Whether `conn` is between two messages, of which it may have sent more: it is
/// read, or was read to its end or for as long as there is room to write into.
pub(super) fn is_between_messages(inbound: &Inbound, conn: &Connection) -> bool {
    let is_at_end = inbound.listening && conn.peer_done.load(Ordering::SeqCst);
    let is_paused = inbound.paused && !inbound.held && !inbound.over;
    let is_owed = conn.clocks.replies.load(Ordering::Relaxed) > 0;
    let is_delayed = conn.clocks.delayed.load(Ordering::Relaxed);
    (inbound.reading || is_at_end || is_paused) && !is_owed && !is_delayed
}

/// Whether what waits in the mailbox goes along: messages, which the other worker
/// cuts again, and that the peer has sent its last byte, which its socket says.
pub(super) fn goes_along(item: &Item) -> bool {
    matches!(item, Item::Units(_) | Item::Eof)
}

/// What came and was not served, from the start of a message on; `None`: more than
/// goes along, or a message of which only its cutter knows.
fn unserved(inbound: &Inbound, conn: &Connection) -> Option<Vec<u8>> {
    let mut whole: Vec<Bytes> = conn.mailbox.waiting(|items| {
        let units = |item: &Item| {
            if let Item::Units(units) = item {
                Some(units.clone())
            } else {
                None
            }
        };
        items.iter().filter_map(units).collect()
    });
    let partial = inbound.partial();
    if whole.is_empty() && inbound.unfinished.is_some() && partial.is_empty() {
        return None;
    }
    whole.push(Bytes::copy_from_slice(partial));
    let len: usize = whole.iter().map(Bytes::len).sum();
    (len <= PART).then(|| whole.concat())
}

/// Files that go along with a connection.
pub(super) type Files = Vec<Arc<File>>;

/// A connection that can go.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) record: Box<Record>,
    /// What goes along beside the record.
    pub(super) files: Files,
    /// What is unsent, should it stay after all.
    pub(super) unsent: Option<Unsent>,
}

/// Everything that goes along with `conn`, whose turn the caller has and which
/// was `resting`. From now on what is pushed to it is held back.
///
/// # Errors
///
/// It stays, and nothing of it was changed.
pub(super) fn pack(
    shared: &Shared,
    inbound: &Inbound,
    conn: &Connection,
    origin: Origin,
    resting: Resting,
) -> Result<Packed, NotPacked> {
    let locks = try_lock(&conn.turn).zip(try_lock(&conn.outbound));
    let (parts, mut outbound) = locks.ok_or(NotPacked::Busy)?;
    let closes = resting == Resting::Closing;
    if outbound.failed || outbound.flush_then_close != closes {
        return Err(NotPacked::Busy);
    }
    let (rest, kept, luggage) = match &*parts {
        // A request stands alone, and none comes any more.
        Some(_) if closes && !conn.protocol().is_session() => Default::default(),
        Some(parts) => (
            parts.server.snapshot().ok_or(NotPacked::Busy)?,
            parts.server.kept(outbound.sent()),
            parts.app.pack()?,
        ),
        None => Default::default(),
    };
    if matches!(&luggage.state, State::Bytes { bytes, .. } if bytes.len() > PART) {
        return Err(NotPacked::Never(Counter::NotHandedSize));
    }
    let partial = unserved(inbound, conn).ok_or(NotPacked::Busy)?;
    write::take_pushes(shared, conn, &mut outbound);
    let (output, files, unsent) = take_unsent(conn, &mut outbound, closes)?;
    outbound.held = true;
    write::disarm(shared, conn, &mut outbound);
    let record = Box::new(Record {
        listener: origin.listener,
        protocol: origin.protocol,
        peer: conn.peer(),
        clocks: MovedClocks::snapshot(conn, inbound.meter),
        rest,
        kept,
        luggage,
        partial,
        output: (!output.is_empty()).then_some(output),
        name: Some(conn.named().name),
        is_followed: shared.bus.is_some(),
    });
    Ok(Packed {
        record,
        files,
        unsent,
    })
}

/// Takes what is unsent out, as far as all of it can go.
fn take_unsent(
    conn: &Connection,
    outbound: &mut Outbound,
    closes: bool,
) -> Result<(Output, Files, Option<Unsent>), NotPacked> {
    let unsent = outbound.set_aside();
    match Output::pack(conn, unsent.as_ref(), closes) {
        Some((output, files)) => Ok((output, files, unsent)),
        None => {
            if let Some(unsent) = unsent {
                outbound.put_back(unsent);
            }
            Err(NotPacked::Busy)
        }
    }
}

/// Gives the connection what its turns have to remember. False: that cannot be
/// read.
pub(super) fn unpack(service: &dyn Service, conn: &mut Connection, record: &Record) -> bool {
    let (luggage, is_session) = (&record.luggage, conn.protocol().is_session());
    let is_member = luggage.user.is_some() || !luggage.rooms.is_empty();
    let is_kept = record.rest != 0 || !record.kept.is_empty();
    let remembers = is_member || is_kept || !luggage.timers.is_empty();
    if luggage.state == State::Empty && !remembers {
        // What has begun elsewhere cannot begin anew.
        return !is_session || !record.clocks.has_begun() || service.is_stateless();
    }
    let mut parts = Box::new(Parts {
        server: conn.protocol().server(),
        app: service.dispatcher(),
    });
    parts.server.restore(record.rest);
    let (id, peer, origin) = (conn.named(), conn.peer(), conn.origin);
    let state = &luggage.state;
    let unpacked = parts.server.restore_kept(&record.kept)
        && (parts.app).unpack(id, peer, origin, is_session, state);
    *own_parts(conn) = unpacked.then_some(parts);
    unpacked
}

/// The parts of a connection that nobody finds.
pub(super) fn own_parts(conn: &mut Connection) -> &mut Option<Box<Parts>> {
    conn.turn.get_mut().expect("nobody else ever held it")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::dispatch::handover::MovedState;
    use crate::protocol::Protocol;
    use crate::protocol::frame::{Frames, Layout};
    use crate::scoreboard::Row;
    use crate::sys::sync::lock;
    use crate::worker::limits::Limits;
    use crate::worker::reactor::cutters::Cutters;

    fn origin() -> Origin {
        Origin {
            listener: "127.0.0.1:7000".into(),
            protocol: "frames".into(),
        }
    }

    fn shared() -> Shared {
        let limits = Limits::from(&Config::default());
        let row = Row::alone().expect("memory");
        Shared::new(row, 0, 1, None, limits).expect("descriptors")
    }

    #[test]
    fn a_connection_goes_while_it_is_read_and_nothing_is_owed() {
        let (mut inbound, conn) = (Inbound::default(), Arc::new(Connection::vacant()));
        assert!(!is_between_messages(&inbound, &conn), "it is not read");
        inbound.place(Arc::clone(&conn));
        assert!(is_between_messages(&inbound, &conn));
        conn.queued.store(1, Ordering::SeqCst);
        assert!(
            is_between_messages(&inbound, &conn),
            "what is unsent goes along"
        );
        conn.clocks.delayed.store(true, Ordering::Relaxed);
        assert!(!is_between_messages(&inbound, &conn), "it is delayed");
        conn.clocks.delayed.store(false, Ordering::Relaxed);
        conn.clocks.replies.store(1, Ordering::Relaxed);
        assert!(!is_between_messages(&inbound, &conn), "a reply is owed");
        conn.clocks.replies.store(0, Ordering::Relaxed);
        (inbound.reading, inbound.paused) = (false, true);
        assert!(is_between_messages(&inbound, &conn), "it waits for room");
        inbound.held = true;
        assert!(!is_between_messages(&inbound, &conn), "it may become other");
        (inbound.paused, inbound.held, inbound.listening) = (false, false, true);
        assert!(!is_between_messages(&inbound, &conn), "it is refused");
        conn.peer_done.store(true, Ordering::SeqCst);
        assert!(is_between_messages(&inbound, &conn), "its peer is done");
    }

    #[test]
    fn what_was_not_served_goes_from_the_start_of_its_first_message() {
        let (mut inbound, conn) = (Inbound::default(), Connection::vacant());
        let post = |units: &[u8]| {
            let units = Bytes::copy_from_slice(units);
            let _waits = conn.mailbox.post_units(Item::Units(units), 1, PART);
        };
        assert_eq!(unserved(&inbound, &conn), Some(Vec::new()));
        let frames: Arc<dyn Protocol> = Arc::new(Frames::new(Layout::preset("comm").unwrap()));
        inbound.unfinished = Some(Cutters::default().acquire(&frames, true));
        assert_eq!(unserved(&inbound, &conn), None, "its cutter alone knows");
        post(b"one");
        assert_eq!(unserved(&inbound, &conn), Some(b"one".to_vec()));
        post(b"two");
        inbound.unfinished.as_mut().unwrap().partial = b"thr".to_vec();
        assert_eq!(unserved(&inbound, &conn), Some(b"onetwothr".to_vec()));
        post(&[b'x'; PART - 8]);
        assert_eq!(unserved(&inbound, &conn), None, "it is too much");
    }

    #[test]
    fn what_is_packed_holds_its_pushes_back_and_what_stays_does_not() {
        let (shared, inbound, conn) = (shared(), Inbound::default(), Connection::vacant());
        let pack = |resting| pack(&shared, &inbound, &conn, origin(), resting);
        lock(&conn.outbound).append(&vec![0; PART + 1]);
        for resting in [Resting::Idle, Resting::Closing] {
            let stays = pack(resting).err();
            assert_eq!(
                stays,
                Some(NotPacked::Busy),
                "too much, or it does not close"
            );
            let outbound = lock(&conn.outbound);
            assert_eq!((outbound.held, outbound.left()), (false, PART as u64 + 1));
        }
        lock(&conn.outbound).clear();
        lock(&conn.outbound).append(b"rest");
        let Packed { record, unsent, .. } = pack(Resting::Idle).expect("it goes");
        assert_eq!((record.rest, &record.luggage), (0, &MovedState::default()));
        let output = record.output.as_ref().expect("something is unsent");
        assert_eq!((output.closes, output.files()), (false, 0));
        assert_eq!(unsent.map(|unsent| unsent.bytes()), Some(4));
        assert!(lock(&conn.outbound).held && lock(&conn.outbound).is_empty());
    }
}
