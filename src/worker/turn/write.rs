//! Writing to a peer: at once when nothing waits, through the sender otherwise.
//!
//! All functions here are called with the connection's outbound queue locked
//! by the caller, who holds the turn or is the sender.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::{Beside, CloseMode, FilePart, Splice};
use crate::scoreboard::Counter;
use crate::sys::clock::{coarse_millis, millis};
use crate::sys::epoll::Interest;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket::{self, More};
use crate::sys::sync::{Ordering, try_lock};
use crate::worker::connection::Connection;
use crate::worker::connection::items::Items;
use crate::worker::connection::mailbox::FollowUp;
use crate::worker::connection::outbound::{FILE_ROUND, Outbound, Sent, send_part};
use crate::worker::shared::Shared;

/// A rest longer than this keeps its buffer instead of being copied.
const WORTH_KEEPING: usize = 32 * 1024;

/// Files up to this length are read into the reply: one system call writes it
/// with others, where `sendfile` would take one for each.
const SMALL: u64 = 16 * 1024;

/// Writes the replies of a turn, or queues what the kernel does not take.
/// Replies are always taken whole. `bytes` is empty afterwards. False: they are
/// lost, because the connection is over.
pub(crate) fn reply(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    bytes: &mut Vec<u8>,
) -> bool {
    kill_point(Spot::Served);
    if bytes.is_empty() || conn.is_dead() || outbound.failed {
        let nothing = bytes.is_empty();
        bytes.clear();
        return nothing;
    }
    let mut sent = 0;
    // Only pushes of the inbox wait in front: out with all of it in one write.
    let behind_pushes = !outbound.is_empty() && !outbound.armed && !outbound.held;
    if outbound.is_empty() {
        shared.row.count(Counter::Writes);
        match socket::send(conn.socket(), bytes) {
            Ok(taken) => sent = taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                bytes.clear();
                broken(shared, conn, outbound);
                return false;
            }
        }
        kill_point(Spot::Replied);
        went_out(shared, outbound, sent);
    }
    if sent < bytes.len() {
        shared.queued(conn, bytes.len() - sent);
        if bytes.len() - sent > WORTH_KEEPING {
            outbound.append_shared(Bytes::from(std::mem::take(bytes)).slice(sent..));
        } else {
            outbound.append(&bytes[sent..]);
        }
        if behind_pushes {
            flush(shared, conn, outbound, usize::MAX);
        }
        arm(shared, conn, outbound);
    }
    bytes.clear();
    true
}

/// Writes what is the last that is written, if nobody writes and nothing waits; on
/// the reactor. False: it is not.
pub(crate) fn last_words(shared: &Shared, conn: &Connection, words: &[u8]) -> bool {
    let Some(mut outbound) = try_lock(&conn.outbound) else {
        return false;
    };
    let is_at_rest = outbound.is_at_rest() && conn.unsent() == 0 && !conn.mailbox.is_busy();
    if !is_at_rest || outbound.failed || outbound.held {
        return false;
    }
    shared.row.count(Counter::Writes);
    let sent = socket::send(conn.socket(), words).unwrap_or(0);
    went_out(shared, &mut outbound, sent);
    outbound.failed = sent > 0;
    outbound.overloaded = sent == words.len();
    outbound.overloaded
}

/// Moves the pushes that wait in the inbox behind what waits already. Whoever
/// writes to the connection does so first.
#[inline]
pub(crate) fn take_pushes(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    if conn.unsent() > 0 {
        append_pushes(shared, conn, outbound, conn.inbox.take());
    }
}

/// As [`take_pushes`], for the last time: none is taken in any more.
pub(crate) fn append_last_pushes(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    append_pushes(shared, conn, outbound, conn.inbox.close());
}

/// As [`append_last_pushes`], and writes them: none goes out behind them.
pub(crate) fn take_last_pushes(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    append_last_pushes(shared, conn, outbound);
    if !outbound.armed && !outbound.held {
        flush(shared, conn, outbound, usize::MAX);
        arm(shared, conn, outbound);
    }
}

