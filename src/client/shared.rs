//! What the callers, the reader and the callback thread share: the connection,
//! and who waits for which reply.
//!
//! Invariants:
//! - A request is entered in `waiting` and put behind what goes out under one
//!   lock, so the order in `waiting` is the order on the wire.
//! - Before a connection is [`Phase::Open`] nobody but its greeting can send a
//!   message over it.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::address::Server;
use super::callbacks::{Callbacks, Event, Queue};
use super::link::{Flushed, Link};
use super::{Backoff, Change, ClientError, Why};
use crate::body::{Error, Id};
use crate::protocol::frame::{AnyFormat, ErrorBody, Message};
use crate::sys::eventfd::Bell;
use crate::sys::socket::{self, Wanted};

/// Where a call hears of its reply.
pub(super) type Tell = SyncSender<Result<Bytes, ClientError>>;

/// How long things may take, and how often they are done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) connect_timeout: Duration,
    pub(super) call_timeout: Duration,
    pub(super) heartbeat: Option<Duration>,
    pub(super) silence: Option<Duration>,
    pub(super) reconnect: Option<Backoff>,
}

pub(super) struct Shared {
    pub(super) format: AnyFormat,
    pub(super) server: Server,
    pub(super) timing: Timing,
    pub(super) callbacks: Callbacks,
    pub(super) queue: Queue,
    pub(super) bell: Arc<Bell>,
    pub(super) callback_thread: OnceLock<ThreadId>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    state: Mutex<State>,
    /// A greeting has ended.
    greeted: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) link: Option<Arc<Link>>,
    pub(super) phase: Phase,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) sequence: u32,
    pub(super) closed: bool,
    /// Clients that are not a function's own; the last one closes.
    pub(super) clients: usize,
    /// Who waits for the first connection.
    pub(super) first: Option<SyncSender<Result<(), ClientError>>>,
    /// Why the last connection ended, until the reader has told.
    ended: Option<Why>,
    /// What its greeting said, if that failed.
    refused: Option<ClientError>,
}

/// Who may use the connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Phase {
    /// Nobody: its greeting has not begun.
    #[default]
    New,
    /// The greeting.
    Greeting,
    /// Everybody.
    Open,
    /// Nobody any more: it ended before, or by, its greeting.
    Refused,
}

