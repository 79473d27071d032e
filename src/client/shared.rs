//! What the callers and the reader thread share: the connection, and who waits
//! for which reply.
//!
//! Invariant: whoever writes holds the link's `writing` lock from the moment
//! the request is entered in `waiting` until its last byte is out, so the
//! order in `waiting` is the order on the wire.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Backoff, ClientError, Why};
use crate::body::Id;
use crate::protocol::frame::{ErrorBody, Frame, Layout, encode};
use crate::sys::eventfd::Bell;
use crate::sys::socket::{self, Address};

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
}

/// One connection.
pub(super) struct Link {
    pub(super) socket: OwnedFd,
    pub(super) writing: Mutex<()>,
}

/// A call that waits for its reply.
pub(super) struct Waiting {
    pub(super) id: Id,
    pub(super) sequence: u32,
    pub(super) tell: SyncSender<Result<Bytes, ClientError>>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }

    /// Sends a message, and enters who waits for its reply. Gives the sequence.
    pub(super) fn write(
        &self,
        id: Id,
        body: &[u8],
        tell: Option<SyncSender<Result<Bytes, ClientError>>>,
        deadline: Instant,
    ) -> Result<u32, ClientError> {
        let link = {
            let state = self.lock();
            if state.closed {
                return Err(ClientError::Closed);
            }
            state.link.clone().ok_or(ClientError::Disconnected)?
        };
        let writing = link.writing.lock().expect("nothing under this lock panics");
        let (sequence, bytes) = {
            let mut state = self.lock();
            if !state
                .link
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, &link))
            {
                return Err(ClientError::Disconnected);
            }
            // 0 is what pushes carry.
            let sequence = if tell.is_some() {
                state.sequence = state.sequence.checked_add(1).unwrap_or(1);
                state.sequence
            } else {
                0
            };
            let mut bytes = Vec::new();
            encode(&self.layout, Some(id), sequence, body, &mut bytes)
                .map_err(ClientError::Unsendable)?;
            if let Some(tell) = tell {
                state.waiting.push_back(Waiting { id, sequence, tell });
            }
            (sequence, bytes)
        };
        let written = link.write(&bytes, deadline);
        drop(writing);
        if let Err(why) = written {
            self.end(&link, &why);
            return Err(ClientError::Lost(why));
        }
        Ok(sequence)
    }

    /// Ends a connection and every wait on it; `false` when it had ended.
    pub(super) fn end(&self, link: &Arc<Link>, why: &Why) -> bool {
        let waiting = {
            let mut state = self.lock();
            if !state
                .link
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, link))
            {
                return false;
            }
            state.link = None;
            std::mem::take(&mut state.waiting)
        };
        socket::abort(&link.socket);
        for one in waiting {
            let _gave_up = one.tell.try_send(Err(ClientError::Lost(why.clone())));
        }
        (self.change)(&super::Change::Disconnected(why.clone()));
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
                    on(body());
                }
            }
        }
    }
}

impl Link {
    fn write(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Why> {
        let broken = |error: std::io::Error| Why::Broken(error.kind());
        while !bytes.is_empty() {
            match socket::send(&self.socket, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Why::Stuck);
                    }
                    socket::writable(&self.socket, left).map_err(broken)?;
                }
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }
}
