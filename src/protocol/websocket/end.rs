//! The line of the access log for the end of a connection: as that of its upgrade,
//! with the code of its close frame as status, and what was sent in between.

use super::fault::Code;
use crate::protocol::http::Sending;
use crate::protocol::{Dispatch, Sent};

/// No close frame was written, and one without a code was (RFC 6455, 7.4.1).
const NONE: u16 = 1006;
const NO_CODE: u16 = 1005;

/// The end of one connection, to be recorded.
pub(super) struct End {
    /// Its `bytes` are those that other processes have sent.
    answer: Box<Sending>,
    /// Bytes that went out here and are not of it.
    before: u64,
}

impl End {
    /// Of a connection that became this with the packed `answer`, by which so much was
    /// `sent`.
    pub(super) fn new(answer: &[u8], sent: Sent) -> Option<Self> {
        let mut end = Self::unpack(answer)?;
        (end.answer.status, end.answer.bytes) = (NONE, 0);
        end.before = sent.written();
        Some(end)
    }

    /// A close frame was written.
    pub(super) fn said(&mut self, code: Option<Code>) {
        self.answer.status = code.map_or(NO_CODE, |code| code.0);
    }

    /// Bytes of it that were sent; below 0 while some before it are not.
    fn bytes(&self, sent: Sent) -> u64 {
        let here = sent.out.wrapping_sub(self.before);
        self.answer.bytes.wrapping_add(here)
    }

    /// For another process, which sends what is left.
    pub(super) fn pack(&self, sent: Sent) -> Vec<u8> {
        self.answer.pack_with(self.bytes(sent))
    }

    /// What [`Self::pack`] made; `None`: it was something else.
    pub(super) fn unpack(packed: &[u8]) -> Option<Self> {
        let answer = Box::new(Sending::unpack(packed)?);
        Some(Self { answer, before: 0 })
    }

    /// It is over.
    pub(super) fn record(mut self, sent: Sent, app: &mut dyn Dispatch) {
        let bytes = self.bytes(sent);
        // Not even its upgrade got through.
        let is_below = bytes.cast_signed() < 0;
        self.answer.bytes = if is_below { 0 } else { bytes };
        if let Some(receipt) = app.receipt(*self.answer) {
            receipt.complete(0);
        }
    }
}
