//! The hub: reaches connections from any thread.

use std::any::{TypeId, type_name};
use std::fmt;
use std::sync::{Arc, Weak};

use super::arrivals::Arrivals;
use super::data::Data;
use super::directory::Directory;
use super::news::News;
use super::questions::Questions;
use super::service::{WorkerContext, WorkerHandle};
use super::settings::Settings;
use crate::bus::{Lease, Member};
use crate::scoreboard::{Counter, Row};

/// Reaches connections by name, by user, by room, or all of them.
///
/// Cheap to clone, usable from any thread, as long as the worker runs. It reaches
/// the connections of every worker, those of older generations that still drain
/// included.
///
/// ```
/// use purlin::prelude::*;
///
/// let app = App::<()>::new()
///     .on(1, |c, room: String| c.join(&room))
///     .on(2, |c, text: String| {
///         let heard = c.hub().room("lobby").except(c.conn()).send(3, text);
///         format!("{heard} heard you")
///     });
/// let mut test = app.test();
/// let (ann, bob) = (test.connect(), test.connect());
/// test.send(ann, 1, "lobby");
/// test.send(bob, 1, "lobby");
/// assert_eq!(test.call(bob, 2, "hello").unwrap(), "1 heard you");
/// assert_eq!(test.received(ann), [(3, Bytes::from("hello"))]);
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

/// A hub that may be gone.
pub(super) struct WeakHub(Weak<Inner>);

impl WeakHub {
    pub(super) fn upgrade(&self) -> Option<Hub> {
        self.0.upgrade().map(Hub)
    }
}

struct Inner {
    worker: Arc<dyn WorkerHandle>,
    /// The way to other workers, if there are any.
    bus: Option<Arc<Member>>,
    directory: Directory,
    /// Who came from another worker and is not wholly here.
    arrivals: Arrivals,
    news: News,
    /// What other workers are asked for.
    questions: Questions,
    data: Data,
    settings: Settings,
    row: Row,
    /// Names of the registered timers.
    timers: Vec<String>,
    /// What a connection's state is, and its name.
    state: (TypeId, &'static str),
}

impl Hub {
    /// Of a program whose connections have the state `S`.
    pub(crate) fn new<S: 'static>(context: WorkerContext, data: Data, timers: Vec<String>) -> Self {
        let WorkerContext {
            worker,
            bus,
            row,
            settings,
            ..
        } = context;
        Self(Arc::new(Inner {
            worker,
            directory: Directory::new(bus.clone()),
            arrivals: Arrivals::default(),
            news: News::default(),
            questions: Questions::default(),
            bus,
            data,
            settings,
            row,
            timers,
            state: (TypeId::of::<S>(), type_name::<S>()),
        }))
    }

    /// The worker's data of type `T`.
    ///
    /// # Panics
    ///
    /// When no `.data(…)` gave one: the program lacks a part.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(&self) -> &T {
        self.0.data.find()
    }

    /// The program's settings of type `T`, as they were when the worker started: a
    /// reload starts new workers. See [`App::settings`](crate::App::settings).
    ///
    /// # Panics
    ///
    /// When no table has this type: the program lacks a part.
    #[must_use]
    pub fn settings<T: Send + Sync + 'static>(&self) -> &T {
        self.0.settings.get()
    }

    /// Whether a timer is registered under `name`.
    pub(super) fn has_timer(&self, name: &str) -> bool {
        self.0.timers.iter().any(|timer| timer == name)
    }

    /// What the state of a connection is, and its name.
    pub(super) fn state(&self) -> (TypeId, &'static str) {
        self.0.state
    }

    /// Tells it from others, as long as any of it is there.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(super) fn downgrade(&self) -> WeakHub {
        WeakHub(Arc::downgrade(&self.0))
    }

    pub(super) fn worker(&self) -> &dyn WorkerHandle {
        &*self.0.worker
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    pub(super) fn news(&self) -> &News {
        &self.0.news
    }

    pub(super) fn questions(&self) -> &Questions {
        &self.0.questions
    }

    pub(super) fn arrivals(&self) -> &Arrivals {
        &self.0.arrivals
    }

    /// Of a job that one worker runs for all.
    pub(super) fn lease(&self, name: &str) -> Option<Lease> {
        let shared = |bus| Lease::of(bus, name);
        (self.0.bus.as_ref()).map_or_else(|| Some(Lease::alone()), shared)
    }

    pub(super) fn bus(&self) -> Option<&Member> {
        self.0.bus.as_deref()
    }

    /// The worker's clock, as [`Ctx::now`](super::Ctx::now).
    #[cfg(feature = "session")]
    pub(crate) fn clock(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.worker.clock())
    }

    /// Where the worker counts.
    #[doc(hidden)]
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.0.row
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// A push that its own connection could not take.
    pub(super) fn dropped(&self) {
        self.0.row.count(Counter::PushesDropped);
    }
}
