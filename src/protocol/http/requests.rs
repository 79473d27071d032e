//! What HTTP asks of the program: the half of
//! [`Dispatch`](crate::protocol::Dispatch) that frames never call. Used by the
//! holder of the connection's turn.
//!
//! A program without routes implements none of it, and its requests get 404.

use std::net::IpAddr;

use super::{
    Access, AccessFormat, ChunkBuf, Fill, Incoming, Intake, Request, Response, Sending, Served,
    Spooling, Stream, Wanted,
};
use crate::protocol::{Error, Lane, Receipt};

/// The handlers of requests. Never panics: a panic of a handler is caught,
/// counted and answered.
pub trait Requests: Send {
    /// Runs the handler of a request that names a path instead of an id, with a
    /// state of its own, and puts what it answered into `response`, unless it
    /// may not run in `lane`.
    fn request(&mut self, lane: Lane, request: &Request<'_>, response: &mut Response) -> Served {
        let _ = (lane, request);
        response.error(&Error::new(404, "there are no routes"));
        Served::Done
    }

    /// Asks the source of a streamed response for more. Its panic is a failure.
    fn fill(&mut self, stream: &mut Stream, room: &mut ChunkBuf<'_>) -> Fill {
        stream.fill(room)
    }

    /// Says what to do with a body that was not whole when its head was, or is
    /// longer than most.
    fn receive(&mut self, incoming: &Incoming<'_>, response: &mut Response) -> Wanted {
        let _ = response;
        Wanted::Whole { max: incoming.max }
    }

    /// Something that takes a body for which there is no room in memory.
    ///
    /// # Errors
    ///
    /// There is no room anywhere: what the peer is told.
    fn spool(&mut self, spooling: &Spooling) -> Result<Box<dyn Intake>, Error> {
        let _ = spooling;
        Err(Error::new(
            507,
            "there is no room for a body of this length",
        ))
    }

    /// Gives `intake` the next bytes of its body.
    ///
    /// # Errors
    ///
    /// The body is refused; what the peer is told.
    fn piece(&mut self, intake: &mut dyn Intake, bytes: &[u8]) -> Result<(), Error> {
        intake.piece(bytes)
    }

    /// Takes note of an answer, for the access log.
    fn record(&mut self, access: &Access<'_>, format: AccessFormat) {
        let _ = (access, format);
    }

    /// What takes note of an answer once its content is out, or its connection
    /// over. `None`: nobody wants to know.
    fn receipt(&mut self, sending: Sending) -> Option<Box<dyn Receipt>> {
        let _ = sending;
        None
    }

    /// What takes note of an answer whose connection came from another process,
    /// as [`Receipt::pack`] made it there.
    fn unpack_receipt(&mut self, packed: &[u8]) -> Option<Box<dyn Receipt>> {
        let _nobody_wants_to_know = packed;
        None
    }

    /// A name for a request that came without one.
    fn request_id(&mut self) -> Box<str> {
        Box::default()
    }

    /// The address of the peer; `None`: it has none.
    fn peer(&self) -> Option<IpAddr> {
        None
    }

    /// Microseconds of a clock that never goes back.
    fn micros(&self) -> u64 {
        0
    }

    /// The time of day in seconds since 1970, which each response says.
    fn seconds(&self) -> u64 {
        0
    }
}
