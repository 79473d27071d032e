//! Hearing what is sent to a room without being a connection that takes pushes.
//!
//! A listener is a function that runs on the thread that sends, so it must not
//! wait. Invariant: none runs under the directory's lock, and none is dropped
//! there.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::catch_panic::guard;
use super::ctx::token;
use super::directory::Heard;
use super::hub::Hub;
use crate::body::Id;
use crate::dispatch::directory::Ear;
use crate::net::ConnId;
use crate::scoreboard::Counter;

/// Listens until it is dropped.
#[must_use = "dropped, it listens no more"]
pub(crate) struct Listening {
    hub: Hub,
    room: Box<str>,
    token: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let ear = self.hub.directory().deafen(&self.room, self.token);
        let what = || format!("`drop` of a listener in {}", self.room);
        guard(self.hub.row(), what, || drop(ear));
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listening({})", self.room)
    }
}

impl Hub {
    /// Has `hear` run with the id and body of everything that is sent to `room`
    /// from now on, in the name of `conn`, which is left out where senders leave
    /// that out.
    pub(crate) fn listen(
        &self,
        conn: ConnId,
        room: &str,
        hear: impl Fn(Id, &Bytes) -> Heard + Send + Sync + 'static,
    ) -> Listening {
        let token = token();
        let hear = Arc::new(hear);
        self.directory().listen(room, Ear { token, conn, hear });
        Listening {
            hub: self.clone(),
            room: room.into(),
            token,
        }
    }

    /// Tells these; counts and returns how many took it.
    pub(super) fn tell_ears(&self, ears: &[Ear], id: Id, body: &Bytes) -> usize {
        let mut taken = 0;
        for ear in ears {
            let what = || format!("a listener to message {id}");
            // One that panicked has panicked for this message alone.
            match guard(self.row(), what, || (ear.hear)(id, body)) {
                Some(Heard::Taken) => taken += 1,
                Some(Heard::Slow) => self.dropped(),
                Some(Heard::Gone) | None => {}
            }
        }
        self.row().add(Counter::Pushed, taken as u64);
        taken
    }
}
