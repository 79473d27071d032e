//! JT/T 808-2013, what vehicles in China tell their platform, as a codec.
//!
//! ```text
//! 7e | id u16 | properties u16 | phone 6 | serial u16 | body | xor | 7e
//! ```
//!
//! Between the flags 7e is written as 7d 02 and 7d as 7d 01. The lowest ten bits
//! of the properties are the length of the body; the others say that it is
//! encrypted or a part of a longer one, which is refused here. A reply repeats
//! the phone, in BCD. The serial counts what its sender sent, so it is the
//! handler's: the first two bytes of what this calls the body.

use std::borrow::Cow;

use purlin::codec::{Codec, Echo, Message, Refusal, Unsendable};

/// The format.
pub(crate) struct Jt808;

const FLAG: u8 = 0x7e;
const ESCAPE: u8 = 0x7d;
/// Bytes before the serial, and with it.
const BEFORE: usize = 10;
const HEADER: usize = 12;
/// The longest body, and the bits of the properties that say how long it is.
const LENGTH: u16 = 0x03ff;

impl Codec for Jt808 {
    fn cut(&self, bytes: &[u8], looked: &mut usize) -> Result<Option<usize>, Refusal> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if first != FLAG {
            return Err(Refusal::malformed("no 7e before a frame"));
        }
        let found = rest[*looked..].iter().position(|&byte| byte == FLAG);
        let Some(at) = found else {
            *looked = rest.len();
            return Ok(None);
        };
        Ok(Some(*looked + at + 2))
    }

    fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
        let plain = unescape(&frame[1..frame.len() - 1])?;
        let Some((&sum, said)) = plain.split_last().filter(|(_, said)| said.len() >= HEADER) else {
            return Err(Refusal::malformed("a frame without room for its header"));
        };
        if xor(said) != sum {
            return Err(Refusal::malformed("a wrong checksum"));
        }
        let word = |at: usize| u16::from_be_bytes([said[at], said[at + 1]]);
        if word(2) > LENGTH || usize::from(word(2)) != said.len() - HEADER {
            return Err(Refusal::malformed(
                "properties that are not the length of the body",
            ));
        }
        Ok(Message {
            id: Some(word(0).into()),
            echo: Some(Echo::new(&said[4..BEFORE])),
            body: Cow::Owned(said[BEFORE..].to_vec()),
            ..Message::default()
        })
    }

    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let (len, max) = (message.body.len(), usize::from(LENGTH) + 2);
        let Some(length) = len.checked_sub(2) else {
            return Err(Unsendable::Body("has no serial"));
        };
        let length = u16::try_from(length)
            .ok()
            .filter(|&length| length <= LENGTH);
        let length = length.ok_or(Unsendable::TooLong { len, max })?;
        let id = message.id.unwrap_or(0);
        let max = u64::from(u16::MAX);
        let id = u16::try_from(id).map_err(|_| Unsendable::NoSuchId { id, max })?;
        let mut said = id.to_be_bytes().to_vec();
        said.extend(length.to_be_bytes());
        // A message that answers none is for nobody's phone.
        said.extend(message.echo.as_ref().map_or(&[0; 6][..], Echo::bytes));
        said.extend_from_slice(&message.body);
        said.push(xor(&said));
        out.push(FLAG);
        escape(&said, out);
        out.push(FLAG);
        Ok(())
    }

    /// Each byte between the flags may take two.
    fn max(&self) -> usize {
        2 + 2 * (HEADER + LENGTH as usize + 1)
    }
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// Appends `plain` without the flag in it.
pub(crate) fn escape(plain: &[u8], out: &mut Vec<u8>) {
    for &byte in plain {
        match byte {
            FLAG => out.extend([ESCAPE, 2]),
            ESCAPE => out.extend([ESCAPE, 1]),
            byte => out.push(byte),
        }
    }
}

/// What [`escape`] was given.
pub(crate) fn unescape(escaped: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            ESCAPE => match bytes.next() {
                Some(1) => ESCAPE,
                Some(2) => FLAG,
                _ => return Err(Refusal::malformed("7d before neither 01 nor 02")),
            },
            byte => byte,
        });
    }
    Ok(plain)
}
