//! The worker's side of the fork: from a copy of the master to a worker.
//!
//! Everything of the master's was dropped before; what is left is a channel to
//! it. Runs on the worker's main thread, before it has any other.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::line::WorkerEnd;
use super::message::{ToMaster, ToWorker};
use super::raw_lines::{self, RawWriter};
use crate::log::{self, Settings};
use crate::master::cycle::SocketName;
use crate::master::exit::{Ending, Exit};
use crate::master::supervisor::Generation;
use crate::net::{ConnId, UserName};
use crate::sys::channel::Received;
use crate::sys::data_folder::DataFolder;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::fault::{Spot, kill_point};
use crate::sys::privileges::{self, Identity};
use crate::sys::reserve::Spares;
use crate::sys::{cores, process, starter, title};
use crate::worker::{self, Application, Control, Farewell, Limits, Listed, Order, Setup};

/// Descriptors that a worker needs beside those of its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Pause before an order is looked at again for which no descriptor is free.
const WITHOUT_DESCRIPTORS: Duration = Duration::from_millis(1);

/// A process that is about to be a worker.
pub(in crate::master) struct ForkedWorker {
    pub(in crate::master) program: String,
    pub(in crate::master) number: usize,
    pub(in crate::master) generation: Generation,
    pub(in crate::master) line: WorkerEnd,
    /// Where what is written past the log goes.
    pub(in crate::master) raw_lines: RawWriter,
    /// What it works with, and the names of its listeners.
    pub(in crate::master) setup: io::Result<(Setup, Vec<SocketName>)>,
    /// Held until the end: see `upgrade::LifePipe`.
    pub(in crate::master) life_pipe: io::Result<OwnedFd>,
    /// The log, where it differs from the master's.
    pub(in crate::master) settings: Option<Settings>,
    pub(in crate::master) identity: Option<Identity>,
    pub(in crate::master) core: Option<usize>,
    /// How long to drain when the master is gone.
    pub(in crate::master) patience: Duration,
}

impl ForkedWorker {
    /// Serves until it is told to leave.
    ///
    /// # Errors
    ///
    /// [`Ending`] without a text: the master was told.
    pub(in crate::master) fn work(self, application: &dyn Application) -> Result<(), Ending> {
        kill_point(Spot::Forked);
        let name = format!("worker-{}", self.number);
        title::set(&format!(
            "{}: worker {} gen {}",
            self.program, self.number, self.generation.0
        ));
        log::forked(&name);
        let wanted = (self.setup.as_ref()).map_or(0, |(setup, _)| raise_descriptors(&setup.limits));
        let line = Arc::new(self.line.lift(wanted));
        let failed = |ending: Ending| {
            log::error!("{}", ending.text);
            line.say(&ToMaster::Failed(ending.text));
            Ending::new(ending.exit, String::new())
        };
        let internal = |error: io::Error| Ending::internal("become a worker", &error);
        let prepared = (self.settings.as_ref())
            .map_or(Ok(()), log::init)
            .and(self.setup)
            .and_then(|setup| Ok((setup, self.life_pipe?)))
            .map_err(internal);
        let ((setup, names), _member) = prepared.map_err(&failed)?;
        keep_to(self.core);
        leave_starter().map_err(&failed)?;
        (self.raw_lines.begin())
            .map_err(internal)
            .map_err(&failed)?;
        if application.keeps_files() {
            make_data_folder(&setup, self.identity.as_ref()).map_err(&failed)?;
        }
        become_user(self.identity.as_ref()).map_err(&failed)?;
        let mut orders = Orders::new(Arc::clone(&line), self.patience, names)
            .map_err(internal)
            .map_err(&failed)?;
        let tell = || {
            kill_point(Spot::BeforeReady);
            line.say(&ToMaster::Ready);
            kill_point(Spot::Ready);
        };
        let served = worker::run(setup, application, &mut orders, tell);
        kill_point(Spot::Drained);
        match served {
            Ok(Farewell { cut, drained }) => {
                if let Some(drained) = drained {
                    log::info!("{drained}");
                }
                if cut > 0 {
                    log::warn!("end: time was up, {cut} connections were cut");
                }
                Ok(())
            }
            Err(failure) => Err(failed(Ending::new(Exit::Internal, failure.to_string()))),
        }
    }
}

