//! Making room in a full pool: whoever keeps the server waiting goes first.
//!
//! A client that drips its message, or never reads its replies, holds a slot
//! for the price of a byte now and then. While other clients wait for a slot,
//! the one that has been like that for longest is closed for each of them. On
//! the reactor.

use super::Reactor;
use super::inbound::Inbound;
use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::sync::Ordering;

impl Reactor<'_> {
    /// A client waits and there is no slot: closes whoever has kept the server
    /// waiting for longest, if that is long enough. Tells when to try again.
    pub(super) fn make_room(&mut self) -> u64 {
        let Some(least) = self.shared.limits.make_room.map(millis) else {
            return u64::MAX;
        };
        if self.waited_for.is_empty() {
            let each = self.inbound.iter();
            let waited_since = |one| waited_since(one, self.shared.limits.receive_rate);
            let waited_for = each.filter_map(|one| Some((waited_since(one)?, one.conn()?.id)));
            self.waited_for.extend(waited_for);
            self.waited_for.sort_unstable_by(|a, b| b.cmp(a));
        }
        // The list may be old: younger ones are missing, and some are done.
        while let Some((since, id)) = self.waited_for.pop() {
            if self.waited_since(id) != Some(since) {
                continue;
            }
            if since.saturating_add(least) > self.now {
                self.waited_for.push((since, id));
                return since.saturating_add(least);
            }
            self.end_connection(id, CloseMode::Abort, Some(Counter::MadeRoom));
            break;
        }
        self.now.saturating_add(least)
    }

    fn waited_since(&self, id: ConnId) -> Option<u64> {
        let inbound = self.inbound.get(id.slot())?;
        inbound.find(id)?;
        waited_since(inbound, self.shared.limits.receive_rate)
    }
}

/// Since when the server waits for this peer: for its first message, for the
/// rest of one that arrives more slowly than `rate`, or for it to take what was
/// sent.
fn waited_since(inbound: &Inbound, rate: usize) -> Option<u64> {
    let conn = inbound.conn()?;
    if conn.heard.load(Ordering::Relaxed) == 0 {
        return Some(conn.opened);
    }
    let noted = |since: u64| (since != 0).then_some(since);
    let started = noted(conn.clocks.started.load(Ordering::Relaxed))
        .filter(|_| inbound.reading && !conn.is_busy());
    // An upload that keeps its pace keeps nobody waiting.
    let arrived = conn.clocks.arrived.load(Ordering::Relaxed);
    let bought = u64::from(arrived)
        .saturating_mul(1000)
        .checked_div(rate as u64);
    let started = started.map(|at| at.saturating_add(bought.unwrap_or(0)));
    let stalled = noted(conn.clocks.progress.load(Ordering::Relaxed)).filter(|_| conn.is_stuck());
    started.into_iter().chain(stalled).min()
}
