//! Wakes a connection that waits for what some other thread will have for it.

use std::fmt;
use std::time::Duration;

use super::hub::Hub;
use crate::net::ConnId;

/// Names a connection whose source waits
/// ([`Fill::Wait`](crate::protocol::http::Fill)). Cheap, usable from any
/// thread.
#[derive(Clone)]
pub struct Waker {
    pub(super) hub: Hub,
    pub(super) conn: ConnId,
}

impl Waker {
    /// Has the source asked again. Too often is no fault, but each call costs a
    /// turn of the connection: once until the source was asked is enough.
    pub fn wake(&self) {
        self.wake_after(Duration::ZERO);
    }

    /// As [`Self::wake`], `after` from now.
    pub fn wake_after(&self, after: Duration) {
        self.hub.worker().wake(self.conn, after);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waker({})", self.conn)
    }
}