/// Gives how many descriptors there are to be: as many again, if they can be had,
/// for connections that come from the workers of the generation before.
fn raise_descriptors(limits: &Limits) -> u64 {
    let places = limits.connections_max as u64;
    let needed = places + SPARE_DESCRIPTORS;
    let raised = process::raise_descriptor_limit(needed + places);
    let raised = match raised {
        Ok(limit) if limit >= needed => Ok(limit),
        // The kernel may refuse the one and grant the other.
        Ok(_) | Err(_) => process::raise_descriptor_limit(needed),
    };
    match raised {
        Ok(limit) if limit < needed => log::warn!(
            "raise the limit of descriptors to {needed}: {limit} is allowed; clients beyond it \
             wait in the backlog; raise `ulimit -Hn` or lower worker.connections_max"
        ),
        // What is allowed beyond that is not to be used: the kernel keeps a table
        // up to the highest number that is.
        Ok(limit) => return limit.min(needed + places),
        Err(error) => log::warn!("raise the limit of descriptors to {needed}: {error}"),
    }
    needed
}

fn keep_to(core: Option<usize>) {
    if let Some(core) = core
        && let Err(error) = cores::set_affinity(core)
    {
        log::warn!("keep to core {core}: {error}; going on without");
    }
}

/// Leaves what is whoever's that started the master: its session, its terminal.
fn leave_starter() -> Result<(), Ending> {
    starter::leave_session()
        .and_then(|()| starter::detach_terminal())
        .map_err(|error| Ending::internal("leave the terminal", &error))
}

/// The user whom the worker becomes may not be able to.
fn make_data_folder(setup: &Setup, identity: Option<&Identity>) -> Result<(), Ending> {
    let folder = setup.settings.find::<DataFolder>();
    folder.map_or(Ok(()), |folder| {
        folder.make(identity).map_err(|error| {
            let path = folder.path().display();
            let text = format!("data_folder {path}: {error}");
            Ending::new(Ending::of(&error), text)
        })
    })
}

/// Gives root's rights up, for good, and whatever other rights the master has;
/// `None`: the master is not root.
fn become_user(identity: Option<&Identity>) -> Result<(), Ending> {
    let given_up = match identity {
        // The operator wants it so.
        Some(root) if root.is_root() => Ok(()),
        Some(user) => {
            privileges::drop_privileges(user).and_then(|()| privileges::drop_capabilities())
        }
        None => privileges::drop_capabilities(),
    };
    given_up
        .and_then(|()| privileges::forbid_new_privileges())
        .map_err(|error| Ending::new(Exit::Permission, format!("give root's rights up: {error}")))
}

/// The orders of the master; its end is one as well.
struct Orders {
    line: Arc<WorkerEnd>,
    /// Readable while the line is, until the master is gone: an ended line would
    /// be readable for ever.
    ears: Epoll,
    patience: Duration,
    orphaned: bool,
    /// For what comes along with an order, where clients have all others.
    spares: Spares,
    /// Where the master wants the connections written.
    list: Option<File>,
    /// Where the worker accepts, by name.
    listeners: Vec<SocketName>,
}

impl Orders {
    fn new(
        line: Arc<WorkerEnd>,
        patience: Duration,
        listeners: Vec<SocketName>,
    ) -> io::Result<Self> {
        let ears = Epoll::new()?;
        ears.add(&line.channel, Interest::Read, 0)?;
        Ok(Self {
            line,
            spares: Spares::new(1, ears.as_fd()),
            ears,
            patience,
            orphaned: false,
            list: None,
            listeners,
        })
    }

