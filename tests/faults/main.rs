//! The daemon while the kernel fails, and while its processes die at the worst
//! moments.
//!
//! A binary of its own, because the daemon must be built with `failpoints`:
//! `cargo test --features failpoints --test faults`. `FAULT_SECONDS` sets how
//! long the kernel fails (default 10), `KILL_ROUNDS` how often a process dies at
//! each place (default 3).

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod between_workers;
mod daemon;
mod kernel;
mod kill_points;
