//! The worker that a program under test believes to run in: inboxes instead of
//! sockets, and a clock that others set.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use crate::body::{Error, Id};
use crate::dispatch::service::{Pushed, WorkerHandle};
use crate::net::ConnId;
use crate::protocol::frame::{Frames, Layout};
use crate::protocol::{Answer, CloseMode, Media, Protocol as _, Push};

/// How long a reply may take that was put off to another thread.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The worker that a program under test believes to run in.
#[derive(Default)]
pub(super) struct World {
    inner: Mutex<Inner>,
    answered: Condvar,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) now: Duration,
    /// What falls due, by time and order of registration.
    pub(super) due: BTreeMap<(Duration, u64), Due>,
    pub(super) registered: u64,
    pub(super) open: BTreeSet<ConnId>,
    pub(super) closing: Vec<ConnId>,
    /// The program is to hear of something.
    pub(super) has_news: bool,
    pub(super) tasks: VecDeque<(ConnId, Box<dyn Any + Send>)>,
    pub(super) inboxes: HashMap<ConnId, VecDeque<(Id, Bytes)>>,
    pub(super) answers: HashMap<(ConnId, u64), Answer>,
    /// Replies that nobody waits for with `call`, and the ids of their requests.
    pub(super) owed: HashMap<(ConnId, u64), Id>,
}

pub(super) enum Due {
    Timer(ConnId, u64),
    Tick(usize, Duration),
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

    /// As [`Self::wait`], for whatever token the only answer that is owed has.
    pub(super) fn wait_any(&self, conn: ConnId) -> (u64, Answer) {
        let find = |inner: &Inner| inner.answers.keys().find(|(to, _)| *to == conn).copied();
        let waited = self
            .answered
            .wait_timeout_while(self.lock(), PATIENCE, |inner| find(inner).is_none());
        let (mut inner, _) = waited.expect("nothing under this lock panics");
        let key = find(&inner).expect("a reply that was put off came in time");
        let answer = inner.answers.remove(&key).unwrap_or(Answer::None);
        (key.1, answer)
    }

    /// Waits until something is in the inbox.
    pub(super) fn wait_inbox(&self, conn: ConnId) {
        let is_empty = |inner: &mut Inner| inner.inboxes.get(&conn).is_none_or(VecDeque::is_empty);
        let waited = self
            .answered
            .wait_timeout_while(self.lock(), PATIENCE, is_empty);
        let (_inner, timeout) = waited.expect("nothing under this lock panics");
        assert!(!timeout.timed_out(), "nothing came to {conn}");
    }

    pub(super) fn wait(&self, conn: ConnId, token: u64) -> Answer {
        let missing = |inner: &mut Inner| !inner.answers.contains_key(&(conn, token));
        let waited = self
            .answered
            .wait_timeout_while(self.lock(), PATIENCE, missing);
        let (mut inner, _) = waited.expect("nothing under this lock panics");
        inner.answers.remove(&(conn, token)).unwrap_or(Answer::None)
    }
}

impl WorkerHandle for World {
    fn send(
        &self,
        to: &[ConnId],
        own: Option<(ConnId, usize)>,
        (id, body, _): (u32, Bytes, Media),
    ) -> Pushed {
        let mut inner = self.lock();
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
        self.answered.notify_all();
        pushed
    }

    fn close(&self, to: &[ConnId], _: CloseMode, _: Option<u16>) -> usize {
        let mut inner = self.lock();
        let known: Vec<_> = to
            .iter()
            .filter(|conn| inner.open.remove(conn))
            .copied()
            .collect();
        inner.closing.extend(&known);
        known.len()
    }

    fn answer(&self, to: ConnId, token: u64, answer: Answer) -> bool {
        let mut inner = self.lock();
        let open = inner.open.contains(&to);
        inner.answer(to, token, answer);
        self.answered.notify_all();
        open
    }

    fn after(&self, to: ConnId, after: Duration, token: u64) {
        self.lock().add(after, Due::Timer(to, token));
    }

    fn cancel(&self, token: u64) {
        let is_it = |due: &Due| matches!(due, Due::Timer(_, timer) if *timer == token);
        self.lock().due.retain(|_, due| !is_it(due));
    }

    fn run(&self, to: ConnId, task: Box<dyn Any + Send>) -> bool {
        let mut inner = self.lock();
        let is_open = inner.open.contains(&to);
        if is_open {
            inner.tasks.push_back((to, task));
        }
        is_open
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.lock().now.as_millis()).unwrap_or(u64::MAX)
    }

    fn wake(&self, _: ConnId, _: Duration) {}

    fn writable(&self, to: ConnId) -> bool {
        self.knows(to)
    }

    fn knows(&self, to: ConnId) -> bool {
        self.lock().open.contains(&to)
    }

    fn admits(&self, _: ConnId, _: usize) -> bool {
        true
    }

    fn queued(&self, _: ConnId) -> usize {
        0
    }

    fn has_news(&self) {
        self.lock().has_news = true;
        self.answered.notify_all();
    }

    fn everybody(&self) -> Vec<ConnId> {
        self.lock().open.iter().copied().collect()
    }
}
