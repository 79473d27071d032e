//! The hub: reaches connections from any thread.

use std::any::{TypeId, type_name};
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::data::Data;
use super::directory::{Directory, Ear};
use super::own_turn;
use super::service::{WorkerContext, WorkerHandle};
use super::settings::Settings;
use crate::body::{Answer, Id, IntoReply};
use crate::net::ConnId;
use crate::protocol::{CloseMode, Media};
use crate::scoreboard::{Counter, Row};

/// Reaches connections by name, by user, by room, or all of them.
///
/// Cheap to clone, usable from any thread, as long as the worker runs. For now
/// it reaches the connections of its own worker process.
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
    directory: Directory,
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
        Self(Arc::new(Inner {
            worker: context.worker,
            directory: Directory::default(),
            data,
            settings: context.settings,
            row: context.row,
            timers,
            state: (TypeId::of::<S>(), type_name::<S>()),
        }))
    }

    /// One connection. When it is gone nobody is reached, whoever has its slot
    /// by then.
    pub fn conn(&self, conn: ConnId) -> Target<'_> {
        self.target(Who::Conn(conn))
    }

    /// Every connection bound to this user.
    pub fn user<'a>(&'a self, name: &'a str) -> Target<'a> {
        self.target(Who::User(name))
    }

    /// Everybody in this room.
    pub fn room<'a>(&'a self, name: &'a str) -> Target<'a> {
        self.target(Who::Room(name))
    }

    /// Everybody.
    pub fn all(&self) -> Target<'_> {
        self.target(Who::All)
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

    const fn target<'a>(&'a self, who: Who<'a>) -> Target<'a> {
        Target {
            hub: self,
            who,
            except: None,
        }
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

/// Some connections, chosen by [`Hub`].
#[derive(Clone, Copy, Debug)]
#[must_use = "a target does nothing until something is sent to it"]
pub struct Target<'a> {
    pub(super) hub: &'a Hub,
    who: Who<'a>,
    except: Option<ConnId>,
}

#[derive(Clone, Copy, Debug)]
enum Who<'a> {
    Conn(ConnId),
    User(&'a str),
    Room(&'a str),
    All,
}

impl Target<'_> {
    /// All of them but this one.
    pub const fn except(self, conn: ConnId) -> Self {
        Self {
            except: Some(conn),
            ..self
        }
    }

    pub(super) fn names(&self) -> Vec<ConnId> {
        self.audience().0
    }

    /// Connections, and who listens in the room.
    fn audience(&self) -> (Vec<ConnId>, Vec<Ear>) {
        let (mut names, mut ears) = match self.who {
            Who::Conn(conn) => (vec![conn], Vec::new()),
            Who::User(name) => (self.hub.directory().user(name), Vec::new()),
            Who::Room(name) => self.hub.directory().room(name),
            Who::All => (self.hub.worker().everybody(), Vec::new()),
        };
        names.retain(|name| Some(*name) != self.except);
        ears.retain(|ear| Some(ear.conn) != self.except);
        (names, ears)
    }

    /// Pushes `body` to each of them under `id`, and to the streams that listen
    /// to the room ([`Http::events_of`](crate::web::Http::events_of)); returns
    /// to how many it is on its way. Never waits: a peer with too many unsent
    /// bytes (`limits.outbound_max`) loses the push or its connection, as
    /// configured. That is counted, and not counted here, and neither is a body
    /// that the receiver's format cannot carry: 0 means that nobody gets it.
    ///
    /// # Order
    ///
    /// What one handler, job or thread of yours sends reaches each receiver in
    /// the order in which it was sent, whatever the targets were. Between two who
    /// send there is no order: an answer may come before its question at a third
    /// party. A push to the connection whose handler runs is sent in its place
    /// among `c.send`, the reply and a close.
    pub fn send(self, id: Id, body: impl IntoReply) -> usize {
        let Some((id, body, media)) = push(id, body) else {
            return 0;
        };
        let (names, ears) = self.audience();
        let heard = self.hub.tell(&ears, id, &body);
        let pushed = (self.hub.worker()).send(&names, own_turn::held(), (id, body, media));
        if let Some(own) = pushed.own {
            own_turn::push(own);
        }
        heard + pushed.reached
    }

    /// Closes each of them, and says `why` in the log; returns how many that
    /// were.
    ///
    /// Each closes behind everything that the caller has sent before, and behind
    /// what others have: it is out, or was given up after `limits.linger`. Pushes
    /// that come later are not sent and not counted by [`send`](Self::send). The
    /// caller's own connection closes behind the reply of its handler.
    pub fn close(self, why: &str) -> usize {
        let mut names = self.names();
        let all = names.len();
        let own = own_turn::held().map(|(own, _)| own);
        names.retain(|name| Some(*name) != own);
        let is_own = names.len() < all;
        if is_own {
            own_turn::close();
            self.hub.row().count(Counter::ClosedByHandler);
        }
        let closed = self.hub.worker().close(&names, CloseMode::Flush) + usize::from(is_own);
        if closed > 0 {
            ::log::info!("close {closed} connections: {why}");
        }
        closed
    }

    /// How many there are, streams that listen to the room included.
    #[must_use]
    pub fn count(self) -> usize {
        match self.who {
            Who::Conn(conn) => {
                usize::from(Some(conn) != self.except && self.hub.worker().knows(conn))
            }
            Who::User(_) | Who::Room(_) | Who::All => {
                let (mut names, ears) = self.audience();
                // Whose `closed` has not run yet is a member, and reached by
                // nobody: what is counted is what `send` would reach.
                names.retain(|name| self.hub.worker().knows(*name));
                names.len() + ears.len()
            }
        }
    }
}

/// The id and bytes of a push; `None`: there is nothing to send.
pub(super) fn push(id: Id, body: impl IntoReply) -> Option<(Id, Bytes, Media)> {
    match body.into_reply() {
        Answer::Reply {
            id: other,
            body,
            media,
        } => Some((other.unwrap_or(id), body, media)),
        Answer::Error(error) => {
            // Nobody but the log is told.
            ::log::warn!("push message {id}: {}; not sent", error.show());
            None
        }
        // "No reply" as a push is a message without a body.
        Answer::None => Some((id, Bytes::new(), Media::Bytes)),
        Answer::Content(_) => {
            ::log::warn!("push message {id}: its body goes over HTTP alone; not sent");
            None
        }
        Answer::Later(_) => None,
    }
}

impl Hub {
    /// A push that its own connection could not take.
    pub(super) fn dropped(&self) {
        self.0.row.count(Counter::PushesDropped);
    }
}
