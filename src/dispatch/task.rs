//! What other threads want done in a connection's own turn.
//!
//! Goes through the connection's mailbox as a value whose type is known here
//! alone. Whatever becomes of the connection, the value is run or dropped: what
//! is dropped undoes what it stood for, and is counted. So nothing is left behind
//! of a connection that ends, or goes to another worker, with some of them
//! waiting.

use std::any::{Any, TypeId, type_name};

use super::catch_panic::guard;
use super::ctx::Ctx;
use super::hub::Hub;
use super::target::Target;
use crate::bus::Deed;
use crate::net::ConnId;
use crate::scoreboard::Counter;

/// Code for a turn.
type Code<S> = Box<dyn FnOnce(&mut Ctx<'_, S>) + Send>;

/// Runs with the connection's context.
struct Task<S> {
    hub: Hub,
    code: Option<Code<S>>,
    /// Somebody asked for it, and is told by a counter that it was dropped.
    was_asked_for: bool,
}

impl<S> Task<S> {
    fn new(hub: &Hub, code: impl FnOnce(&mut Ctx<'_, S>) + Send + 'static) -> Self {
        Self {
            hub: hub.clone(),
            code: Some(Box::new(code)),
            was_asked_for: true,
        }
    }
}

impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        if let Some(code) = self.code.take() {
            if self.was_asked_for {
                self.hub.row().count(Counter::Stale);
            }
            // What it holds is the user's, and this thread the event loop's, too.
            let what = || "`drop` of what was to run in a connection's turn".to_owned();
            guard(self.hub.row(), what, || drop(code));
        }
    }
}

/// As [`boxed`], of what nobody asked for: a connection that ends before is no loss.
pub(super) fn hook<S: 'static>(
    hub: &Hub,
    code: impl FnOnce(&mut Ctx<'_, S>) + Send + 'static,
) -> Box<dyn Any + Send> {
    let mut task = Task::<S>::new(hub, code);
    task.was_asked_for = false;
    Box::new(task)
}

/// Code for a turn, as it goes through the mailbox.
pub(super) fn boxed<S: 'static>(
    hub: &Hub,
    code: impl FnOnce(&mut Ctx<'_, S>) + Send + 'static,
) -> Box<dyn Any + Send> {
    Box::new(Task::<S>::new(hub, code))
}

/// What a connection has become, from outside of its turn.
enum Became {
    Member(String),
    User(String),
}

/// Says to a connection's dispatcher that it is in the directory, so that it
/// leaves there when it ends. Until then this is answerable for it.
struct Enrolment {
    hub: Hub,
    conn: ConnId,
    /// `None`: the dispatcher has taken note.
    became: Option<Became>,
}

impl Enrolment {
    /// The directory says so already.
    fn new(hub: &Hub, conn: ConnId, became: Became) -> Self {
        Self {
            hub: hub.clone(),
            conn,
            became: Some(became),
        }
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        let Some(became) = self.became.take() else {
            return;
        };
        self.hub.row().count(Counter::Stale);
        let directory = self.hub.directory();
        match became {
            Became::Member(room) => directory.leave(self.conn, &room),
            Became::User(user) => directory.unbind_from(self.conn, &user),
        }
    }
}

/// The code that is to run in the turn of the connection that a task was for, if it
/// has any: an enrolment says no more than that the connection is a `member` now.
pub(super) fn open<S: 'static>(task: Box<dyn Any + Send>, member: &mut bool) -> Option<Code<S>> {
    match task.downcast::<Enrolment>() {
        Ok(mut enrolment) => {
            *member = true;
            enrolment.became = None;
            None
        }
        // The hub has looked at the type of the state.
        Err(task) => task.downcast::<Task<S>>().ok()?.code.take(),
    }
}

