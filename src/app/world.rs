//! The worker that a program under test believes to run in: inboxes instead of
//! sockets, and a clock that others set.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::body::{Error, Id};
use crate::bus::Member;
use crate::dispatch::service::{Pushed, Service, WorkerHandle};
use crate::net::ConnId;
use crate::protocol::frame::{Frames, Layout};
use crate::protocol::{Answer, CloseMode, Media, Protocol as _, Push};

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

/// What all workers of a program under test share.
#[derive(Default)]
pub(super) struct World {
    inner: Mutex<Inner>,
    answered: Condvar,
    /// Where there are several workers.
    listeners: Mutex<Vec<Listener>>,
}

/// A program, and where it hears what others say.
type Listener = (Arc<Member>, Weak<dyn Service>);

/// The worker that a program under test believes to run in: one of a world, whose
/// connections have its row in their names.
pub(super) struct Seat {
    pub(super) world: Arc<World>,
    pub(super) row: u8,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) now: Duration,
    /// What falls due, by time and order of registration.
    pub(super) due: BTreeMap<(Duration, u64), Due>,
    pub(super) registered: u64,
    pub(super) open: BTreeSet<ConnId>,
    pub(super) closing: Vec<ConnId>,
    /// Programs that are to hear of something, by their rows.
    pub(super) have_news: BTreeSet<u8>,
    pub(super) tasks: VecDeque<(ConnId, Box<dyn Any + Send>)>,
    pub(super) inboxes: HashMap<ConnId, VecDeque<(Id, Bytes)>>,
    pub(super) answers: HashMap<(ConnId, u64), Answer>,
    /// Replies that nobody waits for with `call`, and the ids of their requests.
    pub(super) owed: HashMap<(ConnId, u64), Id>,
}

pub(super) enum Due {
    Timer(ConnId, u64),
    /// Of the worker of that row.
    Tick(u8, usize, Duration),
}

impl Inner {
    pub(super) fn add(&mut self, after: Duration, due: Due) {
        self.registered += 1;
        self.due.insert((self.now + after, self.registered), due);
    }

    /// The reply to message `id` comes later, or has come.
    pub(super) fn owe(&mut self, conn: ConnId, token: u64, id: Id) {
        self.owed.insert((conn, token), id);
        if let Some(answer) = self.answers.remove(&(conn, token)) {
            self.answer(conn, token, answer);
        }
    }

    fn answer(&mut self, conn: ConnId, token: u64, answer: Answer) {
        let Some(request) = self.owed.remove(&(conn, token)) else {
            self.answers.insert((conn, token), answer);
            return;
        };
        let inbox = self.inboxes.entry(conn).or_default();
        inbox.extend(message(request, &answer));
    }
}

/// The message that an answer is; `None`: it is none.
pub(super) fn message(request: Id, answer: &Answer) -> Option<(Id, Bytes)> {
    match answer {
        Answer::Reply { id, body, .. } => Some((id.unwrap_or(request), body.clone())),
        Answer::Error(Error { text, .. }) => Some((request, Bytes::from(text.clone()))),
        Answer::None | Answer::Content(_) | Answer::Later(_) => None,
    }
}

impl World {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing under this lock panics")
    }

    pub(super) fn knows(&self, conn: ConnId) -> bool {
        self.lock().open.contains(&conn)
    }

    /// What others say is given to this program from now on.
    pub(super) fn listen(&self, member: Arc<Member>, service: Weak<dyn Service>) {
        let mut listeners = self
            .listeners
            .lock()
            .expect("nothing under this lock panics");
        listeners.push((member, service));
    }

    /// Has every worker hear what others have said, until nothing is left.
    pub(super) fn carry(&self) {
        let listeners = self
            .listeners
            .lock()
            .expect("nothing under this lock panics");
        let listeners = listeners.clone();
        let hear = |(member, service): &Listener| {
            let Some(service) = service.upgrade() else {
                return false;
            };
            let has_heard = member.read_now(&mut |message| service.hear(message));
            service.has_heard();
            has_heard
        };
        while listeners.iter().filter(|one| hear(one)).count() > 0 {}
    }

    /// The only answer that is owed to `conn`, and its token, once it is there.
    pub(super) fn any_answer(&self, conn: ConnId) -> Option<(u64, Answer)> {
        let mut inner = self.lock();
        let mut keys = inner.answers.keys();
        let key = *keys.find(|(to, _)| *to == conn)?;
        Some((key.1, inner.answers.remove(&key)?))
    }

    pub(super) fn answer(&self, conn: ConnId, token: u64) -> Option<Answer> {
        self.lock().answers.remove(&(conn, token))
    }

    pub(super) fn has_received(&self, conn: ConnId) -> bool {
        let inner = self.lock();
        inner
            .inboxes
            .get(&conn)
            .is_some_and(|inbox| !inbox.is_empty())
    }

    /// Waits until something has happened, or for a while.
    pub(super) fn pause(&self, time: Duration) {
        let inner = self.lock();
        let _woken = self.answered.wait_timeout(inner, time);
    }
}

impl WorkerHandle for Seat {
    fn send(
        &self,
        to: &[ConnId],
        own: Option<(ConnId, usize)>,
        (id, body, _): (u32, Bytes, Media),
    ) -> Pushed {
        let mut inner = self.world.lock();
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
        self.world.answered.notify_all();
        pushed
    }

    fn close(&self, to: &[ConnId], _: CloseMode, _: Option<u16>) -> usize {
        let mut inner = self.world.lock();
        let known: Vec<_> = to
            .iter()
            .filter(|conn| inner.open.remove(conn))
            .copied()
            .collect();
        inner.closing.extend(&known);
        known.len()
    }

    fn answer(&self, to: ConnId, token: u64, answer: Answer) -> bool {
        let mut inner = self.world.lock();
        let open = inner.open.contains(&to);
        inner.answer(to, token, answer);
        self.world.answered.notify_all();
        open
    }

    fn after(&self, to: ConnId, after: Duration, token: u64) {
        self.world.lock().add(after, Due::Timer(to, token));
    }

    fn cancel(&self, token: u64) {
        let is_it = |due: &Due| matches!(due, Due::Timer(_, timer) if *timer == token);
        self.world.lock().due.retain(|_, due| !is_it(due));
    }

    fn run(&self, to: ConnId, task: Box<dyn Any + Send>) -> bool {
        let mut inner = self.world.lock();
        let is_open = inner.open.contains(&to);
        if is_open {
            inner.tasks.push_back((to, task));
        }
        is_open
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.world.lock().now.as_millis()).unwrap_or(u64::MAX)
    }

    fn wake(&self, _: ConnId, _: Duration) {}

    fn writable(&self, to: ConnId) -> bool {
        self.knows(to)
    }

    fn knows(&self, to: ConnId) -> bool {
        to.row() == self.row && self.world.knows(to)
    }

    fn admits(&self, _: ConnId, _: usize) -> bool {
        true
    }

    fn queued(&self, _: ConnId) -> usize {
        0
    }

    fn has_news(&self) {
        self.world.lock().have_news.insert(self.row);
        self.world.answered.notify_all();
    }

    fn everybody(&self) -> Vec<ConnId> {
        let inner = self.world.lock();
        let open = inner.open.iter().copied();
        open.filter(|conn| conn.row() == self.row).collect()
    }

    fn name_of(&self, conn: ConnId) -> ConnId {
        conn
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn help(&self) {
        self.world.carry();
    }
}
