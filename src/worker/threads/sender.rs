//! The sender: bytes that wait for room, and pushes from anywhere.
//!
//! It sleeps in an epoll of its own on the sockets that refused bytes, each
//! armed exactly while bytes wait, and on its letters. A letter comes with the
//! first push of many, so that ten pushes to one connection cost one system call.

use std::io;
use std::sync::Arc;

use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::epoll::{Epoll, Events, Interest};
use crate::sys::sync::lock;
use crate::worker::connection::Connection;
use crate::worker::connection::outbound::Outbound;
use crate::worker::queues::letters::ToSender;
use crate::worker::shared::Shared;
use crate::worker::turn::write;

/// Token of the bell; no connection has this name (its row does not exist).
const BELL: u64 = u64::MAX;

/// Bytes for one connection before the others get their room.
const FAIR: usize = 1 << 20;

/// The loop of the sender thread.
///
/// # Errors
///
/// Those of epoll, none of which the worker can survive.
pub(crate) fn run(shared: &Arc<Shared>) -> io::Result<()> {
    let room: &Epoll = &shared.writable_epoll;
    room.add(&shared.to_sender, Interest::Read, BELL)?;
    let mut events = Events::with_capacity(256);
    while !shared.is_ending() {
        let mut rung = false;
        for event in room.wait(&mut events, None)? {
            if event.token == BELL {
                rung = true;
            } else if let Some(conn) = shared.pool.find(ConnId::from_word(event.token)) {
                write_more(shared, &conn);
            }
        }
        if rung {
            shared.to_sender.hush();
        }
        while let Some(ToSender::Pushes(conn)) = shared.to_sender.next() {
            write_pushes(shared, &conn);
        }
    }
    Ok(())
}

/// A connection got pushes: writes at once unless older bytes wait for room, or
/// all for another worker.
fn write_pushes(shared: &Arc<Shared>, conn: &Arc<Connection>) {
    let mut outbound = lock(&conn.outbound);
    write::take_pushes(shared, conn, &mut outbound);
    if outbound.armed || outbound.held {
        return;
    }
    write::flush(shared, conn, &mut outbound, FAIR);
    write::arm(shared, conn, &mut outbound);
    written(shared, conn, &outbound);
}

/// The kernel has room for a connection whose bytes wait.
fn write_more(shared: &Arc<Shared>, conn: &Arc<Connection>) {
    let mut outbound = lock(&conn.outbound);
    if !outbound.armed {
        return;
    }
    if write::flush(shared, conn, &mut outbound, FAIR) == 0 {
        shared.row.count(Counter::WriteFutile);
    }
    if outbound.is_empty() || outbound.failed || conn.is_dead() {
        write::arm(shared, conn, &mut outbound);
    } else if shared
        .writable_epoll
        .rearm(conn.socket(), Interest::WriteOnce, conn.id.word())
        .is_err()
    {
        shared.ask_end(conn.id, CloseMode::Abort, Some(Counter::Broken));
    }
    written(shared, conn, &outbound);
}

/// What follows a write: the close that waited for the last byte, or the turn
/// that waited for room.
fn written(shared: &Arc<Shared>, conn: &Arc<Connection>, outbound: &Outbound) {
    if outbound.is_empty() && outbound.flush_then_close {
        shared.ask_end(conn.id, CloseMode::Flush, None);
    }
    shared.follow(conn, write::look_for_room(shared, conn));
}
