//! The frame of RFC 6455, 5.2: read from a peer, written for one. Pure.
//!
//! ```text
//! 0               1               2               4, or 10        4 more
//! +---+-----------+---+-----------+---------------+---------------+---~~~---+
//! |fin|rsv| opcode|mask|  length  | longer length | mask          | payload |
//! +---+-----------+---+-----------+---------------+---------------+---~~~---+
//! ```
//!
//! Who connects masks every frame, who accepts none. A length of 126 says that two
//! bytes of length follow, 127 that eight do; each length is written in the fewest.

use super::fault::Fault;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    /// As the first byte says it.
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) const fn of(bits: u8) -> Result<Self, Fault> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(Fault::Protocol("an opcode that nobody has given a meaning")),
        })
    }

    /// Whether it is about the connection, and may stand within a message.
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The bits of the first byte that only an extension gives a meaning.
const RESERVED: u8 = 0x70;

/// The one of them that says that a message is deflated.
const PACKED: u8 = 0x40;

/// Payload that a control frame can have.
pub(super) const CONTROL_MAX: usize = 125;

/// What stands before the payload of a frame from a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// The message that begins here is deflated (RFC 7692, 6).
    pub(super) packed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// Bytes of the header.
    pub(super) head: usize,
    /// Bytes of the payload.
    pub(super) len: usize,
}

impl Header {
    /// The header that `bytes` begin with, if it is whole, of a payload of at most
    /// `most` bytes unless it is one of control. What is wrong with it is
    /// known with the first byte that tells, so that it does not depend on how the
    /// stream is cut. `packing`: it was agreed that messages may be deflated.
    ///
    /// # Errors
    ///
    /// No frame of a client begins like this.
    pub(super) fn read(bytes: &[u8], most: usize, packing: bool) -> Result<Option<Self>, Fault> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let reserved = first & RESERVED;
        if reserved != 0 && !(packing && reserved == PACKED) {
            return Err(Fault::Protocol("a reserved bit that was not agreed on"));
        }
        let packed = reserved != 0;
        let (fin, opcode) = (first & 0x80 != 0, Opcode::of(first & 0x0f)?);
        if packed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Fault::Protocol("a compressed frame that begins no message"));
        }
        if opcode.is_control() && !fin {
            return Err(Fault::Protocol("a control frame in fragments"));
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Fault::Protocol("a frame of a client without a mask"));
        }
        let short = usize::from(second & 0x7f);
        if opcode.is_control() && short > CONTROL_MAX {
            return Err(Fault::Protocol("a control frame of over 125 bytes"));
        }
        let Some((len, at)) = length(short, &bytes[2..])? else {
            return Ok(None);
        };
        if len > most && !opcode.is_control() {
            return Err(Fault::TooLong("a message over websocket.message_max"));
        }
        let head = 2 + at + 4;
        let mask = bytes.get(head - 4..head);
        Ok(mask.and_then(|mask| mask.try_into().ok()).map(|mask| Self {
            fin,
            packed,
            opcode,
            mask,
            head,
            len,
        }))
    }

    /// Bytes of the frame.
    pub(super) const fn total(&self) -> usize {
        self.head.saturating_add(self.len)
    }
}

/// The length that the second byte says, or what follows it, and how many bytes
/// follow. `None`: they are not there yet.
pub(super) fn length(short: usize, rest: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let long = |least: u64, len: u64, at| {
        if len < least {
            return Err(Fault::Protocol("a length in more bytes than it needs"));
        }
        if len > i64::MAX as u64 {
            return Err(Fault::Protocol("a length with its first bit set"));
        }
        Ok(Some((usize::try_from(len).unwrap_or(usize::MAX), at)))
    };
    match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => long(126, u16::from_be_bytes(*bytes).into(), 2),
            None => Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => long(65_536, u64::from_be_bytes(*bytes), 8),
            None => Ok(None),
        },
        len => Ok(Some((len, 0))),
    }
}

/// Appends `bytes` as they were before `mask`, of which `from` bytes were used.
pub(super) fn unmask(bytes: &[u8], mask: [u8; 4], from: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(bytes);
    apply(&mut out[begin..], mask, from);
}

/// Masks or unmasks `bytes` where they are; `from` bytes of the mask were used.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4], from: usize) {
    let mut turned = mask;
    turned.rotate_left(from % 4);
    let wide = u64::from_ne_bytes([turned, turned].concat().try_into().expect("twice four"));
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(turned.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Room that the longest header of a server needs.
const HEAD_MAX: usize = 10;

/// The first bytes of a frame of a server with a payload of `len` bytes; `packed`:
/// they are deflated.
fn head(opcode: Opcode, packed: bool, len: usize) -> ([u8; HEAD_MAX], usize) {
    let mut head = [0; HEAD_MAX];
    head[0] = 0x80 | opcode.bits() | if packed { PACKED } else { 0 };
    let long = len as u64;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..=125), _) => {
            head[1] = len;
            (head, 2)
        }
        (_, Ok(len)) => {
            head[1] = 126;
            head[2..4].copy_from_slice(&len.to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&long.to_be_bytes());
            (head, HEAD_MAX)
        }
    }
}

/// Appends a whole message in one frame.
pub(super) fn write(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    append(opcode, false, payload, out);
}

