//! Listeners, the connection pool, and the names of connections.

mod id;
mod pool;
pub mod turn;

pub use id::ConnId;
pub use pool::{Pool, Vacancy};
