//! Handlers that take a body piece by piece.
//!
//! ```text
//!   head --> begin(&Http) -> T      refuses before the body comes
//!   body --> piece(&mut T, bytes)   as it comes, in order
//!   end ---> handler(&mut Http, T) -> reply
//! ```
//!
//! On business threads. Whatever ends the request early drops the `T`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Handler, Http};
use crate::body::{Answer, Error, IntoReply};
use crate::protocol::http::{Intake, Received, Taken};

/// A `T` on its way to its handler.
struct Pieces<T, P> {
    made: Option<T>,
    piece: Arc<P>,
}

impl<T: Send + 'static, P> Intake for Pieces<T, P>
where
    P: Fn(&mut T, &[u8]) -> Result<(), Error> + Send + Sync,
{
    fn piece(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.made {
            Some(made) => (self.piece)(made, bytes),
            None => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Received {
        // There is one until it is taken here.
        Received::Made(Box::new(self.made.take()))
    }
}

/// The peer left, or was refused. What the program does about its half of a body
/// may panic, on a thread that must live.
impl<T, P> Drop for Pieces<T, P> {
    fn drop(&mut self) {
        let made = self.made.take();
        if catch_unwind(AssertUnwindSafe(|| drop(made))).is_err() {
            ::log::error!("drop a body that did not come to its end: panicked");
        }
    }
}

/// The two handlers of a route in pieces: what runs before the body, and what
/// answers behind it.
pub(super) fn erase<S, T: Send + 'static, R: IntoReply>(
    begin: impl Fn(&Http<'_, S>) -> Result<T, Error> + Send + Sync + 'static,
    piece: impl Fn(&mut T, &[u8]) -> Result<(), Error> + Send + Sync + 'static,
    reply: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
) -> (Handler<S>, Handler<S>) {
    let (begin, piece) = (Arc::new(begin), Arc::new(piece));
    let (begins, takes) = (Arc::clone(&begin), Arc::clone(&piece));
    let before: Handler<S> = Arc::new(move |http, _, answer| match begins(http) {
        Ok(made) => {
            http.begun = Some(Box::new(Pieces {
                made: Some(made),
                piece: Arc::clone(&takes),
            }));
        }
        Err(error) => *answer = Answer::Error(error),
    });
    let behind: Handler<S> = Arc::new(move |http, body, answer| {
        let taken = http.request.taken.and_then(Taken::take);
        let made = taken.and_then(|made| *made.downcast::<Option<T>>().ok()?);
        // A short body comes whole, and nothing was begun for it.
        let whole = || {
            let mut made = begin(http)?;
            if !body.bytes().is_empty() {
                piece(&mut made, body.bytes())?;
            }
            Ok(made)
        };
        match made.map_or_else(whole, Ok) {
            Ok(made) => *answer = reply(http, made).into_reply(),
            Err(error) => *answer = Answer::Error(error),
        }
    });
    (before, behind)
}