/// As [`write()`], with a payload that is deflated.
pub(super) fn write_packed(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    append(opcode, true, payload, out);
}

fn append(opcode: Opcode, packed: bool, payload: &[u8], out: &mut Vec<u8>) {
    let (head, len) = head(opcode, packed, payload.len());
    out.reserve(len + payload.len());
    out.extend_from_slice(&head[..len]);
    out.extend_from_slice(payload);
}

/// Appends a whole message whose payload `f` appends: most are short, and are
/// moved by two bytes when their length is known. An error leaves `out` as it was.
pub(super) fn write_with<T, E>(
    opcode: Opcode,
    out: &mut Vec<u8>,
    f: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<T, E> {
    const GUESS: usize = 4;
    let begin = out.len();
    out.extend_from_slice(&[0; GUESS]);
    let written = match f(out) {
        Ok(written) => written,
        Err(error) => {
            out.truncate(begin);
            return Err(error);
        }
    };
    let (head, len) = head(opcode, false, out.len() - begin - GUESS);
    if len == GUESS {
        out[begin..begin + len].copy_from_slice(&head[..len]);
    } else {
        out.splice(begin..begin + GUESS, head[..len].iter().copied());
    }
    Ok(written)
}

/// More was appended to the last message of `out`, which begins at `begin` and is
/// not compressed.
pub(super) fn lengthen(begin: usize, out: &mut Vec<u8>) {
    let old = match out[begin + 1] {
        126 => 4,
        127 => HEAD_MAX,
        _ => 2,
    };
    let len = out.len() - begin - old;
    let (mut head, new) = head(Opcode::Binary, false, len);
    head[0] = out[begin];
    if new == old {
        out[begin..begin + new].copy_from_slice(&head[..new]);
    } else {
        out.splice(begin..begin + old, head[..new].iter().copied());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_when_it_is_whole_and_not_before() {
        for (bytes, len) in [
            (&[0x81, 0x85, 1, 2, 3, 4][..], 5),
            (&[0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4], 256),
            (&[0x00, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65_536),
            (&[0x88, 0x80, 1, 2, 3, 4], 0),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(
                    Header::read(&bytes[..cut], 65_536, false),
                    Ok(None),
                    "{cut} of {bytes:?}"
                );
            }
            let header = Header::read(bytes, 65_536, false).unwrap().unwrap();
            assert_eq!((header.len, header.head), (len, bytes.len()));
            assert_eq!(header.mask, [1, 2, 3, 4]);
        }
    }

    const MOST: usize = 1 << 20;

    #[test]
    fn what_no_client_may_send_is_refused_with_the_byte_that_tells() {
        for (bytes, at) in [
            (&[0xc1, 0x80][..], 1),
            (&[0x83, 0x80], 1),
            (&[0x8b, 0x80], 1),
            (&[0x09, 0x80], 1),
            (&[0x81, 0x05], 2),
            (&[0x89, 0xfe], 2),
            (&[0x82, 0xfe, 0, 125], 4),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 10),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1], 10),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 10),
        ] {
            assert_eq!(
                Header::read(&bytes[..at - 1], MOST, false),
                Ok(None),
                "{bytes:?}"
            );
            assert!(
                Header::read(&bytes[..at], MOST, false).is_err(),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_mask_goes_on_wherever_it_was_cut() {
        let text: Vec<u8> = (0..40).collect();
        let mask = [0xa5, 0x5a, 0x0f, 0xf0];
        let slow: Vec<u8> = (0..40).map(|n| n ^ mask[usize::from(n) % 4]).collect();
        for cut in 0..=text.len() {
            let mut out = Vec::new();
            unmask(&text[..cut], mask, 0, &mut out);
            unmask(&text[cut..], mask, cut, &mut out);
            assert_eq!(out, slow, "{cut}");
        }
    }

    #[test]
    fn a_message_that_grows_is_the_one_that_it_would_have_been() {
        for opcode in [Opcode::Text, Opcode::Binary] {
            let mut grown = b"before".to_vec();
            write(opcode, b"", &mut grown);
            let mut payload = Vec::new();
            for more in [0, 1, 124, 1, 65_409, 1, 70_000] {
                payload.resize(payload.len() + more, 7);
                grown.resize(grown.len() + more, 7);
                lengthen(6, &mut grown);
                let mut whole = b"before".to_vec();
                write(opcode, &payload, &mut whole);
                assert!(grown == whole, "{} bytes", payload.len());
            }
        }
    }

    #[test]
    fn every_length_is_written_in_the_fewest_bytes() {
        for (len, head) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![7; len];
            let (mut whole, mut with) = (vec![1], vec![1]);
            write(Opcode::Binary, &payload, &mut whole);
            let appended: Result<(), ()> = write_with(Opcode::Binary, &mut with, |out| {
                out.extend_from_slice(&payload);
                Ok(())
            });
            assert_eq!(appended, Ok(()));
            assert_eq!(whole, [&[1], head, &payload[..]].concat(), "{len}");
            assert_eq!(with, whole, "{len}");
        }
    }

    #[test]
    fn a_payload_that_cannot_be_written_leaves_nothing() {
        let mut out = vec![1, 2];
        let refused: Result<(), u8> = write_with(Opcode::Text, &mut out, |out| {
            out.push(3);
            Err(4)
        });
        assert_eq!((refused, out), (Err(4), vec![1, 2]));
    }
}