/// A call that waits for its reply.
pub(super) struct Waiting {
    /// The id that the reply has.
    pub(super) id: Id,
    pub(super) sequence: u32,
    pub(super) tell: Tell,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Delivered {
    /// The reply to a call, be it late.
    Reply,
    /// An error in its place.
    Error,
    /// Nobody asked for it: a heartbeat or a push.
    Unasked,
}

impl Shared {
    pub(super) fn new(
        format: AnyFormat,
        server: Server,
        timing: Timing,
        callbacks: Callbacks,
        bell: Bell,
    ) -> Self {
        Self {
            format,
            server,
            timing,
            callbacks,
            bell: Arc::new(bell),
            queue: Queue::default(),
            callback_thread: OnceLock::new(),
            threads: Mutex::default(),
            state: Mutex::default(),
            greeted: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }

    /// Whether this is the thread of the user's functions.
    pub(super) fn in_callback(&self) -> bool {
        self.callback_thread.get() == Some(&thread::current().id())
    }

    /// Sends a message, and enters who waits for its reply, which comes under
    /// the id beside him. Gives the sequence. Waits for nothing but room, and
    /// in a callback not for that.
    pub(super) fn write(
        &self,
        id: Id,
        body: &[u8],
        waits: Option<(Id, Tell)>,
        deadline: Instant,
    ) -> Result<u32, ClientError> {
        let in_callback = self.in_callback();
        let link = {
            let state = self.lock();
            if state.closed {
                return Err(ClientError::Closed);
            }
            let is_open = match state.phase {
                Phase::Open => true,
                Phase::Greeting => in_callback,
                Phase::New | Phase::Refused => false,
            };
            let link = state.link.clone().filter(|_| is_open);
            link.ok_or(ClientError::Disconnected)?
        };
        let until = if in_callback {
            Instant::now()
        } else {
            deadline
        };
        self.write_to(&link, id, body, waits, until)
    }

    /// As [`Self::write`], over this connection, whoever may use it.
    pub(super) fn write_to(
        &self,
        link: &Arc<Link>,
        id: Id,
        body: &[u8],
        waits: Option<(Id, Tell)>,
        until: Instant,
    ) -> Result<u32, ClientError> {
        if !link.wait_for_room(until) {
            return Err(ClientError::Full);
        }
        let sequence = self.enter(link, id, body, waits)?;
        match link.flush(false) {
            Flushed::Gone => {}
            Flushed::Stuck => self.bell.ring(),
            Flushed::Broken(why) => {
                self.end(link, &why);
                return Err(ClientError::Lost(why));
            }
        }
        Ok(sequence)
    }

    fn enter(
        &self,
        link: &Arc<Link>,
        id: Id,
        body: &[u8],
        waits: Option<(Id, Tell)>,
    ) -> Result<u32, ClientError> {
        let mut state = self.lock();
        if !state.is_on(link) {
            return Err(ClientError::Disconnected);
        }
        // 0 is what pushes carry.
        let mut sequence = 0;
        if waits.is_some() {
            let last = state.sequence >= self.format.sequence_max();
            state.sequence = if last { 1 } else { state.sequence + 1 };
            sequence = state.sequence;
        }
        let mut bytes = Vec::new();
        let message = Message {
            id: Some(id),
            sequence,
            echo: None,
            body: body.into(),
        };
        let written = self.format.write(&message, &mut bytes);
        written.map_err(ClientError::Unsendable)?;
        if let Some((id, tell)) = waits {
            state.waiting.push_back(Waiting { id, sequence, tell });
        }
        link.push(&bytes);
        Ok(sequence)
    }

    /// Tells the user what happened to the connection, when his turn comes.
    pub(super) fn tell(&self, change: Change) {
        if self.callbacks.change.is_some() {
            self.queue.push(Event::Change(change));
        }
    }

    /// Tells who waits for the first connection what has become of it.
    pub(super) fn report(&self, result: Result<(), ClientError>) {
        let first = self.lock().first.take();
        if let Some(first) = first {
            let _gave_up = first.try_send(result);
        }
    }

    /// Rests until the bell rings or this time has passed; `false` when the
    /// client was closed. Runs on the reader thread, when it reads nothing.
    pub(super) fn rest(&self, time: Duration) -> bool {
        if socket::wait(&self.bell, Wanted::Read, &self.bell, time).is_ok_and(|ready| ready.bell) {
            self.bell.hush();
        }
        !self.lock().closed
    }

    /// Takes a new connection into use; `false` when the client was closed.
    pub(super) fn adopt(&self, link: &Arc<Link>) -> bool {
        let greets = self.callbacks.greeting.is_some();
        {
            let mut state = self.lock();
            if state.closed {
                return false;
            }
            state.link = Some(Arc::clone(link));
            state.refused = None;
            state.phase = if greets { Phase::New } else { Phase::Open };
        }
        if greets {
            self.queue.push(Event::Greet(Arc::clone(link)));
        } else {
            self.tell(Change::Connected);
            self.report(Ok(()));
        }
        true
    }

    /// Lets the greeting, and nobody else, use this connection; `false` when it
    /// has ended.
    pub(super) fn begin_greeting(&self, link: &Arc<Link>) -> bool {
        let mut state = self.lock();
        let begins = state.is_on(link) && state.phase == Phase::New;
        if begins {
            state.phase = Phase::Greeting;
        }
        begins
    }

    /// Lets everybody use it, or ends it; `true` when it is open now.
    pub(super) fn end_greeting(&self, link: &Arc<Link>, greeted: Result<(), ClientError>) -> bool {
        let mut state = self.lock();
        let failed = greeted.err();
        let is_open = failed.is_none() && state.is_on(link);
        state.phase = if is_open { Phase::Open } else { Phase::Refused };
        let why = failed.as_ref().map(|error| {
            if let ClientError::Lost(why) = error {
                why.clone()
            } else {
                Why::Greeting(error.to_string())
            }
        });
        state.refused = failed;
        drop(state);
        self.greeted.notify_all();
        if let Some(why) = why {
            self.end(link, &why);
        }
        is_open
    }

    /// The connection has ended: waits until its greeting has noticed. Tells
    /// whether everybody could use it, and what to say to who waits for it.
    pub(super) fn after_greeting(&self) -> (bool, Option<ClientError>) {
        let mut state = self.lock();
        while state.phase == Phase::Greeting {
            let greeted = self.greeted.wait(state);
            state = greeted.expect("nothing under this lock panics");
        }
        if state.phase == Phase::New {
            // It need not begin any more.
            state.phase = Phase::Refused;
        }
        (state.phase == Phase::Open, state.refused.take())
    }

    /// Why the connection ended, once.
    pub(super) fn take_end(&self) -> Option<Why> {
        self.lock().ended.take()
    }

    /// Ends a connection and every wait on it; `false` when it had ended. The
    /// reader, which sees the end, tells of it: changes come in their order.
    pub(super) fn end(&self, link: &Arc<Link>, why: &Why) -> bool {
        let waiting = {
            let mut state = self.lock();
            if !state.is_on(link) {
                return false;
            }
            state.link = None;
            state.ended = Some(why.clone());
            std::mem::take(&mut state.waiting)
        };
        link.end();
        for one in waiting {
            let _gave_up = one.tell.try_send(Err(ClientError::Lost(why.clone())));
        }
        true
    }

    /// Closes the client, and waits for its threads unless this is one of them.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.bell.ring();
        if self.in_callback() {
            return;
        }
        let threads = {
            let mut threads = self.threads.lock().expect("nothing under this lock panics");
            std::mem::take(&mut *threads)
        };
        for thread in threads {
            // Functions of the user's are fenced; it has logged what else.
            let _panicked = thread.join();
        }
    }

