//! What the handlers need from the worker: ways to reach other connections.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use super::close_reason::CloseReason;
use super::handover::{CannotMove, MovedState, State};
use crate::bus::Read;
use crate::net::ConnId;
use crate::protocol::frame::Codecs;
use crate::protocol::{Answer, CloseMode, Media};
use crate::scoreboard::series::Shape;
use crate::sys::socket::Peer;

/// Reaches connections of this worker from any thread. Implemented by `worker`,
/// and by the fake worker of `app.test()`.
///
/// Nothing here blocks. A name whose connection is gone is counted `stale`.
pub trait WorkerHandle: Send + Sync {
    /// Queues a push for each of `to`; encoded once per wire format. `own` is the
    /// connection whose turn the calling thread holds, and how many bytes wait to
    /// go into that turn's output: its push is not queued but given back.
    fn send(
        &self,
        to: &[ConnId],
        own: Option<(ConnId, usize)>,
        push: (u32, Bytes, Media),
    ) -> Pushed;

    /// Closes each of `to`, with `code` where its protocol has such. Returns how
    /// many of them were connected.
    fn close(&self, to: &[ConnId], mode: CloseMode, code: Option<u16>) -> usize;

    /// Hands over the reply that a handler put off. False: nobody waits for it.
    fn answer(&self, to: ConnId, token: u64, answer: Answer) -> bool;

    /// Runs `Dispatch::timer(token)` of `to` in its turn, `after` from now.
    fn after(&self, to: ConnId, after: std::time::Duration, token: u64);

    /// Timer `token` need not run: nothing is kept of it for long.
    fn cancel(&self, token: u64);

    /// Has `to`, behind the messages that wait, call `Dispatch::run` with this.
    /// False: it is gone or no session, and the task was dropped.
    fn run(&self, to: ConnId, task: Box<dyn Any + Send>) -> bool;

    /// The clock by which timers fall due, in milliseconds: the same in every
    /// process of the machine.
    fn clock(&self) -> u64;

    /// Has `to` look, in its turn and `after` from now, whether what it waits
    /// for is there. One that waits for nothing, or is gone, does not care.
    fn wake(&self, to: ConnId, after: std::time::Duration);

    /// Whether unsent bytes of `to` are below the high-water mark.
    fn writable(&self, to: ConnId) -> bool;

    /// Whether `to` is connected.
    fn knows(&self, to: ConnId) -> bool;

    /// Whether a push may add to what waits for `to`, which makes `bytes` more
    /// than is counted yet. If not, the receiver may be closed for it.
    fn admits(&self, to: ConnId, bytes: usize) -> bool;

    /// Bytes that wait to be sent to `to`.
    fn queued(&self, to: ConnId) -> usize;

    /// Takes a line for the record of what was answered.
    fn record(&self, line: &[u8]) {
        let _nowhere = line;
    }

    /// Has a business thread call [`Service::news`].
    fn has_news(&self);

    /// Everybody who is connected now.
    fn everybody(&self) -> Vec<ConnId>;

    /// What everybody calls a connection that is here.
    fn name_of(&self, conn: ConnId) -> ConnId;

    /// Whether the calling thread may wait for other workers: the event loop may
    /// not.
    fn may_wait(&self) -> bool;

    /// Has other workers answer that run on no threads of their own.
    fn help(&self) {}
}

/// What became of a push.
#[derive(Debug, Default)]
pub struct Pushed {
    /// How many it is on its way to: not those who are gone or close, whose format
    /// cannot say it, or for whom too much waits.
    pub reached: usize,
    /// As it goes over the wire to the caller's own connection, if that is one of
    /// them.
    pub own: Option<Bytes>,
}

/// What a worker asks of the program that it runs. Implemented by `app`.
pub trait Application: Send + Sync {
    /// Called once in each worker, after fork, on its main thread, before any
    /// connection: makes the user's data and runs `started`.
    ///
    /// # Errors
    ///
    /// The text that ends the start.
    fn start(&self, worker: WorkerContext) -> Result<Box<dyn Service>, String>;

    /// Method and path of a route, counted in the order of their registration,
    /// for the log. `None`: there is no such route.
    fn route(&self, number: u32) -> Option<String> {
        let _routes_have_no_names = number;
        None
    }

    /// Whether it keeps files in its data folder, which has to be there, then.
    fn keeps_files(&self) -> bool {
        false
    }

    /// What is counted by name, at most so many message ids of their own.
    fn figures(&self, ids: usize) -> Arc<Shape> {
        let _nothing_is = ids;
        Arc::default()
    }

    /// The frame formats that the program brings along.
    fn codecs(&self) -> &Codecs {
        Codecs::NONE
    }
}

/// A connection as its worker finds it, and as everybody calls it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Named {
    /// Its slot in the pool of its worker.
    pub conn: ConnId,
    /// What it was called where it was accepted; the same, if that was here.
    pub name: ConnId,
}

impl From<ConnId> for Named {
    /// Of one that was accepted here.
    fn from(conn: ConnId) -> Self {
        Self { conn, name: conn }
    }
}

impl Named {
    /// Whether it came from another worker.
    #[must_use]
    pub fn has_moved(self) -> bool {
        self.conn != self.name
    }
}

/// Where a service finds itself.
pub struct WorkerContext {
    /// The way to its connections.
    pub worker: Arc<dyn WorkerHandle>,
    /// Its counters.
    pub row: crate::scoreboard::Row,
    /// The way to other workers, if there are any.
    pub bus: Option<Arc<crate::bus::Member>>,
    /// The program's settings.
    pub settings: super::settings::Settings,
    /// The names of the listeners, in the order of the configuration.
    pub listeners: Vec<Option<std::sync::Arc<str>>>,
}

