//! The integration tests: one binary, so that one link serves them all.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helper functions too"
)]

mod architecture;
mod bad_input;
mod client;
mod daemon;
mod flood;
mod flow;
mod harness;
mod master;
mod order;
mod readme;
mod silence;
mod slow;
mod source;
mod turn;
