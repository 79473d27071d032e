//! Business threads: take a connection's turn, run its handlers, write once.
//!
//! A thread serves one connection at a time and never waits for a peer: what
//! the kernel does not take at once is left to the sender. Panics of handlers
//! are caught below, in `dispatch`; a panic that reaches this thread is ours
//! and ends the worker.

use std::sync::Arc;

use super::connection::Connection;
use super::mailbox::After;
use super::shared::{Job, Shared};
use super::turn::{self, Budget, Why};
use super::write;
use crate::dispatch::outlet::Service;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::lock;

/// Batches that a turn serves before it goes to the tail of the run queue.
const ROUNDS: usize = 4;

/// The loop of one business thread.
pub(crate) fn run(shared: &Arc<Shared>, service: &dyn Service) {
    let mut buffer = Vec::new();
    while let Some(job) = shared.queue.pop() {
        match job {
            Job::Turn(conn) => {
                shared.wait_for_relief();
                take_turn(shared, &conn, &mut buffer);
            }
            Job::Tick(job) => {
                service.tick(job);
                shared.heartbeat.ticked(job);
            }
        }
    }
}

fn take_turn(shared: &Arc<Shared>, conn: &Arc<Connection>, buffer: &mut Vec<u8>) {
    shared.row.count(Counter::Turns);
    let mut items = conn.mailbox.begin();
    let mut parts = lock(&conn.turn);
    let parts = parts
        .as_mut()
        .expect("a connection that was settled has its parts");
    let mut budget = Budget::new(shared);
    for _ in 0..ROUNDS {
        let ran = turn::run(shared, conn, parts, items, &mut budget, buffer);
        kill_point(Spot::Served);
        if ran.why == Why::Close(CloseMode::Abort) {
            buffer.clear();
        }
        if !buffer.is_empty() {
            write::reply(shared, conn, &mut lock(&conn.outbound), buffer);
        }
        let (more, after) = turn::settle(shared, conn, parts, ran);
        follow(shared, conn, after);
        match more {
            None => return,
            Some(more) => items = more,
        }
    }
    let after = conn.mailbox.requeue(0, shared.limits.mailbox_high, items);
    follow(shared, conn, after);
}

/// As [`Shared::follow`], by a thread that takes the next job itself.
fn follow(shared: &Shared, conn: &Arc<Connection>, after: After) {
    if after.schedule && shared.queue.push_own(Job::Turn(Arc::clone(conn))) {
        shared.row.count(Counter::Wakes);
    }
    shared.follow(
        conn,
        After {
            schedule: false,
            ..after
        },
    );
}
