//! What becomes of a request that opens a WebSocket, and messages without ids. Used
//! by the holder of the connection's turn.

use super::catch_panic::guard;
use super::core::Core;
use super::dispatcher::Current;
use super::failure;
use super::seed::Seed;
use crate::body::Answer;
use crate::protocol::{CloseMode, Error, Message, Out};
use crate::scoreboard::activity::{self, Work};

impl<S: Default + Send + 'static> Current<S> {
    /// The connection is a session from now on.
    pub(super) fn become_session(&mut self, core: &Core<S>) {
        self.has_opened = false;
        let what = || "`default` of the connection's state".to_owned();
        let seed = self.seed.take();
        let (state, user, room) = match seed {
            Some(Seed { state, user, room }) => (Some(state), user, room),
            None => (None, None, None),
        };
        self.state = state.or_else(|| guard(core.hub.row(), what, S::default));
        if let Some(user) = user {
            self.member = true;
            core.hub.directory().bind(self.conn, &user);
        }
        if let Some(room) = room {
            self.member = true;
            core.hub.directory().join(self.conn, &room);
        }
    }

    /// Gives a message without an id to its function.
    pub(super) fn message(
        &mut self,
        core: &Core<S>,
        (number, message): (u32, Message),
        out: &mut Out<'_>,
        answer: &mut Answer,
    ) {
        self.handled += 1;
        self.id = None;
        activity::begin(Work::Route(number));
        if self.state.is_none() {
            out.close = Some(CloseMode::Flush);
        }
        let what = || "a function of messages".to_owned();
        let site = &core.of(self.origin).site;
        let ran = self.run(core, out, what, |ctx| {
            site.message(number, ctx, message, answer);
        });
        if ran.is_none() {
            *answer = Answer::Error(Error::new(500, "the handler panicked"));
        } else {
            failure::note(answer, (&core.hub, self.named()), None);
        }
    }
}
