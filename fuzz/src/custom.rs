//! Layouts of fields that the presets do without, read slowly: byte by byte, by
//! what the manual says of each key.

use purlin::protocol::Then;
use purlin::protocol::frame::{
    AnyFormat, Bits, Checksum, Coded, Constant, Counts, Covers, Custom, Echo, End, Endian, Field,
    Frames, Length, Message, Repeated, Trailer,
};
use purlin::protocol::{Protocol, Refusal};
use purlin::scoreboard::Counter;

use crate::stream::piece;
use crate::{Beginning, Compared, beginning, crc32};

/// What such a layout says of the first bytes of a frame.
enum Head {
    /// More bytes will tell.
    Part,
    /// A whole frame: its length, and where its body begins and ends.
    Whole(usize, usize, usize),
    Bad(Counter),
}

/// A number, its highest byte first or last.
fn number(field: &Field, bytes: &[u8]) -> Option<u64> {
    let mut digits = bytes
        .get(field.offset..field.offset + field.bytes)?
        .to_vec();
    if field.endian == Endian::Little {
        digits.reverse();
    }
    Some(
        digits
            .iter()
            .fold(0, |sum, digit| sum * 256 + u64::from(*digit)),
    )
}

/// The bits of `mask`, moved down.
fn masked(bits: &Bits, bytes: &[u8]) -> u64 {
    let mut number = number(&bits.field, bytes).expect("a whole header");
    let mut mask = bits.mask;
    while mask & 1 == 0 {
        (mask, number) = (mask / 2, number / 2);
    }
    number & mask
}

fn trailer_len(trailer: &Trailer) -> usize {
    let sum = match trailer.checksum {
        None => 0,
        Some((Checksum::Crc32, ..)) => 4,
        Some((Checksum::Sum8 | Checksum::Xor8, ..)) => 1,
    };
    sum + trailer.constant.len()
}

fn head(custom: &Custom, bytes: &[u8]) -> Head {
    // Asked after each byte: only the last one can be the first wrong one.
    for one in custom.constants.iter().filter(|one| one.is_checked) {
        for (n, (byte, mask)) in one.bytes.iter().zip(&one.mask).enumerate() {
            let found = bytes.get(one.offset + n);
            if found.is_some_and(|found| found & mask != byte & mask) {
                return Head::Bad(Counter::BadConstant);
            }
        }
    }
    let trailer = trailer_len(&custom.trailer);
    let (total, header, behind) = match &custom.end {
        End::Fixed(total) => (*total as i128, custom.header, trailer),
        End::Length(length) => {
            let Some(said) = number(&length.field, bytes) else {
                return Head::Part;
            };
            let more = match length.counts {
                Counts::All => 0,
                Counts::Body => custom.header + trailer,
            };
            let total = i128::from(said) + more as i128 + i128::from(length.adjust);
            (total, custom.header, trailer)
        }
        End::Varint {
            offset,
            bytes: most,
            adjust,
        } => {
            let mut said = 0;
            let mut len = 0;
            loop {
                if len == *most {
                    return Head::Bad(Counter::Malformed);
                }
                let Some(byte) = bytes.get(offset + len) else {
                    return Head::Part;
                };
                said += i128::from(byte % 128) << (7 * len);
                len += 1;
                if *byte < 128 {
                    break;
                }
            }
            let header = offset + len;
            let total = said + (header + trailer) as i128 + i128::from(*adjust);
            (total, header, trailer)
        }
        End::Delimiter { bytes: end, crlf } => {
            let found = (0..bytes.len()).find(|at| bytes[*at..].starts_with(end));
            let Some(at) = found else {
                if bytes.len() >= custom.max {
                    return Head::Bad(Counter::TooLong);
                }
                return Head::Part;
            };
            if at < custom.header {
                return Head::Bad(Counter::TooShort);
            }
            let is_cr = *crlf && at > custom.header && bytes[at - 1] == b'\r';
            let total = at + end.len();
            (total as i128, custom.header, end.len() + usize::from(is_cr))
        }
    };
    if total > custom.max as i128 {
        Head::Bad(Counter::TooLong)
    } else if total < (header + trailer) as i128 {
        Head::Bad(Counter::TooShort)
    } else if total > bytes.len() as i128 {
        Head::Part
    } else {
        let total = total as usize;
        Head::Whole(total, header, total - behind)
    }
}

