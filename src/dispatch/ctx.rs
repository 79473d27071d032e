//! What a handler can do beside returning its reply.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;

use super::close_reason::CloseReason;
use super::hub::Hub;
use super::later::{Later, Replier};
use super::own_turn;
use super::service::{Named, WorkerHandle};
use super::sink::Sink;
use super::target::push;
use super::waker::Waker;
use crate::body::{Answer, Id, IntoReply};
use crate::net::ConnId;
use crate::protocol::{CloseMode, Media, Push};
use crate::sys::socket::Peer;
use crate::sys::sync::Ordering;

/// One connection, for the time of one handler. Derefs to its state `S`.
pub struct Ctx<'a, S> {
    pub(super) state: &'a mut S,
    /// Where its worker finds it.
    pub(super) slot: ConnId,
    /// What everybody calls it.
    pub(super) conn: ConnId,
    pub(super) peer: Peer,
    pub(super) listener: Option<&'a str>,
    pub(super) id: Option<Id>,
    pub(super) hub: &'a Hub,
    pub(super) timers: &'a mut Timers<S>,
    pub(super) member: &'a mut bool,
    pub(super) out: &'a mut dyn Sink,
    /// Within `closed`.
    pub(super) gone: Option<&'a Gone>,
}

/// What is still known of a connection that has ended.
pub(super) struct Gone {
    pub(super) reason: CloseReason,
    pub(super) user: Option<String>,
    pub(super) rooms: Vec<String>,
}

/// The close code for who is not wanted.
const POLICY: u16 = 1008;

type Timer<S> = Box<dyn FnOnce(&mut Ctx<'_, S>) + Send>;

/// Names a pending timer of one connection: what [`Ctx::after`] and
/// [`Ctx::timer`] return, for [`Ctx::cancel`]. As a reply it is none, so that a
/// handler may end with it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TimerHandle(u64);

impl IntoReply for TimerHandle {
    fn into_reply(self) -> Answer {
        Answer::None
    }
}

/// A timer that has not run yet.
pub(super) enum Pending<S> {
    /// A function, which cannot go to another process.
    Once(Timer<S>),
    /// The name of one, and when it is due on the machine's clock.
    Named { name: String, at: u64 },
}

/// A number for a timer or a late reply that this process has not used before.
/// Not the dispatcher's: a connection may have another one in each of its
/// turns.
pub(super) fn token() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Timers that have not run yet. Few connections have any.
#[expect(
    clippy::box_collection,
    reason = "a word instead of six, nearly always"
)]
pub(super) struct Timers<S>(Option<Box<HashMap<u64, Pending<S>>>>);

impl<S> Timers<S> {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn add(&mut self, timer: Pending<S>) -> u64 {
        let token = token();
        self.0.get_or_insert_default().insert(token, timer);
        token
    }

    /// The token of the timer with this name.
    fn named(&self, wanted: &str) -> Option<u64> {
        let mut all = self.0.iter().flat_map(|waiting| waiting.iter());
        let is_it = |(_, timer): &(&u64, &Pending<S>)| matches!(timer, Pending::Named { name, .. } if name == wanted);
        all.find(is_it).map(|(token, _)| *token)
    }

    /// None of them runs.
    pub(super) fn cancel(&self, worker: &dyn WorkerHandle) {
        let tokens = self.0.iter().flat_map(|waiting| waiting.keys());
        tokens.for_each(|token| worker.cancel(*token));
    }

    /// Names and times, if all have names: `None`, and one cannot go anywhere.
    pub(super) fn moving(&self) -> Option<Vec<(String, u64)>> {
        let all = self.0.iter().flat_map(|waiting| waiting.values());
        all.map(|timer| match timer {
            Pending::Once(_) => None,
            Pending::Named { name, at } => Some((name.clone(), *at)),
        })
        .collect()
    }

    pub(super) fn remove(&mut self, token: u64) -> Option<Pending<S>> {
        let waiting = self.0.as_mut()?;
        let timer = waiting.remove(&token);
        if waiting.is_empty() {
            self.0 = None;
        }
        timer
    }
}

