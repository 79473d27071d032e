//! Who gets in, and what a connection is called: the accept mutex, limits and
//! lists of addresses, the connection pool, the names of connections.
//!
//! Opens and reads no socket: listeners are made by `sys`, and owned by the
//! master's cycle and the worker's reactor.

pub mod accept_mutex;
pub mod accept_rate;
mod access;
mod id;
pub mod per_ip;
mod pool;

pub use access::Access;
pub use id::{ConnId, NoConnId};
pub use pool::{Pool, Vacancy};
