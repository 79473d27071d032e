//! A server scaffold: you register functions by message id, purlin is the
//! server around them.
//!
//! ```
//! use purlin::{Server, prelude::*};
//!
//! let app = App::<()>::new().on(1, |_, body: Bytes| body);
//! let server = Server::spawn(app)?; // in a program: app.main()
//! # Ok::<(), purlin::SpawnError>(())
//! ```
//!
//! Start with [`App`], and with [`Ctx`](dispatch::Ctx) and
//! [`Hub`](dispatch::Hub) for what a handler can do. The rest of this page is
//! the map of the source.
//!
//! # Layers
//!
//! A module may use the modules *below* it, never those above or beside it.
//! `tests/it/architecture.rs` fails the build when an import goes the other
//! way.
//!
//! ```text
//! main        the daemon: built-in services
//! app         registration, main(); a server or a test of it
//! cli         arguments -> commands, exit codes
//! master      supervisor, pid file, control socket   (decides when processes run)
//! worker      event loop and threads                 (decides when code runs)
//! listener    what is spoken on which address
//! web         routes: HTTP for handlers
//! dispatch    message id -> handler; Ctx, Hub        (decides which code runs)
//! stress      the load tool, behind the feature of this name
//! client      blocking client on the same codec
//! body        typed bodies, replies, errors
//! config      the file that is the manual
//! net         names of connections, the pool, the accept mutex, who gets in
//! protocol    frames, HTTP/1.1, PROXY headers        (gives bytes meaning; no I/O)
//! scoreboard  what the shared words mean
//! log         whole lines
//! sys         fork, shared memory, epoll, sockets    (the only `unsafe`)
//! ```
//!
//! # A frame's life
//!
//! ```text
//! socket -> reactor -> cutter -> mailbox -> business thread -> server -> handler
//!                                                                          |
//!    peer <- socket <- (sender, when the peer is slow) <- one write <- reply
//! ```
//!
//! An inline handler is served by the reactor itself, in the same order.
//!
//! # What was measured, and built otherwise than planned
//!
//! - The connection and its mailbox live in `worker`, `net` has the generic
//!   pool: everything that a connection is made of belongs to the worker, and a
//!   pool of anything can be tested with a million random steps.
//! - A length field of four bytes whose top bit is set counts as too long, not
//!   as negative: it *claims* four gigabytes, and the log says so.
//! - An answer is written into a slot of its caller. Passed by value through
//!   the four layers between handler and encoder it cost 60 ns a message, by
//!   loads that wait for half-written stores.
//! - The clock is read every eighth message of a turn, and counters are added
//!   once a turn: a tenth of the cost of a small message at depth 16.
//! - A connection no longer counts for its address when its peer has gone, not
//!   when its descriptor is closed: with the recycler starved on a busy
//!   machine, 900 connections that were over kept an address out.
//! - Small bodies (under 1 KiB) are copied for handlers that keep them: sharing
//!   the chunk costs two atomic operations, keeps all of it in memory, and took
//!   65 ns a message of 96 bytes instead of 59.
//! - `send` and `recv` are plain system calls: those of glibc prepare for the
//!   cancellation of the thread, 100 ns a batch.
//! - The kernel closes a killed process's descriptors from the highest number
//!   down, and only then tells its parent. So a worker's line to the master has
//!   the highest: with 500 connections open, the next reply came 1.7 ms after
//!   the death of the worker that accepts, and 8.8 ms when the master waited to
//!   reap it.
//! - A connection that has nothing to remember has no server, no seat and no
//!   cutter: they are lent for a turn or a read. An idle one costs 394 bytes
//!   instead of 856, whether it speaks frames or HTTP, and what a turn needs is
//!   in the cache.
//! - Whoever leaves at rest (its peer is done, nothing waits, is remembered or
//!   unsent) is closed by the reactor behind its batch of events. By way of a
//!   business thread and the recycler, a short connection over HTTP cost 1.5
//!   times as much CPU as with nginx; now as much.
//! - Edge-triggered epoll saves one look at every socket, 1 to 3 % at 100
//!   connections: an option, not the default.

#[cfg(not(target_os = "linux"))]
compile_error!("purlin runs on Linux only: it is built on epoll, signalfd and memfd");

pub mod app;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod dispatch;
pub mod listener;
pub mod log;
pub mod master;
pub mod net;
pub mod prelude;
pub mod protocol;
pub mod scoreboard;
#[cfg(feature = "stress")]
pub mod stress;
#[doc(hidden)]
pub mod sys;
pub mod web;
pub mod worker;

pub use app::{App, Server, SpawnError};
