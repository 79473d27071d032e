//! Refusals, answered in one place whoever found what is wrong: the cutter, the
//! server, a timer. And the methods that no handler is asked for.
//!
//! A refusal is a response like any other: with its date, without content for
//! `HEAD`, with a line in the access log; and the connection ends behind it.

use std::net::IpAddr;

use super::{HttpServer, Stop};
use crate::protocol::http::access::Shown;
use crate::protocol::http::encode::Asked;
use crate::protocol::http::head::{self, Head};
use crate::protocol::http::refusal::{self, Bad};
use crate::protocol::http::response::{Response, reason};
use crate::protocol::http::target::ASTERISK;
use crate::protocol::{Error, Refusal, Step, Turn};

/// The methods that handlers and files may have.
const METHODS: &[u8] = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

impl Stop {
    /// Says of which request this is said, unless that is known.
    pub(super) fn about(self, head: &[u8]) -> Self {
        match self {
            Self::Refuse(refusal) if refusal.about.is_empty() => Self::Refuse(Refusal {
                about: head.to_vec(),
                ..refusal
            }),
            Self::Refuse(_) | Self::Step(_) => self,
        }
    }
}

/// Refuses what would show a client its own fields behind a proxy, or make a
/// proxy of us (RFC 9110, 9.3.6 and 9.3.8).
pub(super) fn allowed(head: &Head<'_>) -> Result<(), Bad> {
    match head.method {
        "TRACE" | "CONNECT" => Err(Bad::NotAllowed),
        _ => Ok(()),
    }
}

/// What the server itself is asked for, and not one of its resources.
pub(super) fn is_for_server(head: &Head<'_>) -> bool {
    head.path == ASTERISK
}

/// Answers that (RFC 9110, 9.3.7).
pub(super) fn server_options(response: &mut Response) {
    response.status = Some(200);
    response.field("Allow", METHODS);
}

impl HttpServer {
    /// Whom `head` is from, if not from the peer.
    ///
    /// # Errors
    ///
    /// The lists of the listener do not let it in.
    pub(super) fn client(&self, head: &Head<'_>, turn: &Turn<'_>) -> Result<Option<IpAddr>, Bad> {
        let Some(proxies) = &self.settings.proxies else {
            return Ok(None);
        };
        let values = head.fields.all(proxies.field().name());
        let client = proxies.client(turn.app.peer(), values);
        match client {
            Some(client) if !proxies.admits(client) => Err(Bad::Denied),
            client => Ok(client),
        }
    }

    /// The same of the beginning of a head.
    fn client_of_part(&self, part: &[u8], turn: &Turn<'_>) -> Option<IpAddr> {
        let proxies = self.settings.proxies.as_ref()?;
        let values = head::fields_of_part(part, proxies.field().name());
        proxies.client(turn.app.peer(), values)
    }

    /// The connection ends as soon as nothing is owed.
    pub(super) fn end(&mut self, how: Step, turn: &mut Turn<'_>) -> Step {
        self.deaf = true;
        self.upload = None;
        if self.owed.is_none() {
            return self.last(how, turn);
        }
        self.then.get_or_insert(how);
        self.wait()
    }

    /// Nothing is owed: writes what is to be said with the end.
    pub(super) fn last(&self, how: Step, turn: &mut Turn<'_>) -> Step {
        match how {
            Step::Refuse(refusal) => Step::Refuse(self.say(refusal, turn)),
            Step::Next
            | Step::NotInline
            | Step::AwaitReply
            | Step::AwaitWritable
            | Step::AwaitEvent
            | Step::Become(_)
            | Step::Close(_) => how,
        }
    }

    /// Answers a refusal; what is left of it is for the log.
    fn say(&self, refusal: Refusal, turn: &mut Turn<'_>) -> Refusal {
        let Some(status) = refusal::status(refusal.answer) else {
            return refusal;
        };
        let shown = Shown::of_part(&refusal.about);
        let mut response = Response::default();
        if self.settings.access.is_some() {
            let sent = head::field_of_part(&refusal.about, "x-request-id");
            let sent = sent.and_then(head::as_request_id);
            response.identify(sent.map_or_else(|| turn.app.request_id(), Into::into));
        }
        if status == 405 {
            response.field("Allow", METHODS);
        }
        response.error(&Error::new(status, format!("{status} {}", reason(status))));
        let asked = Asked {
            head: shown.is_some_and(|shown| shown.method == b"HEAD"),
            minor: 1,
            keeps: false,
            upgrades: false,
            client: self.client_of_part(&refusal.about, turn),
            since: turn.app.micros(),
        };
        let _whole = self.answer(|| shown, asked, response, turn);
        Refusal {
            answer: b"",
            about: Vec::new(),
            ..refusal
        }
    }
}