/// Whether crc and trailer are right, and else which of them is not.
fn verdict(custom: &Custom, frame: &[u8], (start, end): (usize, usize)) -> Option<Counter> {
    let body = &frame[start..end];
    if let Some(field) = &custom.crc
        && number(field, frame) != Some(u64::from(crc32(body)))
    {
        return Some(Counter::BadChecksum);
    }
    let mut rest = &frame[frame.len() - trailer_len(&custom.trailer)..];
    if let Some((kind, endian, covers)) = custom.trailer.checksum {
        let covered = match covers {
            Covers::Body => body,
            Covers::All => &frame[..end],
        };
        let (sum, len) = match kind {
            Checksum::Crc32 => (crc32(covered), 4),
            Checksum::Sum8 => (
                covered.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256,
                1,
            ),
            Checksum::Xor8 => (
                covered.iter().fold(0, |sum, byte| sum ^ u32::from(*byte)),
                1,
            ),
        };
        let field = Field {
            offset: 0,
            bytes: len,
            endian,
        };
        if number(&field, rest) != Some(u64::from(sum)) {
            return Some(Counter::BadChecksum);
        }
        rest = &rest[len..];
    }
    let is_trailer = !matches!(custom.end, End::Delimiter { .. });
    (is_trailer && rest != custom.trailer.constant).then_some(Counter::BadConstant)
}

/// Sends `stream` through both, cut by `seed`, and reads every frame.
pub fn compare_custom(custom: &Custom, seed: u64, stream: &[u8]) -> Compared {
    let coded = Coded::custom(custom.clone()).expect("it was checked");
    let expected = read(custom, stream);
    let found = cut(&coded, seed, stream);
    assert_eq!(found, expected, "{custom:?}, seed {seed}");
    let format = AnyFormat::from(coded);
    let mut units = &stream[..found.units];
    while !units.is_empty() {
        let Head::Whole(total, start, end) = head(custom, units) else {
            panic!("it was whole")
        };
        let frame = &units[..total];
        units = &units[total..];
        match (format.read(frame), verdict(custom, frame, (start, end))) {
            (Ok(Some((len, message))), None) => {
                assert_eq!((len, &*message.body), (total, &frame[start..end]));
                said(custom, frame, &message);
                again(custom, &format, &message);
            }
            (Err(refusal), Some(counter)) => assert_eq!(refusal.counter, counter),
            (found, expected) => panic!("{found:?}, {expected:?}: {custom:?}"),
        }
    }
    found
}

/// The reference: as if the bytes came one by one.
fn read(custom: &Custom, stream: &[u8]) -> Compared {
    let mut trusted = matches!(custom.end, End::Delimiter { .. });
    let mut units = 0;
    // What was wrong first counts, even where its name had to wait.
    let mut wrong = None;
    for end in 1..=stream.len() {
        let bytes = &stream[units..end];
        let head = head(custom, bytes);
        if let Head::Bad(counter) = head {
            wrong.get_or_insert(counter);
        }
        if let Head::Whole(total, ..) = head {
            trusted = true;
            units += total;
            continue;
        }
        let mut refused = None;
        if !trusted {
            match beginning(bytes) {
                Beginning::Http(_) => refused = Some(Counter::SpokeHttp),
                Beginning::Tls(_) => refused = Some(Counter::SpokeTls),
                Beginning::Open => continue,
                Beginning::Frames => trusted = true,
            }
        }
        let refused = refused.or(wrong);
        if refused.is_some() {
            return Compared { units, refused };
        }
    }
    Compared {
        units,
        refused: None,
    }
}

/// purlin's cutter, as the reactor uses it.
fn cut(coded: &Coded, mut seed: u64, stream: &[u8]) -> Compared {
    let mut cutter = Frames::new(coded.clone()).cutter();
    let (mut units, mut end) = (0, 0);
    while end < stream.len() {
        end = stream.len().min(end + piece(&mut seed));
        let cut = cutter.cut(&stream[units..end]);
        units += cut.units;
        if let Then::Refuse(Refusal { counter, .. }) = cut.then {
            let refused = Some(counter);
            return Compared { units, refused };
        }
    }
    Compared {
        units,
        refused: None,
    }
}

fn said(custom: &Custom, frame: &[u8], message: &Message<'_>) {
    let id = custom.id.as_ref().map(|bits| masked(bits, frame));
    assert_eq!(message.id.map(u64::from), id);
    let sequence = custom.sequence.as_ref().map(|bits| masked(bits, frame));
    assert_eq!(u64::from(message.sequence), sequence.unwrap_or(0));
    let mut repeated = Vec::new();
    for one in &custom.repeated {
        for (n, mask) in one.mask.iter().enumerate() {
            repeated.push(frame[one.offset + n] & mask);
        }
    }
    let echo = message.echo.as_ref().map_or(&[][..], Echo::bytes);
    assert_eq!(echo, repeated);
}