    /// A call's deadline passed.
    pub(super) fn give_up(&self, id: Id, sequence: u32) {
        let link = {
            let mut state = self.lock();
            let Some(at) = state
                .waiting
                .iter()
                .position(|one| one.sequence == sequence)
            else {
                return;
            };
            state.waiting.remove(at);
            state.link.clone()
        };
        if self.format.is_ordered()
            && let Some(link) = link
        {
            self.end(&link, &Why::Late(id));
        }
    }

    /// Brings a frame to the call that it answers, or an error to who hears of
    /// those. Runs on the reader thread.
    pub(super) fn deliver(&self, frame: &Message<'_>) -> Delivered {
        let failed = (frame.id.is_some() && frame.id == self.format.error_id())
            .then(|| ErrorBody::read(&frame.body))
            .flatten();
        let id = failed.map_or(frame.id, |error| Some(error.request));
        let matches = |one: &Waiting| {
            if !self.format.is_ordered() {
                one.sequence == frame.sequence
            } else {
                id.is_none_or(|id| id == one.id)
            }
        };
        let found = {
            let mut state = self.lock();
            let at = state.waiting.iter().position(matches);
            at.and_then(|at| state.waiting.remove(at))
        };
        // With a sequence, what finds nobody is the late reply to a call that
        // gave up; without one, a late reply ended its connection.
        let is_late = frame.sequence != 0;
        match (found, failed) {
            (Some(one), Some(error)) => {
                let error = Error::new(error.code, error.text);
                let _gave_up = one.tell.try_send(Err(ClientError::Remote(error)));
                Delivered::Error
            }
            (Some(one), None) => {
                let body = Bytes::copy_from_slice(&frame.body);
                let _gave_up = one.tell.try_send(Ok(body));
                Delivered::Reply
            }
            (None, Some(error)) => {
                if !is_late {
                    self.tell_error(&error);
                }
                Delivered::Error
            }
            (None, None) if is_late => Delivered::Reply,
            (None, None) => Delivered::Unasked,
        }
    }

    /// What was sent, and not called, has failed.
    fn tell_error(&self, error: &ErrorBody<'_>) {
        let ErrorBody {
            request,
            code,
            text,
        } = *error;
        if self.callbacks.error.is_some() {
            self.queue
                .push(Event::Error(request, Error::new(code, text)));
        } else {
            ::log::debug!("message {request}, which was sent, failed: {code} {text}");
        }
    }

    /// Has the function for it hear a push; what there is none for is dropped.
    pub(super) fn push(&self, frame: &Message<'_>) {
        let id = frame.id.unwrap_or(0);
        if self.callbacks.pushes.contains_key(&id) {
            let body = Bytes::copy_from_slice(&frame.body);
            self.queue.push(Event::Push(id, body));
        }
    }
}

impl State {
    fn is_on(&self, link: &Arc<Link>) -> bool {
        self.link.as_ref().is_some_and(|now| Arc::ptr_eq(now, link))
    }
}
