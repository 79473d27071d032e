//! Who may connect, and which worker takes them: the accept mutex, lists of
//! networks, limits for each address, the connection pool and the names that it
//! gives. Moves no bytes and opens no socket.

pub mod accept_mutex;
pub mod accept_rate;
mod access;
mod id;
pub mod per_ip;
mod pool;
mod user;

pub use access::Access;
pub use id::{ConnId, NoConnId};
pub use pool::{Pool, Vacancy};
pub use user::{UserName, Words};
