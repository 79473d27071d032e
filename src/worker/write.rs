//! Writing to a peer: at once when nothing waits, through the sender otherwise.
//!
//! All functions here are called with the connection's outbound queue locked
//! by the caller, who holds the turn or is the sender.

use std::io;
use std::sync::Arc;

use super::connection::Connection;
use super::heartbeat::millis;
use super::mailbox::After;
use super::outbound::Outbound;
use super::shared::Shared;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::clock::coarse_millis;
use crate::sys::epoll::Interest;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket;
use crate::sys::sync::Ordering;

/// A rest longer than this keeps its buffer instead of being copied.
const WORTH_KEEPING: usize = 32 * 1024;

/// Writes the replies of a turn, or queues what the kernel does not take.
/// Replies are always taken whole. `bytes` is empty afterwards.
pub(crate) fn reply(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    bytes: &mut Vec<u8>,
) {
    if bytes.is_empty() || conn.is_dead() {
        bytes.clear();
        return;
    }
    let mut sent = 0;
    if outbound.is_empty() {
        shared.row.count(Counter::Writes);
        match socket::send(conn.socket(), bytes) {
            Ok(taken) => sent = taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                bytes.clear();
                return broken(shared, conn);
            }
        }
        kill_point(Spot::Replied);
        shared.row.add(Counter::BytesOut, sent as u64);
    }
    if sent < bytes.len() {
        shared.queued(conn, bytes.len() - sent);
        if bytes.len() - sent > WORTH_KEEPING {
            outbound.append_shared(bytes::Bytes::from(std::mem::take(bytes)).slice(sent..));
        } else {
            outbound.append(&bytes[sent..]);
        }
        arm(shared, conn, outbound);
    }
    bytes.clear();
}

/// Writes what waits, as far as the kernel takes it and `limit` bytes at most;
/// tells how many bytes went out.
pub(crate) fn flush(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    limit: usize,
) -> usize {
    let mut sent = 0;
    while !conn.is_dead() && !outbound.is_empty() && sent < limit {
        shared.row.count(Counter::Writes);
        match outbound.write(conn.socket()) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => {
                broken(shared, conn);
                break;
            }
        }
    }
    if sent > 0 {
        if outbound.armed && !outbound.is_empty() {
            let held = socket::unacknowledged(conn.socket()) as u64;
            conn.pulse.progressed(coarse_millis(), held);
        }
        shared.row.add(Counter::BytesOut, sent as u64);
        shared.unqueued(conn, sent);
    }
    sent
}

/// Has the sender told when there is room, exactly while bytes wait.
pub(crate) fn arm(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    let token = conn.id.word();
    let result = match (outbound.is_empty() || conn.is_dead(), outbound.armed) {
        (true, false) => return,
        (true, true) => {
            outbound.armed = false;
            conn.pulse.progressed(0, 0);
            shared.row.count(Counter::WriteDisarmed);
            shared.room.delete(conn.socket())
        }
        (false, false) => {
            outbound.armed = true;
            watch_stall(shared, conn);
            shared.row.count(Counter::WriteArmed);
            shared.room.add(conn.socket(), Interest::WriteOnce, token)
        }
        (false, true) => return,
    };
    if result.is_err() {
        broken(shared, conn);
    }
}

/// The kernel has begun to refuse bytes: sees to it that this ends.
fn watch_stall(shared: &Shared, conn: &Connection) {
    let now = coarse_millis();
    let held = socket::unacknowledged(conn.socket()) as u64;
    conn.pulse.progressed(now, held);
    if let Some(limit) = shared.limits.send_stall {
        let at = now.saturating_add(millis(limit));
        shared.heartbeat.watch(conn.id.slot(), at);
    }
}

/// The network failed under this connection.
fn broken(shared: &Shared, conn: &Connection) {
    shared.decide(conn.id, CloseMode::Abort, Some(Counter::Broken));
}

/// Lets a turn go on that waits for room, if there is room.
pub(crate) fn look_for_room(shared: &Shared, conn: &Arc<Connection>) -> After {
    if conn.unsent() <= shared.limits.outbound_high / 2 {
        if conn.mailbox.awaits_room() {
            conn.pulse.thawed.store(coarse_millis(), Ordering::Relaxed);
        }
        conn.mailbox.room_made(shared.limits.mailbox_high)
    } else {
        After::default()
    }
}
