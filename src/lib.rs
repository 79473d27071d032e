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
//! # Start here
//!
//! | to | use |
//! |---|---|
//! | register handlers, and be a daemon | [`App`], [`App::main`] |
//! | have settings, flags and commands of its own | [`App::settings`], [`App::flag`], [`App::command`] |
//! | have functions for one listener alone | [`App::listener`] |
//! | count things of its own, say whether it is ready | [`App::counter`], [`App::ready`] |
//! | answer a message, push to its sender, join a room | [`Ctx`](dispatch::Ctx) |
//! | reach other connections, users and rooms | [`Hub`](dispatch::Hub) |
//! | take and return typed bodies | [`body`], [`FromBody`](body::FromBody), [`IntoReply`](body::IntoReply) |
//! | serve HTTP: routes, files, streams, events | [`Web`](web::Web), and in handlers [`Http`](web::Http) |
//! | be reached by browsers over WebSocket | [`Web::websocket`](web::Web::websocket), [`Web::messages`](web::Web::messages) |
//! | test a program without a socket | [`App::test`], [`Test`](app::Test) |
//! | run a server inside of a program or a test | [`Server`] |
//! | keep rows in a file (feature `sqlite`) | `App::database`, `sqlite` |
//! | know who is logged in (feature `session`) | `Web::sessions`, `Http::session` |
//! | ask Redis (feature `redis`) | `App::redis`, `redis` |
//! | ask a server | [`Client`](client::Client) |
//!
//! The [book](docs) tells it in order, from the first server to what moves over a
//! reload. A program imports [`prelude`]; what is not in it stands in these modules,
//! and at the root what their functions name. Everything below is for who
//! reads or changes the source.
//!
//! # Layers
//!
//! A module may use the modules *below* it, never those above or beside it.
//! `tests/it/architecture.rs` fails the build when an import goes the other
//! way, and `circles.rs` beside it when the folders inside of one do.
//!
//! ```text
//! main        the daemon: built-in services
//! docs        the book: text alone
//! app         registration, main(); a server or a test of it
//! cli         arguments -> commands, exit codes
//! master      event loop, supervisor, workers, cycle,
//!             control socket, upgrade, pid file      (decides when processes run)
//! admin       figures, health and the status page,
//!             by a process of their own              (shows, decides nothing)
//! worker      reactor, threads, turns, queues,
//!             connections, limits, handover          (decides when code runs)
//! listener    what is spoken on which address
//! web         routes: HTTP for handlers
//! dispatch    message id -> handler; Ctx, Hub        (decides which code runs)
//! stress      the load tool, behind the feature of this name
//! client      blocking client on the same codec
//! session     logins, passwords, behind the feature of this name
//! redis       a pool of connections, behind the feature of this name
//! sqlite      a database in a file, behind the feature of this name
//! body        typed bodies, replies, errors
//! config      the file that is the manual
//! bus         what one worker says to the others     (rings in shared memory)
//! net         names of connections, the pool, the accept mutex, who gets in
//! protocol    frames, HTTP/1.1, WebSocket, PROXY     (gives bytes meaning; no I/O)
//! scoreboard  what the shared words mean
//! log         whole lines
//! sys         fork, shared memory, epoll, sockets    (the only `unsafe`)
//! ```
//!
//! # Glossary
//!
//! ```text
//! the field's word    ours, if it differs    where
//! accept mutex                               net/accept_mutex worker/reactor/accept_mutex.rs
//! accept              the reactor does it    worker/reactor/accept.rs
//! business thread                            worker/threads/business.rs
//! connection pool     pool                   net/pool.rs
//! cycle                                      master/cycle
//! decoder, encoder    cutter, server         protocol/cutter.rs protocol/server.rs
//! dispatcher                                 dispatch/dispatcher.rs
//! drain                                      worker/reactor/drain.rs
//! event loop          reactor; master        worker/reactor master/event_loop
//! handover                                   worker/reactor/handover
//! heartbeat                                  worker/threads/heartbeat.rs
//! mailbox                                    worker/connection/mailbox.rs
//! output buffer       outbound               worker/connection/outbound.rs
//! rate limit          flood guard            worker/reactor/flood_guard.rs
//! recycler                                   worker/threads/recycler.rs
//! run queue                                  worker/queues/run_queue.rs
//! scoreboard                                 scoreboard
//! sender                                     worker/threads/sender.rs
//! supervisor                                 master/supervisor
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
//! - A connection that has nothing to remember has no server, no dispatcher and
//!   no cutter: they are lent for a turn or a read. An idle one costs 394 bytes
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

#[doc(hidden)]
pub mod admin;
pub mod app;
pub mod body;
#[doc(hidden)]
pub mod bus;
#[doc(hidden)]
pub mod cli;
pub mod client;
#[doc(hidden)]
pub mod config;
pub mod dispatch;
pub mod docs;
#[doc(hidden)]
pub mod listener;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod master;
#[doc(hidden)]
pub mod net;
pub mod prelude;
#[doc(hidden)]
pub mod protocol;
#[cfg(feature = "redis")]
pub mod redis;
#[doc(hidden)]
pub mod scoreboard;
#[cfg(feature = "session")]
pub mod session;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "stress")]
pub mod stress;
#[doc(hidden)]
pub mod sys;
pub mod web;
#[doc(hidden)]
pub mod worker;

/// Frame formats in code, for what no table of fields can say: start with
/// [`Codec`](codec::Codec).
pub mod codec {
    #[doc(inline)]
    pub use crate::protocol::frame::{
        AnyFormat, Codec, Coded, Echo, ErrorBody, Heard, Message, every_cut,
    };
    #[doc(inline)]
    pub use crate::protocol::{Refusal, Unsendable};
}

pub use app::{App, Server, SpawnError};

// What stands in a signature that users see has a page that they see.
#[doc(inline)]
pub use config::{ConfigError, FilePlace, Place, Size, Within};
#[doc(inline)]
pub use net::{ConnId, NoConnId};
#[doc(inline)]
pub use protocol::{BodyFile, Units, Unsendable};
#[doc(inline)]
pub use scoreboard::Counter;
#[doc(inline)]
pub use sys::socket::{Address, Peer};
#[doc(inline)]
pub use worker::{BindError, Drained, Failure, Farewell};