/// What was read can be written, unless no frame of ours says it, and is the
/// same to the reference.
fn again(custom: &Custom, format: &AnyFormat, message: &Message<'_>) {
    let mut written = Vec::new();
    if let Err(error) = format.write(message, &mut written) {
        // A carriage return before a delimiter that takes one along, or a header
        // of ours that makes a delimiter with the body.
        let can = matches!(&custom.end, End::Delimiter { crlf, .. } if *crlf || custom.header > 0);
        assert!(can, "{error}: {custom:?}");
        return;
    }
    let Head::Whole(total, start, end) = head(custom, &written) else {
        panic!("{custom:?} wrote {written:02x?}")
    };
    assert_eq!(
        (total, &written[start..end]),
        (written.len(), &*message.body)
    );
    assert_eq!(verdict(custom, &written, (start, end)), None);
    let id = custom.id.as_ref().map(|bits| masked(bits, &written));
    assert_eq!(message.id.map(u64::from), id);
    let mut at = 0;
    for one in &custom.repeated {
        for (n, mask) in one.mask.iter().enumerate() {
            let echo = message.echo.as_ref().expect("a layout with echoes");
            let expected = echo.bytes()[at].wrapping_add(one.add);
            assert_eq!(written[one.offset + n] & mask, expected & mask);
            at += 1;
        }
    }
}

/// A layout of the input's own.
pub fn custom(head: &[u8; 24]) -> Custom {
    let endian = |byte: u8| {
        if byte & 128 == 0 {
            Endian::Big
        } else {
            Endian::Little
        }
    };
    let field = |byte: u8, bytes: usize| Field {
        offset: usize::from(byte & 15),
        bytes,
        endian: endian(byte),
    };
    let bits = |at: usize| {
        let bytes = 1 + usize::from(head[at + 1] & 3);
        let all = Bits::all(field(head[at], bytes));
        let run = u64::from(head[at + 1] >> 2);
        let mask = if run & 1 == 0 {
            all.mask
        } else {
            0xf << (run >> 1)
        };
        (head[0] & 1 << at != 0).then_some(Bits { mask, ..all })
    };
    let adjust = i64::from(i8::from_be_bytes([head[8]]));
    let end = match head[0] >> 6 {
        0 => End::Length(Length {
            field: field(head[6], [1, 2, 3, 4, 8, 2, 1, 2][usize::from(head[7] & 7)]),
            counts: if head[7] & 8 == 0 {
                Counts::Body
            } else {
                Counts::All
            },
            adjust,
        }),
        1 => End::Varint {
            offset: usize::from(head[6] & 15),
            bytes: usize::from(head[7] & 7),
            adjust,
        },
        2 => End::Delimiter {
            bytes: [&b"\n"[..], b"$_$", b"\r\n", b"aa"][usize::from(head[7] & 3)].to_vec(),
            crlf: head[7] & 4 != 0,
        },
        _ => End::Fixed(usize::from(head[7])),
    };
    let constant = |at: usize, bytes: &[u8]| Constant {
        offset: usize::from(head[at] & 15),
        bytes: bytes.to_vec(),
        mask: vec![if head[at] & 16 == 0 { 0xff } else { 0xf0 }; bytes.len()],
        is_checked: head[at] & 32 == 0,
    };
    let constants = [constant(9, &head[10..11]), constant(11, &head[12..14])];
    let width = usize::from(head[15] & 3) + 1;
    let repeated = Repeated {
        offset: usize::from(head[14] & 15),
        mask: vec![if head[15] & 4 == 0 { 0xff } else { 0x0f }; width],
        push: vec![0; width],
        add: u8::from(head[15] & 8 != 0),
    };
    let checksum = match head[16] & 3 {
        0 => None,
        1 => Some(Checksum::Crc32),
        2 => Some(Checksum::Sum8),
        _ => Some(Checksum::Xor8),
    };
    let covers = if head[16] & 4 == 0 {
        Covers::Body
    } else {
        Covers::All
    };
    let some = |byte: u8, bit: u8| usize::from(byte & bit != 0);
    Custom {
        end,
        id: bits(1),
        sequence: bits(3),
        crc: (head[0] & 32 != 0).then(|| field(head[17], 4)),
        constants: constants[..usize::from(head[18] & 3).min(2)].to_vec(),
        repeated: vec![repeated; some(head[18], 4)],
        header: usize::from(head[19] & 31),
        trailer: Trailer {
            checksum: checksum.map(|kind| (kind, endian(head[16]), covers)),
            constant: b"\x03\x04"[..usize::from(head[18] >> 4 & 3).min(2)].to_vec(),
        },
        max: usize::from(u16::from_be_bytes([head[20] & 3, head[21]])),
        heartbeat: None,
        error_id: None,
    }
}