fn append_pushes(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    pushes: Option<Box<Items<Bytes>>>,
) {
    let Some(mut pushes) = pushes else { return };
    while let Some(push) = pushes.pop_front() {
        if conn.is_dead() || outbound.flush_then_close {
            shared.unqueued(conn, push.len());
            shared.row.count(Counter::Stale);
        } else {
            outbound.append_shared(push);
        }
    }
}

/// As [`reply`], with what goes beside the bytes.
pub(crate) fn reply_beside(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    bytes: &mut Vec<u8>,
    beside: Beside,
) {
    let Beside {
        files, receipts, ..
    } = beside;
    let of_files: u64 = files.iter().map(|splice| splice.part.len()).sum();
    let all = bytes.len() as u64 + of_files;
    let taken = if conn.is_dead() || read_small(bytes, &files) {
        reply(shared, conn, outbound, bytes)
    } else {
        with_files(shared, conn, outbound, bytes, files);
        true
    };
    for (at, receipt) in receipts {
        let at = at as u64;
        if taken {
            outbound.append_receipt(all.saturating_sub(at), receipt);
        } else {
            receipt.complete(outbound.left() + at);
        }
    }
}

/// Nothing more is written: what a turn wanted to say is lost.
pub(crate) fn abandon(outbound: &Outbound, bytes: &mut Vec<u8>, beside: Option<Box<Beside>>) {
    bytes.clear();
    for (at, receipt) in beside.map(|beside| beside.receipts).unwrap_or_default() {
        receipt.complete(outbound.left() + at as u64);
    }
}

/// As [`reply`], with parts of files in it: their first round goes out here,
/// the sender does the rest.
fn with_files(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    bytes: &mut Vec<u8>,
    files: Vec<Splice>,
) {
    let mut from = 0;
    for Splice { at, part } in files {
        put_bytes(shared, conn, outbound, &bytes[from..at], More::Follows);
        put_file(shared, conn, outbound, part);
        from = at;
    }
    put_bytes(shared, conn, outbound, &bytes[from..], More::None);
    arm(shared, conn, outbound);
    bytes.clear();
}

/// Reads files into the reply if all are small; if not, or if one cannot be
/// read, changes nothing.
fn read_small(bytes: &mut Vec<u8>, files: &[Splice]) -> bool {
    if files.iter().any(|splice| splice.part.len() > SMALL) {
        return false;
    }
    let mut whole = Vec::new();
    let mut from = 0;
    for Splice { at, part } in files {
        whole.extend_from_slice(&bytes[from..*at]);
        from = *at;
        let begin = whole.len();
        let len = usize::try_from(part.len()).expect("a small file is short");
        whole.resize(begin + len, 0);
        let read = part
            .file
            .read_exact_at(&mut whole[begin..], part.range.start);
        if read.is_err() {
            return false;
        }
    }
    whole.extend_from_slice(&bytes[from..]);
    *bytes = whole;
    true
}

fn put_bytes(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    bytes: &[u8],
    more: More,
) {
    let mut sent = 0;
    if outbound.is_empty() && !bytes.is_empty() && !outbound.failed {
        shared.row.count(Counter::Writes);
        match socket::send_flagged(conn.socket(), bytes, more) {
            Ok(taken) => sent = taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => failed(shared, conn, outbound, &error),
        }
        went_out(shared, outbound, sent);
    }
    if sent < bytes.len() {
        shared.queued(conn, bytes.len() - sent);
        outbound.append(&bytes[sent..]);
    }
}

