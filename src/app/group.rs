//! Handlers whose ids lie in a range, with middleware of their own.

use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::Arc;

use super::{Registered, erase, register};
use crate::body::{Error, FromBody, Id, IntoReply, Raw, Reply};
use crate::dispatch::{Ctx, Handler, Middleware, Next, needs, wrapped};

/// Handlers of a range of ids: see [`App::group`](super::App::group).
pub struct Group<S> {
    range: RangeInclusive<Id>,
    place: &'static Location<'static>,
    routes: Vec<Registered<S>>,
    wraps: Vec<Middleware<S>>,
}

impl<S> fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({:?}, {} handlers)", self.range, self.routes.len())
    }
}

impl<S: 'static> Group<S> {
    pub(super) const fn new(range: RangeInclusive<Id>, place: &'static Location<'static>) -> Self {
        Self {
            range,
            place,
            routes: Vec::new(),
            wraps: Vec::new(),
        }
    }

    pub(super) fn register_in(self, routes: &mut Vec<Registered<S>>) {
        for mut route in self.routes {
            route.handler = wrapped(route.handler, &self.wraps);
            register(routes, route);
        }
    }

    /// As [`App::need`](super::App::need), for the handlers of the group.
    #[must_use]
    pub fn need(
        mut self,
        code: u16,
        text: &str,
        test: impl Fn(&Ctx<'_, S>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.wraps.push(needs(code, text, test));
        self
    }

    /// As [`App::on`](super::App::on), within the group.
    ///
    /// # Panics
    ///
    /// When `id` lies outside of the group or has a handler already.
    #[must_use]
    #[track_caller]
    pub fn on<T: FromBody, R: IntoReply>(
        self,
        id: Id,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        self.add(id, erase(f), false, Location::caller())
    }

    /// As [`App::on_inline`](super::App::on_inline), within the group.
    ///
    /// # Panics
    ///
    /// As [`Self::on`].
    #[must_use]
    #[track_caller]
    pub fn on_inline<T: FromBody, R: IntoReply>(
        self,
        id: Id,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        self.add(id, erase(f), true, Location::caller())
    }

    /// Middleware around every handler of the group, inside that of the app.
    #[must_use]
    pub fn wrap(
        mut self,
        f: impl Fn(&mut Ctx<'_, S>, Raw<'_>, Next<'_, S>) -> Result<Reply, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.wraps.push(Arc::new(f));
        self
    }

    fn add(
        mut self,
        id: Id,
        handler: Handler<S>,
        inline: bool,
        place: &'static Location<'static>,
    ) -> Self {
        assert!(
            self.range.contains(&id),
            "message id {id} at {place} lies outside of the group {:?} at {}",
            self.range,
            self.place
        );
        register(
            &mut self.routes,
            Registered {
                id,
                handler,
                inline,
                place,
            },
        );
        self
    }
}