impl Target<'_> {
    /// Each of them enters a room, as by [`Ctx::join`]; returns how many are in
    /// it now. Who joined before a push gets it. Any thread; never waits.
    ///
    /// As the three below it reaches the connections that speak in frames, of every
    /// worker: requests over HTTP have no connection of their own. Those of other
    /// workers join when that hears of it, and are counted as by
    /// [`send`](Self::send). One that ends
    /// leaves the room as any other; one that goes on in another worker at this
    /// very moment does so without it, which is counted as `stale`.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .on(1, |c, name: String| c.bind(&name))
    ///     .on(2, |c, guest: String| c.hub().user(&guest).join("party").to_string());
    /// let mut test = app.test();
    /// let (ann, bob) = (test.connect(), test.connect());
    /// test.send(bob, 1, "bob");
    /// assert_eq!(test.call(ann, 2, "bob").unwrap(), "1");
    /// ```
    pub fn join(self, room: &str) -> usize {
        self.everywhere(Deed::Join, (0, room.as_bytes(), 0), |_| {
            self.join_here(room)
        })
    }

    pub(super) fn join_here(&self, room: &str) -> usize {
        let directory = self.hub.directory();
        let joins = |conn: &ConnId| {
            let became = || Became::Member(room.to_owned());
            self.enrols(*conn, directory.join(*conn, room), became)
        };
        self.names().iter().filter(|conn| joins(conn)).count()
    }

    /// Each of them leaves a room, as by [`Ctx::leave`]; returns how many of
    /// them are connected.
    pub fn leave(self, room: &str) -> usize {
        self.everywhere(Deed::Leave, (0, room.as_bytes(), 0), |_| {
            self.leave_here(room)
        })
    }

    pub(super) fn leave_here(&self, room: &str) -> usize {
        let directory = self.hub.directory();
        self.each_known(|conn| directory.leave(conn, room))
    }

    /// From now on each of them is reached as `hub.user(name)`, and by no other
    /// name, as by [`Ctx::bind`]; returns how many are.
    pub fn bind(self, user: &str) -> usize {
        self.everywhere(Deed::Bind, (0, user.as_bytes(), 0), |_| {
            self.bind_here(user)
        })
    }

    pub(super) fn bind_here(&self, user: &str) -> usize {
        let directory = self.hub.directory();
        let binds = |conn: &ConnId| {
            let became = || Became::User(user.to_owned());
            self.enrols(*conn, directory.bind(*conn, user), became)
        };
        self.names().iter().filter(|conn| binds(conn)).count()
    }

    /// From now on each of them is nobody's, as by [`Ctx::unbind`]; returns how
    /// many of them are connected.
    pub fn unbind(self) -> usize {
        self.everywhere(Deed::Unbind, (0, &[], 0), |_| self.unbind_here())
    }

    pub(super) fn unbind_here(&self) -> usize {
        let directory = self.hub.directory();
        self.each_known(|conn| directory.unbind(conn))
    }

    /// Runs `f` in the own turn of each of them, with its state, on a business
    /// thread: never beside a handler of that connection. Returns how many it is
    /// on its way to, which is at once; the caller may be any thread.
    ///
    /// It runs behind the messages that wait there, and behind what the same
    /// caller had run there before. Where a reply is owed that order matches to its
    /// request (`comm`) it waits for that reply as the next message does. From a
    /// handler of the same connection it runs behind that handler. A connection
    /// that ends, or goes on in another worker, before its turn comes does not run
    /// it: `f` is dropped, and counted as `stale`. What `f` returns is dropped.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<u32>::new()
    ///     .on(1, |c, (): ()| {
    ///         let (hub, me) = (c.hub().clone(), c.conn());
    ///         // From a thread that has the result, say.
    ///         hub.conn(me).run(move |c: &mut Ctx<'_, u32>| {
    ///             **c += 7;
    ///             c.send(9, c.to_string());
    ///         });
    ///     });
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.send(ann, 1, ());
    /// assert_eq!(test.received(ann), [(9, Bytes::from("7"))]);
    /// ```
    ///
    /// # Panics
    ///
    /// When `S` is not the state of the program's connections: the program is
    /// wrong.
    pub fn run<S: 'static, R>(
        self,
        f: impl FnOnce(&mut Ctx<'_, S>) -> R + Clone + Send + 'static,
    ) -> usize {
        let (state, name) = self.hub.state();
        assert!(
            state == TypeId::of::<S>(),
            "the state of a connection is `{name}`, not `{}`",
            type_name::<S>()
        );
        let runs = |conn: &ConnId| {
            let f = f.clone();
            let task = Task::<S>::new(self.hub, move |c| drop(f(c)));
            self.hub.worker().run(*conn, Box::new(task))
        };
        self.names().iter().filter(|conn| runs(conn)).count()
    }

    /// Has the connection take note of what the directory says, if that `is_new`;
    /// whether it does. If not, the directory forgets it again.
    fn enrols(&self, conn: ConnId, is_new: bool, became: impl Fn() -> Became) -> bool {
        let worker = self.hub.worker();
        if !is_new {
            return worker.knows(conn);
        }
        let enrolment = Enrolment::new(self.hub, conn, became());
        worker.run(conn, Box::new(enrolment))
    }

    fn each_known(&self, does: impl Fn(ConnId)) -> usize {
        let mut names = self.names();
        names.retain(|name| self.hub.worker().knows(*name));
        names.iter().for_each(|name| does(*name));
        names.len()
    }
}
