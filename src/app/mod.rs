//! Registration: the program as its user writes it.

#[cfg(feature = "session")]
mod commands;
mod figures;
mod group;
mod handover;
mod listener;
mod own;
mod requests;
mod server;
#[cfg(any(feature = "redis", feature = "sqlite"))]
mod stores;
mod test;
mod workers;
mod world;

use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::{Answer, Error, FromBody, Id, IntoReply, Raw, Reply};
use crate::cli::Extensions;
use crate::dispatch::service::WorkerContext;
use crate::dispatch::{
    Core, Ctx, Data, Handler, Hooks, Hub, Middleware, Next, Periodic, Router, needs, wrapped,
};
use crate::protocol::frame::{Codec, Codecs};
use crate::scoreboard::series::Own;
use crate::web::Web;

pub use group::Group;
pub use listener::Listener;
pub use requests::Answered;
pub use server::{Server, SpawnError};
pub use test::{Test, TestConn};

type MakeData = Box<dyn Fn(&mut Data, &WorkerContext) -> Result<(), String> + Send + Sync>;
type OnStart = Box<dyn Fn(&Hub) -> Result<(), String> + Send + Sync>;

/// A program: functions by message id, and what runs around them.
///
/// `S` is the state of one connection, made by [`Default`] when it opens and
/// dropped when it ends; a handler reaches it through its [`Ctx`].
///
/// ```
/// use purlin::prelude::*;
///
/// #[derive(Default)]
/// struct Guest { name: String }
///
/// let app = App::<Guest>::new()
///     .on(1, |c, name: String| c.name = name)
///     .on(2, |c, (): ()| format!("hello {}", c.name));
///
/// let mut test = app.test();
/// let ann = test.connect();
/// test.send(ann, 1, "ann");
/// assert_eq!(test.call(ann, 2, ()).unwrap(), "hello ann");
/// ```
pub struct App<S> {
    routes: Vec<Registered<S>>,
    otherwise: Option<Handler<S>>,
    wraps: Vec<Middleware<S>>,
    data: Vec<MakeData>,
    started: Vec<OnStart>,
    hooks: Hooks<S>,
    web: Web<S>,
    codecs: Codecs,
    own: Extensions,
    listeners: Vec<Listener<S>>,
    /// It needs its data folder.
    keeps_files: bool,
    /// Metrics of its own.
    figures: Vec<Own>,
    /// Whether it is ready, by name.
    checks: Vec<(String, figures::Check)>,
}

/// A handler, and where in the program it was registered.
struct Registered<S> {
    id: Id,
    handler: Handler<S>,
    inline: bool,
    place: &'static Location<'static>,
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({} handlers)", self.routes.len())
    }
}

impl<S: Default + Send + 'static> Default for App<S> {
    fn default() -> Self {
        Self::new()
    }
}

fn erase<S, T, R>(f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static) -> Handler<S>
where
    T: FromBody,
    R: IntoReply,
{
    Arc::new(move |ctx, body, answer| match T::from_body(body) {
        Ok(body) => *answer = f(ctx, body).into_reply(),
        Err(error) => *answer = Answer::Error(error),
    })
}

/// Runs what belongs to the start; its panic ends the start as an error would.
fn fenced(what: &str, code: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(code))
        .unwrap_or_else(|_| Err(format!("{what} panicked; its message is above")))
}

fn register<S>(routes: &mut Vec<Registered<S>>, new: Registered<S>) {
    if let Some(old) = routes.iter().find(|old| old.id == new.id) {
        let Registered { id, place, .. } = new;
        panic!(
            "message id {id} has two handlers, at {} and at {place}",
            old.place
        );
    }
    routes.push(new);
}