impl<'a, S> Ctx<'a, S> {
    /// Pushes a message to this connection, before the reply of this handler.
    ///
    /// Goes out with the reply in one write. A body that no message can carry
    /// is dropped, logged and counted; so is a push over `limits.outbound_max`,
    /// without a word in the log, or its receiver is closed, as configured.
    pub fn send(&mut self, id: Id, body: impl IntoReply) {
        let Some((id, body, media)) = push(id, body) else {
            return;
        };
        own_turn::deliver(self.out);
        let more = self.out.pending() + body.len();
        if !self.hub.worker().admits(self.slot, more) {
            return self.hub.dropped();
        }
        let push = Push {
            id,
            body: &body,
            media,
        };
        if let Err(error) = self.out.push(push) {
            self.hub.dropped();
            ::log::warn!("push message {id} to {}: {error}; not sent", self.slot);
        }
    }

    /// Enters a room. Rooms come into being with their first member. Within
    /// `closed` it does nothing: who has ended is in no room.
    pub fn join(&mut self, room: &str) {
        if self.gone.is_some() {
            return;
        }
        *self.member = true;
        self.hub.directory().join(self.slot, room);
    }

    /// Leaves a room.
    pub fn leave(&mut self, room: &str) {
        self.hub.directory().leave(self.slot, room);
    }

    /// From now on this connection is reached as `hub.user(name)`, beside other
    /// connections of the same user. A second call replaces the name. Within
    /// `closed` it does nothing.
    pub fn bind(&mut self, user: &str) {
        if self.gone.is_some() {
            return;
        }
        *self.member = true;
        self.hub.directory().bind(self.slot, user);
    }

    /// As [`Self::bind`], and closes every other connection of this user, in whatever
    /// worker it is, behind a push of `body` under `id`; returns how many those are.
    ///
    /// Of two that do this at the same time the later one stays, and the earlier one is
    /// told and closed. When this returns the others may still run a handler or
    /// `closed`, where [`Self::user`] is this one. Over WebSocket they get close code
    /// 1000; a page that is not to come back by itself takes the push for its sign.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new().on(1, |c, name: String| {
    ///     c.bind_only(&name, 9, "you have logged in elsewhere").to_string()
    /// });
    /// let mut test = app.test();
    /// let (desk, phone) = (test.connect(), test.connect());
    /// assert_eq!(test.call(desk, 1, "ann").unwrap(), "0");
    /// assert_eq!(test.call(phone, 1, "ann").unwrap(), "1");
    /// assert_eq!(test.received(desk), [(9, Bytes::from("you have logged in elsewhere"))]);
    /// assert!(!test.is_open(desk) && test.is_open(phone));
    /// ```
    pub fn bind_only(&mut self, user: &str, id: Id, body: impl IntoReply) -> usize {
        if self.gone.is_some() {
            return 0;
        }
        *self.member = true;
        let ticket = self.hub.directory().bind_only(self.slot, user);
        let push = push(id, body).unwrap_or((id, Bytes::new(), Media::Bytes));
        self.hub.supplant(user, ticket, push)
    }

    /// From now on this connection is nobody's: as before [`Self::bind`].
    pub fn unbind(&mut self) {
        self.hub.directory().unbind(self.slot);
    }

