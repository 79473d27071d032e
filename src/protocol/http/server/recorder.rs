//! Answers and refusals on their way out, and into the access log.

use std::time::Duration;

use super::HttpServer;
use super::streaming::Owed;
use crate::protocol::http::access::{Access, Shown};
use crate::protocol::http::content::Content;
use crate::protocol::http::encode::{Asked, Written};
use crate::protocol::http::head::{self, Head};
use crate::protocol::http::response::Response;
use crate::protocol::http::sending::Sending;
use crate::protocol::http::stream_writer::StreamWriter;
use crate::protocol::{Dispatch, Turn};

/// What the log says of a request whose client was gone before its answer.
const GONE: u16 = 499;

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

    /// Writes the response, of a stream the head alone, and records it: at once
    /// if it is in memory, otherwise when its content is out.
    pub(super) fn answer<'a>(
        &self,
        shown: impl FnOnce() -> Option<Shown<'a>>,
        asked: Asked,
        mut response: Response,
        turn: &mut Turn<'_>,
    ) -> Written {
        let Some(format) = self.settings.access else {
            return response.write(asked, turn.app.seconds(), &mut turn.out);
        };
        let id = response.take_request_id();
        let (status, len) = (response.sent_status(), response.content.len());
        let in_memory = matches!(response.content, Content::None | Content::Bytes(..));
        let mut written = response.write(asked, turn.app.seconds(), &mut turn.out);
        let micros = turn.app.micros().saturating_sub(asked.since);
        let access = Access {
            shown: shown(),
            client: asked.client,
            status,
            bytes: match len {
                Some(len) if !asked.head && !matches!(status, 101 | 204 | 304) => len,
                Some(_) | None => 0,
            },
            taken: Duration::from_micros(micros),
            id: id.as_deref().unwrap_or_default(),
        };
        let sending = || Sending::new(&access, format, asked.since);
        match &mut written {
            Written::Head(stream) => stream.sending = Some(Box::new(sending())),
            Written::Becomes(successor) => {
                successor.recorded = (self.settings.ends).then(|| sending().pack().into());
                turn.app.record(&access, format);
            }
            Written::Whole { .. } if in_memory || access.bytes == 0 => {
                turn.app.record(&access, format);
            }
            Written::Whole { .. } => receipt(sending(), turn),
        }
        written
    }

    /// The content of a stream is written, as much of it as there will be.
    pub(super) fn note_end(stream: &mut StreamWriter, turn: &mut Turn<'_>) {
        if let Some(sending) = stream.sending.take() {
            receipt(*sending, turn);
        }
    }

    /// Records what was not answered to its end when the connection was over,
    /// `unsent` bytes of it not being sent. A request that was not answered at
    /// all has the status that nginx made up for this.
    pub(super) fn cut(&mut self, unsent: u64, app: &mut dyn Dispatch) {
        match self.owed.take().map(|owed| *owed) {
            Some(Owed::Rest(mut stream)) => {
                let receipt = stream
                    .sending
                    .take()
                    .and_then(|sending| app.receipt(*sending));
                if let Some(receipt) = receipt {
                    receipt.complete(unsent);
                }
            }
            Some(Owed::Answer {
                asked,
                head: Some(head),
                response,
                ..
            }) => {
                let mut room = head::Room::new();
                let head = self.read(&head, &mut room).ok();
                let micros = app.micros().saturating_sub(asked.since);
                let access = Access {
                    shown: head.map(|(head, _)| Shown::of(&head)),
                    client: asked.client,
                    status: GONE,
                    bytes: 0,
                    taken: Duration::from_micros(micros),
                    id: response.request_id().unwrap_or_default(),
                };
                if let Some(format) = self.settings.access {
                    app.record(&access, format);
                }
            }
            Some(Owed::Answer { .. }) | None => {}
        }
    }
}

/// Has the answer recorded when everything that is written is out.
fn receipt(sending: Sending, turn: &mut Turn<'_>) {
    if let Some(receipt) = turn.app.receipt(sending) {
        turn.out.receipt(receipt);
    }
}
