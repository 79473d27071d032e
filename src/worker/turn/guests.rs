//! The clients whom a proxy's requests name, counted by address as connections are:
//! each until a request of his is answered, over all workers. A file that is being sent
//! is an answer.

use std::net::IpAddr;

use super::StopReason;
use crate::protocol::{Clients, Server};
use crate::worker::connection::Connection;
use crate::worker::shared::Shared;

/// Those of one connection: one at a time.
pub(crate) struct Guests<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) conn: &'a Connection,
}

impl Clients for Guests<'_> {
    fn admit(&self, client: Option<IpAddr>) -> bool {
        let Self { shared, conn } = self;
        let Some(client) = client else {
            // Who asked before asks no more.
            shared.admission.leave(conn.uncount_request());
            return true;
        };
        let Some(address) = shared.admission.word_of(client) else {
            return true;
        };
        // The reactor has looked at it already.
        if conn.is_counted(address) {
            return true;
        }
        shared.admission.leave(conn.uncount());
        let is_admitted = shared.admission.add(address);
        if is_admitted {
            conn.count_request(address);
        }
        is_admitted
    }
}

impl Guests<'_> {
    /// Counts nobody any more once his request is answered. One that is to run
    /// elsewhere is still to come, and a connection that becomes the client's is his.
    pub(crate) fn leave_if_answered(&self, server: &dyn Server, why: &StopReason) {
        if !self.conn.counts_request() {
            return;
        }
        let goes_on = matches!(why, StopReason::Over | StopReason::Become(_));
        if !goes_on && server.is_between() {
            self.shared.admission.leave(self.conn.uncount_request());
        }
    }
}
