//! A program under test: connections without sockets, and a clock that stands
//! still until it is told otherwise.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use super::App;
use crate::body::{Error, Id, IntoReply};
use crate::dispatch::CloseReason;
use crate::dispatch::service::{
    Dispatcher, Pushed, Service, UnknownId, WorkerContext, WorkerHandle,
};
use crate::net::ConnId;
use crate::protocol::frame::{Frames, Layout};
use crate::protocol::{Answer, CloseMode, Media, Out, Protocol as _, Push, Route, Units};
use crate::scoreboard::{Counter, Row};
use crate::sys::socket::Peer;

/// How long a reply may take that was put off to another thread.
const PATIENCE: Duration = Duration::from_secs(60);

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
    pub(super) fn new(app: &App<S>) -> Self {
        let world = Arc::new(World::default());
        let row = Row::alone().expect("a test has memory for its counters");
        let worker = Arc::clone(&world) as Arc<dyn WorkerHandle>;
        let core = app.core(WorkerContext {
            worker,
            row: row.clone(),
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
        let conn = self.name();
        let mut dispatcher = self.service.dispatcher();
        dispatcher.take(conn, Peer::Unix, UnknownId::Error, true);
        self.dispatchers.insert(conn, dispatcher);
        self.world.lock().inboxes.insert(conn, VecDeque::new());
        self.run(conn, 0, |dispatcher, out| {
            dispatcher.opened(out);
            Answer::None
        });
        conn
    }

    /// Sends a message; its reply, if any, comes with [`Self::received`].
    ///
    /// # Panics
    ///
    /// When `conn` is closed: the test expects something else.
    pub fn send(&mut self, conn: TestConn, id: Id, body: impl IntoReply) {
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
        });
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
        assert!(self.is_open(conn), "{conn} is closed");
        let body = bytes_of(body);
        let answer = self.run(conn, id, |dispatcher, out| {
            let route = Route {
                id: Some(id),
                heartbeat: false,
            };
            let mut answer = Answer::None;
            dispatcher.call(route, Units::shared(&body), out, &mut answer);
            answer
        });
        let answer = match answer {
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
        self.run_asked();
        self.close_asked();
    }

    /// The peer goes away; `closed` has run. Nothing happens twice.
    pub fn disconnect(&mut self, conn: TestConn) {
        self.end(conn, CloseReason::PeerClosed);
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
        let Some(dispatcher) = self.dispatchers.get_mut(&conn) else {
            return Answer::None;
        };
        self.world.lock().open.insert(conn);
        let mut out = Out::new(Vec::new(), &self.protocol);
        let answer = turn(&mut **dispatcher, &mut out);
        dispatcher.counted();
        let (bytes, close) = (std::mem::take(&mut out.bytes), out.close);
        self.deliver(conn, request, &bytes, &answer);
        if close.is_some() {
            self.end(conn, CloseReason::Program);
        }
        self.run_asked();
        self.close_asked();
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
        match answer {
            Answer::Reply { id, body, .. } => {
                inbox.push_back((id.unwrap_or(request), body.clone()))
            }
            Answer::Error(Error { text, .. }) => {
                inbox.push_back((request, Bytes::from(text.clone())))
            }
            Answer::None | Answer::Content(_) | Answer::Later(_) => {}
        }
    }

    /// Runs what the hub was told to run in the turns of connections.
    fn run_asked(&mut self) {
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

/// A push as it goes over the wire of a test.
fn encoded(id: Id, body: &[u8]) -> Option<Bytes> {
    let mut bytes = Vec::new();
    let frames = Frames::new(Layout::preset("rpc").expect("a preset"));
    let push = Push {
        id,
        body,
        media: Media::Bytes,
    };
    frames.push(push, &mut bytes).ok()?;
    Some(bytes.into())
}

/// The worker that a program under test believes to run in.
#[derive(Default)]
struct World {
    inner: Mutex<Inner>,
    answered: Condvar,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    /// What falls due, by time and order of registration.
    due: BTreeMap<(Duration, u64), Due>,
    registered: u64,
    open: BTreeSet<ConnId>,
    closing: Vec<ConnId>,
    tasks: VecDeque<(ConnId, Box<dyn Any + Send>)>,
    inboxes: HashMap<ConnId, VecDeque<(Id, Bytes)>>,
    answers: HashMap<(ConnId, u64), Answer>,
}

enum Due {
    Timer(ConnId, u64),
    Tick(usize, Duration),
}

impl Inner {
    fn add(&mut self, after: Duration, due: Due) {
        self.registered += 1;
        self.due.insert((self.now + after, self.registered), due);
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing under this lock panics")
    }

    /// As [`Self::wait`], for whatever token the only answer that is owed has.
    fn wait_any(&self, conn: ConnId) -> (u64, Answer) {
        let find = |inner: &Inner| inner.answers.keys().find(|(to, _)| *to == conn).copied();
        let waited = self
            .answered
            .wait_timeout_while(self.lock(), PATIENCE, |inner| find(inner).is_none());
        let (mut inner, _) = waited.expect("nothing under this lock panics");
        let key = find(&inner).expect("a reply that was put off came in time");
        let answer = inner.answers.remove(&key).unwrap_or(Answer::None);
        (key.1, answer)
    }

    fn wait(&self, conn: ConnId, token: u64) -> Answer {
        let missing = |inner: &mut Inner| !inner.answers.contains_key(&(conn, token));
        let waited = self
            .answered
            .wait_timeout_while(self.lock(), PATIENCE, missing);
        let (mut inner, _) = waited.expect("nothing under this lock panics");
        inner.answers.remove(&(conn, token)).unwrap_or(Answer::None)
    }
}

impl WorkerHandle for World {
    fn send(
        &self,
        to: &[ConnId],
        own: Option<(ConnId, usize)>,
        (id, body, _): (u32, Bytes, Media),
    ) -> Pushed {
        let mut inner = self.lock();
        let mut pushed = Pushed::default();
        for conn in to {
            if !inner.open.contains(conn) {
                continue;
            }
            pushed.reached += 1;
            if own.is_some_and(|(own, _)| own == *conn) {
                pushed.own = encoded(id, &body);
            } else {
                let inbox = inner.inboxes.entry(*conn).or_default();
                inbox.push_back((id, body.clone()));
            }
        }
        pushed
    }

    fn close(&self, to: &[ConnId], _: CloseMode) -> usize {
        let mut inner = self.lock();
        let known: Vec<_> = to
            .iter()
            .filter(|conn| inner.open.remove(conn))
            .copied()
            .collect();
        inner.closing.extend(&known);
        known.len()
    }

    fn answer(&self, to: ConnId, token: u64, answer: Answer) -> bool {
        let mut inner = self.lock();
        let open = inner.open.contains(&to);
        inner.answers.insert((to, token), answer);
        self.answered.notify_all();
        open
    }

    fn after(&self, to: ConnId, after: Duration, token: u64) {
        self.lock().add(after, Due::Timer(to, token));
    }

    fn run(&self, to: ConnId, task: Box<dyn Any + Send>) -> bool {
        let mut inner = self.lock();
        let is_open = inner.open.contains(&to);
        if is_open {
            inner.tasks.push_back((to, task));
        }
        is_open
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.lock().now.as_millis()).unwrap_or(u64::MAX)
    }

    fn wake(&self, _: ConnId, _: Duration) {}

    fn writable(&self, to: ConnId) -> bool {
        self.knows(to)
    }

    fn knows(&self, to: ConnId) -> bool {
        self.lock().open.contains(&to)
    }

    fn admits(&self, _: ConnId, _: usize) -> bool {
        true
    }

    fn queued(&self, _: ConnId) -> usize {
        0
    }

    fn everybody(&self) -> Vec<ConnId> {
        self.lock().open.iter().copied().collect()
    }
}
