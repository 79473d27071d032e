//! The book: how a program on purlin is written, tested and run, in pages of two
//! screens.
//!
//! | page | about |
//! |---|---|
//! | [`first_server`] | a program, its bodies, its errors, what a client sends |
//! | [`connection`] | the life of a connection: what runs when, and what each sees |
//! | [`workers`] | order, threads and several workers: what is the same in all of them |
//! | [`reload`] | state over a reload or an upgrade |
//! | [`http`] | routes, bodies, files, streams, and proxies in front |
//! | [`websocket`] | browsers and phones |
//! | [`settings`] | keys, flags and commands of your own; the unit; files and `nobody` |
//! | [`limits`] | who gets in, who stays, what is held |
//! | [`testing`] | without sockets, with a server, with load |
//! | [`beside`] | tokio and protobuf beside it |
//! | [`coming_from`] | the words of zinx, Swoole, muduo, netty and axum |
//!
//! Every program in it is compiled and spoken to by the tests. `examples/lobby` is
//! one of four hundred lines that uses most of it.

#[doc = include_str!("first_server.md")]
pub mod first_server {}

#[doc = include_str!("connection.md")]
pub mod connection {}

#[doc = include_str!("workers.md")]
pub mod workers {}

#[doc = include_str!("reload.md")]
pub mod reload {}

#[doc = include_str!("http.md")]
pub mod http {}

#[doc = include_str!("websocket.md")]
pub mod websocket {}

#[doc = include_str!("settings.md")]
pub mod settings {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("beside.md")]
pub mod beside {}

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
