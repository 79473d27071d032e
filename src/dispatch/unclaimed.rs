//! Messages that no handler claims by its id. Used by the holder of the connection's
//! turn.

use super::core::Core;
use super::dispatcher::Current;
use super::service::UnknownId;
use crate::body::Answer;
use crate::protocol::{CloseMode, Error, Out, Route, Units};
use crate::scoreboard::Counter;

impl<S: Default + Send + 'static> Current<S> {
    /// A message that no handler claims by its id.
    pub(super) fn unclaimed(
        &mut self,
        core: &Core<S>,
        route: Route,
        body: Units<'_>,
        out: &mut Out<'_>,
        answer: &mut Answer,
    ) {
        if route.heartbeat {
            self.handled += 1;
            *answer = Answer::body(body.to_bytes());
            return;
        }
        if let Some(handler) = core.of(self.origin).router.fallback() {
            return self.handle(core, handler, route, body, out, answer);
        }
        let row = core.hub.row();
        row.count(Counter::Unclaimed);
        let id = route.id.unwrap_or(0);
        *answer = match self.origin.unknown_id {
            UnknownId::Error => {
                Answer::Error(Error::new(404, format!("no handler for message {id}")))
            }
            UnknownId::Ignore => Answer::None,
            UnknownId::Close => {
                row.count(Counter::UnknownId);
                out.close = Some(CloseMode::Flush);
                Answer::None
            }
        };
    }
}
