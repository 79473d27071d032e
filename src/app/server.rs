//! Workers on threads of the calling process: for tests, and for programs that
//! embed a server.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::queue::SegQueue;

use super::App;
use crate::bus::Bus;
use crate::config::{self, Config, ConfigError, Output, Place};
use crate::dispatch::service::{Application, Service, WorkerContext};
use crate::listener;
use crate::log::Tap;
use crate::net::accept_mutex::AcceptMutex;
use crate::protocol::frame::Codecs;
use crate::scoreboard::series::Shape;
use crate::scoreboard::{Counter, Row, Scoreboard};
use crate::sys::eventfd::Bell;
use crate::sys::limits;
use crate::sys::socket::Address;
use crate::worker::{
    self, BindError, Control, Failure, Farewell, Limits, Listening, Order, Setup, shape,
};

/// How long a line of the log may take.
const LOGGED: Duration = Duration::from_secs(60);

/// A running server. Dropping it drains the connections for a second and ends
/// it.
///
/// It runs through the same function that the master calls after fork, on
/// threads of this process; it never forks and touches no signal. It has one
/// worker, or as many as the key `workers` says where that is given; the hub
/// reaches the connections of all of them. Each makes data of its own.
///
/// ```
/// use purlin::{Server, prelude::*};
///
/// let app = App::<()>::new().on_inline(1, |_, body: Bytes| body);
/// let server = Server::spawn(app)?;
/// println!("{}", server.addresses()[0]);
/// # Ok::<(), purlin::SpawnError>(())
/// ```
#[derive(Debug)]
pub struct Server {
    addresses: Vec<Address>,
    /// What they are called.
    names: Vec<Option<String>>,
    bus: Option<Bus>,
    workers: Vec<Running>,
    /// What it has logged.
    tap: Option<Tap>,
}

/// One of its workers.
#[derive(Debug)]
struct Running {
    row: Row,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<Result<Farewell, Failure>>>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum SpawnError {
    /// The configuration is wrong: correct what the text names.
    Config(ConfigError),
    /// An address cannot be listened on: choose another.
    Bind(BindError),
    /// The system has no memory or descriptors for the counters, or the access
    /// log cannot be opened.
    System(std::io::Error),
    /// The worker did not start: the user's `data` or `started` said no, or
    /// the system refused a resource.
    Worker(Failure),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::System(error) => write!(f, "start a server: {error}"),
            Self::Worker(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for SpawnError {}

impl Server {
    /// Serves `app` with the default configuration, on a free port of
    /// 127.0.0.1; returns when clients are served. Each listener that the program has
    /// functions for by its name ([`App::listener`]) is there as well, from
    /// `listener.1` on in the order of their registration, on a free port of its own:
    /// [`Self::address_of`].
    ///
    /// # Errors
    ///
    /// [`SpawnError`].
    pub fn spawn<S: Default + Send + 'static>(app: App<S>) -> Result<Self, SpawnError> {
        Self::configured(app, &[])
    }

    /// As [`Self::spawn`], with some keys of the configuration changed, each
    /// written as behind `--set`: `("worker.business_threads", "8")`.
    ///
    /// # Errors
    ///
    /// [`SpawnError`].
    pub fn configured<S: Default + Send + 'static>(
        app: App<S>,
        keys: &[(&str, &str)],
    ) -> Result<Self, SpawnError> {
        let config = app.configured(keys).map_err(SpawnError::Config)?;
        Self::start(app, &config, None)
    }

    /// As [`Self::configured`], and keeps what the server logs, of the level
    /// `log.level` and above, for [`Self::log`] and [`Self::wait_log`]: what its own
    /// threads write, handlers included, and not that of threads that these started.
    /// Other servers of the process do not mix with it. The lines are kept for as long
    /// as the server lives: for tests.
    ///
    /// ```
    /// use purlin::{Server, prelude::*};
    ///
    /// let app = App::<()>::new().started(|_| log::info!(seats = 8; "the lobby is open"));
    /// let server = Server::with_log(app, &[("log.level", "debug")])?;
    /// assert!(server.wait_log("the lobby is open").ends_with(" seats=8"));
    /// # Ok::<(), purlin::SpawnError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; [`SpawnError::System`] as well when the process has a logger of
    /// another crate: there can be one only.
    pub fn with_log<S: Default + Send + 'static>(
        app: App<S>,
        keys: &[(&str, &str)],
    ) -> Result<Self, SpawnError> {
        let config = app.configured(keys).map_err(SpawnError::Config)?;
        let tap = crate::log::keep(config.log.level).map_err(SpawnError::System)?;
        Self::start(app, &config, Some(tap))
    }

