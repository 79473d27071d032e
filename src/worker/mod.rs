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
//!   recycler closes descriptors, but for those of whoever leaves at rest.
//! - A worker lives and dies as one. Whichever thread ends first, by returning
//!   or by panicking, ends them all; the master then starts a new worker.
//! - Every end of a connection is one path: whoever wants it closed *asks* (a
//!   letter to the reactor), the reactor *decides* (nobody finds it any more),
//!   the last turn says good-bye, the recycler *does* `close(2)`. Where nobody
//!   has anything to say or to finish, the reactor does these two by itself.
//!
//! Nothing here knows what a frame is: see [`crate::protocol`].

mod accept;
mod accept_turn;
mod admission;
mod business;
mod connection;
mod cutters;
mod deadlines;
mod drain;
mod exchange;
mod flood;
mod from_config;
mod goodbye;
mod guard;
mod handover;
mod heartbeat;
mod inbound;
mod items;
mod leaving;
mod ledger;
mod letters;
mod limits;
mod listing;
mod lobby;
mod mailbox;
mod outbound;
mod outlet;
mod parts;
mod patience;
mod pulse;
mod reactor;
mod read;
mod recycler;
mod room;
mod run_queue;
mod sender;
mod setup;
mod shared;
mod shelves;
mod threads;
mod turn;
mod write;

pub use crate::dispatch::outlet::Application;
pub use admission::{Entrance, Proxy};
#[doc(hidden)]
pub use exchange::Exchange;
pub use flood::{Action, Flood, Rule};
pub use from_config::{BindError, bind, open};
pub use ledger::Drained;
pub use limits::{Limits, Over, Proof, Trigger, Yield};
pub use listing::{Listed, Live};
pub use setup::{Accept, Control, Listening, Order, Setup};
pub use threads::{Failure, Farewell, run};
