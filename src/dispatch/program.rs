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
use crate::sys::clock::millis;

/// How often in a period each worker looks whether a job is due that one runs for all.
const LOOKS: u32 = 4;

impl<S> Core<S> {
    fn run_job(&self, job: usize, fence: u64) {
        let run = || (self.hooks.every[job].run)(&self.hub, fence);
        activity::begin(Work::Job(u32::try_from(job).unwrap_or(u32::MAX)));
        guard(self.hub.row(), || format!("periodic job {job}"), run);
        activity::end();
    }
}

impl<S: Default + Send + 'static> Service for Arc<Core<S>> {
    fn dispatcher(&self) -> Box<dyn Dispatcher> {
        Box::new(ConnDispatcher::new(Arc::clone(self)))
    }

    fn periods(&self) -> Vec<Duration> {
        let every = self.hooks.every.iter();
        every
            .map(|job| match job.name {
                Some(_) => job.period / LOOKS,
                None => job.period,
            })
            .collect()
    }

    fn is_wanted(&self, job: usize) -> bool {
        let Some(lease) = &self.leases[job] else {
            return true;
        };
        let (now, period) = (
            self.hub.worker().clock(),
            millis(self.hooks.every[job].period),
        );
        lease.prolong(now, period);
        lease.is_due(now, period)
    }

    fn tick(&self, job: usize) {
        let Some(lease) = &self.leases[job] else {
            return self.run_job(job, 0);
        };
        let period = millis(self.hooks.every[job].period);
        if let Some(fence) = lease.take(self.hub.worker().clock(), period) {
            self.run_job(job, fence);
            lease.give_back();
        }
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

    fn outline(&self, conn: ConnId, most: usize) -> (Option<String>, Vec<String>) {
        self.hub.directory().outline(conn, most)
    }

    fn conns_of(&self, user: &str) -> Vec<ConnId> {
        self.hub.directory().user(user)
    }

    fn arrival(&self) -> Option<Box<dyn Any + Send>> {
        let arrived = Arc::clone(self.hooks.arrived.as_ref()?);
        let row = self.hub.row().clone();
        Some(task::hook(&self.hub, move |c: &mut Ctx<'_, S>| {
            let ran = guard(&row, || "`arrived`".to_owned(), || arrived(c));
            if ran.is_none() {
                // As `opened`: what it made is half made.
                c.close();
            }
        }))
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
