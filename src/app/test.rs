//! A program under test: connections without sockets, and a clock that stands
//! still until it is told otherwise.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::App;
use super::world::{Due, World, message};
use crate::body::{Error, Id, IntoReply};
use crate::dispatch::CloseReason;
use crate::dispatch::service::{Dispatcher, Origin, Service, WorkerContext, WorkerHandle};
use crate::net::ConnId;
use crate::protocol::frame::{Frames, Layout};
use crate::protocol::{Answer, Out, Route, Units};
use crate::scoreboard::{Counter, Row};
use crate::sys::socket::Peer;

/// A program under test. Everything runs on the calling thread, in the order
/// of the calls; only what the program itself does on other threads does not.
///
/// ```
/// use purlin::prelude::*;
///
/// let app = App::<u32>::new()
///     .opened(|c| c.after(Duration::from_secs(30), |c| c.send(9, "still there?")))
///     .on(1, |c, (): ()| { **c += 1; c.to_string() });
///
/// let mut test = app.test();
/// let ann = test.connect();
/// assert_eq!(test.call(ann, 1, ()).unwrap(), "1");
/// test.advance(Duration::from_secs(30));
/// assert_eq!(test.received(ann), [(9, Bytes::from("still there?"))]);
/// ```
pub struct Test<S> {
    service: Box<dyn Service>,
    world: Arc<World>,
    row: Row,
    protocol: Frames,
    dispatchers: HashMap<ConnId, Box<dyn Dispatcher>>,
    next: usize,
    /// Their names.
    listeners: Vec<Option<Arc<str>>>,
    state: std::marker::PhantomData<fn(S)>,
}

/// A connection of a [`Test`].
pub type TestConn = ConnId;

impl<S> fmt::Debug for Test<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Test({} connections)", self.dispatchers.len())
    }
}

