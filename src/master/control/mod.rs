//! The control socket: how the command line talks to a running master.
//!
//! ```text
//! client                                   master
//!   | {"command":"reload"}\n  ----------->   |  ... the reload happens ...
//!   |   <----------- {"code":0,"text":"..."}\n |  closes
//! ```
//!
//! One request a connection. The answer comes when the thing is done or has
//! failed, and carries the exit code for the shell. The file is for the
//! master's owner alone; who connects is checked once more.

mod client;
pub(super) mod clients;
mod server;
mod wire;

pub use client::{ControlError, request};
pub use server::{Client, ControlSocket, PATIENCE};
pub use wire::{Command, Exchange, Progress, REQUEST_MAX, Response, Wanted};