    fn start<S: Default + Send + 'static>(
        app: App<S>,
        config: &Config,
        tap: Option<Tap>,
    ) -> Result<Self, SpawnError> {
        let protocols = listener::protocols(config, app.codecs()).map_err(SpawnError::Config)?;
        open_access_log(config).map_err(SpawnError::System)?;
        let listeners = worker::bind(config, protocols).map_err(SpawnError::Bind)?;
        let addresses = listeners
            .iter()
            .map(|listening| listening.address.clone())
            .collect();
        let (app, count) = (Arc::new(app), workers(config));
        // As the master would do it.
        let limits = Limits::from(config);
        let board = Scoreboard::for_program(
            count,
            limits.connections_max,
            app.shape(config.admin.ids_max.into()),
        );
        let board = board.map_err(SpawnError::System)?;
        let bus = (count > 1).then(|| Bus::new(shape(config, count)));
        let mut server = Self {
            addresses,
            names: config.listener.iter().map(|one| one.name.clone()).collect(),
            tap,
            bus: bus.transpose().map_err(SpawnError::System)?,
            workers: Vec::new(),
        };
        for number in 0..u8::try_from(count).unwrap_or(u8::MAX) {
            let listeners = listeners.iter().map(Listening::duplicate);
            let listeners = listeners.collect::<Result<_, _>>();
            let owner = AcceptMutex::new(board.clone()).admit(number);
            let setup = Setup {
                listeners: listeners.map_err(SpawnError::System)?,
                accept: accept(config, &board, count),
                limits,
                row: board.row(number.into()),
                settings: config.own_values().into(),
                bus: server.bus.clone(),
                number: owner.row,
                epoch: owner.epoch,
            };
            let worker = Running::start(&app, setup, server.tap.clone())?;
            server.workers.push(worker);
        }
        Ok(server)
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the first listener of this name listens; `None`: none is called so.
    #[must_use]
    pub fn address_of(&self, listener: &str) -> Option<&Address> {
        let mut named = self.names.iter().zip(&self.addresses);
        let found = named.find(|(name, _)| name.as_deref() == Some(listener));
        found.map(|(_, address)| address)
    }

    /// What it has logged so far, line by line; nothing unless it was started by
    /// [`Self::with_log`].
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.tap.as_ref().map(Tap::lines).unwrap_or_default()
    }

    /// The first line of [`Self::log`] that contains `text`, as soon as it is there.
    ///
    /// # Panics
    ///
    /// When it is not there within a minute, or the server keeps no log.
    #[must_use]
    pub fn wait_log(&self, text: &str) -> String {
        let tap = self.tap.as_ref();
        let tap = tap.expect("a log is kept by a server that was started by `with_log`");
        let line = tap.wait(text, LOGGED);
        line.unwrap_or_else(|| panic!("no line says {text:?}:\n{}", tap.lines().join("\n")))
    }

    /// A counter, now, of all workers together.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        let rows = self.workers.iter().map(|worker| &worker.row);
        rows.map(|row| row.read(counter)).sum()
    }

    /// Stops accepting, answers what was received, and ends; connections that
    /// are left after `patience` are cut. Gives what became of them, of all workers
    /// together, but for [`Farewell::drained`], which is that of the first.
    ///
    /// # Errors
    ///
    /// [`Failure::ThreadDied`] when a worker had died before.
    pub fn stop(mut self, patience: Duration) -> Result<Farewell, Failure> {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> Result<Farewell, Failure> {
        for worker in &self.workers {
            worker.orders.give(Order::Drain(Some(patience)));
        }
        let mut all: Option<Result<Farewell, Failure>> = None;
        for (number, mut worker) in self.workers.drain(..).enumerate() {
            let one = worker.join();
            if let Some(bus) = &self.bus {
                bus.bury(number);
            }
            all = Some(match (all, one) {
                (Some(Ok(mut all)), Ok(one)) => {
                    all.cut += one.cut;
                    Ok(all)
                }
                (Some(Err(failure)), _) => Err(failure),
                (_, one) => one,
            });
        }
        all.unwrap_or(Err(Failure::ThreadDied))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.workers.is_empty() {
            let _reported_by_stop_alone = self.end(Duration::from_secs(1));
        }
    }
}