impl<S: Default + Send + 'static> Test<S> {
    pub(super) fn new(app: &App<S>, keys: &[(&str, &str)]) -> Self {
        let config = app.configured(keys);
        let config = config.unwrap_or_else(|error| panic!("configure the program: {error}"));
        let listeners = config.listener.iter();
        let listeners: Vec<_> = listeners
            .map(|one| one.name.as_deref().map(Arc::<str>::from))
            .collect();
        let world = Arc::new(World::default());
        let row = Row::alone().expect("a test has memory for its counters");
        let worker = Arc::clone(&world) as Arc<dyn WorkerHandle>;
        let core = app.core(WorkerContext {
            bus: None,
            worker,
            row: row.clone(),
            settings: config.own_values().into(),
            listeners: listeners.clone(),
        });
        let service: Box<dyn Service> =
            Box::new(core.unwrap_or_else(|text| panic!("start the program: {text}")));
        for (job, period) in service.periods().into_iter().enumerate() {
            world.lock().add(period, Due::Tick(job, period));
        }
        let layout = Layout::preset("rpc").expect("a preset");
        let (protocol, dispatchers) = (Frames::new(layout), HashMap::new());
        Self {
            service,
            world,
            row,
            protocol,
            dispatchers,
            next: 0,
            listeners,
            state: std::marker::PhantomData,
        }
    }

    /// The name of one more connection.
    pub(super) fn name(&mut self) -> ConnId {
        let conn = ConnId::first(0, 0, self.next);
        self.next += 1;
        conn
    }

    pub(super) fn service(&self) -> &dyn Service {
        &*self.service
    }

    /// The only answer that is owed to `conn`, and its token.
    pub(super) fn wait_any(&self, conn: ConnId) -> (u64, Answer) {
        self.world.wait_any(conn)
    }

    /// A new connection; `opened` has run.
    pub fn connect(&mut self) -> TestConn {
        self.connect_from(Origin::default())
    }

    /// As [`Self::connect`], to the listener of this name: one that the program has
    /// handlers for ([`App::listener`]), or that [`App::test_with`] gave a name
    /// (`listener.1.name`).
    ///
    /// # Panics
    ///
    /// When no listener has this name.
    pub fn connect_to(&mut self, listener: &str) -> TestConn {
        let origin = self.origin(listener);
        self.connect_from(origin)
    }

    /// What a connection has of the listener of this name.
    pub(super) fn origin(&self, listener: &str) -> Origin {
        let is_it = |name: &Option<Arc<str>>| name.as_deref() == Some(listener);
        let found = self.listeners.iter().position(is_it);
        let found = found.unwrap_or_else(|| panic!("no listener is called {listener:?}"));
        Origin {
            listener: u16::try_from(found).expect("a test has few listeners"),
            ..Origin::default()
        }
    }

    fn connect_from(&mut self, origin: Origin) -> TestConn {
        let conn = self.name();
        let mut dispatcher = self.service.dispatcher();
        dispatcher.take(conn.into(), Peer::Unix, origin, true);
        self.dispatchers.insert(conn, dispatcher);
        self.world.lock().inboxes.insert(conn, VecDeque::new());
        self.run(conn, 0, |dispatcher, out| {
            dispatcher.opened(out);
            Answer::None
        });
        conn
    }

    /// Sends a message; its reply, if any, comes with [`Self::received`]: one that
    /// was put off when it is given, by a handler of another connection, say.
    ///
    /// # Panics
    ///
    /// When `conn` is closed: the test expects something else.
    pub fn send(&mut self, conn: TestConn, id: Id, body: impl IntoReply) {
        if let Answer::Later(token) = self.ask(conn, id, body) {
            self.world.lock().owe(conn, token, id);
        }
    }

    /// Has `conn` send a message; gives what its handler answered.
    fn ask(&mut self, conn: TestConn, id: Id, body: impl IntoReply) -> Answer {
        assert!(self.is_open(conn), "{conn} is closed");
        let body = bytes_of(body);
        self.run(conn, id, |dispatcher, out| {
            let route = Route {
                id: Some(id),
                heartbeat: false,
            };
            let mut answer = Answer::None;
            dispatcher.call(route, Units::shared(&body), out, &mut answer);
            answer
        })
    }

    /// Sends a message and gives its reply; what came before stays to be
    /// received. Waits for a reply that was put off to another thread.
    ///
    /// # Errors
    ///
    /// What the handler answered as an error.
    ///
    /// # Panics
    ///
    /// When the handler gives no reply, within a minute if it was put off.
    pub fn call(&mut self, conn: TestConn, id: Id, body: impl IntoReply) -> Result<Bytes, Error> {
        let answer = match self.ask(conn, id, body) {
            Answer::Later(token) => self.world.wait(conn, token),
            answer @ (Answer::None
            | Answer::Reply { .. }
            | Answer::Content(_)
            | Answer::Error(_)) => {
                // It was delivered as the last message: take it back.
                self.world
                    .lock()
                    .inboxes
                    .get_mut(&conn)
                    .and_then(VecDeque::pop_back);
                answer
            }
        };
        match answer {
            Answer::Reply { body, .. } => Ok(body),
            Answer::Error(error) => Err(error),
            Answer::None | Answer::Content(_) | Answer::Later(_) => {
                panic!("message {id} was not answered")
            }
        }
    }

    /// Everything that came since the last call, in order. An error has the id
    /// of its request and its text as body.
    pub fn received(&mut self, conn: TestConn) -> Vec<(Id, Bytes)> {
        let mut inner = self.world.lock();
        let inbox = inner.inboxes.get_mut(&conn);
        inbox
            .map(|inbox| inbox.drain(..).collect())
            .unwrap_or_default()
    }

    /// As [`Self::received`], and waits until something has come: a reply that was
    /// put off to another thread, what a thread of the program's own sends.
    ///
    /// # Panics
    ///
    /// When nothing comes within a minute.
    pub fn wait(&mut self, conn: TestConn) -> Vec<(Id, Bytes)> {
        self.world.wait_inbox(conn);
        self.received(conn)
    }

    /// The worker begins to drain, as at a reload: `draining` runs.
    pub fn drain(&mut self) {
        self.service.draining();
        self.carry_out();
    }

    /// The worker ends: [`Self::drain`], `closed` of each connection, `stopping`.
    pub fn stop(mut self) {
        self.drain();
        let mut left: Vec<ConnId> = self.dispatchers.keys().copied().collect();
        left.sort_unstable();
        left.iter()
            .for_each(|conn| self.end(*conn, CloseReason::GoingAway));
        self.service.stopping();
    }

    /// Lets time pass: timers and periodic jobs run in the order in which they
    /// fall due.
    pub fn advance(&mut self, time: Duration) {
        let until = self.world.lock().now + time;
        loop {
            let due = {
                let mut inner = self.world.lock();
                let next = inner.due.first_key_value().map(|(key, _)| *key);
                let Some(key) = next.filter(|(at, _)| *at <= until) else {
                    inner.now = until;
                    break;
                };
                inner.now = key.0;
                inner.due.remove(&key)
            };
            match due {
                Some(Due::Timer(conn, token)) => {
                    self.run(conn, 0, |dispatcher, out| {
                        dispatcher.timer(token, out);
                        Answer::None
                    });
                }
                Some(Due::Tick(job, period)) => {
                    self.world.lock().add(period, Due::Tick(job, period));
                    self.service.tick(job);
                }
                None => {}
            }
        }
        self.carry_out();
    }

    /// The peer goes away; `closed` has run. Nothing happens twice.
    pub fn disconnect(&mut self, conn: TestConn) {
        self.end(conn, CloseReason::PeerClosed);
    }

    /// An operator closes the connection, as by `kick --say`; `kicked` and `closed`
    /// have run.
    pub fn kick(&mut self, conn: TestConn, say: &str) {
        let task = self.service.last_words(say);
        self.run_ending(conn, CloseReason::Kicked, |dispatcher, out| {
            dispatcher.run(task, out);
            (0, Answer::None)
        });
    }

    fn end(&mut self, conn: TestConn, reason: CloseReason) {
        let open = self.world.lock().open.remove(&conn);
        if let Some(mut dispatcher) = self.dispatchers.remove(&conn) {
            debug_assert!(open || !self.is_open(conn));
            // As in a worker: `closed` belongs to an `opened` that returned.
            if dispatcher.has_opened() || !self.service.greets() {
                dispatcher.leave(reason);
            } else {
                dispatcher.vacate();
            }
        }
    }

    /// Whether the connection still stands.
    #[must_use]
    pub fn is_open(&self, conn: TestConn) -> bool {
        self.dispatchers.contains_key(&conn)
    }

    /// A counter, now.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.row.read(counter)
    }

    /// Runs something in a connection's turn and delivers what it said.
    fn run(
        &mut self,
        conn: ConnId,
        request: Id,
        turn: impl FnOnce(&mut dyn Dispatcher, &mut Out<'_>) -> Answer,
    ) -> Answer {
        self.run_ending(conn, CloseReason::Program, |dispatcher, out| {
            (request, turn(dispatcher, out))
        })
    }

    /// As [`Self::run`], of a request, with the reason for an end.
    fn run_ending(
        &mut self,
        conn: ConnId,
        reason: CloseReason,
        turn: impl FnOnce(&mut dyn Dispatcher, &mut Out<'_>) -> (Id, Answer),
    ) -> Answer {
        let Some(dispatcher) = self.dispatchers.get_mut(&conn) else {
            return Answer::None;
        };
        self.world.lock().open.insert(conn);
        let mut out = Out::new(Vec::new(), &self.protocol);
        let (request, answer) = turn(&mut **dispatcher, &mut out);
        dispatcher.counted();
        let (bytes, close) = (std::mem::take(&mut out.bytes), out.close);
        self.deliver(conn, request, &bytes, &answer);
        if close.is_some() {
            self.end(conn, reason);
        }
        self.carry_out();
        answer
    }

    fn deliver(&self, conn: ConnId, request: Id, bytes: &[u8], answer: &Answer) {
        let layout = Layout::preset("rpc").expect("a preset");
        let mut inner = self.world.lock();
        let inbox = inner.inboxes.entry(conn).or_default();
        let mut rest = bytes;
        while let Ok(Some(frame)) = layout.frame(rest) {
            inbox.push_back((frame.id.unwrap_or(0), Bytes::copy_from_slice(frame.body)));
            rest = &rest[frame.total..];
        }
        inbox.extend(message(request, answer));
    }

    /// Does what the hub was told to do in the turns of connections.
    pub(super) fn carry_out(&mut self) {
        self.run_asked();
        self.close_asked();
    }

    /// Runs what the hub was told to run in the turns of connections.
    fn run_asked(&mut self) {
        if std::mem::take(&mut self.world.lock().has_news) {
            self.service.news();
        }
        let next = |world: &World| world.lock().tasks.pop_front();
        while let Some((conn, task)) = next(&self.world) {
            if !self.world.knows(conn) {
                continue;
            }
            self.run(conn, 0, |dispatcher, out| {
                dispatcher.run(task, out);
                Answer::None
            });
        }
    }

    /// Closes what the hub was told to close.
    fn close_asked(&mut self) {
        let asked = std::mem::take(&mut self.world.lock().closing);
        let end = |conn| self.end(conn, CloseReason::Program);
        asked.into_iter().for_each(end);
    }
}

fn bytes_of(body: impl IntoReply) -> Bytes {
    match body.into_reply() {
        Answer::Reply { body, .. } => body,
        Answer::None | Answer::Content(_) | Answer::Error(_) | Answer::Later(_) => Bytes::new(),
    }
}
