//! Listeners, the connection pool, and the names of connections.

pub mod accept_rate;
mod access;
mod id;
pub mod per_ip;
mod pool;
pub mod turn;

pub use access::Access;
pub use id::{ConnId, NoConnId};
pub use pool::{Pool, Vacancy};
