//! A program as its worker asks it.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::catch_panic::guard;
use super::core::Core;
use super::ctx::Ctx;
use super::dispatcher::ConnDispatcher;
use super::service::{Dispatcher, Named, Service};
use super::task;
use crate::bus::Read;
use crate::net::ConnId;
use crate::scoreboard::activity::{self, Work};

impl<S: Default + Send + 'static> Service for Arc<Core<S>> {
    fn dispatcher(&self) -> Box<dyn Dispatcher> {
        Box::new(ConnDispatcher::new(Arc::clone(self)))
    }

    fn periods(&self) -> Vec<Duration> {
        self.hooks.every.iter().map(|(period, _)| *period).collect()
    }

    fn tick(&self, job: usize) {
        let run = || (self.hooks.every[job].1)(&self.hub);
        activity::begin(Work::Job(u32::try_from(job).unwrap_or(u32::MAX)));
        guard(self.hub.row(), || format!("periodic job {job}"), run);
        activity::end();
    }

    fn hear(&self, message: crate::bus::Message) {
        self.hub.hear(&message);
    }

    fn news(&self) {
        self.run_news();
    }

    fn has_heard(&self) {
        self.hub.tidy();
    }

    fn arrives(&self, conn: Named) {
        self.hub.arrives(conn);
    }

    fn arrived(&self, conn: Named, marks: &Arc<[Read]>) {
        self.hub.arrived(conn, marks);
    }

    fn departed(&self, conn: Named) {
        self.hub.departed(conn);
    }

    fn greets(&self) -> bool {
        self.hooks.opened.is_some()
    }

    fn sees_off(&self) -> bool {
        self.hooks.closed.is_some()
    }

    fn is_stateless(&self) -> bool {
        size_of::<S>() == 0
    }

    fn memberships(&self, conn: ConnId) -> (Option<String>, Vec<String>) {
        self.hub.directory().memberships(conn)
    }

    fn conns_of(&self, user: &str) -> Vec<ConnId> {
        self.hub.directory().user(user)
    }

    fn last_words(&self, say: &str) -> Box<dyn Any + Send> {
        let (core, say) = (Arc::clone(self), say.to_owned());
        task::boxed(&self.hub, move |c: &mut Ctx<'_, S>| {
            if let Some(kicked) = &core.hooks.kicked {
                kicked(c, &say);
            }
            c.close_saying(&say);
        })
    }

    fn announces(&self) -> bool {
        !self.hooks.draining.is_empty()
    }

    fn draining(&self) {
        for f in &self.hooks.draining {
            guard(self.hub.row(), || "`draining`".to_owned(), || f(&self.hub));
        }
    }

    fn stopping(&self) {
        for f in &self.hooks.stopping {
            guard(self.hub.row(), || "`stopping`".to_owned(), || f(&self.hub));
        }
    }
}