/// What to do with a message whose id no handler claimed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownId {
    /// Answer error 404.
    #[default]
    Error,
    /// Drop the message.
    Ignore,
    /// Close the connection.
    Close,
}

/// What a connection has of the listener that it came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// Which listener of the configuration that is.
    pub listener: u16,
    /// What to do with ids that no handler claimed.
    pub unknown_id: UnknownId,
}

/// A program that runs in one worker. All methods may be called from any of
/// the worker's business threads; user code in them never unwinds out.
pub trait Service: Send + Sync {
    /// A dispatcher for connections, empty. Dispatchers are reused.
    fn dispatcher(&self) -> Box<dyn Dispatcher>;

    /// How often periodic jobs are looked at; job `n` is run by `tick(n)`.
    fn periods(&self) -> Vec<std::time::Duration>;

    /// Whether there is a reason to have a periodic job run now. Asked in each period,
    /// while it runs as well. Never waits.
    fn is_wanted(&self, job: usize) -> bool;

    /// Runs a periodic job.
    fn tick(&self, job: usize);

    /// Carries out what another worker said. On the `bus` thread: waits for nothing
    /// and runs no code of the program.
    fn hear(&self, message: crate::bus::Message);

    /// Runs what was heard for the program.
    fn news(&self);

    /// What was heard has been carried out. On the `bus` thread, without any lock.
    fn has_heard(&self);

    /// A session comes from another worker, which has it as well: what is said to
    /// it is kept, and it is reached under its name, if that is not `conn` itself.
    fn arrives(&self, conn: Named);

    /// The other worker has let it go, and has passed on what it heard up to these
    /// marks: what was kept beside that is said.
    fn arrived(&self, conn: Named, marks: &Arc<[Read]>);

    /// A session that has come from another worker has ended, has gone on to a
    /// third, or stays where it was.
    fn departed(&self, conn: Named);

    /// Whether `opened` has anything to do; saves a turn per accept if not.
    fn greets(&self) -> bool;

    /// Whether `closed` has anything to do; saves a turn per end if not.
    fn sees_off(&self) -> bool;

    /// Whether the state of a connection has no bytes: as good as another one.
    fn is_stateless(&self) -> bool;

    /// The user that a connection is bound to, and the first `most` of its rooms by
    /// name.
    fn outline(&self, conn: ConnId, most: usize) -> (Option<String>, Vec<String>);

    /// The connections of a user.
    fn conns_of(&self, user: &str) -> Vec<ConnId>;

    /// What runs in the turn of a connection that has come from another worker, before
    /// its messages here, for [`Dispatch::run`](crate::protocol::Dispatch::run);
    /// `None`: nothing does.
    fn arrival(&self) -> Option<Box<dyn Any + Send>>;

    /// What runs in the turn of a connection that an operator closes with these
    /// words, for [`Dispatch::run`](crate::protocol::Dispatch::run).
    fn last_words(&self, say: &str) -> Box<dyn Any + Send>;

    /// Whether `draining` has anything to do.
    fn announces(&self) -> bool;

    /// Runs `draining`, once, at the beginning of the end.
    fn draining(&self);

    /// Runs `stopping`, once, after the last connection is closed.
    fn stopping(&self);
}

/// The handlers of one connection at a time, with its state.
pub trait Dispatcher: crate::protocol::Dispatch {
    /// A connection takes the dispatcher; its state is made new if it is a
    /// session
    /// ([`Protocol::is_session`](crate::protocol::Protocol::is_session)) and a
    /// state can remember anything.
    fn take(
        &mut self,
        conn: Named,
        peer: crate::sys::socket::Peer,
        origin: Origin,
        is_session: bool,
    );

    /// The turn is over: what it counted is put into the shared row, once for
    /// the whole batch and before its replies are written.
    fn counted(&mut self);

    /// The connection becomes a session, with the state that the request made which
    /// asked for that, or a new one. It is this `peer`'s, whoever asked.
    fn upgrade(&mut self, peer: Peer);

    /// Whether nothing of the connection is in the dispatcher: another may take
    /// it, and this connection any other dispatcher.
    fn is_idle(&self) -> bool;

    /// Whether `opened` has run to its end since this connection took the
    /// dispatcher. If it panicked, it has not, and the connection closes.
    fn has_opened(&self) -> bool;

    /// The connection, which was opened, is over: leaves rooms, runs `closed`,
    /// drops the state.
    fn leave(&mut self, reason: CloseReason);

    /// What goes along if the connection goes on in another worker. Changes
    /// nothing. Runs on the reactor, as the three below.
    ///
    /// # Errors
    ///
    /// [`CannotMove`]: it cannot go.
    fn pack(&self) -> Result<MovedState, CannotMove>;

    /// As [`take`](Self::take), by a connection of another worker, which goes
    /// on with its `state`. False: that cannot be read, and nobody has it.
    fn unpack(
        &mut self,
        conn: Named,
        peer: crate::sys::socket::Peer,
        origin: Origin,
        is_session: bool,
        state: &State,
    ) -> bool;

    /// The connection that was unpacked enters its rooms and is bound to its user,
    /// while the other worker has it as well.
    fn enter(&mut self, moved: &MovedState);

    /// It can be found from now on: its timers run on.
    fn rejoin(&mut self, moved: &MovedState);

    /// The connection is another worker's, or was never opened: as
    /// [`leave`](Self::leave), without `closed`.
    fn vacate(&mut self);
}
