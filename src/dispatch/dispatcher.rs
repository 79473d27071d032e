//! The handlers of one connection, with its state.
//!
//! Used by one thread at a time: whoever holds the connection's turn. Dispatchers
//! are used again for later connections; the state is not.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::catch_panic::guard;
use super::close_reason::CloseReason;
use super::core::Core;
use super::ctx::{Ctx, Gone, Pending, Timers};
use super::directory::Memberships;
use super::handover::{CannotMove, HandoverFns, MovedState, State};
use super::router::Handler;
use super::seed::Seed;
use super::service::{Dispatcher, Named, Origin};
use super::sink::{Nowhere, Sink};
use super::{failure, log_fields, own_turn, sample, task};
use crate::net::ConnId;
use crate::protocol::{Answer, CloseMode, Dispatch, Error, Listening, Message, Out, Route, Units};
use crate::scoreboard::activity::{self, Work};
use crate::scoreboard::{Counter, Row};
use crate::sys::socket::Peer;

/// See the module.
pub(super) struct ConnDispatcher<S> {
    pub(super) core: Arc<Core<S>>,
    pub(super) current: Current<S>,
}

/// The connection that is served now. Apart from the core, so that both can be borrowed.
pub(super) struct Current<S> {
    pub(super) state: Option<S>,
    /// What a request made for the session that its connection becomes.
    pub(super) seed: Option<Seed<S>>,
    pub(super) conn: ConnId,
    /// What everybody calls it.
    pub(super) name: ConnId,
    pub(super) peer: Peer,
    pub(super) origin: Origin,
    pub(super) timers: Timers<S>,
    /// It has joined a room or is bound to a user.
    pub(super) member: bool,
    /// Messages handled in this turn and not counted yet.
    pub(super) handled: u64,
    /// Of these, the last ones that have the same id, and which.
    pub(super) alike: (u32, u64),
    /// Id of the message that is handled now.
    pub(super) id: Option<u32>,
    /// `opened` has returned in this dispatcher.
    pub(super) has_opened: bool,
    /// The connection has ended; `closed` runs.
    gone: Option<Gone>,
}

impl<S: Default + Send + 'static> ConnDispatcher<S> {
    pub(super) fn new(core: Arc<Core<S>>) -> Self {
        let current = Current {
            state: None,
            seed: None,
            conn: ConnId::first(0, 0, 0),
            name: ConnId::first(0, 0, 0),
            peer: Peer::Unix,
            origin: Origin::default(),
            timers: Timers::none(),
            member: false,
            handled: 0,
            alike: (0, 0),
            id: None,
            has_opened: false,
            gone: None,
        };
        Self { core, current }
    }
}

impl<S: Default + Send + 'static> Current<S> {
    pub(super) const fn named(&self) -> Named {
        Named {
            conn: self.conn,
            name: self.name,
        }
    }

    /// A message of this id is handled. Counted when another id comes, or the turn is
    /// over: most of a turn have the same.
    fn tally(&mut self, row: &Row, id: u32) {
        if self.alike.0 != id {
            self.count_alike(row);
            self.alike.0 = id;
        }
        self.alike.1 += 1;
    }

    fn count_alike(&mut self, row: &Row) {
        let (id, count) = &mut self.alike;
        if *count > 0 {
            row.count_messages(*id, std::mem::take(count));
        }
    }

    /// Runs user code with a context; `None`: it panicked, or the state could
    /// not be made.
    pub(super) fn run<R>(
        &mut self,
        core: &Core<S>,
        out: &mut dyn Sink,
        what: impl FnOnce() -> String,
        code: impl FnOnce(&mut Ctx<'_, S>) -> R,
    ) -> Option<R> {
        let named = self.named();
        let state = self.state.as_mut()?;
        let mut ctx = Ctx {
            state,
            slot: self.conn,
            conn: self.name,
            peer: self.peer,
            listener: core.of(self.origin).listener.as_deref(),
            id: self.id,
            hub: &core.hub,
            timers: &mut self.timers,
            member: &mut self.member,
            out,
            gone: self.gone.as_ref(),
        };
        log_fields::remember(&core.hub);
        let _held = ctx.out.is_open().then(|| own_turn::hold(named));
        let ran = guard(core.hub.row(), what, || code(&mut ctx));
        own_turn::deliver(ctx.out);
        ran
    }

    pub(super) fn handle(
        &mut self,
        core: &Core<S>,
        handler: &Handler<S>,
        route: Route,
        body: Units<'_>,
        out: &mut Out<'_>,
        answer: &mut Answer,
    ) {
        self.handled += 1;
        self.id = route.id;
        if let Some(id) = route.id {
            self.tally(core.hub.row(), id);
        }
        activity::begin(route.id.map_or(Work::Unnumbered, Work::Message));
        let what = || format!("the handler of message {}", route.id.unwrap_or(0));
        if self.state.is_none() {
            // Its `default` has panicked: nothing can ever be served here.
            out.close = Some(CloseMode::Flush);
        }
        let began = route.id.and_then(|id| Some((id, sample::begin()?)));
        let ran = self.run(core, out, what, |ctx| handler(ctx, body, answer));
        if let Some((id, began)) = began {
            sample::end(core.hub.row(), id, began);
        }
        if ran.is_none() {
            let text = format!("the handler of message {} panicked", route.id.unwrap_or(0));
            *answer = Answer::Error(Error::new(500, text));
        } else {
            failure::note(answer, (&core.hub, self.named()), route.id);
        }
    }
}

