//! Listeners, the connection pool, and the names of connections.

pub mod accept_mutex;
pub mod accept_rate;
mod access;
mod id;
pub mod per_ip;
mod pool;

pub use access::Access;
pub use id::{ConnId, NoConnId};
pub use pool::{Pool, Vacancy};
