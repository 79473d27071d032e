//! Replies that come later, from any thread.

use std::fmt;

use super::failure;
use super::hub::Hub;
use super::request_id::request_id;
use super::service::Named;
use crate::body::{Answer, Error, IntoReply};
use crate::scoreboard::Counter;

/// What a handler returns when it has handed its reply over with `c.later`.
#[derive(Debug)]
#[must_use = "return it from the handler, or its reply is never awaited"]
pub struct Later(pub(super) u64);

impl IntoReply for Later {
    fn into_reply(self) -> Answer {
        Answer::Later(self.0)
    }
}

/// Owes one reply. Send it to any thread; dropping it unsent answers error 500
/// and is counted.
pub struct Replier {
    pub(super) hub: Hub,
    pub(super) conn: Named,
    pub(super) token: u64,
    pub(super) sent: bool,
    /// The request's name, if it has one.
    pub(super) request: Option<Box<str>>,
}

impl Replier {
    /// Sends the reply. False: the connection is gone.
    pub fn send(mut self, reply: impl IntoReply) -> bool {
        // Encoded first: if that panics, the reply is still owed, and dropping
        // `self` answers an error.
        let mut answer = reply.into_reply();
        self.sent = true;
        if let Answer::Error(error) = &mut answer {
            self.hub.row().count(Counter::HandlerErrors);
            let request = self.request.take().unwrap_or_else(request_id);
            let what = || "a reply that came later".to_owned();
            failure::report(error, (&self.hub, self.conn), &request, what);
        }
        self.hub.worker().answer(self.conn.conn, self.token, answer)
    }
}

impl Replier {
    /// Whether nobody waits for the reply any more, because the connection has
    /// ended: what takes long need not be finished. A peer that has closed its own
    /// half alone may still wait. Any thread.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.hub.worker().knows(self.conn.conn)
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        if !self.sent {
            self.hub.row().count(Counter::RepliersDropped);
            let error = Error::new(500, "the reply was never given");
            self.hub
                .worker()
                .answer(self.conn.conn, self.token, Answer::Error(error));
        }
    }
}

impl fmt::Debug for Replier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replier({} of {})", self.token, self.conn.name)
    }
}
