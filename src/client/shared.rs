//! What the callers and the reader thread share: the connection, and who waits
//! for which reply.
//!
//! Invariant: a request is entered in `waiting` and put behind what goes out
//! under one lock, so the order in `waiting` is the order on the wire.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::link::{Flushed, Link};
use super::{Backoff, ClientError, Why};
use crate::body::Id;
use crate::protocol::frame::{ErrorBody, Frame, Layout, encode};
use crate::sys::eventfd::Bell;
use crate::sys::socket::Address;

/// Where a call hears of its reply.
pub(super) type Tell = SyncSender<Result<Bytes, ClientError>>;
/// A function for pushes.
pub(super) type OnPush = Box<dyn Fn(Bytes) + Send + Sync>;
/// A function for changes of the connection.
pub(super) type OnChange = Box<dyn Fn(&super::Change) + Send + Sync>;

pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) address: Address,
    pub(super) connect_timeout: Duration,
    pub(super) call_timeout: Duration,
    pub(super) heartbeat: Option<Duration>,
    pub(super) reconnect: Option<Backoff>,
    pub(super) pushes: HashMap<Id, OnPush>,
    pub(super) change: OnChange,
    pub(super) state: Mutex<State>,
    pub(super) bell: Bell,
    pub(super) reader: OnceLock<ThreadId>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) link: Option<Arc<Link>>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) sequence: u32,
    pub(super) closed: bool,
    /// Why the last connection ended, until the reader has told.
    pub(super) ended: Option<Why>,
}

/// A call that waits for its reply.
pub(super) struct Waiting {
    /// The id that the reply has.
    pub(super) id: Id,
    pub(super) sequence: u32,
    pub(super) tell: Tell,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }

    /// Sends a message, and enters who waits for its reply, which comes under
    /// the id beside him. Gives the sequence. Waits for nothing but room, and
    /// on the reader thread not for that.
    pub(super) fn write(
        &self,
        id: Id,
        body: &[u8],
        waits: Option<(Id, Tell)>,
        deadline: Instant,
    ) -> Result<u32, ClientError> {
        let link = {
            let state = self.lock();
            if state.closed {
                return Err(ClientError::Closed);
            }
            state.link.clone().ok_or(ClientError::Disconnected)?
        };
        let until = if self.is_reader() {
            Instant::now()
        } else {
            deadline
        };
        if !link.wait_for_room(until) {
            return Err(ClientError::Full);
        }
        let sequence = self.enter(&link, id, body, waits)?;
        match link.flush(false) {
            Flushed::Gone => {}
            Flushed::Stuck => self.bell.ring(),
            Flushed::Broken(why) => {
                self.end(&link, &why);
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
            state.sequence = state.sequence.checked_add(1).unwrap_or(1);
            sequence = state.sequence;
        }
        let mut bytes = Vec::new();
        encode(&self.layout, Some(id), sequence, body, &mut bytes)
            .map_err(ClientError::Unsendable)?;
        if let Some((id, tell)) = waits {
            state.waiting.push_back(Waiting { id, sequence, tell });
        }
        link.push(&bytes);
        Ok(sequence)
    }

    /// Whether this is the reader thread.
    pub(super) fn is_reader(&self) -> bool {
        self.reader.get() == Some(&thread::current().id())
    }

    /// Why the connection ended, once.
    pub(super) fn take_end(&self) -> Option<Why> {
        self.lock().ended.take()
    }

    /// Tells the user what happened to the connection.
    pub(super) fn tell(&self, change: &super::Change) {
        fence("a function for changes", || (self.change)(change));
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
        if self.layout.sequence.is_none()
            && let Some(link) = link
        {
            self.end(&link, &Why::Late(id));
        }
    }

    /// Brings a frame to whom it is for. Runs on the reader thread.
    pub(super) fn deliver(&self, frame: &Frame<'_>) {
        let failed = (frame.id.is_some() && frame.id == self.layout.error_id)
            .then(|| ErrorBody::read(frame.body))
            .flatten();
        let id = failed.map_or(frame.id, |error| Some(error.request));
        let matches = |one: &Waiting| {
            if self.layout.sequence.is_some() {
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
        let body = || Bytes::copy_from_slice(frame.body);
        match (found, failed) {
            (Some(one), Some(error)) => {
                let error = crate::body::Error::new(error.code, error.text);
                let _gave_up = one.tell.try_send(Err(ClientError::Remote(error)));
            }
            (Some(one), None) => {
                let _gave_up = one.tell.try_send(Ok(body()));
            }
            (None, Some(_)) => {}
            // With a sequence it is the late reply to a call that gave up.
            (None, None) if frame.sequence != 0 => {}
            (None, None) => {
                if let Some(on) = self.pushes.get(&frame.id.unwrap_or(0)) {
                    fence("a function for pushes", || on(body()));
                }
            }
        }
    }
}

impl State {
    fn is_on(&self, link: &Arc<Link>) -> bool {
        self.link.as_ref().is_some_and(|now| Arc::ptr_eq(now, link))
    }
}

/// Runs a function of the user's. Its panic has been printed; it costs that
/// message and not the connection.
fn fence(what: &str, function: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(function)).is_err() {
        ::log::error!("run {what}: it panicked; the client goes on");
    }
}
