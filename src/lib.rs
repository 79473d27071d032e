//! purlin
#[cfg(not(target_os = "linux"))]
compile_error!("purlin runs on Linux only: it is built on epoll, signalfd and memfd");

pub mod app;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod dispatch;
pub mod log;
pub mod master;
pub mod net;
pub mod prelude;
pub mod protocol;
pub mod scoreboard;
#[doc(hidden)]
pub mod sys;
pub mod worker;

pub use app::{App, Server, SpawnError};
