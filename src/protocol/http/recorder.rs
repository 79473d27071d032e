//! Answers and refusals on their way out, and into the access log.

use std::time::Duration;

use super::response::{Asked, Response, Written};
use super::server::HttpServer;
use super::{Access, Head};
use crate::protocol::{Refusal, Turn};

impl HttpServer {
    /// An empty response to `head`, with its name if answers are recorded.
    pub(super) fn response(&self, head: &Head<'_>, turn: &mut Turn<'_>) -> Response {
        let mut response = Response::default();
        if self.settings.access.is_some() {
            let sent = head.fields.request_id();
            let id = sent.map_or_else(|| turn.app.request_id(), Into::into);
            response.identify(id);
        }
        response
    }

    /// Writes the response, of a stream the head alone, and records it; a stream
    /// is recorded when it begins, without a length.
    pub(super) fn answer(
        &self,
        head: Option<&Head<'_>>,
        asked: Asked,
        response: Response,
        turn: &mut Turn<'_>,
    ) -> Written {
        let Some(format) = self.settings.access else {
            return response.write(asked, turn.app.seconds(), &mut turn.out);
        };
        let id = response.request_id().map(str::to_owned);
        let (status, len) = (response.sent_status(), response.content.len());
        let written = response.write(asked, turn.app.seconds(), &mut turn.out);
        let micros = turn.app.micros().saturating_sub(asked.since);
        let access = Access {
            head: head.copied(),
            status,
            bytes: if asked.head { 0 } else { len.unwrap_or(0) },
            taken: Duration::from_micros(micros),
            id: id.as_deref().unwrap_or_default(),
        };
        turn.app.record(&access, format);
        written
    }

    /// Records a refusal that is answered.
    pub(super) fn record(&self, head: Option<&Head<'_>>, refusal: &Refusal, turn: &mut Turn<'_>) {
        let status = refusal.answer.get(9..12);
        let status = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let (Some(format), Some(status)) = (self.settings.access, status) else {
            return;
        };
        let access = Access {
            head: head.copied(),
            status,
            bytes: 0,
            taken: Duration::ZERO,
            id: "",
        };
        turn.app.record(&access, format);
    }
}