impl<S: Default + Send + 'static> App<S> {
    /// A program that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            routes: Vec::new(),
            otherwise: None,
            wraps: Vec::new(),
            data: Vec::new(),
            started: Vec::new(),
            hooks: Hooks::default(),
            web: Web::new(),
            codecs: Codecs::default(),
            own: Extensions::default(),
            listeners: Vec::new(),
            keeps_files: false,
            figures: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Handles `id` on the business pool, where `f` may block. Messages of one
    /// connection run one at a time, in order of arrival.
    ///
    /// # Panics
    ///
    /// When `id` has a handler already; both places are named.
    #[must_use]
    #[track_caller]
    pub fn on<T, R>(
        mut self,
        id: Id,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self
    where
        T: FromBody,
        R: IntoReply,
    {
        let place = Location::caller();
        register(
            &mut self.routes,
            Registered {
                id,
                handler: erase(f),
                inline: false,
                place,
            },
        );
        self
    }

    /// As [`Self::on`], but on the event loop when nothing of the connection
    /// waits or runs: the fastest way, for an `f` that never blocks. One that
    /// does stops every connection of the worker.
    ///
    /// # Panics
    ///
    /// As [`Self::on`].
    #[must_use]
    #[track_caller]
    pub fn on_inline<T, R>(
        mut self,
        id: Id,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self
    where
        T: FromBody,
        R: IntoReply,
    {
        let place = Location::caller();
        register(
            &mut self.routes,
            Registered {
                id,
                handler: erase(f),
                inline: true,
                place,
            },
        );
        self
    }

    /// Handles every id that nothing else handles, and all frames of formats
    /// without ids. [`Ctx::id`] tells which.
    ///
    /// # Panics
    ///
    /// When it was registered before: the program has two minds.
    #[must_use]
    #[track_caller]
    pub fn otherwise<T, R>(
        mut self,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self
    where
        T: FromBody,
        R: IntoReply,
    {
        assert!(
            self.otherwise.is_none(),
            "`otherwise` was registered before"
        );
        self.otherwise = Some(erase(f));
        self
    }

    /// Handlers whose ids lie in `range`, with middleware of their own.
    ///
    /// # Panics
    ///
    /// When an id lies outside, or has a handler already; the places are named.
    #[must_use]
    #[track_caller]
    pub fn group(
        mut self,
        range: RangeInclusive<Id>,
        f: impl FnOnce(Group<S>) -> Group<S>,
    ) -> Self {
        let group = f(Group::new(range, Location::caller()));
        group.register_in(&mut self.routes);
        self
    }

    /// Middleware around every handler, [`Self::otherwise`] included, wherever
    /// in the chain it is registered; the first one is outermost.
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

    /// No handler runs unless `test` says yes: the peer gets the error `code` with
    /// this text instead. As [`Self::wrap`]; the first one that is registered is asked
    /// first.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Player { name: Option<String> }
    ///
    /// let app = App::<Player>::new()
    ///     .on(1, |c, name: String| c.name = Some(name))
    ///     .group(100..=199, |g| {
    ///         g.need(403, "log in first", |c| c.name.is_some())
    ///             .on(101, |_, text: String| text)
    ///     });
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// assert_eq!(test.call(ann, 101, "hello").unwrap_err().code, 403);
    /// test.send(ann, 1, "ann");
    /// assert_eq!(test.call(ann, 101, "hello").unwrap(), "hello");
    /// ```
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

    /// What is served over HTTP, on listeners with `protocol = "http"`.
    ///
    /// # Panics
    ///
    /// When a path of `web` is none or cannot be told from another one.
    #[must_use]
    pub fn web(mut self, web: Web<S>) -> Self {
        #[cfg(feature = "session")]
        let had_sessions = self.has_sessions();
        self.web = web;
        self.check_routes();
        #[cfg(feature = "session")]
        if !had_sessions && self.has_sessions() {
            return self.look_after_sessions();
        }
        self
    }

    /// Whether somebody can be logged in at some listener.
    #[cfg(feature = "session")]
    fn has_sessions(&self) -> bool {
        let mut own = self.listeners.iter();
        self.web.has_sessions || own.any(|one| one.web.has_sessions)
    }

    #[cfg(feature = "session")]
    fn look_after_sessions(self) -> Self {
        use crate::web::session::{LOOK, look_after};
        let looks = |hub: &Hub, _: u64| look_after(hub);
        self.every_once("purlin.sessions", LOOK, looks)
            .session_commands()
    }

    /// A frame format of the program's own: listeners with `frame = "name"` speak
    /// it.
    ///
    /// # Panics
    ///
    /// When `name` is that of a preset or of another codec, or has other
    /// characters than letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn codec(mut self, name: &str, codec: impl Codec) -> Self {
        self.codecs.add(name, codec);
        self
    }

    /// A value of the worker, made once in each worker after the fork: a
    /// database, a table. Reached by its type: `c.data::<T>()`.
    ///
    /// An error ends the start with its text.
    #[must_use]
    pub fn data<T, E>(mut self, make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Self
    where
        T: Send + Sync + 'static,
        E: fmt::Display,
    {
        self.data.push(Box::new(move |data, _| {
            data.insert(make().map_err(|error| error.to_string())?);
            Ok(())
        }));
        self
    }

    /// Runs once in each worker, after its data is made and before the first
    /// connection. An error ends the start with its text.
    #[must_use]
    pub fn started<V: Verdict>(mut self, f: impl Fn(&Hub) -> V + Send + Sync + 'static) -> Self {
        self.started.push(Box::new(move |hub| f(hub).verdict()));
        self
    }

    /// Runs once in each worker when it begins to drain: at a stop, a reload or an
    /// upgrade, on the business pool. Nobody new is accepted, and no connection is
    /// told to go or handed to another worker before it returns, or half of the
    /// time of the drain is over: what it sends to them goes out before that.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new().draining(|hub| {
    ///     hub.all().send(9, "we are going to restart");
    /// });
    /// ```
    #[must_use]
    pub fn draining(mut self, f: impl Fn(&Hub) + Send + Sync + 'static) -> Self {
        self.hooks.draining.push(Arc::new(f));
        self
    }

    /// The body of the frame that tells a client that the worker goes away, where
    /// its listener has a `going_away_id`. Runs in the turn of each connection that
    /// is told. A reply without a body, or one that no frame can carry, is sent
    /// empty.
    ///
    /// # Panics
    ///
    /// When it was registered before.
    #[must_use]
    #[track_caller]
    pub fn going_away<R: IntoReply>(
        mut self,
        f: impl Fn(&mut Ctx<'_, S>) -> R + Send + Sync + 'static,
    ) -> Self {
        assert!(
            self.hooks.going_away.is_none(),
            "`going_away` was registered before"
        );
        self.hooks.going_away = Some(Arc::new(move |ctx| match f(ctx).into_reply() {
            Answer::Reply { body, .. } => body,
            Answer::None | Answer::Content(_) | Answer::Error(_) | Answer::Later(_) => Bytes::new(),
        }));
        self
    }

    /// Runs in the turn of a connection that an operator closes with words,
    /// `kick --say TEXT`, before it closes: what is sent here goes out first. A frame
    /// has no words for that, so here is where a program says in its own what an
    /// operator says; a WebSocket is told besides, by close code 1008 with the text as
    /// its reason. `closed` sees [`CloseReason::Kicked`](crate::dispatch::CloseReason::Kicked).
    ///
    /// It waits for no reply that was put off, but for the handler that runs. Requests
    /// over HTTP have no state and are closed without it; so is a connection whose
    /// `opened` has not run yet, or that changes its worker at that moment, and so are
    /// all by a `kick` that says nothing.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// const KICKED: Id = 9;
    /// let app = App::<()>::new().kicked(|c, why| c.send(KICKED, why.to_owned()));
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.kick(ann, "no spam, please");
    /// assert_eq!(test.received(ann), [(KICKED, Bytes::from("no spam, please"))]);
    /// assert!(!test.is_open(ann));
    /// ```
    ///
    /// # Panics
    ///
    /// When it was registered before.
    #[must_use]
    #[track_caller]
    pub fn kicked(mut self, f: impl Fn(&mut Ctx<'_, S>, &str) + Send + Sync + 'static) -> Self {
        assert!(
            self.hooks.kicked.is_none(),
            "`kicked` was registered before"
        );
        self.hooks.kicked = Some(Arc::new(f));
        self
    }

    /// Runs once in each worker, after its last connection has ended: `closed` has
    /// run for all of them, but for those whose handler blocks past the end.
    #[must_use]
    pub fn stopping(mut self, f: impl Fn(&Hub) + Send + Sync + 'static) -> Self {
        self.hooks.stopping.push(Arc::new(f));
        self
    }

    /// Runs `f` on the business pool of each worker every `period`, never
    /// beside itself.
    ///
    /// # Panics
    ///
    /// When `period` is zero: it would never let anything else run.
    #[must_use]
    pub fn every(mut self, period: Duration, f: impl Fn(&Hub) + Send + Sync + 'static) -> Self {
        assert!(!period.is_zero(), "a periodic job needs a period");
        self.hooks.every.push(Periodic {
            period,
            name: None,
            run: Arc::new(move |hub, _| f(hub)),
        });
        self
    }

    /// What [`Ctx::timer`] runs under this name, in the turn of its connection. A
    /// timer that is known by its name goes along with its connection over a reload
    /// or an upgrade, where the other program has one of this name. What `f` returns
    /// is dropped.
    ///
    /// # Panics
    ///
    /// When one of this name was registered before.
    #[must_use]
    #[track_caller]
    pub fn timer<R>(
        mut self,
        name: &str,
        f: impl Fn(&mut Ctx<'_, S>) -> R + Send + Sync + 'static,
    ) -> Self {
        let mut known = self.hooks.timers.iter();
        assert!(
            known.all(|(known, _)| known != name),
            "timer `{name}` was registered before"
        );
        let timer = Arc::new(move |ctx: &mut Ctx<'_, S>| drop(f(ctx)));
        self.hooks.timers.push((name.to_owned(), timer));
        self
    }

    /// Runs when a connection opens, before its first message: on a business
    /// thread, in the connection's turn.
    ///
    /// If it panics, the connection is closed: its state may be half made, so no
    /// message is served. A connection that ends before its turn has come is
    /// never opened. Connections over HTTP have no state and are not opened.
    ///
    /// # Panics
    ///
    /// When it was registered before.
    #[must_use]
    #[track_caller]
    pub fn opened<R>(mut self, f: impl Fn(&mut Ctx<'_, S>) -> R + Send + Sync + 'static) -> Self {
        assert!(
            self.hooks.opened.is_none(),
            "`opened` was registered before"
        );
        self.hooks.opened = Some(Arc::new(move |ctx| drop(f(ctx))));
        self
    }

    /// Runs when a connection has ended, behind its last message: exactly once
    /// for each [`Self::opened`] that returned, and never without one. Where no
    /// `opened` is registered, each connection counts as opened when it is
    /// accepted.
    ///
    /// The connection is no member any more: sending to it, to its user or to its
    /// rooms reaches the others alone. What it belonged to and why it ended is in
    /// [`Ctx::user`], [`Ctx::rooms`] and [`Ctx::close_reason`].
    ///
    /// It runs for who is cut when a drain is over, too, but not for a connection
    /// whose own handler still blocks then: the worker ends beneath it. Nor does it
    /// run for anybody when a worker is killed, or ends because its event loop
    /// panicked (a fault of purlin's; a handler's panic ends nothing). What must
    /// outlive that belongs into a database, not into this function.
    ///
    /// # Panics
    ///
    /// When it was registered before.
    #[must_use]
    #[track_caller]
    pub fn closed(mut self, f: impl Fn(&mut Ctx<'_, S>) + Send + Sync + 'static) -> Self {
        assert!(
            self.hooks.closed.is_none(),
            "`closed` was registered before"
        );
        self.hooks.closed = Some(Arc::new(f));
        self
    }

    /// Connections without sockets, with a clock of your own: see [`Test`].
    ///
    /// # Panics
    ///
    /// When `data` or `started` gives an error: the test cannot begin.
    #[must_use]
    pub fn test(self) -> Test<S> {
        self.test_with(&[])
    }

    /// As [`Self::test`], with some keys of the configuration changed, each written
    /// as behind `--set`: `("app.motd", "hello")`. With `("workers", "2")` the test has
    /// two workers and a bus between them, on the calling thread as everything else:
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .on(1, |c, room: String| c.join(&room))
    ///     .on(2, |c, text: String| c.hub().room("lobby").send(3, text).to_string());
    /// let mut test = app.test_with(&[("workers", "2")]);
    /// let (ann, bob) = (test.connect_in(0), test.connect_in(1));
    /// test.send(ann, 1, "lobby");
    /// assert_eq!(test.call(bob, 2, "hello").unwrap(), "1");
    /// assert_eq!(test.received(ann), [(3, Bytes::from("hello"))]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Self::test`], and when a key or its value is refused.
    #[must_use]
    pub fn test_with(self, keys: &[(&str, &str)]) -> Test<S> {
        Test::new(&self, keys)
    }

    /// Runs the program as its command line says, and gives its exit code: see
    /// `--help`. Call it first thing in `main`.
    ///
    /// Refuses to run (70) when the process has more than one thread.
    #[must_use = "return it from `main`"]
    pub fn main(self) -> std::process::ExitCode {
        let path = std::env::args_os().next().map(std::path::PathBuf::from);
        let name = path.as_deref().and_then(std::path::Path::file_name);
        let name = name.map_or("purlin".into(), |name| name.to_string_lossy());
        crate::cli::main(&name, &self.own, &self).into()
    }

    /// Whether it needs its data folder.
    fn keeps_files(&self) -> bool {
        #[cfg(feature = "session")]
        if self.has_sessions() {
            return true;
        }
        self.keeps_files
    }

    fn router(&self) -> Router<S> {
        let mut router = Router::default();
        for route in &self.routes {
            let handler = wrapped(Arc::clone(&route.handler), &self.wraps);
            router.insert(route.id, handler, route.inline);
        }
        if let Some(handler) = &self.otherwise {
            router.otherwise(wrapped(Arc::clone(handler), &self.wraps));
        }
        router
    }

    fn core(&self, worker: WorkerContext) -> Result<Arc<Core<S>>, String> {
        let mut data = Data::default();
        #[cfg(feature = "session")]
        if self.has_sessions() {
            data.insert(stores::sessions_of(&worker)?);
        }
        for make in &self.data {
            fenced("`data`", || make(&mut data, &worker))?;
        }
        let listeners = self.handlers(&worker);
        let timers = self.hooks.timers.iter().map(|(name, _)| name.clone());
        let hub = Hub::new::<S>(worker, data, timers.collect());
        for started in &self.started {
            fenced("`started`", || started(&hub))?;
        }
        let mut hooks = self.hooks.clone();
        hooks.every.extend(self.checking());
        Core::new(listeners, hooks, hub).map(Arc::new)
    }
}

/// What `started` may return: nothing, or a result whose error ends the start.
pub trait Verdict {
    /// The text of the error, if any.
    ///
    /// # Errors
    ///
    /// The start ends with this text.
    fn verdict(self) -> Result<(), String>;
}

impl Verdict for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Verdict for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
