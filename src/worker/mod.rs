//! One worker process: an event loop and the threads around it.
//!
//! ```text
//! sockets --> reactor --> mailbox --> business 1..n --> sockets
//!             ^     |                      | what the kernel refused
//!    "close!" +     +--> recycler          v
//!    (business, sender, heartbeat)       sender --> sockets
//! ```
//!
//! Invariants:
//! - One thread owns each thing. The reactor alone reads open connections and
//!   decides which of them live; whoever holds a connection's turn runs its
//!   handlers and writes its replies; the sender owns what waits for room; the
//!   recycler closes descriptors, but for those of whoever leaves at rest; the bus
//!   thread hears the other workers, and puts what they say where the sender finds
//!   it.
//! - A worker lives and dies as one. Whichever thread ends first, by returning
//!   or by panicking, ends them all; the master then starts a new worker.
//! - Every end of a connection is one path: whoever wants it closed *asks* (a
//!   letter to the reactor), the reactor *decides* (nobody finds it any more),
//!   the last turn says good-bye, the recycler *does* `close(2)`. Where nobody
//!   has anything to say or to finish, the reactor does these two by itself.
//!
//! Nothing here knows what a frame is: see [`crate::protocol`].

mod connection;
mod exchange;
mod from_config;
mod limits;
mod queues;
mod reactor;
mod report;
mod setup;
mod shared;
mod threads;
mod turn;
mod worker_handle;

pub use crate::dispatch::service::Application;
#[doc(hidden)]
pub use exchange::Exchange;
pub use from_config::{BindError, bind, open, rights};
pub use limits::Limits;
pub use limits::admission::Entrance;
pub use limits::flood::{Flood, Rule};
pub use reactor::drain_report::Drained;
pub use report::{Listed, Live};
pub use setup::{Accept, Control, Listening, Order, Setup, shape};
pub use threads::{Failure, Farewell, run};
