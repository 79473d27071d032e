//! Handing a live connection to the worker that stays, so that a reload or an
//! upgrade disconnects nobody.
//!
//! ```text
//!   worker that leaves                               worker that stays
//!   at rest: takes the turn, reads no more,
//!   holds pushes back, packs it
//!     -- Offer: descriptor and record -------------> a slot, its state, its count
//!   <-------------------------- Verdict: taken ----- goes on, reads
//!   forgets it, takes its count back
//!     -- Rest: the pushes that were held back -----> behind what is unsent
//!     -- Gone: up to where it heard the others -----> serves it; says what it
//!                                                    heard itself behind that
//! ```
//!
//! # What is promised
//!
//! - It moves when nothing of it runs or is about to: between two messages. Along
//!   go what is unsent (at most 64 KiB of memory, and any part of a file: its
//!   descriptor, the next byte, the line of the access log), messages that wait for
//!   room to be answered into and the start of an unfinished one (at most 64 KiB
//!   together; the other worker cuts them again), the user, the rooms, the clocks of every deadline, the count of its
//!   address, and the state, if that has no bytes or is a
//!   [`Handover`](crate::dispatch::Handover). Its name
//!   ([`ConnId`](crate::net::ConnId)) is another one afterwards. `opened` and
//!   `closed` do not run; `arrived` does, behind the handlers of the one that leaves
//!   and before those of the one that stays.
//! - What the client sends meanwhile stays in the socket, which nobody reads:
//!   nothing is lost, nothing comes twice.
//! - A push, of whatever worker, by name, room or user, reaches it once. The one
//!   that stays enters its rooms before the verdict, and keeps what it hears for
//!   it. The one that leaves holds back what it hears; at the verdict it reads its
//!   rings to their ends, while nobody of its own says anything, lets go, sends what
//!   was held back, and says up to which message it has heard each worker. What was
//!   kept up to there has been sent, the rest is said now. What a handler of the
//!   connection says in its new worker is heard by all behind what it said in the
//!   old one. A close is passed on.
//! - It is in one worker at a time. The one that stays serves nothing of it before
//!   the other has let go; the one that leaves keeps everything until it has read
//!   the verdict, and goes on with the connection when the
//!   line ends without. So when either is killed, at whatever point, the client
//!   sees at worst a close; and what the dead one had counted, the master
//!   clears.
//! - For the moment between the two, an address is counted twice: at its limit
//!   a new connection of it may be refused then, but none is admitted beyond
//!   it.
//!
//! What is busy is tried again until half of the time for the drain is over. A
//! download is not busy: it goes in the middle, with what it does at its end and the
//! requests behind it.
//! What has a timer of [`Ctx::after`](crate::dispatch::Ctx::after) (a function
//! cannot go to another process), a state that cannot go along, or a listener
//! that the new configuration does not have, leaves as ever, counted with the
//! reason under `connections_not_handed_over_…`. Over HTTP there is no state,
//! so a connection goes whenever it is between two requests.
//!
//! # Lines
//!
//! A line is a pair of sockets that the master makes and gives to both workers
//! ([`Order::Successor`](crate::worker::Order),
//! [`Order::Predecessor`](crate::worker::Order)); it keeps no end, so a
//! worker's death ends its lines. Over an upgrade the new master makes them and
//! passes the ends for the old workers to their own master. An offer waits for
//! its verdicts before the next one goes over the same line. Both halves of
//! this module run on the reactors, never block, and cost nothing while nobody
//! drains.

mod clocks;
mod limbo;
mod message;
mod offer;
mod output;
mod pack;
mod receive;
mod record;
mod send;
mod verdict;

pub(super) use limbo::Predecessor;
pub(super) use send::Successors;
