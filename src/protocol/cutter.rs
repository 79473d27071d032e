//! The cutter: the part of a decoder that the reactor needs, where messages end.
//!
//! It never looks at bodies and never allocates from a claimed length.

use std::fmt;
use std::sync::Arc;

use super::{Protocol, Refusal};

/// Finds message boundaries. Owned by the reactor.
pub trait Cutter: Send {
    /// Looks at all bytes that are not yet part of a whole message.
    ///
    /// Called again with the same bytes and more of them; may remember how far
    /// it looked, but must find the same boundaries however the stream is cut.
    fn cut(&mut self, bytes: &[u8]) -> Cut;

    /// Length of the first `count` of these whole messages: asked when not all
    /// of them may be served. Where a part cannot be served without the rest,
    /// 0: nothing of them is.
    fn first(&self, units: &[u8], count: usize) -> usize {
        let _nothing = (units, count);
        0
    }

    /// How many of these whole messages are the protocol's heartbeat: asked when
    /// a limit tells them from others. 0 where there is no such message.
    fn heartbeats(&self, units: &[u8]) -> usize {
        let _none = units;
        0
    }

    /// Whether it remembers nothing, the last bytes that it saw having ended
    /// with a message: it may cut another connection, which [`Self::resume`]
    /// tells.
    fn is_idle(&self) -> bool {
        false
    }

    /// Forgets the connection; a new one begins.
    fn reset(&mut self);

    /// Forgets the connection; goes on with one that has had messages before
    /// and of which nothing has to be remembered, see [`Self::is_idle`].
    fn resume(&mut self) {
        self.reset();
    }
}

/// What a cutter found.
#[derive(Debug)]
pub struct Cut {
    /// Length of the prefix that consists of whole messages.
    pub units: usize,
    /// How many messages begin in it: one that is passed on in parts counts with
    /// the first of them.
    pub messages: usize,
    /// What to do about the rest.
    pub then: Then,
    /// What the peer is told at once, before whatever waits for its turn: answers
    /// to signs of life.
    pub reply: Option<Vec<u8>>,
}

/// What follows the whole messages.
pub enum Then {
    /// Part of a message, or nothing: read on.
    Read,
    /// The units end inside of a message, whose parts are units as they come.
    ReadOn,
    /// The connection speaks this from now on, beginning with the same bytes.
    /// Only before its first whole message, of which there is none then. That
    /// one may become another in its turn, unless it is a session, whose start
    /// the program has been told.
    Become(Arc<dyn Protocol>),
    /// The last of the units may make something else of the connection
    /// ([`Step::Become`](super::Step::Become)): what follows it is cut when it was
    /// served, by whoever has the connection then.
    Hold,
    /// Nothing that can ever be a message: close behind the whole ones.
    Refuse(Refusal),
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::ReadOn => f.write_str("ReadOn"),
            Self::Become(_) => f.write_str("Become"),
            Self::Hold => f.write_str("Hold"),
            Self::Refuse(refusal) => write!(f, "Refuse({refusal:?})"),
        }
    }
}
