//! Where a body goes that is not kept in memory until it is whole.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;

use super::Response;
use crate::protocol::{BodyFile, Error};

/// What is to be done with a body that is yet to come.
pub enum Wanted {
    /// It is kept until it is whole: in memory if it is there already, in a file
    /// otherwise.
    Whole {
        /// Bytes that it may have; over it, 413.
        max: usize,
    },
    /// It goes here as it comes.
    Pieces {
        /// Bytes that it may have; over it, 413.
        max: usize,
        /// Who takes them.
        intake: Box<dyn Intake>,
    },
    /// Nobody wants it: the response says why, and the connection is closed.
    Refused,
    /// Nobody knows the method.
    NoSuchMethod,
}

impl Wanted {
    /// Nobody wants it, because of this.
    pub fn refused(error: &Error, response: &mut Response) -> Self {
        response.error(error);
        Self::Refused
    }
}

/// Takes one body in pieces. Used by the holder of the connection's turn, on a
/// business thread: it may wait for a disk, and must not wait for the peer.
/// Dropped without [`Self::finish`] when the body does not come to its end.
pub trait Intake: Send {
    /// Takes the next bytes, at least one.
    ///
    /// # Errors
    ///
    /// The body is refused, and its connection closed.
    fn piece(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// The body is whole.
    fn finish(self: Box<Self>) -> Received;
}

/// What became of a body.
pub enum Received {
    /// It stands in a file.
    File(BodyFile),
    /// Whatever its handler has made of it.
    Made(Box<dyn Any + Send>),
}

/// What an intake made of a body, until its handler takes it.
pub struct Taken(Cell<Option<Box<dyn Any + Send>>>);

impl Taken {
    pub(super) const fn new(made: Box<dyn Any + Send>) -> Self {
        Self(Cell::new(Some(made)))
    }

    /// What was made, for the first who asks.
    pub fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.0.take()
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

/// Where bodies go that are too long for memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spooling {
    /// A folder in which the server may write.
    pub folder: PathBuf,
    /// What a handler may take of such a body into memory.
    pub memory_max: usize,
}
