//! Echoes: frames with a body that no other one has, and the comparison of what
//! comes back with it, byte for byte. Pure.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::unreadable;
use crate::protocol::frame::{AnyFormat, ErrorBody, Message};
use crate::stress::bodies::Bodies;
use crate::stress::connection::{Read, Request};
use crate::stress::exchange::Exchange;
use crate::stress::fault::{Fault, Kind, difference};
use crate::stress::stats::Ledger;

/// What the frames look like.
#[derive(Clone, Debug)]
pub(in crate::stress) struct Frames {
    pub(in crate::stress) preset: String,
    format: AnyFormat,
    /// `None` where the format has no ids.
    pub(in crate::stress) id: Option<u32>,
    /// Bytes of each body.
    pub(in crate::stress) size: usize,
    bodies: Arc<Bodies>,
    /// What takes their place.
    body: Option<Arc<[u8]>>,
    /// What replies hold, if not what their requests do.
    expect: Option<Arc<[u8]>>,
    first: Option<First>,
}

/// What each connection sends before anything else.
#[derive(Clone, Debug)]
struct First {
    id: Option<u32>,
    frame: Arc<[u8]>,
}

/// The number of what is sent first.
const FIRST: u32 = 1;

impl Frames {
    /// Frames of `preset` with bodies of `size` bytes. Where there are ids,
    /// theirs is `id`, or the built-in daemon's echo.
    ///
    /// # Errors
    ///
    /// There are no such frames; the words for the operator.
    pub(in crate::stress) fn new(
        preset: &str,
        id: Option<u32>,
        size: usize,
    ) -> Result<Self, String> {
        let format =
            AnyFormat::preset(preset).ok_or_else(|| format!("there is no preset `{preset}`"))?;
        Self::with_format(preset.to_owned(), format, id, size)
    }

