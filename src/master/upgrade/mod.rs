//! The upgrade of the binary, as it is carried out; what is decided about it is
//! in [`supervisor`](super::supervisor).
//!
//! ```text
//! old master                                        new master
//!   | exec, with descriptors and a variable  ------> | configuration, workers
//!   | <------------------------- it listens, ready   |
//!   | leaves the control socket alone                |
//!   | take over, what was counted  ----------------> | pid file, control socket
//!   | <------------ lines for the workers, took over |
//!   | tells the service manager, answers             |
//!   | you were named  -----------------------------> | speaks to the manager
//!   | drains, leaves; what was counted since ------> |
//! ```
//!
//! The two are joined by one line, a [`Channel`](crate::sys::channel::Channel)
//! that the old master makes and the new master inherits. It lives until the
//! old master has left, carries datagrams ([`words`]) and, with them,
//! descriptors: whatever the workers of one master are to hand to those of the
//! other is introduced here, by a word of its own that carries one end of a
//! line.
//!
//! When somebody is killed:
//! - The new master, before it took over: the old master goes on, or takes its
//!   name and its control socket back. The new master's workers lose their
//!   master and drain.
//! - The new master, afterwards: it was the master; all workers drain and
//!   leave.
//! - The old master, before: the new master rules as soon as its workers are
//!   ready.
//! - The old master, afterwards: its workers drain. What they count after the
//!   new master took over is lost if the two binaries do not share their
//!   memory.
//!
//! All of it on the master's thread, and never waiting.

pub(super) mod inheritance;
pub(super) mod life_pipe;
pub(super) mod links;
pub(super) mod words;
