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
//! The cutter never looks at bodies and never allocates from a claimed length.
//! The server runs handlers through [`Dispatch`], which the layer above
//! implements, and appends what they say to [`Out`].

mod answer;
pub mod auto;
pub mod first_bytes;
pub mod frame;
pub mod http;
mod out;
pub mod proxy;
mod push;
mod units;

use std::fmt;
use std::sync::Arc;

pub use answer::{Answer, Error, Media};
pub use out::{Beside, FilePart, Out, Receipt, Splice};
pub use push::{Push, Unsendable, Wire};
pub use units::{BodyFile, Units};

use crate::scoreboard::Counter;

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
    /// How many messages that is.
    pub messages: usize,
    /// What to do about the rest.
    pub then: Then,
}

/// What follows the whole messages.
pub enum Then {
    /// Part of a message, or nothing: read on.
    Read,
    /// The units end inside of a message, whose parts are units as they come.
    ReadOn,
    /// The connection speaks this from now on, beginning with the same bytes.
    /// Only before its first whole message, of which there is none then.
    Become(Arc<dyn Protocol>),
    /// Nothing that can ever be a message: close behind the whole ones.
    Refuse(Refusal),
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::ReadOn => f.write_str("ReadOn"),
            Self::Become(_) => f.write_str("Become"),
            Self::Refuse(refusal) => write!(f, "Refuse({refusal:?})"),
        }
    }
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
        }
    }
}

/// Serves the messages of one connection, in order. Used by whoever holds the
/// connection's turn: a business thread, or the reactor for inline handlers.
pub trait Server: Send {
    /// Serves whole messages; returns how many bytes of them are done, and why
    /// it stopped. Must stop when [`Turn::over`] says so.
    fn serve(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step);

    /// Takes note of something that is not a message.
    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step;

    /// Whether it remembers nothing of its connection, so that another one may
    /// serve the next turn, and this one another connection. An idle server
    /// has no other answer to [`Event::Eof`] than a close, and may not be asked.
    fn is_idle(&self) -> bool {
        false
    }

    /// What another process has to know to go on with this connection, if that
    /// is a number: nothing is owed, nothing of a message is kept. `None`: the
    /// connection stays here for now. Asked when no message waits.
    fn snapshot(&self) -> Option<u32> {
        self.is_idle().then_some(0)
    }

    /// Goes on where another process's server had this [`snapshot`](Self::snapshot).
    fn restore(&mut self, snapshot: u32) {
        let _nothing_to_know = snapshot;
    }

    /// The connection is over: nothing is served or written any more, and so
    /// many bytes that were written are not sent.
    fn over(&mut self, unsent: u64, app: &mut dyn Dispatch) {
        let _nothing_to_note = (unsent, app);
    }

    /// Forgets the connection; a new one begins.
    fn reset(&mut self);
}

/// What reaches a server beside messages. Comes in order with them.
#[derive(Debug)]
pub enum Event {
    /// The connection was accepted, nothing has been read.
    Opened,
    /// The reply to the request that answered [`Answer::Later`] with this token.
    Reply(u64, Answer),
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
    /// A timer set through [`Dispatch`] fell due.
    Timer(u64),
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
    /// The connection is over.
    Close(CloseMode),
    /// The connection is over because its peer broke a rule; flush, then close.
    Refuse(Refusal),
}

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

/// What the holder of a turn lends to a server.
pub struct Turn<'a> {
    /// Where handlers may run.
    pub lane: Lane,
    /// What will be written, with one system call unless there are files in it.
    pub out: Out<'a>,
    /// The handlers.
    pub app: &'a mut dyn Dispatch,
    /// Says when to stop.
    pub budget: &'a mut dyn FnMut() -> bool,
    /// Stop when this many bytes wait to be written.
    pub room: usize,
}

impl Turn<'_> {
    /// Whether to stop, asked after each message: the budget of messages or
    /// time is used, or enough bytes wait to be written.
    pub fn over(&mut self) -> bool {
        // Asked in any case: it counts the messages.
        let is_spent = (self.budget)();
        is_spent || self.out.pending() >= self.room
    }
}

/// Where the turn runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// On the event loop: only handlers that said they do not block.
    Inline,
    /// On a business thread: any handler.
    Pool,
}

/// The handlers of one connection, with its state. Implemented by `dispatch`.
pub trait Dispatch: Send {
    /// Whether the handler of `route` may run on the event loop.
    fn inline(&self, route: Route) -> bool;

    /// Runs the handler of `route` and puts what it answered into `answer`.
    /// Never panics: a panic is caught, counted and answered with an error.
    fn call(&mut self, route: Route, body: Units<'_>, out: &mut Out<'_>, answer: &mut Answer);

    /// Runs what the user wants done at the start of a connection.
    fn opened(&mut self, out: &mut Out<'_>);

    /// Runs a timer of this connection.
    fn timer(&mut self, token: u64, out: &mut Out<'_>);

    /// Runs the handler of a request that names a path instead of an id, with a
    /// state of its own, and puts what it answered into `response`, unless it
    /// may not run in `lane`. Never panics, as [`Self::call`].
    fn request(
        &mut self,
        lane: Lane,
        request: &http::Request<'_>,
        response: &mut http::Response,
    ) -> http::Served {
        let _ = (lane, request);
        response.error(&Error::new(404, "there are no routes"));
        http::Served::Done
    }

    /// Asks the source of a streamed response for more. Never panics: a panic is
    /// a failure of the source.
    fn fill(&mut self, stream: &mut http::Stream, room: &mut http::ChunkBuf<'_>) -> http::Fill {
        stream.fill(room)
    }

    /// Says what to do with a body that was not whole when its head was, or is
    /// longer than most. Never panics, as [`Self::call`].
    fn receive(
        &mut self,
        incoming: &http::Incoming<'_>,
        response: &mut http::Response,
    ) -> http::Wanted {
        let _ = response;
        http::Wanted::Whole { max: incoming.max }
    }

    /// Something that takes a body for which there is no room in memory.
    ///
    /// # Errors
    ///
    /// There is no room anywhere: what the peer is told.
    fn spool(&mut self, spooling: &http::Spooling) -> Result<Box<dyn http::Intake>, Error> {
        let _ = spooling;
        Err(Error::new(
            507,
            "there is no room for a body of this length",
        ))
    }

    /// Gives `intake` the next bytes of its body. Never panics, as [`Self::call`].
    ///
    /// # Errors
    ///
    /// The body is refused; what the peer is told.
    fn piece(&mut self, intake: &mut dyn http::Intake, bytes: &[u8]) -> Result<(), Error> {
        intake.piece(bytes)
    }

    /// Takes note of an answer, for the access log.
    fn record(&mut self, access: &http::Access<'_>, format: http::AccessFormat) {
        let _ = (access, format);
    }

    /// What takes note of an answer once its content is out, or its connection
    /// over. `None`: nobody wants to know.
    fn receipt(&mut self, sending: http::Sending) -> Option<Box<dyn Receipt>> {
        let _ = sending;
        None
    }

    /// A name for a request that came without one.
    fn request_id(&mut self) -> Box<str> {
        Box::default()
    }

    /// Microseconds of a clock that never goes back.
    fn micros(&self) -> u64 {
        0
    }

    /// The time of day in seconds since 1970, for protocols that say it.
    fn seconds(&self) -> u64 {
        0
    }
}

/// Which handler a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Message id; `None` where the protocol has none.
    pub id: Option<u32>,
    /// Whether the protocol calls this id its heartbeat: answered with the same
    /// message unless the user registered a handler for it.
    pub heartbeat: bool,
}
