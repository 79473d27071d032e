//! What the flood guard does to a batch that was just cut, on the reactor. The
//! rules themselves are in `flood`.

use super::connection::Connection;
use super::flood::{Action, Flood};
use super::heartbeat::millis;
use super::inbound::Inbound;
use super::shared::Shared;
use crate::protocol::{Cut, Cutter, Refusal, Then};
use crate::scoreboard::Counter;
use crate::sys::sync::Ordering;

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
    if messages == 0 {
        return;
    }
    conn.heard.store(now, Ordering::Relaxed);
    if !shared.limits.tell_heartbeats() {
        return;
    }
    let beats = cutter.heartbeats(units);
    if beats > 0 {
        conn.pulse.beat.store(now, Ordering::Relaxed);
    }
    if beats < messages {
        conn.pulse.spoken.store(now, Ordering::Relaxed);
        conn.pulse.owed.store(true, Ordering::Relaxed);
    }
}

/// Takes note of the `kept` bytes of an unfinished message, and has it looked at when
/// it may first be too slow. `fresh`: it began with the last read.
pub(super) fn keep(
    shared: &Shared,
    conn: &Connection,
    inbound: &mut Inbound,
    kept: usize,
    fresh: bool,
    now: u64,
) {
    let pulse = &conn.pulse;
    let started = pulse.started.load(Ordering::Relaxed);
    if kept == 0 {
        if started != 0 {
            pulse.started.store(0, Ordering::Relaxed);
        }
        return;
    }
    pulse.arrived(kept);
    if fresh || started == 0 {
        pulse.started.store(now, Ordering::Relaxed);
    }
    // A look that is registered finds this message, too. One that is near may
    // just be over: half of the grace is more than any two threads are apart.
    let grace = millis(shared.limits.receive_grace);
    if shared.limits.receive_rate > 0 && inbound.watched < now.saturating_add(grace / 2) {
        inbound.watched = now.saturating_add(grace);
        shared.heartbeat.watch(conn.id.slot(), inbound.watched);
    }
}

#[cold]
fn too_many(shared: &Shared, conn: &Connection, flood: &Flood, excess: usize, then: &mut Then) {
    let rule = flood.rule;
    if flood.action == Action::Close {
        *then = Then::Refuse(Refusal {
            counter: Counter::Flooded,
            detail: rule.to_string(),
            answer: b"",
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
