//! Inline turns: handlers that do not block, run on the reactor while the bytes
//! are still where the socket was read into.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::{Lane, Out, Step, Turn, Units};
use crate::scoreboard::Counter;
use crate::sys::sync::{MutexGuard, try_lock};
use crate::worker::connection::items::Items;
use crate::worker::connection::parts::Parts;
use crate::worker::connection::{Connection, Item};
use crate::worker::reactor::Reactor;
use crate::worker::reactor::flood_guard::Admitted;
use crate::worker::turn::guests::Guests;
use crate::worker::turn::{self, StopReason, TurnEnd, TurnRun};

impl Reactor<'_> {
    /// Serves messages on this thread, if nothing of the connection waits or
    /// runs, nobody writes to it, and the first handler does not block. False:
    /// nothing was done.
    pub(super) fn serve_inline(&mut self, conn: &Arc<Connection>, admitted: Admitted) -> bool {
        let Admitted { units, messages } = admitted;
        if conn.is_full(self.shared.limits.outbound_high) || !conn.mailbox.begin_inline() {
            return false;
        }
        let locks = try_lock(&conn.turn).zip(try_lock(&conn.outbound));
        let Some((mut kept, mut outbound)) = locks else {
            self.give_up_inline(conn);
            return false;
        };
        let shared = self.shared;
        let mut parts = kept
            .take()
            .unwrap_or_else(|| self.lender.acquire(shared, self.service, conn));
        let mut budget = turn::inline_budget(shared);
        let mut done = 0;
        let clients = Guests { shared, conn };
        let why = loop {
            let mut turn = Turn {
                lane: Lane::Inline,
                clients: &clients,
                out: Out::new(std::mem::take(&mut self.buffer), &**conn.protocol()),
                app: &mut *parts.app,
                budget: &mut budget,
                room: shared.limits.outbound_high,
            };
            let rest = Units::borrowed(&self.scratch[done..units]);
            let (served, step) = parts.server.serve(rest, &mut turn);
            done += served;
            self.buffer = turn.out.bytes;
            let beside = turn.out.beside;
            parts.app.counted();
            // `Over` does not tell who may serve the rest: this turn, or the pool.
            let goes_on = step == Step::Next && done < units;
            let why = StopReason::from_step(step, done < units);
            clients.leave_if_answered(&*parts.server, &why);
            turn::write_turn(
                shared,
                conn,
                &mut outbound,
                (&mut self.buffer, beside),
                &why,
            );
            let blocked = conn.is_full(shared.limits.outbound_high) || budget.is_spent();
            if !goes_on || blocked {
                break why;
            }
        };
        drop(outbound);
        shared
            .row
            .add_alone(Counter::HandledInline, budget.messages() as u64);
        if done == 0 && why == StopReason::Over {
            self.lender.release(shared, conn, parts, &mut kept);
            drop(kept);
            self.give_up_inline(conn);
            return false;
        }
        // Behind a close or a refusal, what is left is never served.
        debug_assert!(budget.messages() <= messages, "one was counted twice");
        conn.owe(messages.saturating_sub(budget.messages()));
        self.finish_inline(conn, (parts, kept), done..units, why);
        true
    }

    /// Ends an inline turn that left these units of the scratch.
    fn finish_inline(
        &mut self,
        conn: &Arc<Connection>,
        (mut parts, mut kept): (Box<Parts>, MutexGuard<'_, Option<Box<Parts>>>),
        rest: Range<usize>,
        why: StopReason,
    ) {
        let shared = self.shared;
        let mut left = Items::default();
        if !rest.is_empty() {
            left.push_back(Item::Units(Bytes::copy_from_slice(
                &self.scratch[rest.clone()],
            )));
            conn.mailbox.adopt(rest.len());
            shared.buffered(rest.len());
        }
        if why == StopReason::AwaitWritable {
            left.push_front(Item::Writable);
        }
        let ran = TurnRun {
            done: 0,
            left,
            why,
            beside: None,
        };
        let TurnEnd { more, after, close } = turn::finish(shared, conn, &mut parts, ran);
        self.lender.release(shared, conn, parts, &mut kept);
        drop(kept);
        self.follow(conn, after);
        if let Some(mode) = close {
            self.end_connection(conn.id, mode, None);
        }
        if let Some(more) = more {
            // Posted by others while this ran; theirs is the pool's to serve.
            let after = conn.mailbox.requeue(0, shared.limits.mailbox_high, more);
            self.follow(conn, after);
        }
    }

    /// The pool serves instead: a handler may block, or another thread holds a
    /// lock for a moment.
    pub(super) fn give_up_inline(&mut self, conn: &Arc<Connection>) {
        let after = conn
            .mailbox
            .requeue(0, self.shared.limits.mailbox_high, Items::default());
        self.follow(conn, after);
    }
}
