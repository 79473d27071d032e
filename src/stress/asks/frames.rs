//! Echoes: frames with a body that no other one has, and the comparison of what
//! comes back with it, byte for byte. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::unreadable;
use crate::protocol::frame::{ErrorBody, Frame, Layout, encode};
use crate::stress::bodies::Bodies;
use crate::stress::connection::{Read, Request};
use crate::stress::fault::{Fault, Kind, difference};
use crate::stress::stats::Ledger;

/// What the frames look like.
#[derive(Clone, Debug)]
pub(in crate::stress) struct Frames {
    pub(in crate::stress) preset: String,
    layout: Layout,
    /// `None` where the layout has no ids.
    pub(in crate::stress) id: Option<u32>,
    /// Bytes of each body.
    pub(in crate::stress) size: usize,
    bodies: Arc<Bodies>,
}

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
        let layout =
            Layout::preset(preset).ok_or_else(|| format!("there is no preset `{preset}`"))?;
        Self::with_layout(preset.to_owned(), layout, id, size)
    }

    /// As [`Self::new`], of a layout that has no name but `preset`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(in crate::stress) fn with_layout(
        preset: String,
        layout: Layout,
        id: Option<u32>,
        size: usize,
    ) -> Result<Self, String> {
        /// Message id when none is given.
        const ECHO: u32 = 1;
        if layout.id.is_none() && id.is_some() {
            return Err(format!(
                "--id has no meaning: `{preset}` has no message ids"
            ));
        }
        let id = layout.id.map(|_| id.unwrap_or(ECHO));
        if let Some(id) = id
            && Some(id) == layout.error_id
        {
            return Err(format!("message id {id} is that of errors in this format"));
        }
        encode(&layout, id, 1, &vec![0; size], &mut Vec::new())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            preset,
            layout,
            id,
            size,
            bodies: Arc::new(Bodies::new(size)),
        })
    }

    /// Appends the frame of `request` to `out`. `spare` is memory.
    pub(super) fn write(
        &self,
        client: u32,
        request: Request,
        spare: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        self.bodies.write(client, request.turn, spare);
        encode(&self.layout, self.id, request.sequence(), spare, out)
            .expect("`new` encoded one like it");
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
            let frame = match self.layout.frame(&bytes[used..]) {
                Ok(None) => return used,
                Ok(Some(frame)) => frame,
                Err(refusal) => {
                    read.fatal = Some(unreadable(owed, &refusal.detail));
                    return used;
                }
            };
            used += frame.total;
            match self.check(client, owed, &frame) {
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

    /// The request that `frame` answers, rightly.
    fn check(
        &self,
        client: u32,
        owed: &mut VecDeque<Request>,
        frame: &Frame<'_>,
    ) -> Result<Request, Fault> {
        if let Err(refusal) = frame.verify() {
            return Err(unreadable(owed, &refusal.detail));
        }
        let wrong = |detail| Fault {
            kind: Kind::Wrong,
            detail,
        };
        // Replies may overtake each other where they say what they answer.
        let at = match self.layout.sequence {
            None => Some(0),
            Some(_) => owed
                .iter()
                .position(|request| request.sequence() == frame.sequence),
        };
        let Some(request) = at.and_then(|at| owed.remove(at)) else {
            let sequence = self
                .layout
                .sequence
                .map(|_| format!(", sequence {}", frame.sequence));
            return Err(wrong(format!(
                "a reply to nothing that was asked: {} bytes{}",
                frame.body.len(),
                sequence.unwrap_or_default()
            )));
        };
        let turn = request.turn;
        if frame.id.is_some() && frame.id == self.layout.error_id {
            return Err(Fault {
                kind: Kind::ErrorFrame,
                detail: format!("request {turn}: {}", error_text(frame.body)),
            });
        }
        if frame.id != self.id {
            let (found, wanted) = (frame.id.unwrap_or(0), self.id.unwrap_or(0));
            return Err(wrong(format!(
                "request {turn}: reply has id {found}, not {wanted}"
            )));
        }
        if !self.bodies.is(client, turn, frame.body) {
            let mut expected = Vec::new();
            self.bodies.write(client, turn, &mut expected);
            let difference = difference(&expected, frame.body);
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
                "does the listener speak `{preset}`? Its `frame` key says; name it by --preset"
            )),
            Kind::Unreadable | Kind::Lost => Some(format!(
                "does the listener speak `{preset}`, and does the program answer frames without \
                 an id (`App::otherwise`)? The built-in daemon does not"
            )),
            Kind::ErrorFrame => {
                Some("name the id of a handler that answers with the same bytes by --id".into())
            }
            Kind::Connect | Kind::Wrong | Kind::Status | Kind::Timeout | Kind::Unsent => None,
        }
    }
}

fn error_text(body: &[u8]) -> String {
    match ErrorBody::read(body) {
        Some(error) => format!("the server answered error {}: {}", error.code, error.text),
        None => format!("an error frame whose {} bytes say nothing", body.len()),
    }
}
