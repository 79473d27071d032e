//! The handlers of one connection's requests: the half of the dispatcher that
//! HTTP asks. Used by the holder of the connection's turn.
//!
//! A request has a state of its own: what the connection keeps for frames is
//! never seen here.

use std::net::IpAddr;

use super::catch_panic::guard;
use super::dispatcher::{ConnDispatcher, Current};
use super::failure;
use super::hub::Hub;
use super::record::{Awaited, record};
use super::request_id::request_id;
use super::sink::{Nowhere, Sink};
use super::site::{Visit, client_or};
use super::{log_fields, sample};
use crate::body::Spool;
use crate::net::ConnId;
use crate::protocol::http::{
    Access, AccessFormat, ChunkBuf, Fill, Head, Incoming, Intake, Request, Requests, Response,
    Sending, Served, Spooling, Stream, Wanted,
};
use crate::protocol::{Error, Lane, Receipt};
use crate::scoreboard::Counter;
use crate::sys::clock::{micros, wall_seconds};
use crate::sys::socket::Peer;

impl<S> Current<S> {
    /// What a handler of a request is given.
    fn visit<'a>(
        &'a mut self,
        hub: &'a Hub,
        listener: Option<&'a str>,
        out: &'a mut dyn Sink,
    ) -> Visit<'a, S> {
        Visit {
            conn: self.conn,
            peer: self.peer,
            listener,
            hub,
            timers: &mut self.timers,
            member: &mut self.member,
            seed: &mut self.seed,
            out,
        }
    }
}

/// Lines of the log are about this connection and this request, if it has a name.
fn named(response: &Response, conn: ConnId, hub: &Hub) -> log_fields::Entered {
    let named = log_fields::enter(conn.into(), hub);
    if let Some(request) = response.request_id() {
        log_fields::name_request(request);
    }
    named
}

/// Logs why the response is an error, if that is not for the client, who gets the
/// name of the request instead.
fn explain(whose: (&Hub, ConnId), head: &Head<'_>, response: &mut Response) {
    let Some(mut error) = response.take_failure() else {
        return;
    };
    if response.request_id().is_none() {
        let sent = head.fields.request_id();
        response.identify(sent.map_or_else(request_id, Into::into));
    }
    let request = response.request_id().unwrap_or_default().to_owned();
    let what = || format!("{} {}", head.method, head.target);
    let whose = (whose.0, whose.1.into());
    failure::report(&mut error, whose, &request, what);
    response.error(&error);
    let _logged = response.take_failure();
}

impl<S: Default + Send + 'static> Requests for ConnDispatcher<S> {
    fn request(&mut self, lane: Lane, request: &Request<'_>, response: &mut Response) -> Served {
        let Self { core, current } = self;
        let (hub, at) = (&core.hub, core.of(current.origin));
        let head = &request.head;
        let _named = named(response, current.conn, hub);
        let began = sample::begin();
        let served = guard(
            hub.row(),
            || format!("the handler of {} {}", head.method, head.target),
            || {
                let mut nowhere = Nowhere;
                let visit = current
                    .visit(hub, at.listener.as_deref(), &mut nowhere)
                    .by(request.client);
                at.site.serve(visit, lane, request, response)
            },
        );
        if let Some(undone @ (Served::NotInline | Served::NoSuchMethod)) = served {
            return undone;
        }
        current.handled += 1;
        if !response.is_upgrade() {
            current.seed = None;
        }
        if served.is_none() {
            response.restart();
            response.error(&Error::new(500, "the handler panicked"));
        } else if response.status.is_some_and(|status| status >= 400) {
            hub.row().count(Counter::HandlerErrors);
            explain((hub, current.conn), head, response);
        }
        // What is put off has no code yet.
        let is_put_off = matches!(served, Some(Served::Later(_)));
        let code = if is_put_off {
            0
        } else {
            response.sent_status()
        };
        let nanos = began.map(sample::nanos);
        hub.row()
            .count_request(response.answered_by, head.method, code, nanos);
        served.unwrap_or(Served::Done)
    }

    fn fill(&mut self, stream: &mut Stream, room: &mut ChunkBuf<'_>) -> Fill {
        let Self { core, current } = self;
        let row = core.hub.row();
        let what = || "the source of a streamed response".to_owned();
        let filled = guard(row, what, || stream.fill(room));
        if let Some(Fill::Failed(reason)) = &filled {
            ::log::warn!("stream a response to {}: {reason}; reset", current.peer);
        }
        let fill = filled.unwrap_or_else(|| Fill::Failed("it panicked".to_owned()));
        if matches!(fill, Fill::Failed(_)) {
            row.count(Counter::StreamsFailed);
        }
        fill
    }

    fn receive(&mut self, incoming: &Incoming<'_>, response: &mut Response) -> Wanted {
        let Self { core, current } = self;
        let (hub, at) = (&core.hub, core.of(current.origin));
        let head = &incoming.head;
        let _named = named(response, current.conn, hub);
        let what = || format!("the beginning of {} {}", head.method, head.target);
        let wanted = guard(hub.row(), what, || {
            let mut nowhere = Nowhere;
            let visit = current
                .visit(hub, at.listener.as_deref(), &mut nowhere)
                .by(incoming.client);
            at.site.receive(visit, incoming, response)
        });
        let wanted = wanted.unwrap_or_else(|| {
            response.restart();
            Wanted::refused(&Error::new(500, "the handler panicked"), response)
        });
        if matches!(wanted, Wanted::Refused) {
            current.handled += 1;
            hub.row().count(Counter::HandlerErrors);
            explain((hub, current.conn), head, response);
        }
        wanted
    }

    fn spool(&mut self, spooling: &Spooling) -> Result<Box<dyn Intake>, Error> {
        Ok(Box::new(Spool::new(spooling)?))
    }

    fn piece(&mut self, intake: &mut dyn Intake, bytes: &[u8]) -> Result<(), Error> {
        let (hub, conn) = (&self.core.hub, self.current.conn);
        let row = hub.row();
        let _named = log_fields::enter(conn.into(), hub);
        let what = || "a handler of pieces".to_owned();
        let taken = guard(row, what, || intake.piece(bytes));
        let mut taken = taken.unwrap_or_else(|| Err(Error::new(500, "the handler panicked")));
        if let Err(error) = &mut taken {
            row.count(Counter::HandlerErrors);
            let what = || "a piece of a body".to_owned();
            failure::report(error, (hub, conn.into()), &request_id(), what);
        }
        taken
    }

    fn record(&mut self, access: &Access<'_>, format: AccessFormat) {
        let peer = client_or(access.client, self.current.peer);
        record(&self.core.hub, peer, |peer, seconds, line| {
            access.write(format, peer, seconds, line);
        });
    }

    fn receipt(&mut self, sending: Sending) -> Option<Box<dyn Receipt>> {
        Some(Box::new(Awaited {
            hub: self.core.hub.clone(),
            peer: client_or(sending.client(), self.current.peer),
            sending,
        }))
    }

    fn unpack_receipt(&mut self, packed: &[u8]) -> Option<Box<dyn Receipt>> {
        self.receipt(Sending::unpack(packed)?)
    }

    fn request_id(&mut self) -> Box<str> {
        request_id()
    }

    fn peer(&self) -> Option<IpAddr> {
        match self.current.peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    fn micros(&self) -> u64 {
        micros()
    }

    fn seconds(&self) -> u64 {
        wall_seconds()
    }
}
