//! The halves of a protocol and of the program that serve a connection, lent to
//! it for a turn.
//!
//! Most connections are idle, and most idle ones have nothing that their parts
//! would have to remember: no reply is owed, the state has no bytes, no room
//! was joined. Such parts go back behind the turn to the thread that ran it,
//! where the next turn of any connection finds them warm; an idle connection
//! holds none. A connection with something to remember keeps its own.
//!
//! ```text
//!   turn begins: the connection's own, else the thread's free list, else the worker's
//!   turn ends:   remembers something --> the connection
//!                is idle -------------> the thread's free list --> the worker's
//! ```
//!
//! Invariant: parts in a free list remember nothing of anybody.

use super::free_lists::FreeLists;
use crate::dispatch::service::Dispatcher;
use crate::protocol::Server;

/// Parts of one kind that the worker keeps for its threads.
pub(crate) const COMMON: usize = 1024;

/// Serves one connection at a time.
pub(crate) struct Parts {
    pub(crate) server: Box<dyn Server>,
    pub(crate) app: Box<dyn Dispatcher>,
}

impl Parts {
    pub(crate) fn is_idle(&self) -> bool {
        self.server.is_idle() && self.app.is_idle()
    }
}

/// Parts that wait for any thread of the worker.
pub(crate) type Common = FreeLists<Box<Parts>, COMMON>;
