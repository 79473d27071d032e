//! The master process: starts the workers, supervises them, and nothing else.
//!
//! ```text
//! config, log --> pid lock --> listeners --> shared memory --> (daemonize)
//!     --> pid file --> fork workers --> supervise
//! ```
//!
//! Invariants:
//! - One thread, never blocked by anything but its own epoll, never in touch
//!   with a client of the service.
//! - What happens to the workers is decided in [`supervisor`], without I/O; the
//!   other files here carry it out.
//! - A worker drops whatever was the master's right after the fork. The two
//!   talk over a line alone, and its end says that the other is gone.
//!

#![doc = include_str!("trust.md")]

pub mod control;
pub mod pid_file;
pub mod supervisor;
pub mod untrusted;

mod admin;
mod cycle;
mod daemon;
mod event_loop;
mod exit;
mod plain;
mod plan;
mod start;
mod upgrade;
mod watchdog;
mod workers;

pub use cycle::check;
pub use exit::{Ending, Exit};
pub use plan::Plan;
pub use start::run;