impl<S: Default + Send + 'static> Dispatch for ConnDispatcher<S> {
    fn inline(&self, route: Route) -> bool {
        // Nobody's messages run no code of the user's.
        let router = &self.core.of(self.current.origin).router;
        let nobodys = route.heartbeat || router.fallback().is_none();
        router.inline(route.id).unwrap_or(nobodys)
    }

    fn call(&mut self, route: Route, body: Units<'_>, out: &mut Out<'_>, answer: &mut Answer) {
        let Self { core, current } = self;
        match core.of(current.origin).router.find(route.id) {
            Some(handler) => current.handle(core, handler, route, body, out, answer),
            None => current.unclaimed(core, route, body, out, answer),
        }
    }

    fn opened(&mut self, out: &mut Out<'_>) {
        let Self { core, current } = self;
        current.id = None;
        let Some(opened) = &core.hooks.opened else {
            current.has_opened = true;
            return;
        };
        activity::begin(Work::Opened);
        let ran = current.run(core, out, || "`opened`".to_owned(), |ctx| opened(ctx));
        current.has_opened = ran.is_some();
        if ran.is_none() {
            // What it made is half made: no handler is to find it.
            out.close = Some(CloseMode::Flush);
        }
    }

    fn messages_at(&self, path: &str) -> Option<Listening> {
        self.core.of(self.current.origin).site.messages_at(path)
    }

    fn message(&mut self, number: u32, message: Message, out: &mut Out<'_>, answer: &mut Answer) {
        let Self { core, current } = self;
        current.message(core, (number, message), out, answer);
    }

    fn going_away(&mut self, out: &mut Out<'_>) -> Bytes {
        let Self { core, current } = self;
        current.id = None;
        let words = core.hooks.going_away.as_ref().and_then(|going_away| {
            let what = || "`going_away`".to_owned();
            current.run(core, out, what, |ctx| going_away(ctx))
        });
        words.unwrap_or_default()
    }

    fn run(&mut self, task: Box<dyn Any + Send>, out: &mut Out<'_>) {
        let Self { core, current } = self;
        current.id = None;
        if let Some(code) = task::open(task, &mut current.member) {
            activity::begin(Work::Timer);
            let what = || "what was to run in a connection's turn".to_owned();
            current.run(core, out, what, code);
        }
    }

    fn timer(&mut self, token: u64, out: &mut Out<'_>) {
        let Self { core, current } = self;
        current.id = None;
        let Some(timer) = current.timers.remove(token) else {
            return;
        };
        activity::begin(Work::Timer);
        match timer {
            Pending::Once(timer) => {
                current.run(core, out, || "a timer of a connection".to_owned(), timer);
            }
            Pending::Named { name, .. } => {
                let mut timers = core.hooks.timers.iter();
                let Some((_, timer)) = timers.find(|(known, _)| *known == name) else {
                    return ::log::error!(
                        "run timer `{name}` of {}: it came with the connection, and this \
                         program has none of this name",
                        current.conn
                    );
                };
                current.run(core, out, || format!("timer `{name}`"), |ctx| timer(ctx));
            }
        }
    }
}

