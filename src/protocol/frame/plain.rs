//! One frame to bytes and back.

use super::layout::Layout;
use crate::protocol::{Refusal, Unsendable};
use crate::scoreboard::Counter;

/// A whole frame, as it lies in a buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Message id, where the layout has one.
    pub id: Option<u32>,
    /// Number of the request; 0 for pushes and where the layout has none.
    pub sequence: u32,
    /// Checksum that the header claims, where the layout has one.
    pub crc: Option<u32>,
    /// Bytes of the frame, header included.
    pub total: usize,
    /// The body.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Compares the checksum with the body.
    ///
    /// # Errors
    ///
    /// They differ: the stream cannot be trusted any more; close it.
    #[inline(always)]
    pub fn verify(&self) -> Result<(), Refusal> {
        let Some(claimed) = self.crc else {
            return Ok(());
        };
        let computed = checksum(self.body);
        if claimed == computed {
            Ok(())
        } else {
            Err(corrupt(claimed, computed, self.body.len()))
        }
    }
}

#[cold]
pub(super) fn corrupt(claimed: u32, computed: u32, len: usize) -> Refusal {
    let detail =
        format!("checksum of a body of {len} bytes is {computed:08x}, header says {claimed:08x}");
    Refusal {
        counter: Counter::BadChecksum,
        detail,
        answer: b"",
        about: Vec::new(),
    }
}

/// CRC-32 of the body; 0 when there is none, as the `comm` clients expect.
#[inline(always)]
pub(super) fn checksum(body: &[u8]) -> u32 {
    if body.is_empty() {
        0
    } else {
        crc32fast::hash(body)
    }
}

static ZEROES: [u8; 16] = [0; 16];

/// Appends one frame. Layouts without id or sequence leave them out.
///
/// # Errors
///
/// [`Unsendable`]; `out` is unchanged.
pub fn encode(
    layout: &Layout,
    id: Option<u32>,
    sequence: u32,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Unsendable> {
    if body.len() > layout.max_body() {
        return Err(Unsendable::TooLong {
            len: body.len(),
            max: layout.max_body(),
        });
    }
    let id = id.unwrap_or(0);
    if let Some(field) = layout.id
        && u64::from(id) > field.max()
    {
        return Err(Unsendable::NoSuchId {
            id,
            max: field.max(),
        });
    }
    let start = out.len();
    out.reserve(layout.header + body.len());
    match ZEROES.get(..layout.header) {
        // The usual header is two stores; growing by `resize` would be a call.
        Some(zeroes) => out.extend_from_slice(zeroes),
        None => out.resize(start + layout.header, 0),
    }
    let header = &mut out[start..];
    let claim = layout.claim(layout.header + body.len());
    layout
        .length
        .field
        .write(header, u64::try_from(claim).unwrap_or(0));
    if let Some(field) = layout.id {
        field.write(header, u64::from(id));
    }
    if let Some(field) = layout.sequence {
        field.write(header, u64::from(sequence));
    }
    if let Some(field) = layout.crc {
        field.write(header, u64::from(checksum(body)));
    }
    out.extend_from_slice(body);
    Ok(())
}

/// The body of an error frame: request id u32, code u16, both big-endian, then
/// UTF-8 text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorBody<'a> {
    /// Id of the request that failed.
    pub request: u32,
    /// As in HTTP: 4xx the request's fault, 5xx the server's.
    pub code: u16,
    /// For people.
    pub text: &'a str,
}

impl<'a> ErrorBody<'a> {
    const HEADER: usize = 6;

    /// The bytes; text that does not fit into `max` is cut at a character.
    #[must_use]
    pub fn write(&self, max: usize) -> Vec<u8> {
        let mut body = self.request.to_be_bytes().to_vec();
        body.extend(self.code.to_be_bytes());
        let room = max.saturating_sub(Self::HEADER);
        body.extend(&self.text.as_bytes()[..self.text.floor_char_boundary(room)]);
        body
    }

    /// Reads what [`Self::write`] wrote; `None` when it is something else.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (request, rest) = body.split_first_chunk()?;
        let (code, text) = rest.split_first_chunk()?;
        Some(Self {
            request: u32::from_be_bytes(*request),
            code: u16::from_be_bytes(*code),
            text: std::str::from_utf8(text).ok()?,
        })
    }
}
