//! What reaches a server beside messages, and why it stops. Plain data.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Answer, Error, Protocol};
use crate::scoreboard::Counter;

/// What reaches a server beside messages. Comes in order with them.
#[derive(Debug)]
pub enum Event {
    /// The connection was accepted, nothing has been read.
    Opened,
    /// The reply to the request that answered [`Answer::Later`] with this token.
    Reply(u64, Answer),
    /// The replies that were put off do not come: whoever waits for one gets this
    /// error, and what follows the last of them follows. Nothing happens where
    /// none is owed.
    GiveUp(Error),
    /// The cutter gave up on the bytes behind the last unit.
    Refused(Refusal),
    /// The peer has sent its last byte; it may still read.
    Eof,
    /// The worker will end soon: say so, if the format has words for it.
    Draining,
    /// The worker wants to end: answer what came, say good-bye, close.
    GoAway,
    /// The peer has been silent: ask it for a sign of life, if the protocol can.
    Ping,
    /// A timer set through [`Dispatch`](super::Dispatch) fell due.
    Timer(u64),
    /// For [`Dispatch::run`](super::Dispatch::run). Stands behind the messages
    /// before it, as they do.
    Run(Box<dyn Any + Send>),
    /// Enough of what was written is out: comes behind [`Step::AwaitWritable`].
    Writable,
    /// What [`Step::AwaitEvent`] waits for may be there: look again.
    Wake,
}

/// Why a server stopped.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Everything is done, or the turn is over and the rest waits.
    Next,
    /// The next message must run on the business pool.
    NotInline,
    /// Nothing may run before the [`Event::Reply`] that is owed.
    AwaitReply,
    /// Nothing may run before [`Event::Writable`], on the business pool: there is
    /// more to write than may wait to be sent.
    AwaitWritable,
    /// No message may run before an event says what comes next; any event may.
    AwaitEvent,
    /// Everything is done, and the connection speaks this from now on. Its cutter
    /// has said that it may ([`Then::Hold`](super::Then::Hold)), so that nothing
    /// behind it was looked at.
    Become(Successor),
    /// The connection is over.
    Close(CloseMode),
    /// The connection is over because its peer broke a rule; flush, then close.
    Refuse(Refusal),
}

/// What a connection becomes. Equal when it is the same one.
pub struct Successor {
    /// What it speaks from now on.
    pub protocol: Arc<dyn Protocol>,
    /// The answer with which it became that, packed, where its end is recorded too.
    pub recorded: Option<Box<[u8]>>,
    /// Whose it is, where a proxy has named him: nobody else's from now on.
    pub client: Option<IpAddr>,
}

impl From<Arc<dyn Protocol>> for Successor {
    fn from(protocol: Arc<dyn Protocol>) -> Self {
        Self {
            protocol,
            recorded: None,
            client: None,
        }
    }
}

impl fmt::Debug for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Successor({:?})", self.protocol.name())
    }
}

impl PartialEq for Successor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.protocol, &other.protocol)
    }
}

impl Eq for Successor {}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseMode {
    /// Everything that was written reaches the peer first.
    Flush,
    /// As [`Flush`](Self::Flush), to a peer who has said that it sends nothing
    /// more: nobody waits for its end unless it does.
    Done,
    /// At once, with a reset; unsent bytes are lost.
    Abort,
}

/// Why the peer is closed, for the operator and for the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Counted under this name.
    pub counter: Counter,
    /// For the log: what was claimed, and what the limit is.
    pub detail: String,
    /// Sent to the peer before the close; empty: nothing.
    pub answer: &'static [u8],
    /// What came of the message, where its server needs that to answer.
    pub about: Vec<u8>,
}

impl Refusal {
    /// The bytes are no message of their format; `detail`, for the log, says
    /// why.
    #[must_use]
    #[cold]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self {
            counter: Counter::Malformed,
            detail: detail.into(),
            answer: b"",
            about: Vec::new(),
        }
    }
}