    /// The user that this connection is bound to. Within `closed`: was bound to
    /// when it ended, for the hub does not reach it any more.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .on(1, |c, name: String| c.bind(&name))
    ///     .closed(|c| {
    ///         if let Some(name) = c.user() && c.hub().user(&name).count() == 0 {
    ///             println!("{name} is offline: {:?}", c.close_reason());
    ///         }
    ///     });
    /// ```
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self.gone {
            Some(gone) => gone.user.clone(),
            None => self.hub.directory().memberships(self.slot).user,
        }
    }

    /// The rooms that this connection is in, sorted by name. Within `closed`:
    /// was in when it ended.
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        match self.gone {
            Some(gone) => gone.rooms.clone(),
            None => self.hub.directory().memberships(self.slot).rooms,
        }
    }

    /// Why the connection ended, within `closed`; `None` everywhere else.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.gone.map(|gone| gone.reason)
    }

    /// Closes the connection behind this handler's reply; messages behind this
    /// one are not served.
    pub fn close(&mut self) {
        self.out.close(CloseMode::Flush);
    }

    /// As [`Self::close`], and over WebSocket its peer is told this code, which the
    /// program gives a meaning; otherwise that is 1000. Other protocols have no
    /// words for it.
    ///
    /// # Panics
    ///
    /// When `code` is not from 4000 to 4999: the others are not the program's.
    pub fn close_with(&mut self, code: u16) {
        assert!(
            (4000..5000).contains(&code),
            "{code} is no close code of a program, which are 4000 to 4999"
        );
        self.out.say_code(code);
        self.close();
    }

    /// Closes the connection because an operator wants it, who says this: what a
    /// WebSocket is told as policy (RFC 6455, 7.4.1).
    pub(super) fn close_saying(&mut self, words: &str) {
        self.out.say_code(POLICY);
        self.out.say_words(words);
        self.close();
    }

    /// Closes the connection at once, with a reset; unsent bytes are lost.
    pub fn abort(&mut self) {
        self.out.close(CloseMode::Abort);
    }

    /// Runs `f` in this connection's turn, `delay` from now, unless the
    /// connection ends before. Never runs beside another handler of it. What `f`
    /// returns is dropped.
    ///
    /// A connection whose function waits stays with its worker, and is closed when
    /// that drains: use [`Self::timer`] for what takes longer than a moment.
    pub fn after<R>(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut Ctx<'_, S>) -> R + Send + 'static,
    ) -> TimerHandle {
        let timer: Timer<S> = Box::new(move |ctx| drop(f(ctx)));
        let token = self.timers.add(Pending::Once(timer));
        self.hub.worker().after(self.slot, delay, token);
        TimerHandle(token)
    }

    /// Runs the function that is registered as `name`
    /// ([`App::timer`](crate::App::timer)) in this connection's turn, `delay` from
    /// now, unless the connection ends before. A pending timer of this name is
    /// replaced. It goes along when the connection goes on in another worker, over
    /// a reload or an upgrade, and is due at the same time there.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .timer("expire", |c| c.send(9, "expired"))
    ///     .on(1, |c, (): ()| c.timer("expire", Duration::from_secs(60)))
    ///     .on(2, |c, (): ()| c.cancel_timer("expire").to_string());
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.send(ann, 1, ());
    /// test.advance(Duration::from_secs(60));
    /// assert_eq!(test.received(ann), [(9, Bytes::from("expired"))]);
    /// assert_eq!(test.call(ann, 2, ()).unwrap(), "false");
    /// ```
    ///
    /// # Panics
    ///
    /// When none is registered under this name: the program is wrong, and the
    /// message is answered with error 500.
    pub fn timer(&mut self, name: &str, delay: Duration) -> TimerHandle {
        assert!(
            self.hub.has_timer(name),
            "no timer is registered as `{name}`"
        );
        self.cancel_timer(name);
        let worker = self.hub.worker();
        let delayed = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let token = self.timers.add(Pending::Named {
            name: name.to_owned(),
            at: worker.clock().saturating_add(delayed),
        });
        worker.after(self.slot, delay, token);
        TimerHandle(token)
    }

    /// The timer does not run. False: it has run, was cancelled before, or is of
    /// another connection.
    pub fn cancel(&mut self, timer: TimerHandle) -> bool {
        let waited = self.timers.remove(timer.0).is_some();
        if waited {
            self.hub.worker().cancel(timer.0);
        }
        waited
    }

    /// As [`Self::cancel`], by the name of [`Self::timer`].
    pub fn cancel_timer(&mut self, name: &str) -> bool {
        let token = self.timers.named(name);
        token.is_some_and(|token| self.cancel(TimerHandle(token)))
    }

    /// Puts the reply off: `f` gets a [`Replier`], to be sent to any thread.
    /// Return what this returns.
    ///
    /// With a sequence in the frame (`rpc`) the next message is served at once;
    /// without one this connection waits, because order is what matches replies
    /// to requests. While the reply is owed the peer may be silent; it is owed for
    /// `limits.reply_max`, then the peer gets error 504.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new().on(1, |c, n: String| {
    ///     c.later(move |replier| {
    ///         std::thread::spawn(move || replier.send(format!("{n}, at last")));
    ///     })
    /// });
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// assert_eq!(test.call(ann, 1, "hello").unwrap(), "hello, at last");
    /// ```
    pub fn later(&mut self, f: impl FnOnce(Replier)) -> Later {
        self.later_of(None, f)
    }

    /// As [`Self::later`], of the request with this name.
    pub(crate) fn later_of(&mut self, request: Option<Box<str>>, f: impl FnOnce(Replier)) -> Later {
        let token = token();
        f(Replier {
            hub: self.hub.clone(),
            conn: Named {
                conn: self.slot,
                name: self.conn,
            },
            token,
            sent: false,
            request,
        });
        Later(token)
    }

    /// The worker's clock: how long ago a moment was that does not move. Only
    /// differences mean anything. It never goes back, not when somebody sets the
    /// time of day either, and is the same one in every worker of the machine, over
    /// reloads and upgrades, so that a state that moves along may hold what it
    /// said. Its ticks are those of the kernel's coarse clock, of 1 to 4 ms, and
    /// asking costs no system call. Within `app.test()` it stands still but for
    /// `advance`.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<Duration>::new()
    ///     .opened(|c| **c = c.now())
    ///     .on(1, |c, (): ()| format!("{} s", (c.now() - **c).as_secs()));
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.advance(Duration::from_secs(90));
    /// assert_eq!(test.call(ann, 1, ()).unwrap(), "90 s");
    /// ```
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.hub.worker().clock())
    }

    /// Id of the message that is handled; `None` in hooks and timers, and in
    /// formats without ids.
    #[must_use]
    pub const fn id(&self) -> Option<Id> {
        self.id
    }

    /// What wakes this connection while the source of a streamed response
    /// waits.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker {
            hub: self.hub.clone(),
            conn: self.slot,
        }
    }

    /// The connection's name, good for [`Hub::conn`] from anywhere. It keeps it for
    /// its life, in whatever worker it goes on.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        self.conn
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// The name of the listener that the connection came to, as the configuration
    /// has it; `None`: it has none there.
    #[must_use]
    pub const fn listener(&self) -> Option<&'a str> {
        self.listener
    }

    /// The way to other connections.
    #[must_use]
    pub const fn hub(&self) -> &'a Hub {
        self.hub
    }

    /// The worker's data of type `T`.
    ///
    /// # Panics
    ///
    /// When no `.data(…)` gave one: the program lacks a part, and the request
    /// is answered with error 500.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(&self) -> &'a T {
        self.hub.data()
    }

    /// The program's settings of type `T`: as [`Hub::settings`].
    ///
    /// # Panics
    ///
    /// When no table has this type: the program lacks a part, and the request is
    /// answered with error 500.
    #[must_use]
    pub fn settings<T: Send + Sync + 'static>(&self) -> &'a T {
        self.hub.settings()
    }

    /// Whether the peer keeps up: its unsent bytes are below
    /// `limits.outbound_high`.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.hub.worker().writable(self.slot)
    }

    /// Bytes that wait to be sent to the peer, those of this turn included.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.hub.worker().queued(self.slot) + self.out.pending()
    }
}

impl<S> Deref for Ctx<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.state
    }
}

impl<S> DerefMut for Ctx<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        self.state
    }
}

impl<S> fmt::Debug for Ctx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctx({} of {})", self.slot, self.peer)
    }
}
