//! A program as it runs in one worker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ctx::Ctx;
use super::guard::guard;
use super::handover::Carry;
use super::hub::Hub;
use super::outlet::{Seat, Service};
use super::router::Router;
use super::seat::ConnSeat;
use super::site::Site;
use crate::scoreboard::desk::{self, Work};

type OnConn<S> = Arc<dyn Fn(&mut Ctx<'_, S>) + Send + Sync>;
type OnWorker = Arc<dyn Fn(&Hub) + Send + Sync>;

/// What runs beside messages.
pub struct Hooks<S> {
    /// At the start of a connection, before its first message.
    pub opened: Option<OnConn<S>>,
    /// At its end.
    pub closed: Option<OnConn<S>>,
    /// Periodic jobs.
    pub every: Vec<(Duration, OnWorker)>,
    /// At the end of the worker.
    pub stopping: Vec<OnWorker>,
    /// How the state of a connection goes to another worker, if it can.
    pub carry: Option<Carry<S>>,
}

impl<S> Default for Hooks<S> {
    fn default() -> Self {
        Self {
            opened: None,
            closed: None,
            every: Vec::new(),
            stopping: Vec::new(),
            carry: None,
        }
    }
}

impl<S> Clone for Hooks<S> {
    fn clone(&self) -> Self {
        Self {
            opened: self.opened.clone(),
            closed: self.closed.clone(),
            every: self.every.clone(),
            stopping: self.stopping.clone(),
            carry: self.carry,
        }
    }
}

impl<S> fmt::Debug for Hooks<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hooks({} periodic)", self.every.len())
    }
}

/// The handlers, the hooks and the hub of one worker.
pub struct Core<S> {
    /// Who handles what.
    pub router: Router<S>,
    /// Who handles requests.
    pub site: Arc<dyn Site<S>>,
    /// What runs beside messages.
    pub hooks: Hooks<S>,
    /// The way to connections.
    pub hub: Hub,
}

impl<S> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}

impl<S: Default + Send + 'static> Service for Arc<Core<S>> {
    fn seat(&self) -> Box<dyn Seat> {
        Box::new(ConnSeat::new(Arc::clone(self)))
    }

    fn periods(&self) -> Vec<Duration> {
        self.hooks.every.iter().map(|(period, _)| *period).collect()
    }

    fn tick(&self, job: usize) {
        let run = || (self.hooks.every[job].1)(&self.hub);
        desk::begin(Work::Job(u32::try_from(job).unwrap_or(u32::MAX)));
        guard(self.hub.row(), || format!("periodic job {job}"), run);
        desk::rest();
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

    fn stopping(&self) {
        for f in &self.hooks.stopping {
            guard(self.hub.row(), || "`stopping`".to_owned(), || f(&self.hub));
        }
    }
}