    /// What the master said. Where no descriptor is free for what comes along, a
    /// spare one is; if somebody was quicker, the order waits, and with it, for
    /// a moment, this thread: it would be told of the order for ever.
    fn receive(&mut self, datagram: &mut [u8]) -> Received {
        let mut received = self.line.channel.receive(datagram);
        if matches!(received, Ok(Received::Undelivered(_))) && self.spares.release() {
            received = self.line.channel.receive(datagram);
        }
        match received {
            Ok(Received::Undelivered(_)) => {
                std::thread::sleep(WITHOUT_DESCRIPTORS);
                Received::Nothing
            }
            Ok(received) => received,
            Err(error) => {
                log::error!("hear the master: {error}");
                Received::Nothing
            }
        }
    }

    fn orphan(&mut self) -> Option<Order> {
        if std::mem::replace(&mut self.orphaned, true) {
            return None;
        }
        let _registered = self.ears.delete(&self.line.channel);
        raw_lines::forget_reader();
        log::warn!(
            "the master is gone: draining for at most {:?}",
            self.patience
        );
        Some(Order::Drain(Some(self.patience)))
    }
}

impl Control for Orders {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.ears.as_fd()
    }

    fn order(&mut self) -> Option<Order> {
        let mut datagram = [0; ToWorker::DATAGRAM_MAX];
        self.line.say_on();
        loop {
            self.spares.refill(self.ears.as_fd());
            let (len, mut files) = match self.receive(&mut datagram) {
                Received::Datagram(len, files) => (len, files),
                Received::Nothing | Received::Undelivered(_) => return None,
                Received::Closed => return self.orphan(),
            };
            kill_point(Spot::Ordered);
            match ToWorker::parse(&datagram[..len]) {
                Some(ToWorker::Refuse) => return Some(Order::Refuse),
                Some(ToWorker::Drain(limit)) => return Some(Order::Drain(limit)),
                Some(ToWorker::Retire(talk)) => return Some(Order::Retire(talk)),
                Some(ToWorker::Reopen) => files.pop().into_iter().for_each(log::adopt),
                Some(ToWorker::Successor(generation)) => {
                    if let Some(line) = files.pop() {
                        return Some(Order::Successor(line.into(), generation));
                    }
                }
                Some(ToWorker::Predecessor) => {
                    if let Some(line) = files.pop() {
                        return Some(Order::Predecessor(line.into()));
                    }
                }
                Some(ToWorker::ReopenAccess) => {
                    files.pop().into_iter().for_each(log::adopt_access_log);
                }
                Some(ToWorker::LogLevel(level)) => log::set_level(level),
                Some(ToWorker::List) => {
                    self.list = files.pop().map(File::from);
                    return Some(Order::List);
                }
                Some(ToWorker::Adopt(name)) => match files.pop() {
                    Some(socket) if !self.listeners.contains(&name) => {
                        self.listeners.push(name);
                        return Some(Order::Adopt(name.1, socket));
                    }
                    // It has that one: workers came and went before.
                    Some(_) | None => {}
                },
                Some(ToWorker::CheckAcceptMutex) => return Some(Order::CheckAcceptMutex),
                Some(ToWorker::Kick(id, say)) => return Some(Order::Kick(id, say)),
                Some(ToWorker::KickUser(user, say)) => {
                    return Some(Order::KickUser(user, say));
                }
                None => log::error!("the master said something unknown"),
            }
        }
    }

    fn listed(&mut self, listed: &Listed) {
        let text = serde_json::to_vec(listed).expect("strings and numbers become JSON");
        let written = self.list.take().map(|mut file| file.write_all(&text));
        match written {
            Some(Ok(())) => self.line.say(&ToMaster::Listed),
            Some(Err(error)) => log::error!("list the connections: {error}"),
            None => log::error!("list the connections: no file came to write them into"),
        }
    }

    fn kicked(&mut self, id: ConnId, had_it: bool) {
        self.line.say(&ToMaster::Kicked(id, had_it));
    }

    fn kicked_user(&mut self, user: UserName, count: usize) {
        self.line.say(&ToMaster::KickedUser(user, count));
    }
}
