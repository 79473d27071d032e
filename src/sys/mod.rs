//! The kernel, made safe: epoll, sockets, shared words, signals, processes.
//!
//! The only `unsafe` of the crate lives in this folder, one operation a block,
//! each with the precondition and who upholds it. Nothing here knows what a
//! connection, a frame or a worker is, and no `nix` type leaves the crate.

#![allow(
    unsafe_code,
    reason = "this layer exists so that no other needs it; every block is argued"
)]

pub mod beneath;
pub mod channel;
pub mod clock;
pub mod cores;
pub mod data_folder;
pub mod epoll;
pub mod eventfd;
pub mod exec;
pub mod fault;
pub mod futex;
pub mod limits;
pub mod local;
pub mod memory;
pub mod network;
pub mod own_word;
pub mod privileges;
pub mod process;
pub mod reserve;
pub mod signal;
pub mod socket;
pub mod starter;
pub mod sync;
pub mod systemd;
pub mod terminal;
pub mod threads;
pub mod title;
pub mod unnamed;
