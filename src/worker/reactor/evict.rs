//! Making room in a full pool: whoever keeps the server waiting goes first, then
//! whoever has been served and only might come back.
//!
//! A client that drips its message, or never reads its replies, holds a slot
//! for the price of a byte now and then. While other clients wait for a slot,
//! the one that has been like that for longest is closed for each of them.
//! Where there is none, it is the HTTP connection that has been idle for longest:
//! its client expects that, and connects again when it has something to ask. On
//! the reactor.

use super::Reactor;
use super::inbound::Inbound;
use crate::net::ConnId;
use crate::scoreboard::Counter;
use crate::sys::clock::millis;
use crate::sys::sync::Ordering;
use crate::worker::limits::Limits;

/// Who might be closed, and since when there is reason to, the longest last.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<(u64, ConnId)>);

/// What became of a look for somebody to close.
enum Found {
    /// For so long there is reason to close this one.
    This(ConnId),
    /// The first will be due at this time.
    NotBefore(u64),
    Nobody,
}

impl Candidates {
    /// Whoever there has been reason to close for `least`, at `now`. `all` are
    /// looked at when the list is empty, which may be old: younger ones are
    /// missing, and for some there is no reason any more, which `since` tells.
    fn find(
        &mut self,
        (least, now): (u64, u64),
        all: impl Iterator<Item = (u64, ConnId)>,
        since: impl Fn(ConnId) -> Option<u64>,
    ) -> Found {
        if self.0.is_empty() {
            self.0.extend(all);
            self.0.sort_unstable_by(|a, b| b.cmp(a));
        }
        while let Some((noted, id)) = self.0.pop() {
            if since(id) != Some(noted) {
                continue;
            }
            if noted.saturating_add(least) <= now {
                return Found::This(id);
            }
            self.0.push((noted, id));
            return Found::NotBefore(noted.saturating_add(least));
        }
        Found::Nobody
    }
}

impl Reactor<'_> {
    /// A client waits and there is no slot: closes somebody for it, if there is
    /// reason to for long enough. Tells when to try again.
    pub(super) fn make_room(&mut self) -> u64 {
        let Some(least) = self.shared.limits.make_room.map(millis) else {
            return u64::MAX;
        };
        let when = (least, self.now);
        let mut again = self.now.saturating_add(least);
        let mut lists = std::mem::take(&mut self.candidates);
        let reasons: [fn(&Self, &Inbound) -> Option<u64>; 2] =
            [Self::kept_waiting_since, Self::idle_since];
        for (list, reason) in lists.iter_mut().zip(reasons) {
            let each = self.inbound.iter();
            let all = each.filter_map(|one| Some((reason(self, one)?, one.conn()?.id)));
            let since = |id: ConnId| {
                let inbound = self.inbound.get(id.slot())?;
                inbound.find(id).and_then(|_| reason(self, inbound))
            };
            match list.find(when, all, since) {
                Found::This(id) => {
                    self.end_for_room(id, Counter::MadeRoom);
                    break;
                }
                Found::NotBefore(at) => again = again.min(at),
                Found::Nobody => {}
            }
        }
        self.candidates = lists;
        again
    }

    fn kept_waiting_since(&self, inbound: &Inbound) -> Option<u64> {
        waited_since(inbound, &self.shared.limits)
    }

    /// Since when nothing was asked over this connection, which is not one for
    /// pushes, and everything was answered.
    fn idle_since(&self, inbound: &Inbound) -> Option<u64> {
        let conn = inbound.conn()?;
        let is_idle =
            !conn.protocol().is_session() && inbound.partial().is_empty() && self.is_done(conn);
        is_idle.then(|| conn.last_heard())
    }
}

/// Since when the server waits for this peer: for its first message, for the
/// rest of one, or for it to take what was sent, where either goes more slowly
/// than it has to.
fn waited_since(inbound: &Inbound, limits: &Limits) -> Option<u64> {
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
        .checked_div(limits.receive_rate as u64);
    let started = started.map(|at| at.saturating_add(bought.unwrap_or(0)));
    let stalled = noted(conn.clocks.progress.load(Ordering::Relaxed))
        .and_then(|_| noted(conn.drained(0, limits.send_rate)));
    started.into_iter().chain(stalled).min()
}
