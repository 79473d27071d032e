//! Routes at which a connection becomes a WebSocket.

use std::fmt;
use std::sync::Arc;

use super::{Handler, Http};
use crate::body::{Answer, Error, IntoReply};
use crate::dispatch::Ctx;
use crate::protocol::Message;
use crate::protocol::http::Upgrade;
use crate::scoreboard::Counter;

/// A function that gets messages without ids, its reply type erased.
pub(super) type OnMessage<S> = Arc<dyn Fn(&mut Ctx<'_, S>, Message, &mut Answer) + Send + Sync>;

/// A path whose connections have messages without ids.
pub(super) struct Messages<S> {
    pub(super) path: String,
    pub(super) f: OnMessage<S>,
    pub(super) inline: bool,
}

impl<S> Clone for Messages<S> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            f: Arc::clone(&self.f),
            inline: self.inline,
        }
    }
}

impl<S> fmt::Debug for Messages<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Messages({})", self.path)
    }
}

/// `f`, its reply type erased.
pub(super) fn erase<S, R: IntoReply>(
    f: impl Fn(&mut Ctx<'_, S>, Message) -> R + Send + Sync + 'static,
) -> OnMessage<S> {
    Arc::new(move |ctx, message, answer| *answer = f(ctx, message).into_reply())
}

/// Makes a connection one of those at `path`.
pub(super) fn opens_messages<S: 'static>(path: &str) -> Handler<S> {
    let path = path.to_owned();
    Arc::new(move |http, _, answer| {
        if let Some(upgrade) = asked(http, answer) {
            upgrade.accept_raw(&path, http.response);
            http.ctx.hub().row().count(Counter::WsOpened);
        }
    })
}

/// Makes a connection one whose messages have ids, unless `hook` answers something.
pub(super) fn opens_by_id<S: 'static, R: IntoReply>(
    hook: impl Fn(&mut Http<'_, S>) -> R + Send + Sync + 'static,
) -> Handler<S> {
    Arc::new(move |http, _, answer| {
        let Some(upgrade) = asked(http, answer) else {
            return;
        };
        *answer = hook(http).into_reply();
        if matches!(answer, Answer::None) && http.response.status.is_none() {
            accept(&upgrade, http, answer);
        }
    })
}

/// Accepts with what has messages with ids.
pub(super) fn accept<S>(upgrade: &Upgrade<'_>, http: &mut Http<'_, S>, answer: &mut Answer) {
    if upgrade.accept_by_id(http.response) {
        http.ctx.hub().row().count(Counter::WsOpened);
    } else {
        *answer = Answer::Error(Error::new(501, "the listener has no frames"));
    }
}

/// The client for browsers.
pub(super) fn script<S: 'static>() -> Handler<S> {
    Arc::new(|http, _, answer| {
        http.set_header("Content-Type", "text/javascript; charset=utf-8");
        http.set_header("Cache-Control", "no-cache");
        *answer = include_str!("purlin.js").into_reply();
    })
}

/// What the request asks for; if not for a WebSocket, or in a wrong way, that is
/// the answer.
fn asked<'a, S>(http: &mut Http<'a, S>, answer: &mut Answer) -> Option<Upgrade<'a>> {
    match Upgrade::read(http.request, http.response) {
        Ok(upgrade) => Some(upgrade),
        Err(refused) => {
            if let Some(counter) = refused.counter {
                http.ctx.hub().row().count(counter);
            }
            *answer = Answer::Error(refused.error);
            None
        }
    }
}
