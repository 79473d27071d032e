//! Message id → handler.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::ctx::Ctx;
use crate::body::{Answer, Error, Id, IntoReply, Raw, Reply};

/// A handler, its body and reply types erased. It puts its answer into the slot
/// instead of returning it: moved through four layers by value, an answer costs
/// more than a small handler.
pub type Handler<S> = Arc<dyn Fn(&mut Ctx<'_, S>, Raw<'_>, &mut Answer) + Send + Sync>;

/// Middleware: runs around handlers.
pub type Middleware<S> =
    Arc<dyn Fn(&mut Ctx<'_, S>, Raw<'_>, Next<'_, S>) -> Result<Reply, Error> + Send + Sync>;

/// What a middleware runs around.
pub struct Next<'a, S>(&'a Handler<S>);

impl<S> Next<'_, S> {
    /// Runs the rest: further middleware, then the handler.
    ///
    /// # Errors
    ///
    /// What the handler answered as an error; pass it on, or answer something
    /// else.
    pub fn run(self, ctx: &mut Ctx<'_, S>, body: Raw<'_>) -> Result<Reply, Error> {
        let mut answer = Answer::None;
        (self.0)(ctx, body, &mut answer);
        match answer {
            Answer::Error(error) => Err(error),
            answer @ (Answer::None
            | Answer::Reply { .. }
            | Answer::Content(_)
            | Answer::Later(_)) => Ok(answer.into()),
        }
    }
}

impl<S> fmt::Debug for Next<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

/// Ids below this are found by index, the others by hash.
const DIRECT: usize = 1024;

/// All handlers of a program.
pub struct Router<S> {
    direct: Vec<Option<Route<S>>>,
    hashed: HashMap<Id, Route<S>>,
    otherwise: Option<Handler<S>>,
}

struct Route<S> {
    handler: Handler<S>,
    inline: bool,
}

impl<S> Default for Router<S> {
    fn default() -> Self {
        Self {
            direct: Vec::new(),
            hashed: HashMap::new(),
            otherwise: None,
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direct = self.direct.iter().flatten().count();
        write!(f, "Router({} handlers)", direct + self.hashed.len())
    }
}

impl<S: 'static> Router<S> {
    /// Claims `id`.
    pub fn insert(&mut self, id: Id, handler: Handler<S>, inline: bool) {
        let route = Route { handler, inline };
        match usize::try_from(id) {
            Ok(index) if index < DIRECT => {
                if self.direct.len() <= index {
                    self.direct.resize_with(index + 1, || None);
                }
                self.direct[index] = Some(route);
            }
            Ok(_) | Err(_) => {
                self.hashed.insert(id, route);
            }
        }
    }

    /// Claims everything that is not claimed.
    pub fn otherwise(&mut self, handler: Handler<S>) {
        self.otherwise = Some(handler);
    }

    fn route(&self, id: Id) -> Option<&Route<S>> {
        match usize::try_from(id) {
            Ok(index) if index < DIRECT => self.direct.get(index)?.as_ref(),
            Ok(_) | Err(_) => self.hashed.get(&id),
        }
    }

    /// The handler that claims `id`, or every frame of a format without ids.
    pub(super) fn find(&self, id: Option<Id>) -> Option<&Handler<S>> {
        id.and_then(|id| self.route(id)).map(|route| &route.handler)
    }

    pub(super) fn fallback(&self) -> Option<&Handler<S>> {
        self.otherwise.as_ref()
    }

    /// Whether the handler of `id` may run on the event loop; `None`: nobody
    /// claims it.
    pub(super) fn inline(&self, id: Option<Id>) -> Option<bool> {
        id.and_then(|id| self.route(id)).map(|route| route.inline)
    }
}

/// `handler` with `middleware` around it, the first one outermost.
pub(crate) fn wrapped<S: 'static>(handler: Handler<S>, middleware: &[Middleware<S>]) -> Handler<S> {
    middleware.iter().rev().fold(handler, |inner, outer| {
        let outer = Arc::clone(outer);
        Arc::new(move |ctx, body, answer| {
            *answer = outer(ctx, body, Next(&inner)).into_reply();
        })
    })
}

/// Middleware that lets by whom `test` lets by; others get this error.
pub(crate) fn needs<S: 'static>(
    code: u16,
    text: &str,
    test: impl Fn(&Ctx<'_, S>) -> bool + Send + Sync + 'static,
) -> Middleware<S> {
    let text = text.to_owned();
    Arc::new(move |ctx, body, next| {
        if test(ctx) {
            next.run(ctx, body)
        } else {
            Err(Error::new(code, text.clone()))
        }
    })
}