impl<S: Default + Send + 'static> Dispatcher for ConnDispatcher<S> {
    fn take(&mut self, conn: Named, peer: Peer, origin: Origin, is_session: bool) {
        let Self { core, current } = self;
        (current.conn, current.name) = (conn.conn, conn.name);
        current.peer = peer;
        current.origin = origin;
        current.id = None;
        current.has_opened = false;
        // A state without bytes is as good as any other.
        if is_session && is_stateless::<S>() && current.state.is_some() {
            return;
        }
        let what = || "`default` of the connection's state".to_owned();
        let make = || guard(core.hub.row(), what, S::default);
        current.state = is_session.then(make).flatten();
    }

    fn upgrade(&mut self, peer: Peer) {
        self.current.peer = peer;
        self.current.become_session(&self.core);
    }

    fn counted(&mut self) {
        activity::end();
        let handled = std::mem::take(&mut self.current.handled);
        if handled > 0 {
            let row = self.core.hub.row();
            row.add(Counter::Handled, handled);
            self.current.count_alike(row);
        }
    }

    fn is_idle(&self) -> bool {
        let Current {
            state,
            timers,
            member,
            ..
        } = &self.current;
        !member && timers.is_empty() && (state.is_none() || is_stateless::<S>())
    }

    fn has_opened(&self) -> bool {
        self.current.has_opened
    }

    fn leave(&mut self, reason: CloseReason) {
        let Self { core, current } = self;
        current.id = None;
        activity::begin(Work::Closed);
        // First: whoever asks within `closed` finds it nowhere any more.
        let Memberships { user, rooms, .. } = if std::mem::take(&mut current.member) {
            core.hub.directory().forget(current.conn)
        } else {
            Memberships::default()
        };
        current.gone = Some(Gone {
            reason,
            user,
            rooms,
        });
        if let Some(closed) = &core.hooks.closed {
            current.run(
                core,
                &mut Nowhere,
                || "`closed`".to_owned(),
                |ctx| closed(ctx),
            );
        }
        self.vacate();
    }

    fn pack(&self) -> Result<MovedState, CannotMove> {
        let Self { core, current } = self;
        let timers = current.timers.moving().ok_or(CannotMove::Timer)?;
        let Memberships {
            user,
            ticket,
            rooms,
        } = if current.member {
            core.hub.directory().memberships(current.conn)
        } else {
            Memberships::default()
        };
        let state = match (&current.state, core.hooks.carry) {
            (None, _) => State::Empty,
            (Some(_), _) if size_of::<S>() == 0 => State::Empty,
            (Some(state), Some(carry)) => pack(core, state, carry).ok_or(CannotMove::State)?,
            (Some(_), None) => return Err(CannotMove::State),
        };
        Ok(MovedState {
            state,
            user,
            ticket,
            rooms,
            timers,
        })
    }

    fn unpack(
        &mut self,
        conn: Named,
        peer: Peer,
        origin: Origin,
        is_session: bool,
        state: &State,
    ) -> bool {
        let State::Bytes { version, bytes } = state else {
            self.take(conn, peer, origin, is_session);
            // A state with bytes would begin anew, and not go on.
            let is_whole = !is_session || size_of::<S>() == 0 && self.current.state.is_some();
            if !is_whole {
                self.vacate();
            }
            return is_whole;
        };
        self.take(conn, peer, origin, false);
        let what = || "`take_over` of a connection's state".to_owned();
        let read = |carry: HandoverFns<S>| {
            let take_over = || (carry.take_over)(*version, bytes);
            guard(self.core.hub.row(), what, take_over).flatten()
        };
        self.current.state = self.core.hooks.carry.and_then(read);
        self.current.state.is_some()
    }

    fn enter(&mut self, moved: &MovedState) {
        let Self { core, current } = self;
        let MovedState { user, rooms, .. } = moved;
        current.member = user.is_some() || !rooms.is_empty();
        let directory = core.hub.directory();
        rooms
            .iter()
            .for_each(|room| _ = directory.join(current.conn, room));
        if let Some(user) = user {
            directory.rebind(current.conn, user, moved.ticket);
        }
    }

    fn rejoin(&mut self, moved: &MovedState) {
        let Self { core, current } = self;
        let worker = core.hub.worker();
        for (name, at) in &moved.timers {
            let (name, at) = (name.clone(), *at);
            let left = Duration::from_millis(at.saturating_sub(worker.clock()));
            let token = current.timers.add(Pending::Named { name, at });
            worker.after(current.conn, left, token);
        }
    }

    fn vacate(&mut self) {
        let Self { core, current } = self;
        current.gone = None;
        if std::mem::take(&mut current.member) {
            let _left = core.hub.directory().forget(current.conn);
        }
        let (state, timers) = (
            current.state.take(),
            std::mem::replace(&mut current.timers, Timers::none()),
        );
        timers.cancel(core.hub.worker());
        let what = || "`drop` of the connection's state".to_owned();
        guard(core.hub.row(), what, || drop((state, timers)));
        activity::end();
    }
}

/// The state as bytes; `None`: it stays, or its function panicked.
fn pack<S>(core: &Core<S>, state: &S, carry: HandoverFns<S>) -> Option<State> {
    let what = || "`hand_over` of a connection's state".to_owned();
    let bytes = guard(core.hub.row(), what, || (carry.hand_over)(state)).flatten()?;
    Some(State::Bytes {
        version: carry.version,
        bytes,
    })
}

/// Whether a state of this type can remember anything, or do anything when it
/// is dropped.
const fn is_stateless<S>() -> bool {
    size_of::<S>() == 0 && !std::mem::needs_drop::<S>()
}
