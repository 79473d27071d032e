//! A program under test: connections without sockets, and a clock that stands
//! still until it is told otherwise.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::App;
use super::server::workers;
use super::world::{Due, Seat, World, message};
use crate::body::{Error, Id, IntoReply};
use crate::bus::{Bus, Member, Shape};
use crate::dispatch::CloseReason;
use crate::dispatch::service::{Dispatcher, Origin, Service, WorkerContext, WorkerHandle};
use crate::net::ConnId;
use crate::protocol::frame::{Frames, Layout};
use crate::protocol::{Answer, Out, Route, Units};
use crate::scoreboard::{Counter, Row, Scoreboard};
use crate::sys::socket::Peer;

/// How long a test waits for what another thread does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long until it looks again, whatever it has heard.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes that may wait for one who reads nothing.
const BACKLOG: usize = 1 << 24;

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
    /// Its workers.
    places: Vec<Place>,
    world: Arc<World>,
    protocol: Frames,
    dispatchers: HashMap<ConnId, Box<dyn Dispatcher>>,
    next: usize,
    /// Their names.
    listeners: Vec<Option<Arc<str>>>,
    state: std::marker::PhantomData<fn(S)>,
}

/// A worker of a program under test.
struct Place {
    service: Arc<dyn Service>,
    row: Row,
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
        let workers = workers(&config);
        let bus = (workers > 1).then(|| bus_of(app, workers));
        let places = (0..workers).map(|row| {
            let context = |worker, row, bus| WorkerContext {
                bus,
                worker,
                row,
                settings: config.own_values().into(),
                listeners: listeners.clone(),
            };
            Place::new(app, row, (&world, bus.as_ref()), context)
        });
        let places = places.collect();
        let layout = Layout::preset("rpc").expect("a preset");
        let (protocol, dispatchers) = (Frames::new(layout), HashMap::new());
        Self {
            places,
            world,
            protocol,
            dispatchers,
            next: 0,
            listeners,
            state: std::marker::PhantomData,
        }
    }

    /// The name of one more connection.
    pub(super) fn name(&mut self, worker: usize) -> ConnId {
        let row = u8::try_from(worker).expect("a test has few workers");
        let conn = ConnId::first(row, 0, self.next);
        self.next += 1;
        conn
    }

    /// The program, as the worker of a connection has it.
    pub(super) fn service(&self, conn: ConnId) -> &Arc<dyn Service> {
        &self.places[usize::from(conn.row())].service
    }

    /// The only answer that is owed to `conn`, and its token.
    pub(super) fn wait_any(&mut self, conn: ConnId) -> (u64, Answer) {
        self.wait_for(|world| world.any_answer(conn))
    }

    /// Goes on with what threads of the program's ask for, until there is what a test
    /// waits for.
    fn wait_for<R>(&mut self, found: impl Fn(&World) -> Option<R>) -> R {
        let until = Instant::now() + PATIENCE;
        loop {
            self.settle();
            if let Some(found) = found(&self.world) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "what the test waits for came within a minute"
            );
            self.world.pause(LOOK);
        }
    }

    /// A new connection; `opened` has run.
    pub fn connect(&mut self) -> TestConn {
        self.connect_from(0, Origin::default())
    }

    /// As [`Self::connect`], in this worker, from 0: of a test with several
    /// ([`App::test_with`], `("workers", "2")`).
    ///
    /// # Panics
    ///
    /// When there is no such worker.
    pub fn connect_in(&mut self, worker: usize) -> TestConn {
        self.connect_from(worker, Origin::default())
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
        self.connect_from(0, origin)
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

    fn connect_from(&mut self, worker: usize, origin: Origin) -> TestConn {
        let workers = self.places.len();
        assert!(worker < workers, "the test has {workers} workers, from 0");
        let conn = self.name(worker);
        let mut dispatcher = self.service(conn).dispatcher();
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
            Answer::Later(token) => self.wait_for(|world| world.answer(conn, token)),
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
        self.wait_for(|world| world.has_received(conn).then_some(()));
        self.received(conn)
    }

    /// The workers begin to drain, as at a reload: `draining` runs.
    pub fn drain(&mut self) {
        self.each(|service| service.draining());
        self.settle();
    }

    fn each(&self, act: fn(&dyn Service)) {
        self.places.iter().for_each(|place| act(&*place.service));
    }

    /// The workers end: [`Self::drain`], `closed` of each connection, `stopping`.
    pub fn stop(mut self) {
        self.drain();
        let mut left: Vec<ConnId> = self.dispatchers.keys().copied().collect();
        left.sort_unstable();
        left.iter()
            .for_each(|conn| self.end(*conn, CloseReason::GoingAway));
        self.each(|service| service.stopping());
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
                Some(Due::Tick(row, job, period)) => {
                    self.world.lock().add(period, Due::Tick(row, job, period));
                    let service = &self.places[usize::from(row)].service;
                    if service.is_wanted(job) {
                        service.tick(job);
                    }
                }
                None => {}
            }
        }
        self.settle();
    }

    /// The peer goes away; `closed` has run. Nothing happens twice.
    pub fn disconnect(&mut self, conn: TestConn) {
        self.end(conn, CloseReason::PeerClosed);
    }

    /// An operator closes the connection, as by `kick --say`; `kicked` and `closed`
    /// have run.
    pub fn kick(&mut self, conn: TestConn, say: &str) {
        let task = self.service(conn).last_words(say);
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
            if dispatcher.has_opened() || !self.service(conn).greets() {
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

    /// A counter, now, of all workers together.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        let rows = self.places.iter().map(|place| &place.row);
        rows.map(|row| row.read(counter)).sum()
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
        self.settle();
        answer
    }

    /// Has done what others than the connections' own handlers asked for: what workers
    /// say to each other, what the hub was told to run and to close.
    pub(super) fn settle(&mut self) {
        self.world.carry();
        self.run_asked();
        self.close_asked();
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

    /// Runs what the hub was told to run in the turns of connections.
    fn run_asked(&mut self) {
        let mut have_news = std::mem::take(&mut self.world.lock().have_news);
        while !have_news.is_empty() {
            let rows = have_news.into_iter().map(usize::from);
            rows.for_each(|row| self.places[row].service.news());
            self.world.carry();
            have_news = std::mem::take(&mut self.world.lock().have_news);
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

impl Place {
    fn new<S: Default + Send + 'static>(
        app: &App<S>,
        number: usize,
        (world, bus): (&Arc<World>, Option<&(Bus, Scoreboard)>),
        context: impl FnOnce(Arc<dyn WorkerHandle>, Row, Option<Arc<Member>>) -> WorkerContext,
    ) -> Self {
        let place = u8::try_from(number).expect("a test has few workers");
        let row = match bus {
            Some((_, board)) => board.row(number),
            None => Row::alone_with(app.shape(IDS)).expect("a test has memory for its counters"),
        };
        let member = bus.map(|(bus, _)| {
            let member = Member::new(bus, place, 0, row.clone(), BACKLOG);
            Arc::new(member)
        });
        let worker = Arc::new(Seat {
            world: Arc::clone(world),
            row: place,
        });
        let core = app.core(context(worker, row.clone(), member.clone()));
        let core = core.unwrap_or_else(|text| panic!("start the program: {text}"));
        let service: Arc<dyn Service> = Arc::new(core);
        for (job, period) in service.periods().into_iter().enumerate() {
            world.lock().add(period, Due::Tick(place, job, period));
            // Its period counts from here.
            let _not_yet = service.is_wanted(job);
        }
        if let Some(member) = member {
            world.listen(member, Arc::downgrade(&service));
        }
        Self { service, row }
    }
}

/// Message ids with figures of their own in a test.
const IDS: usize = 50;

/// What workers of a test have between them.
fn bus_of<S: Default + Send + 'static>(app: &App<S>, workers: usize) -> (Bus, Scoreboard) {
    let shape = Shape {
        rows: workers,
        ring: 1 << 16,
        names: 1 << 12,
    };
    let bus = Bus::new(shape).expect("a test has memory for its bus");
    let board = Scoreboard::for_program(workers, 0, app.shape(IDS));
    let board = board.expect("a test has memory for its counters");
    (bus, board)
}

fn bytes_of(body: impl IntoReply) -> Bytes {
    match body.into_reply() {
        Answer::Reply { body, .. } => body,
        Answer::None | Answer::Content(_) | Answer::Error(_) | Answer::Later(_) => Bytes::new(),
    }
}
