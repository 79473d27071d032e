//! Connections on their way from worker to worker, as the hub sees them.

use std::sync::Arc;

use super::arrivals::Said;
use super::hub::Hub;
use super::service::Named;
use crate::bus::Read;
use crate::protocol::CloseMode;

impl Hub {
    /// See [`Service::arrives`](super::service::Service::arrives).
    pub(super) fn arrives(&self, conn: Named) {
        self.arrivals().begin(conn.conn);
        self.directory().name(conn);
    }

    /// See [`Service::arrived`](super::service::Service::arrived).
    pub(super) fn arrived(&self, conn: Named, marks: &Arc<[Read]>) {
        let worker = self.worker();
        self.arrivals().settle(conn.conn, marks, |said| match said {
            Said::Push(push) => _ = worker.send(&[conn.conn], None, push),
            Said::Close(code) => _ = worker.close(&[conn.conn], CloseMode::Flush, code),
        });
        self.tidy();
    }

    /// See [`Service::departed`](super::service::Service::departed).
    pub(super) fn departed(&self, conn: Named) {
        self.arrivals().forget(conn.conn);
        self.directory().unname(conn);
    }

    /// Forgets of whom nothing is to be kept apart any more.
    pub(super) fn tidy(&self) {
        if let Some(bus) = self.bus()
            && !self.arrivals().is_empty()
        {
            self.arrivals().tidy(|marks| bus.is_past(marks));
        }
    }
}
