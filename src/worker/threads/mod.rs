//! All concurrency of a worker in one place: which threads there are, and that
//! they end together.

mod business;
mod heartbeat;
mod recycler;
mod sender;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use super::queues::letters::ToReactor;
use super::reactor::accept_mutex::AcceptMode;
use super::reactor::drain_report::Drained;
use super::reactor::{End, Reactor};
use super::setup::{Control, Listening, Setup};
use super::shared::Shared;
use crate::dispatch::service::{Application, Service, WorkerContext};
use crate::log::{access_log, keep_in, tap};
use crate::scoreboard::Counter;
use crate::sys::epoll::Epoll;

/// How long threads that have nothing left to do may take to return.
const GRACE: Duration = Duration::from_secs(1);

/// The same where time was up: the master kills a second after that, and there is
/// something left to do.
const LITTLE_GRACE: Duration = Duration::from_millis(300);

/// How a worker ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Farewell {
    /// Connections that were cut off because time was up.
    pub cut: usize,
    /// What was done with the messages of the drain, if there was one.
    pub drained: Option<Drained>,
}

/// Why a worker could not start, or cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// The user's `data` or `started` said no: the operator's to mend.
    Start(String),
    /// The system refused something the worker cannot do without.
    System(io::Error),
    /// A thread of the worker panicked: our fault; start a new worker.
    ThreadDied,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(text) => f.write_str(text),
            Self::System(error) => write!(f, "run a worker: {error}"),
            Self::ThreadDied => f.write_str("a thread of the worker panicked"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// What the listeners of the configuration are called. Those that are sockets of
/// other workers as well come more than once.
fn names(listeners: &[Listening]) -> Vec<Option<Arc<str>>> {
    let count = listeners
        .iter()
        .map(|one| usize::from(one.origin.listener) + 1);
    let mut names = vec![None; count.max().unwrap_or(1)];
    for one in listeners {
        names[usize::from(one.origin.listener)].clone_from(&one.name);
    }
    names
}

/// Runs a worker on the calling thread, which becomes its reactor, and on
/// threads of its own. Returns when it was told to, with every thread gone
/// except those whose handlers block past the end.
///
/// `ready` is called when clients are served.
///
/// # Errors
///
/// [`Failure`]; the caller ends the process and reports it.
pub fn run(
    setup: Setup,
    application: &dyn Application,
    control: &mut dyn Control,
    ready: impl FnOnce(),
) -> Result<Farewell, Failure> {
    let shared = Arc::new(Shared::new(
        setup.row,
        setup.number,
        setup.epoch,
        setup.bus.as_ref(),
        setup.limits,
    )?);
    let _first = shared.event_loop.set(thread::current().id());
    let row = shared.row.clone();
    for listening in &setup.listeners {
        listening.protocol.count_in(&row);
    }
    access_log::on_loss(move |lines| row.add(Counter::AccessLost, lines));
    let surroundings = WorkerContext {
        worker: Arc::clone(&shared) as Arc<_>,
        row: shared.row.clone(),
        bus: shared.bus.clone(),
        settings: setup.settings,
        listeners: names(&setup.listeners),
    };
    let service: Arc<dyn Service> = application
        .start(surroundings)
        .map_err(Failure::Start)?
        .into();
    let threads = Threads::default();
    let _end_all = EndAll(&shared);
    start_threads(&shared, &service, &threads)?;
    let accept_mode = AcceptMode::new(setup.accept, setup.number, setup.epoch);
    let mut reactor = Reactor::new(&shared, &*service, setup.listeners, accept_mode, control)?;
    ready();
    let end = shared.row.at_work(0, || reactor.run())?;
    // What is left may take its time, and is not the loop's.
    shared.row.fall_asleep();
    reactor.end_all(end);
    shared.end();
    threads.wait(match end {
        End::Cut(_) => LITTLE_GRACE,
        End::Drained | End::ThreadDied => GRACE,
    });
    business::see_off(&shared, &*service);
    let drained = reactor.account();
    drop(reactor);
    service.stopping();
    access_log::flush(GRACE);
    let cut = match end {
        End::Drained => 0,
        End::Cut(connections) => connections,
        End::ThreadDied => return Err(Failure::ThreadDied),
    };
    Ok(Farewell { cut, drained })
}

fn start_threads(
    shared: &Arc<Shared>,
    service: &Arc<dyn Service>,
    threads: &Threads,
) -> io::Result<()> {
    for n in 1..=shared.limits.business_threads {
        let (mine, service) = (Arc::clone(shared), Arc::clone(service));
        threads.start(shared, format!("business-{n}"), move || {
            mine.row.at_work(n, || business::run(&mine, &*service));
            Ok(())
        })?;
    }
    let mine = Arc::clone(shared);
    threads.start(shared, "sender".into(), move || sender::run(&mine))?;
    // Its descriptor is made here: once clients are accepted there may be none.
    let (mine, epoll) = (Arc::clone(shared), Epoll::new()?);
    threads.start(shared, "recycler".into(), move || {
        recycler::run(&mine, epoll)
    })?;
    if let Some(bus) = shared.bus.clone() {
        let (mine, service) = (Arc::clone(shared), Arc::clone(service));
        threads.start(shared, "bus".into(), move || {
            Shared::hears();
            bus.run(&mut |message| service.hear(message), &|| {
                mine.has_heard();
                service.has_heard();
            });
            Ok(())
        })?;
    }
    let (mine, service) = (Arc::clone(shared), Arc::clone(service));
    threads.start(shared, "heartbeat".into(), move || {
        heartbeat::run(&mine, &*service);
        Ok(())
    })
}

/// The threads that have not returned yet.
#[derive(Clone, Debug, Default)]
struct Threads(Arc<(Mutex<usize>, Condvar)>);

impl Threads {
    /// Starts a thread whose end, however it comes, ends the worker.
    fn start(
        &self,
        shared: &Arc<Shared>,
        name: String,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let member = ThreadGuard {
            threads: self.clone(),
            shared: Arc::clone(shared),
        };
        *self.0.0.lock().expect("only numbers are changed under it") += 1;
        let own = name.clone();
        let tap = tap();
        let started = thread::Builder::new().name(own.clone()).spawn(move || {
            keep_in(tap);
            let member = member;
            if let Err(error) = work() {
                ::log::error!("run the {own} thread: {error}; the worker ends");
            }
            drop(member);
        });
        started.map(drop).map_err(|error| {
            let said = format!(
                "start the {name} thread: {error}; too low may be the limit of memory \
                 (ulimit -d, -v) or that of threads (ulimit -u, pids.max)"
            );
            io::Error::new(error.kind(), said)
        })
    }

    /// Waits for all, at most `patience`.
    fn wait(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let (count, changed) = &*self.0;
        let mut left = count.lock().expect("only numbers are changed under it");
        while *left > 0 {
            let now = Instant::now();
            if now >= until {
                ::log::warn!("end the worker: {left} threads are still in handlers; left behind");
                return;
            }
            left = changed.wait_timeout(left, until - now).expect("as above").0;
        }
    }
}

/// Tells the reactor when its thread ends, on unwinding as well.
struct ThreadGuard {
    threads: Threads,
    shared: Arc<Shared>,
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        if !self.shared.is_ending() {
            self.shared.to_reactor.post(ToReactor::ThreadDied);
        }
        let (count, changed) = &*self.threads.0;
        *count.lock().expect("only numbers are changed under it") -= 1;
        changed.notify_all();
    }
}

/// Ends the other threads when the reactor leaves, on unwinding as well, and the
/// connections with them.
struct EndAll<'a>(&'a Shared);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.0.dissolve();
    }
}
