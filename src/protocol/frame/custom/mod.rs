//! Layouts with what the presets do without: constant and repeated bytes,
//! numbers in some bits, a trailer, an end that is no plain length. A codec like
//! those of programs, so the presets pay nothing for it.

mod check;
mod extent;
mod fields;

use std::borrow::Cow;

use super::codec::{Codec, Echo, Message};
use super::layout::{Counts, Field};
use super::plain::{ErrorBody, checksum, corrupt};
use crate::protocol::{Refusal, Unsendable};
use crate::scoreboard::Counter;

use extent::{not_constant, varint};
pub use fields::{Bits, Checksum, Constant, Covers, End, Repeated, Trailer};

/// A frame format of fields.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Custom {
    /// How the end of a frame is found.
    pub end: End,
    /// Message id, in at most 4 bytes.
    pub id: Option<Bits>,
    /// Number of the request, in at most 4 bytes, copied into its reply.
    pub sequence: Option<Bits>,
    /// CRC-32 of the body, in the header; 0 for an empty body.
    pub crc: Option<Field>,
    /// Bytes that are always the same.
    pub constants: Vec<Constant>,
    /// Bytes that a reply repeats from its request, 16 at most together.
    pub repeated: Vec<Repeated>,
    /// Bytes before the body; of a varint, before that.
    pub header: usize,
    /// What stands behind the body.
    pub trailer: Trailer,
    /// Bytes of the largest frame.
    pub max: usize,
    /// Id that is answered with the same frame.
    pub heartbeat: Option<u32>,
    /// Id of error frames; `None`: an error closes the connection.
    pub error_id: Option<u32>,
}

impl Custom {
    /// The layout of a preset, if there is one of this name.
    pub(super) fn preset(name: &str) -> Option<Self> {
        let (end, max) = match name {
            "line" => {
                let bytes = b"\n".to_vec();
                (End::Delimiter { bytes, crlf: true }, 64 << 10)
            }
            "varint" => {
                let (offset, bytes, adjust) = (0, 5, 0);
                (
                    End::Varint {
                        offset,
                        bytes,
                        adjust,
                    },
                    5 + (1 << 20),
                )
            }
            _ => return None,
        };
        Some(Self {
            end,
            id: None,
            sequence: None,
            crc: None,
            constants: Vec::new(),
            repeated: Vec::new(),
            header: 0,
            trailer: Trailer::default(),
            max,
            heartbeat: None,
            error_id: None,
        })
    }

    /// Where the fields are, for another process that may go on with the same
    /// bytes. The limit is not among it.
    pub(super) fn name(&self) -> String {
        let Self {
            end,
            id,
            sequence,
            crc,
            constants,
            repeated,
            header,
            trailer,
            ..
        } = self;
        let numbers = (end, id, sequence, crc, header);
        format!("frames {numbers:?} {constants:?} {repeated:?} {trailer:?}")
    }

    /// Bytes of a length that counts this, in a frame without a body.
    pub fn around(&self, counts: Counts) -> i64 {
        let around = match counts {
            Counts::All => self.header + self.trailer.len(),
            Counts::Body => 0,
        };
        i64::try_from(around).unwrap_or(i64::MAX)
    }

    /// Bytes up to and with the last field of the header.
    #[must_use]
    pub fn fields_end(&self) -> usize {
        let length = match &self.end {
            End::Length(length) => Some(length.field),
            End::Varint { .. } | End::Delimiter { .. } | End::Fixed(_) => None,
        };
        let numbers = [self.id, self.sequence].map(|bits| bits.map(|bits| bits.field));
        let fields = [length, self.crc].into_iter().chain(numbers).flatten();
        let constants = self.constants.iter();
        let constants = constants.map(|one| one.offset + one.bytes.len());
        let repeated = self.repeated.iter().map(|one| one.offset + one.mask.len());
        let ends = fields.map(|field| field.end()).chain(constants);
        ends.chain(repeated).max().unwrap_or(0)
    }
}