    /// As [`Self::new`], of a format that has no name but `preset`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(in crate::stress) fn with_format(
        preset: String,
        format: AnyFormat,
        id: Option<u32>,
        size: usize,
    ) -> Result<Self, String> {
        /// Message id when none is given.
        const ECHO: u32 = 1;
        let bodies = bodies(&format, size)?;
        let mut body = Vec::new();
        bodies.write(0, 0, &mut body);
        let asked = id.unwrap_or(ECHO);
        let frame = written(&format, Some(asked), &body)?;
        let (_, message) = format
            .read(&frame)
            .map_err(|refusal| refusal.detail)?
            .ok_or("a frame of this format is not read back")?;
        // A format without ids has nowhere to put one.
        if message.id.is_none() && id.is_some() {
            return Err(format!(
                "--id has no meaning: `{preset}` has no message ids"
            ));
        }
        let id = message.id.map(|_| asked);
        if id.is_some() && id == format.error_id() {
            return Err(format!(
                "message id {asked} is that of errors in this format"
            ));
        }
        Ok(Self {
            preset,
            format,
            id,
            size,
            bodies: Arc::new(bodies),
            body: None,
            expect: None,
            first: None,
        })
    }

    /// The same frames, which say this.
    ///
    /// # Errors
    ///
    /// They cannot; the words for the operator.
    pub(in crate::stress) fn saying(mut self, exchange: Exchange) -> Result<Self, String> {
        let Exchange {
            first,
            body,
            expect,
        } = exchange;
        if let Some(body) = &body {
            written(&self.format, self.id, body)?;
        }
        if let Some((id, body)) = first {
            if id.is_some() && id == self.format.error_id() {
                let id = id.unwrap_or_default();
                return Err(format!(
                    "--first: message id {id} is that of errors in this format"
                ));
            }
            let frame = written(&self.format, id, &body);
            let frame = frame.map_err(|error| format!("--first: {error}"))?.into();
            self.first = Some(First { id, frame });
        }
        (self.body, self.expect) = (body.map(Arc::from), expect.map(Arc::from));
        Ok(self)
    }

    /// What a connection sends before anything else; nearly always nothing.
    pub(super) fn first(&self) -> &[u8] {
        self.first.as_ref().map_or(&[], |first| &first.frame)
    }

    /// Looks for the reply to [`Self::first`] in `bytes`, which begin with a frame;
    /// returns how many of them are done with, and whether it is among these. What else
    /// comes before it is a push.
    ///
    /// # Errors
    ///
    /// An error answers it, or something that is no frame.
    pub(super) fn first_reply(&self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let id = self.first.as_ref().and_then(|first| first.id);
        let fault = |kind, detail: String| Fault { kind, detail };
        let mut used = 0;
        loop {
            let (total, message) = match self.format.read(&bytes[used..]) {
                Ok(None) => return Ok((used, false)),
                Ok(Some(frame)) => frame,
                Err(refusal) => {
                    let detail = format!("the reply to --first: {}", refusal.detail);
                    return Err(fault(Kind::Unreadable, detail));
                }
            };
            used += total;
            let is_numbered = self.format.is_ordered() || message.sequence == FIRST;
            let is_error = message.id.is_some() && message.id == self.format.error_id();
            match (is_numbered, is_error) {
                (true, true) => {
                    let text = error_text(&message.body);
                    return Err(fault(Kind::ErrorFrame, format!("--first: {text}")));
                }
                (true, false) if message.id == id => return Ok((used, true)),
                (true | false, _) => {}
            }
        }
    }

    /// Requests that can be in flight on a connection, each with a number of its
    /// own; where replies are told by their order, any number.
    pub(in crate::stress) fn in_flight(&self) -> u32 {
        match self.format.is_ordered() {
            true => u32::MAX,
            false => self.format.sequence_max(),
        }
    }

    /// Appends the frame of `request` to `out`. `spare` is memory.
    pub(super) fn write(
        &self,
        client: u32,
        request: Request,
        spare: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        self.say(client, request.turn, spare);
        let message = Message {
            id: self.id,
            sequence: request.sequence(self.format.sequence_max()),
            echo: None,
            body: Cow::Borrowed(spare),
        };
        self.format
            .write(&message, out)
            .expect("`new` wrote one like it");
    }

    /// Puts the body of request `turn` of `client` into `into`.
    fn say(&self, client: u32, turn: u64, into: &mut Vec<u8>) {
        match &self.body {
            Some(body) => {
                into.clear();
                into.extend_from_slice(body);
            }
            None => self.bodies.write(client, turn, into),
        }
    }

    /// Whether a right reply to that request says this.
    fn is_right(&self, client: u32, turn: u64, found: &[u8]) -> bool {
        match self.expect.as_ref().or(self.body.as_ref()) {
            Some(expected) => found == &**expected,
            None => self.bodies.is(client, turn, found),
        }
    }

    /// Compares the whole frames of `bytes`; returns how many bytes these are.
    pub(super) fn compare(
        &self,
        client: u32,
        owed: &mut VecDeque<Request>,
        bytes: &[u8],
        read: &mut Read,
        ledger: &mut Ledger<'_>,
    ) -> usize {
        let mut used = 0;
        loop {
            let (total, message) = match self.format.read(&bytes[used..]) {
                Ok(None) => return used,
                Ok(Some(frame)) => frame,
                Err(refusal) => {
                    read.fatal = Some(unreadable(owed, &refusal.detail));
                    return used;
                }
            };
            used += total;
            match self.check(client, owed, &message) {
                Ok(request) => {
                    read.answered += 1;
                    ledger.right(request.since);
                }
                Err(fault) if fault.kind == Kind::ErrorFrame => read.errors.push(fault),
                Err(fault) => {
                    read.fatal = Some(fault);
                    return used;
                }
            }
        }
    }

    /// The request that `message` answers, rightly.
    fn check(
        &self,
        client: u32,
        owed: &mut VecDeque<Request>,
        message: &Message<'_>,
    ) -> Result<Request, Fault> {
        let wrong = |detail| Fault {
            kind: Kind::Wrong,
            detail,
        };
        // Replies may overtake each other where they say what they answer.
        let (is_ordered, max) = (self.format.is_ordered(), self.format.sequence_max());
        let at = if is_ordered {
            Some(0)
        } else {
            owed.iter()
                .position(|request| request.sequence(max) == message.sequence)
        };
        let Some(request) = at.and_then(|at| owed.remove(at)) else {
            let sequence = (!is_ordered).then(|| format!(", sequence {}", message.sequence));
            return Err(wrong(format!(
                "a reply to nothing that was asked: {} bytes{}",
                message.body.len(),
                sequence.unwrap_or_default()
            )));
        };
        let turn = request.turn;
        if message.id.is_some() && message.id == self.format.error_id() {
            return Err(Fault {
                kind: Kind::ErrorFrame,
                detail: format!("request {turn}: {}", error_text(&message.body)),
            });
        }
        if message.id != self.id {
            let (found, wanted) = (message.id.unwrap_or(0), self.id.unwrap_or(0));
            return Err(wrong(format!(
                "request {turn}: reply has id {found}, not {wanted}"
            )));
        }
        if !self.is_right(client, turn, &message.body) {
            let mut expected = Vec::new();
            match &self.expect {
                Some(body) => expected.extend_from_slice(body),
                None => self.say(client, turn, &mut expected),
            }
            let difference = difference(&expected, &message.body);
            return Err(wrong(format!("request {turn}: body of {difference}")));
        }
        Ok(request)
    }

    pub(super) fn summary(&self) -> String {
        let id = self.id.map(|id| format!(", id {id}")).unwrap_or_default();
        let bytes = crate::stress::report::many(self.size as u64, "byte");
        format!("{}{id}, {bytes}", self.preset)
    }

    pub(super) fn hint(&self, kind: Kind) -> Option<String> {
        let preset = &self.preset;
        match kind {
            Kind::Unreadable | Kind::Lost if self.id.is_some() => Some(format!(
                "does the listener speak `{preset}`? Its `frame` key says; name it by --preset, or \
                 its text by --layout"
            )),
            Kind::Unreadable | Kind::Lost => Some(format!(
                "does the listener speak `{preset}`, and does the program answer frames without \
                 an id (`App::otherwise`)? The built-in daemon does not"
            )),
            Kind::ErrorFrame => Some(
                "name the id of a handler that answers with the same bytes by --id, or with what \
                 by --expect; if it wants a login before, that is --first"
                    .into(),
            ),
            Kind::Wrong if self.expect.is_none() => Some(
                "replies are to say what their requests do; if they say something else, name it \
                 by --expect"
                    .into(),
            ),
            Kind::Connect | Kind::Wrong | Kind::Status | Kind::Timeout | Kind::Unsent => None,
        }
    }
}

/// Bodies of `size` bytes that `format` can carry: in a format of text none has a
/// byte that its frames have around them, so none has the delimiter.
fn bodies(format: &AnyFormat, size: usize) -> Result<Bodies, String> {
    if !format.is_text() {
        return Ok(Bodies::new(size));
    }
    let around = written(format, Some(1), &[])?;
    Bodies::of_text(size, &around).ok_or_else(|| "no bytes are left for a body".into())
}

/// A frame that says this.
fn written(format: &AnyFormat, id: Option<u32>, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut frame = Vec::new();
    let message = Message {
        id,
        sequence: FIRST,
        echo: None,
        body: Cow::Borrowed(body),
    };
    let good = format.write(&message, &mut frame);
    good.map(|()| frame)
        .map_err(|error| format!("{error}: see --size and --id"))
}

fn error_text(body: &[u8]) -> String {
    match ErrorBody::read(body) {
        Some(error) => format!("the server answered error {}: {}", error.code, error.text),
        None => format!("an error frame whose {} bytes say nothing", body.len()),
    }
}
