//! Bytes ⇄ messages. No descriptor, no clock, no thread: bytes come in as
//! arguments, and what comes out is bytes again.
//!
//! A worker knows a protocol as two halves with separate state, because two
//! threads use them at the same time:
//!
//! ```text
//! socket --> Cutter (reactor): where does the last whole message end?
//!              | whole messages, as one chunk
//!              v
//!            Server (holder of the turn): each message --> Dispatch --> out
//! ```
//!
//! The server runs handlers through [`Dispatch`], which the layer above
//! implements, and appends what they say to [`Out`].

mod answer;
pub mod auto;
mod beside;
mod budget;
mod cutter;
mod dispatch;
mod error;
mod event;
pub mod first_bytes;
pub mod frame;
pub mod http;
mod lane;
mod media;
mod message;
mod out;
pub mod proxy;
mod push;
mod server;
mod successors;
mod turn;
mod units;
pub mod websocket;

use std::sync::Arc;
use std::time::Duration;

pub use answer::Answer;
pub use beside::{Beside, FilePart, Receipt, Splice};
pub use budget::Budget;
pub use cutter::{Cut, Cutter, Then};
pub use dispatch::{Dispatch, Listening, Route};
pub use error::Error;
pub use event::{CloseMode, Event, Refusal, Step, Successor};
pub use lane::Lane;
pub use media::Media;
pub use message::Message;
pub use out::Out;
pub use push::{Push, Unsendable, Wire};
pub use server::{Sent, Server};
pub use successors::{Agreement, Chosen, Successors};
pub use turn::{Clients, Turn};
pub use units::{BodyFile, Units};

use crate::scoreboard::Row;

/// What one listener speaks. Shared by all its connections and threads.
pub trait Protocol: Send + Sync {
    /// What finds the messages of one connection after the other.
    fn cutter(&self) -> Box<dyn Cutter>;

    /// What serves the messages of one connection after the other.
    fn server(&self) -> Box<dyn Server>;

    /// Both, for a connection that keeps them.
    fn open(&self) -> (Box<dyn Cutter>, Box<dyn Server>) {
        (self.cutter(), self.server())
    }

    /// Which bytes a push becomes. Equal numbers mean equal bytes, so that a
    /// push to many is encoded once for each different number.
    fn wire(&self) -> Wire;

    /// Appends `push` as it goes over the wire.
    ///
    /// # Errors
    ///
    /// [`Unsendable`] when no legal message can say this; `out` is unchanged.
    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable>;

    /// Whether a connection is a session: it has a state from its start to its
    /// end, and takes pushes. Otherwise each message stands alone, the state is
    /// made new for it, and the hub's `all()` does not reach the connection.
    fn is_session(&self) -> bool {
        true
    }

    /// Whether [`Event::Draining`] has anything to say; saves a turn if not.
    fn warns(&self) -> bool {
        false
    }

    /// What a peer is told before it is closed because its message did not come
    /// in time; empty: nothing.
    fn late(&self) -> &'static [u8] {
        b""
    }

    /// What a peer is told before it is closed because the worker has too many, or
    /// holds too much; empty: nothing.
    fn overloaded(&self) -> &'static [u8] {
        b""
    }

    /// How long a peer may be silent between two messages, where that is for the
    /// protocol to say and not for its heartbeat.
    fn keep_alive(&self) -> Option<Duration> {
        None
    }

    /// A worker speaks it from now on, and counts in `row` what no turn counts.
    fn count_in(&self, row: &Row) {
        let _nothing_to_count = row;
    }

    /// Says which messages these are, so that a connection can go on in another
    /// process: whoever has a protocol of this name finds the same messages in
    /// the same bytes. `None`: its connections stay where they are.
    fn name(&self) -> Option<String> {
        None
    }

    /// What a connection speaks that goes on here and has spoken `name`
    /// elsewhere, where that is another protocol than this one.
    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>> {
        let _no_other = name;
        None
    }
}
