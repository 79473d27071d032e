//! A frame format within binary messages: what it writes is a message of its own,
//! what it reads stands in one already.

use super::frame::{self, Opcode};
use super::writer::Writer;
use crate::protocol::frame::{Format, Request};
use crate::protocol::{Out, Refusal, Units, Unsendable};

/// Bytes of a message up to which replies are put into one: a peer has the first of
/// them only when it has the last.
const JOINED_MAX: usize = 16 * 1024;

/// Frames of `F`, each written as one message, but for the replies of a turn: as no
/// other stands between them, one message has them all. Where messages are
/// compressed, none does: its length would tell one reply from what stands beside it.
#[derive(Debug)]
pub(super) struct Framed<F> {
    pub(super) format: F,
    pub(super) writer: Writer,
}

impl<F: Format> Format for Framed<F> {
    type Looked = F::Looked;
    type Echo = F::Echo;
    type Frame<'a> = F::Frame<'a>;

    fn measure(&self, bytes: &[u8], looked: &mut F::Looked) -> Result<Option<usize>, Refusal> {
        self.format.measure(bytes, looked)
    }

    fn is_at_start(looked: F::Looked) -> bool {
        F::is_at_start(looked)
    }

    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<F::Frame<'a>>, Refusal> {
        self.format.frame(bytes)
    }

    fn id(frame: &F::Frame<'_>) -> Option<u32> {
        F::id(frame)
    }

    fn total(frame: &F::Frame<'_>) -> usize {
        F::total(frame)
    }

    fn request(frame: &F::Frame<'_>) -> Request<F::Echo> {
        F::request(frame)
    }

    fn verify(frame: &F::Frame<'_>) -> Result<(), Refusal> {
        F::verify(frame)
    }

    fn body<'b>(&self, frame: &'b F::Frame<'_>, units: Units<'b>, at: usize) -> Units<'b> {
        self.format.body(frame, units, at)
    }

    fn encode(
        &self,
        to: Request<F::Echo>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        self.writer
            .write_with(Opcode::Binary, out, |out| self.format.encode(to, body, out))
    }

    fn reply(
        &self,
        to: Request<F::Echo>,
        body: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Unsendable> {
        let end = out.bytes.len();
        let fits = |begin: &usize| end - begin + body.len() <= JOINED_MAX;
        let before = out.replies().filter(|_| !self.writer.packs()).filter(fits);
        let begin = match before {
            Some(begin) => {
                self.format.encode(to, body, &mut out.bytes)?;
                frame::lengthen(begin, &mut out.bytes);
                begin
            }
            None => {
                self.encode(to, body, &mut out.bytes)?;
                end
            }
        };
        out.note_replies(begin);
        Ok(())
    }

    fn encode_error(
        &self,
        to: Request<F::Echo>,
        code: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable> {
        let begin = out.len();
        let written = self.writer.write_with(Opcode::Binary, out, |out| {
            self.format.encode_error(to, code, text, out)
        });
        if written == Ok(false) {
            out.truncate(begin);
        }
        written
    }

    fn heartbeat(&self) -> Option<u32> {
        self.format.heartbeat()
    }

    fn is_ordered(&self) -> bool {
        self.format.is_ordered()
    }

    /// They come behind a handshake.
    fn refuses_foreign(&self) -> bool {
        false
    }

    fn key(&self) -> String {
        format!("websocket {}", self.format.key())
    }

    fn name(&self) -> String {
        format!("websocket {}", self.format.name())
    }
}
