//! Rate limits: what the flood guard does to a batch that was just cut, on the
//! reactor. The rules themselves are in `limits/flood.rs`.

use super::inbound::Inbound;
use crate::config::FloodAction;
use crate::protocol::{Cut, Cutter, Refusal, Then};
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::Ordering;
use crate::worker::connection::Connection;
use crate::worker::limits::flood::Flood;
use crate::worker::shared::Shared;

/// What may be served of a batch, from its first message on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// Bytes.
    pub(super) units: usize,
    /// How many messages that is.
    pub(super) messages: usize,
}

/// How much of the whole messages may be served; counts them.
/// Changes what follows when the connection is to be closed, and asks for a
/// delay in `inbound`.
pub(super) fn admit(
    shared: &Shared,
    conn: &Connection,
    inbound: &mut Inbound,
    cutter: &dyn Cutter,
    bytes: &[u8],
    cut: &mut Cut,
    now: u64,
) -> Admitted {
    kill_point(Spot::Received);
    let admitted = judge(shared, conn, inbound, cutter, bytes, cut, now);
    if admitted.messages > 0 {
        shared
            .row
            .add_alone(Counter::Received, admitted.messages as u64);
    }
    admitted
}

fn judge(
    shared: &Shared,
    conn: &Connection,
    inbound: &mut Inbound,
    cutter: &dyn Cutter,
    bytes: &[u8],
    cut: &mut Cut,
    now: u64,
) -> Admitted {
    let all = Admitted {
        units: cut.units,
        messages: cut.messages,
    };
    let Some(flood) = shared.limits.flood.as_ref().filter(|_| cut.messages > 0) else {
        return all;
    };
    let verdict = flood.judge(&mut inbound.meter, cut.messages, now);
    if verdict.wait > 0 {
        inbound.delay = u32::try_from(verdict.wait).unwrap_or(u32::MAX);
        shared.row.count(Counter::FloodDelayed);
        let (rule, wait) = (flood.rule, verdict.wait);
        shared.peer_curbed(
            conn,
            Counter::FloodDelayed,
            format_args!("{rule}; not read for {wait} ms"),
        );
    }
    if verdict.admitted == cut.messages {
        return all;
    }
    let units = cutter.first(&bytes[..cut.units], verdict.admitted);
    // Not all of them; behind a close nothing is kept.
    too_many(
        shared,
        conn,
        flood,
        cut.messages - verdict.admitted,
        &mut cut.then,
    );
    let messages = if units == 0 { 0 } else { verdict.admitted };
    Admitted { units, messages }
}

/// Takes note that `units` arrived, which are `messages` whole ones.
pub(super) fn hear(
    shared: &Shared,
    conn: &Connection,
    cutter: &dyn Cutter,
    units: &[u8],
    messages: usize,
    now: u64,
) {
    if units.is_empty() {
        return;
    }
    conn.heard.store(now, Ordering::Relaxed);
    if !shared.limits.tell_heartbeats() {
        return;
    }
    let beats = cutter.heartbeats(units);
    if beats > 0 {
        conn.clocks.beat.store(now, Ordering::Relaxed);
    }
    // Part of a message is none that could be a heartbeat.
    if beats < messages.max(1) {
        conn.clocks.spoken.store(now, Ordering::Relaxed);
        conn.clocks.request_pending.store(true, Ordering::Relaxed);
    }
}

/// What a read came to, for [`keep`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    /// Bytes that arrived.
    pub(super) bytes: usize,
    /// Bytes of the unfinished message that are kept.
    pub(super) kept: usize,
    /// The unfinished message, if there is one, began with them.
    pub(super) begins: bool,
    /// The unfinished message is passed on as it comes: nothing of it is kept.
    pub(super) passed_on: bool,
}

impl Came {
    pub(super) fn new(bytes: usize, kept: usize, cut: &Cut) -> Self {
        let passed_on = matches!(cut.then, Then::ReadOn);
        let begins = cut.messages > 0 || (cut.units > 0 && !passed_on);
        Self {
            bytes,
            kept,
            begins,
            passed_on,
        }
    }
}

/// Takes note of the message that is not finished, and has it looked at when it
/// may first be too slow.
pub(super) fn keep(
    shared: &Shared,
    conn: &Connection,
    inbound: &mut Inbound,
    came: Came,
    now: u64,
) {
    let clocks = &conn.clocks;
    let started = clocks.started.load(Ordering::Relaxed);
    if came.kept == 0 && !came.passed_on {
        if started != 0 {
            clocks.started.store(0, Ordering::Relaxed);
        }
        return;
    }
    let begins = came.begins || started == 0;
    let rate = shared.limits.receive_rate as u64;
    if begins {
        clocks.started.store(now, Ordering::Relaxed);
        clocks.arrived(0);
    } else {
        let since = started.max(clocks.thawed.load(Ordering::Relaxed));
        let due = now.saturating_sub(since).saturating_mul(rate) / 1000;
        let arrived = clocks.arrived.load(Ordering::Relaxed) as usize;
        let arrived = arrived.saturating_add(came.bytes);
        if rate > 0 && arrived as u64 >= due {
            // What came sooner than it had to does not count for later: whoever
            // stops has the grace and no more.
            clocks.started.store(now, Ordering::Relaxed);
            clocks.arrived(0);
        } else {
            clocks.arrived(arrived);
        }
    }
    // A look that is registered finds this message, too. One that is near may
    // just be over: half of the grace is more than any two threads are apart.
    let grace = millis(shared.limits.receive_grace);
    if rate > 0 && inbound.watched < now.saturating_add(grace / 2) {
        inbound.watched = now.saturating_add(grace);
        shared.heartbeat.watch(conn.id.slot(), inbound.watched);
    }
}

#[cold]
fn too_many(shared: &Shared, conn: &Connection, flood: &Flood, excess: usize, then: &mut Then) {
    let rule = flood.rule;
    if flood.action == FloodAction::Close {
        *then = Then::Refuse(Refusal {
            counter: Counter::Flooded,
            detail: rule.to_string(),
            answer: b"",
            about: Vec::new(),
        });
    } else {
        shared.row.add(Counter::FloodDropped, excess as u64);
        shared.peer_curbed(
            conn,
            Counter::FloodDropped,
            format_args!("{rule}; {excess} dropped"),
        );
    }
}
