//! A program as it runs in one worker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ctx::Ctx;
use super::handover::HandoverFns;
use super::hub::Hub;
use super::router::Router;
use super::service::Origin;
use super::site::Site;
use crate::bus::Lease;

type OnConn<S> = Arc<dyn Fn(&mut Ctx<'_, S>) + Send + Sync>;
type OnLeave<S> = Arc<dyn Fn(&mut Ctx<'_, S>) -> Bytes + Send + Sync>;
type OnWorker = Arc<dyn Fn(&Hub) + Send + Sync>;
type OnTold = Arc<dyn Fn(&Hub, &Bytes) + Send + Sync>;
type OnPeriod = Arc<dyn Fn(&Hub, u64) + Send + Sync>;
type OnKicked<S> = Arc<dyn Fn(&mut Ctx<'_, S>, &str) + Send + Sync>;
type OnMissed = Arc<dyn Fn(&Hub, &[String]) + Send + Sync>;

/// What runs every now and then.
#[derive(Clone)]
pub struct Periodic {
    /// How often.
    pub period: Duration,
    /// What one worker runs for all has a name; the rest runs in each.
    pub name: Option<String>,
    /// Gets the number of the run, if it has a name.
    pub run: OnPeriod,
}

/// What runs beside messages.
pub struct Hooks<S> {
    /// At the start of a connection, before its first message.
    pub opened: Option<OnConn<S>>,
    /// When it goes on here, having come from another worker.
    pub arrived: Option<OnConn<S>>,
    /// At its end.
    pub closed: Option<OnConn<S>>,
    /// Timers of connections, by name.
    pub timers: Vec<(String, OnConn<S>)>,
    /// Periodic jobs.
    pub every: Vec<Periodic>,
    /// At the beginning of the worker's end.
    pub draining: Vec<OnWorker>,
    /// What a connection is told when the worker goes away.
    pub going_away: Option<OnLeave<S>>,
    /// When an operator closes a connection, and says why.
    pub kicked: Option<OnKicked<S>>,
    /// When a worker tells something, by topic.
    pub told: Vec<(String, OnTold)>,
    /// When messages of another worker were lost.
    pub missed: Vec<OnMissed>,
    /// At the end of the worker.
    pub stopping: Vec<OnWorker>,
    /// How the state of a connection goes to another worker, if it can.
    pub carry: Option<HandoverFns<S>>,
}

impl<S> Default for Hooks<S> {
    fn default() -> Self {
        Self {
            opened: None,
            arrived: None,
            closed: None,
            timers: Vec::new(),
            every: Vec::new(),
            draining: Vec::new(),
            going_away: None,
            kicked: None,
            told: Vec::new(),
            missed: Vec::new(),
            stopping: Vec::new(),
            carry: None,
        }
    }
}

impl<S> Clone for Hooks<S> {
    fn clone(&self) -> Self {
        Self {
            opened: self.opened.clone(),
            arrived: self.arrived.clone(),
            closed: self.closed.clone(),
            timers: self.timers.clone(),
            every: self.every.clone(),
            draining: self.draining.clone(),
            going_away: self.going_away.clone(),
            kicked: self.kicked.clone(),
            told: self.told.clone(),
            missed: self.missed.clone(),
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

/// The handlers of what comes to a listener.
pub struct Handlers<S> {
    /// What the listener is called.
    pub listener: Option<Arc<str>>,
    /// Who handles what.
    pub router: Arc<Router<S>>,
    /// Who handles requests.
    pub site: Arc<dyn Site<S>>,
}

impl<S> fmt::Debug for Handlers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handlers of {:?}", self.listener)
    }
}

/// The handlers, the hooks and the hub of one worker.
pub struct Core<S> {
    /// Who handles what, by listener; at least one.
    pub listeners: Vec<Handlers<S>>,
    /// What runs beside messages.
    pub hooks: Hooks<S>,
    /// The way to connections.
    pub hub: Hub,
    /// Of periodic jobs, those that one worker runs for all.
    pub(super) leases: Vec<Option<Lease>>,
}

impl<S> Core<S> {
    /// # Errors
    ///
    /// Other programs on this bus have had too many jobs, which all workers of the
    /// server together have 64 of between two starts.
    pub fn new(listeners: Vec<Handlers<S>>, hooks: Hooks<S>, hub: Hub) -> Result<Self, String> {
        let lease = |job: &Periodic| {
            let Some(name) = &job.name else {
                return Ok(None);
            };
            hub.lease(name).map(Some).ok_or_else(|| {
                format!(
                    "job `{name}`: 64 others have run in one worker for all since the server was \
                     started; start it anew"
                )
            })
        };
        let leases = hooks.every.iter().map(lease).collect::<Result<_, _>>()?;
        Ok(Self {
            listeners,
            hooks,
            hub,
            leases,
        })
    }

    /// The handlers of what comes to this listener.
    #[inline]
    pub(super) fn of(&self, origin: Origin) -> &Handlers<S> {
        let handlers = self.listeners.get(usize::from(origin.listener));
        handlers.unwrap_or(&self.listeners[0])
    }
}

impl<S> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}