impl Custom {
    /// Where the body of a whole frame begins and ends.
    fn body(&self, frame: &[u8]) -> (usize, usize) {
        let end = frame.len() - self.trailer.len();
        match &self.end {
            End::Length(_) | End::Fixed(_) => (self.header, end),
            End::Varint { offset, .. } => {
                let (_, len) = varint(&frame[*offset..]).expect("`cut` has read it");
                (offset + len, end)
            }
            End::Delimiter { bytes, crlf } => {
                let end = end - bytes.len();
                let is_cr = *crlf && frame[self.header..end].ends_with(b"\r");
                (self.header, end - usize::from(is_cr))
            }
        }
    }

    /// Bytes that a body must have, and may have.
    pub(super) fn bodies(&self) -> (usize, usize) {
        let around = self.header + self.trailer.len();
        let longest = self.max.saturating_sub(around);
        match &self.end {
            End::Fixed(total) => {
                let only = total.saturating_sub(around);
                (only, only)
            }
            End::Delimiter { bytes, .. } => (0, longest.saturating_sub(bytes.len())),
            End::Varint { bytes, adjust, .. } => {
                let least = usize::try_from(*adjust).unwrap_or(0);
                // With each width of the number, as long as fits and it can say.
                let most = (1..=*bytes).map(|width| {
                    let said = (1_i64 << (7 * width)) - 1 + adjust;
                    let said = usize::try_from(said).unwrap_or(0);
                    longest.saturating_sub(width).min(said)
                });
                (least, most.max().unwrap_or(0))
            }
            End::Length(length) => {
                let counted = match length.counts {
                    Counts::All => around,
                    Counts::Body => 0,
                };
                let least = i128::from(length.adjust) - counted as i128;
                (usize::try_from(least).unwrap_or(0), longest)
            }
        }
    }

    fn fits(&self, body: &[u8]) -> Result<(), Unsendable> {
        let (len, (min, max)) = (body.len(), self.bodies());
        if len < min {
            return Err(Unsendable::TooShort { len, min });
        }
        if len > max {
            return Err(Unsendable::TooLong { len, max });
        }
        Ok(())
    }

    /// The header of a frame, without its length.
    fn header(&self, message: &Message<'_>, header: &mut [u8]) {
        for constant in &self.constants {
            constant.write(header);
        }
        let mut echo = message.echo.as_ref().map(Echo::bytes);
        for one in &self.repeated {
            let parts = echo.map(|echo| echo.split_at(one.mask.len()));
            one.write(header, parts.map(|(mine, _)| mine));
            echo = parts.map(|(_, others)| others);
        }
        if let Some(field) = self.id {
            field.write(header, message.id.unwrap_or(0));
        }
        if let Some(field) = self.sequence {
            field.write(header, message.sequence);
        }
        if let Some(field) = self.crc {
            field.write(header, u64::from(checksum(&message.body)));
        }
    }
}

impl Codec for Custom {
    fn cut(&self, bytes: &[u8], looked: &mut usize) -> Result<Option<usize>, Refusal> {
        self.end_of(bytes, looked)
    }

    fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
        let (start, end) = self.body(frame);
        let body = &frame[start..end];
        if let Some(field) = self.crc {
            let (claimed, computed) = (field.read(frame), checksum(body));
            if claimed != u64::from(computed) {
                let claimed = u32::try_from(claimed).unwrap_or(u32::MAX);
                return Err(corrupt(claimed, computed, body.len()));
            }
        }
        if !self.trailer.is_empty() {
            self.verify_trailer(frame, (start, end))?;
        }
        let mut echo = None;
        if !self.repeated.is_empty() {
            let bytes = self.repeated.iter().flat_map(|one| one.read(frame));
            let bytes: Vec<u8> = bytes.collect();
            echo = Some(Echo::new(&bytes));
        }
        Ok(Message {
            id: self.id.map(|field| field.read(frame)),
            sequence: self.sequence.map_or(0, |field| field.read(frame)),
            echo,
            body: Cow::Borrowed(body),
        })
    }

    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let body = &*message.body;
        self.fits(body)?;
        let (id, max) = (message.id.unwrap_or(0), self.id.map(|field| field.max()));
        if let Some(max) = max
            && u64::from(id) > max
        {
            return Err(Unsendable::NoSuchId { id, max });
        }
        let start = out.len();
        out.resize(start + self.header, 0);
        self.header(message, &mut out[start..]);
        match &self.end {
            End::Length(length) => {
                let counted = match length.counts {
                    Counts::All => self.header + body.len() + self.trailer.len(),
                    Counts::Body => body.len(),
                };
                let claim = counted as i128 - i128::from(length.adjust);
                let claim = u64::try_from(claim).expect("`fits` has the shortest body");
                length.field.write(&mut out[start..], claim);
            }
            End::Varint { adjust, .. } => {
                let claim = body.len() as i128 - i128::from(*adjust);
                put_varint(
                    u64::try_from(claim).expect("`fits` has the shortest body"),
                    out,
                );
            }
            End::Delimiter { .. } | End::Fixed(_) => {}
        }
        let header = out.len() - start;
        out.extend_from_slice(body);
        if !self.trailer.is_empty() {
            let trailer = self.trailer.of(&out[start..], header);
            out.extend(trailer);
        }
        if let End::Delimiter { bytes, crlf } = &self.end {
            let end = out.len() - start;
            out.extend_from_slice(bytes);
            if memchr::memmem::find(&out[start..], bytes) != Some(end) {
                return Err(Unsendable::Body("has the delimiter in it"));
            }
            if *crlf && body.ends_with(b"\r") {
                return Err(Unsendable::Body("ends with a carriage return"));
            }
        }
        Ok(())
    }

    fn write_error(
        &self,
        request: &Message<'_>,
        code: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable> {
        let Some(error_id) = self.error_id else {
            return Ok(false);
        };
        let error = ErrorBody {
            request: request.id.unwrap_or(0),
            code,
            text,
        };
        let message = Message {
            id: Some(error_id),
            body: Cow::Owned(error.write(self.bodies().1)),
            ..*request
        };
        self.write(&message, out).map(|()| true)
    }

    fn max(&self) -> usize {
        self.max
    }

    fn heartbeat(&self) -> Option<u32> {
        self.heartbeat
    }

    fn error_id(&self) -> Option<u32> {
        self.error_id
    }

    fn is_ordered(&self) -> bool {
        self.sequence.is_none()
    }

    fn sequence_max(&self) -> u32 {
        let max = self.sequence.map_or(u64::MAX, |field| field.max());
        u32::try_from(max).unwrap_or(u32::MAX)
    }

    /// `GET ` is a good beginning of a line.
    fn refuses_foreign(&self) -> bool {
        !matches!(self.end, End::Delimiter { .. })
    }
}

impl Custom {
    fn verify_trailer(&self, frame: &[u8], (start, end): (usize, usize)) -> Result<(), Refusal> {
        let (expected, found) = (self.trailer.of(&frame[..end], start), &frame[end..]);
        let constant = expected.len() - self.trailer.constant.len();
        let differs = |at: &usize| expected[*at] != found[*at];
        let Some(at) = (0..expected.len()).find(differs) else {
            return Ok(());
        };
        if at >= constant {
            return Err(not_constant(end + at, found[at]));
        }
        Err(Refusal {
            counter: Counter::BadChecksum,
            detail: format!(
                "checksum of a frame of {} bytes is {:02x?}, its trailer says {:02x?}",
                frame.len(),
                &expected[..constant],
                &found[..constant]
            ),
            answer: b"",
            about: Vec::new(),
        })
    }
}

/// Appends the number in as few bytes as it needs.
fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number.to_be_bytes()[7] | 0x80);
        number >>= 7;
    }
    out.push(number.to_be_bytes()[7]);
}
