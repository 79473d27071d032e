//! Business threads: take a connection's turn, run its handlers, write once.
//!
//! A thread serves one connection at a time and never waits for a peer: what
//! the kernel does not take at once is left to the sender. Panics of handlers
//! are caught below, in `dispatch`; a panic that reaches this thread is ours
//! and ends the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::dispatch::service::Service;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::sync::{Ordering, lock};
use crate::worker::connection::items::Items;
use crate::worker::connection::mailbox::FollowUp;
use crate::worker::connection::parts::Parts;
use crate::worker::connection::{Connection, Item};
use crate::worker::shared::{Job, Shared};
use crate::worker::turn::lend::Lender;
use crate::worker::turn::{self, TurnEnd};

/// Batches that a turn serves before it goes to the tail of the run queue.
const ROUNDS: usize = 4;

/// The loop of one business thread.
pub(crate) fn run(shared: &Arc<Shared>, service: &dyn Service) {
    let mut buffer = Vec::new();
    let mut lender = Lender::default();
    while let Some(job) = shared.queue.pop() {
        match job {
            Job::Turn(conn) => {
                shared.wait_for_relief();
                take_turn(shared, service, &conn, &mut lender, &mut buffer);
            }
            Job::Draining => {
                service.draining();
                shared.announcing.store(false, Ordering::SeqCst);
            }
            Job::News => service.news(),
            Job::Tick(job) => {
                service.tick(job);
                shared.heartbeat.ticked(job);
            }
        }
    }
}

/// The last turns of connections that no thread has come to, when all threads
/// have gone home: they are ended, and nothing else of them is served.
pub(crate) fn see_off(shared: &Arc<Shared>, service: &dyn Service) {
    let mut buffer = Vec::new();
    let mut lender = Lender::default();
    while let Some(job) = shared.queue.left() {
        if let Job::Turn(conn) = job {
            // A thread may have died in the middle of this one.
            let last = || take_turn(shared, service, &conn, &mut lender, &mut buffer);
            let _said = catch_unwind(AssertUnwindSafe(last));
        }
    }
}

fn take_turn(
    shared: &Arc<Shared>,
    service: &dyn Service,
    conn: &Arc<Connection>,
    lender: &mut Lender,
    buffer: &mut Vec<u8>,
) {
    shared.row.count(Counter::Turns);
    let items = conn.mailbox.begin();
    let mut kept = lock(&conn.turn);
    let mut parts = kept
        .take()
        .unwrap_or_else(|| lender.acquire(shared, service, conn));
    let close = serve(shared, conn, &mut parts, items, buffer);
    lender.release(shared, conn, parts, &mut kept);
    drop(kept);
    if let Some(mode) = close {
        shared.ask_end(conn.id, mode, None);
    }
}

/// Serves what waits, until nothing does or it is the turn of others; tells
/// whether the connection is to be closed.
fn serve(
    shared: &Arc<Shared>,
    conn: &Arc<Connection>,
    parts: &mut Parts,
    mut items: Items<Item>,
    buffer: &mut Vec<u8>,
) -> Option<CloseMode> {
    let mut budget = turn::budget(shared);
    for _ in 0..ROUNDS {
        let mut ran = turn::run(shared, conn, parts, items, &mut budget, buffer);
        ran.write(shared, conn, buffer);
        let TurnEnd { more, after, close } = turn::finish(shared, conn, parts, ran);
        follow(shared, conn, after);
        match more {
            None => return close,
            Some(more) => items = more,
        }
    }
    let after = conn.mailbox.requeue(0, shared.limits.mailbox_high, items);
    follow(shared, conn, after);
    None
}

/// As [`Shared::follow`], by a thread that takes the next job itself.
fn follow(shared: &Shared, conn: &Arc<Connection>, after: FollowUp) {
    if after.schedule && shared.queue.push_own(Job::Turn(Arc::clone(conn))) {
        shared.row.count(Counter::Wakes);
    }
    shared.follow(
        conn,
        FollowUp {
            schedule: false,
            ..after
        },
    );
}