impl Running {
    /// Starts a worker, and waits until it serves.
    fn start<S: Default + Send + 'static>(
        app: &Arc<App<S>>,
        setup: Setup,
        tap: Option<Tap>,
    ) -> Result<Self, SpawnError> {
        let row = setup.row.clone();
        let orders = Arc::new(Orders::new().map_err(SpawnError::System)?);
        let (tell, told) = mpsc::channel();
        let (app, mut control) = (Arc::clone(app), Obeys(Arc::clone(&orders)));
        let ready = move || {
            let _waited_for = tell.send(());
        };
        let thread = thread::Builder::new()
            .name("reactor".into())
            .spawn(move || {
                crate::log::keep_in(tap);
                worker::run(setup, &*app, &mut control, ready)
            })
            .map_err(SpawnError::System)?;
        let mut running = Self {
            row,
            orders,
            thread: Some(thread),
        };
        match told.recv() {
            Ok(()) => Ok(running),
            // The worker returned before it was ready, and took the sender
            // along.
            Err(_) => match running.join() {
                Err(failure) => Err(SpawnError::Worker(failure)),
                Ok(_) => Err(SpawnError::Worker(Failure::ThreadDied)),
            },
        }
    }

    fn join(&mut self) -> Result<Farewell, Failure> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(Failure::ThreadDied),
        }
    }
}

/// Several share their sockets, however they were to.
fn accept(config: &Config, board: &Scoreboard, count: usize) -> worker::Accept {
    let accept = worker::Accept::new(config, board, limits::somaxconn());
    if count > 1 && matches!(accept, worker::Accept::ReusePort) {
        return worker::Accept::Exclusive;
    }
    accept
}

/// How many workers are asked for; one, where nothing is said of it.
pub(super) fn workers(config: &Config) -> usize {
    match config.workers {
        config::Workers::Count(count) if *config.place("workers") != Place::Default => count.into(),
        config::Workers::Count(_) | config::Workers::Auto => 1,
    }
}

fn open_access_log(config: &Config) -> std::io::Result<()> {
    let Some(output) = &config.http.access_log else {
        return Ok(());
    };
    crate::log::open_access_log(&match output {
        Output::File(path) => crate::log::Output::File(path.clone()),
        Output::Stdout => crate::log::Output::StandardOutput,
        Output::Stderr => crate::log::Output::StandardError,
        Output::Syslog => crate::log::Output::Syslog,
    })
}

/// What workers run, in this process or after a fork.
impl<S: Default + Send + 'static> Application for App<S> {
    fn start(&self, worker: WorkerContext) -> Result<Box<dyn Service>, String> {
        crate::log::set_context(crate::dispatch::log_fields);
        Ok(Box::new(self.core(worker)?))
    }

    fn route(&self, number: u32) -> Option<String> {
        self.route_name(number)
    }

    fn keeps_files(&self) -> bool {
        self.keeps_files()
    }

    fn figures(&self, ids: usize) -> Arc<Shape> {
        self.shape(ids)
    }

    fn codecs(&self) -> &Codecs {
        &self.codecs
    }
}

/// Orders on their way to the worker.
#[derive(Debug)]
struct Orders {
    queue: SegQueue<Order>,
    bell: Bell,
}

impl Orders {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            queue: SegQueue::new(),
            bell: Bell::new()?,
        })
    }

    fn give(&self, order: Order) {
        self.queue.push(order);
        self.bell.ring();
    }
}

struct Obeys(Arc<Orders>);

impl Control for Obeys {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }

    fn order(&mut self) -> Option<Order> {
        self.0.bell.hush();
        self.0.queue.pop()
    }
}
