//! The bus: what one worker says to the connections of the others.
//!
//! ```text
//!  worker 0            shared memory              worker 1
//!  hub --publish--> [ring 0 -> 1 ======] --read--> bus thread --> its members
//!      \----------> [ring 0 -> 2 ==    ] --read--> (worker 2)
//!       looks at    [interest of 1: hash of a name, how many]
//! ```
//!
//! Invariants:
//! - Each ordered pair of rows has a ring: one writes, one reads, and each moves
//!   a word that is its own. Nothing unread is overwritten, and no lock is in
//!   shared memory: a SIGKILL anywhere leaves nothing to mend.
//! - A worker publishes under one lock of its own, so in every ring of a writer
//!   the sequences rise. Who has read a ring up to a sequence has had everything
//!   of that writer that it will get up to it.
//! - Nobody waits for a reader: what its ring has no room for waits in the
//!   writer's backlog, and what that has no room for is lost, counted, and
//!   announced by a gap.
//! - What a neighbour wrote is bounded before it is followed. At worst a ring is
//!   given up to where it is now, which is counted.
//! - An event loop wakes others at the end of its turn, any other thread at its first
//!   message for who sleeps; and who hears calls the sender of its worker behind the
//!   last message that it has read. Without both a room over two workers makes more,
//!   smaller writes: 0.73 of the deliveries a second of CPU that one worker reaches,
//!   with them 0.89 (`benches/RESULTS-bus.md`).
//!
//! The same memory has what is of all workers: a ticket that rises (one connection a
//! user), leases of jobs that one worker runs for all, and which workers' connections
//! are still about, so that no worker is given a name that one of them bears.
//!
//! A writer looks who is interested, writes, and looks whether a connection has
//! moved meanwhile ([`Member::moved`]): then it looks again. With that, and with
//! the sequences, a connection that changes its worker gets each message once.

mod interest;
mod lease;
mod member;
mod message;
mod publisher;
mod reader;
mod ring;
mod shape;
mod shared;
mod sleep;

pub use interest::Interest;
pub use lease::Lease;
pub use member::{Elsewhere, Member, Sent, Worker};
pub use message::{Deed, Kind, Message, Origin, Outgoing, Whom};
pub use reader::Read;
#[doc(hidden)]
pub use reader::arbitrary;
pub use shape::Shape;
pub use shared::Bus;