/// Sends one round of a file if nothing waits before it, and queues the rest:
/// after an error too, so that nothing goes out behind half a file.
fn put_file(shared: &Shared, conn: &Connection, outbound: &mut Outbound, mut part: FilePart) {
    if outbound.is_empty() && !outbound.failed {
        shared.row.count(Counter::Writes);
        match send_part(conn.socket(), &mut part) {
            Ok(sent) => went_out(shared, outbound, sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => failed(shared, conn, outbound, &error),
        }
    }
    if !part.is_empty() {
        outbound.append_file(part);
        conn.in_file.store(true, Ordering::SeqCst);
    }
}

/// Writes what waits, as far as the kernel takes it, and `limit` bytes or one
/// round of a file at most; tells how many bytes went out.
pub(crate) fn flush(
    shared: &Shared,
    conn: &Connection,
    outbound: &mut Outbound,
    limit: usize,
) -> usize {
    let (mut bytes, mut of_files) = (0, 0);
    let is_enough = |bytes, of_files| bytes >= limit || of_files as u64 >= FILE_ROUND;
    let is_over = |outbound: &Outbound| outbound.is_empty() || outbound.failed;
    while !conn.is_dead() && !is_over(outbound) && !is_enough(bytes, of_files) {
        shared.row.count(Counter::Writes);
        match outbound.write(conn.socket()) {
            Ok(Sent::Bytes(taken)) => bytes += taken,
            Ok(Sent::File(taken)) => of_files += taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                failed(shared, conn, outbound, &error);
                break;
            }
        }
    }
    if of_files > 0 && !outbound.has_files() {
        conn.in_file.store(false, Ordering::SeqCst);
    }
    let sent = bytes + of_files;
    if sent > 0 {
        if outbound.armed && !outbound.is_empty() {
            conn.drained(sent, shared.limits.send_rate);
        }
        went_out(shared, outbound, sent);
        shared.unqueued(conn, bytes);
    }
    sent
}

/// The kernel has taken so many bytes.
fn went_out(shared: &Shared, outbound: &mut Outbound, sent: usize) {
    outbound.out = outbound.out.wrapping_add(sent as u64);
    shared.row.add(Counter::BytesOut, sent as u64);
}

/// Has the sender told when there is room, exactly while bytes wait.
pub(crate) fn arm(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    let token = conn.id.word();
    let nothing = outbound.is_empty() || outbound.failed || conn.is_dead();
    let result = match (nothing, outbound.armed) {
        (true, false) => return,
        (true, true) => {
            outbound.armed = false;
            conn.clocks.progressed(0, 0);
            shared.row.count(Counter::WriteDisarmed);
            shared.writable_epoll.delete(conn.socket())
        }
        (false, false) => {
            outbound.armed = true;
            watch_stall(shared, conn);
            shared.row.count(Counter::WriteArmed);
            shared
                .writable_epoll
                .add(conn.socket(), Interest::WriteOnce, token)
        }
        (false, true) => return,
    };
    if result.is_err() {
        broken(shared, conn, outbound);
    }
}

/// Has the sender told no more, whatever waits: another worker is asked to take
/// it.
pub(crate) fn disarm(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    if std::mem::take(&mut outbound.armed) {
        shared.row.count(Counter::WriteDisarmed);
        // It is registered, or the connection breaks where it goes on.
        let _gone = shared.writable_epoll.delete(conn.socket());
    }
}

/// The kernel has begun to refuse bytes: sees to it that this ends.
fn watch_stall(shared: &Shared, conn: &Connection) {
    let now = coarse_millis();
    let held = socket::unacknowledged(conn.socket());
    conn.clocks.progressed(now, held);
    if let Some(limit) = shared.limits.send_stall {
        let at = now.saturating_add(millis(limit));
        shared.heartbeat.watch(conn.id.slot(), at);
    }
}

/// A write failed: because of the file that it sent from, or of the network.
fn failed(shared: &Shared, conn: &Connection, outbound: &mut Outbound, error: &io::Error) {
    if socket::is_of_file(error) {
        outbound.failed = true;
        shared.ask_end(conn.id, CloseMode::Abort, Some(Counter::FileCut));
    } else {
        broken(shared, conn, outbound);
    }
}

/// The network failed under this connection. It ends soon; until then each push
/// would try in vain.
fn broken(shared: &Shared, conn: &Connection, outbound: &mut Outbound) {
    outbound.failed = true;
    shared.ask_end(conn.id, CloseMode::Abort, Some(Counter::Broken));
}

/// Lets a turn go on that waits for room, if there is room.
pub(crate) fn look_for_room(shared: &Shared, conn: &Arc<Connection>) -> FollowUp {
    if !conn.is_full(shared.limits.outbound_high / 2) {
        if conn.mailbox.awaits_room() {
            conn.clocks.thaw(coarse_millis());
        }
        conn.mailbox.room_made(shared.limits.mailbox_high)
    } else {
        FollowUp::default()
    }
}
