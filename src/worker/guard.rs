//! What the flood guard does to a batch that was just cut, on the reactor. The
//! rules themselves are in `flood`.

use super::connection::Connection;
use super::flood::{Action, Flood};
use super::inbound::Inbound;
use super::shared::Shared;
use crate::protocol::{Cut, Refusal, Then};
use crate::scoreboard::Counter;

/// How many of the bytes of whole messages may be served, from the first.
/// Changes what follows when the connection is to be closed, and asks for a
/// delay in `inbound`.
pub(super) fn admit(
    shared: &Shared,
    conn: &Connection,
    inbound: &mut Inbound,
    bytes: &[u8],
    cut: &mut Cut,
    now: u64,
) -> usize {
    let Some(flood) = shared.limits.flood.as_ref().filter(|_| cut.messages > 0) else {
        return cut.units;
    };
    let verdict = flood.judge(&mut inbound.meter, cut.messages, now);
    if verdict.wait > 0 {
        inbound.delay = verdict.wait;
        shared.row.count(Counter::FloodDelayed);
        let (rule, wait) = (flood.rule, verdict.wait);
        shared.peer_curbed(
            conn,
            Counter::FloodDelayed,
            format_args!("{rule}; not read for {wait} ms"),
        );
    }
    if verdict.admitted == cut.messages {
        return cut.units;
    }
    let units = inbound
        .cutter()
        .first(&bytes[..cut.units], verdict.admitted);
    too_many(
        shared,
        conn,
        flood,
        cut.messages - verdict.admitted,
        &mut cut.then,
    );
    units
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
