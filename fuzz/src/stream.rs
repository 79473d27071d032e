//! A whole stream through purlin's cutter in random pieces, and through the
//! reference byte by byte: both must find the same frames and the same end.

use purlin::protocol::frame::{Frames, Layout, encode};
use purlin::protocol::{Protocol, Refusal, Then};
use purlin::scoreboard::Counter;

use crate::format::{Format, Head};
use crate::{Beginning, beginning, crc32};

/// What came of it, for the targets to count on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compared {
    /// Bytes of whole frames.
    pub units: usize,
    /// Why the rest was refused.
    pub refused: Option<Counter>,
}

/// Sends `stream` through both, cut by `seed`.
pub fn compare(layout: &Layout, format: &Format, seed: u64, stream: &[u8]) -> Compared {
    let expected = read(format, stream);
    let found = cut(layout, seed, stream);
    assert_eq!(found, expected, "{format:?}, seed {seed}");
    decode(layout, format, &stream[..found.units]);
    found
}

/// The reference: as if the bytes came one by one.
fn read(format: &Format, stream: &[u8]) -> Compared {
    let mut trusted = false;
    let mut units = 0;
    for end in 1..=stream.len() {
        let bytes = &stream[units..end];
        let head = format.head(bytes);
        if let Head::Whole(total) = head {
            trusted = true;
            units += total;
            continue;
        }
        let refused = if trusted {
            None
        } else {
            match beginning(bytes) {
                Beginning::Http(_) => Some(Counter::SpokeHttp),
                Beginning::Tls(_) => Some(Counter::SpokeTls),
                // What it may become decides what to call it.
                Beginning::Open => continue,
                Beginning::Frames => {
                    trusted = true;
                    None
                }
            }
        };
        let refused = refused.or(match head {
            Head::TooLong => Some(Counter::TooLong),
            Head::TooShort => Some(Counter::TooShort),
            Head::Part | Head::Whole(_) => None,
        });
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
fn cut(layout: &Layout, mut seed: u64, stream: &[u8]) -> Compared {
    let mut cutter = Frames::new(layout.clone()).cutter();
    let (mut units, mut end) = (0, 0);
    while end < stream.len() {
        end = stream.len().min(end + piece(&mut seed));
        let cut = cutter.cut(&stream[units..end]);
        units += cut.units;
        assert!(units <= end, "found more than there is");
        if let Then::Refuse(Refusal { counter, .. }) = cut.then {
            return Compared {
                units,
                refused: Some(counter),
            };
        }
    }
    Compared {
        units,
        refused: None,
    }
}

/// Small pieces most of the time, now and then a large one.
pub(crate) fn piece(seed: &mut u64) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    let random = (*seed >> 40) as usize;
    if random % 4 == 0 {
        1 + random % 1024
    } else {
        1 + random % 7
    }
}

/// Every frame's numbers, body and checksum; and back to the same bytes.
fn decode(layout: &Layout, format: &Format, mut units: &[u8]) {
    while !units.is_empty() {
        let frame = layout.frame(units).expect("it was cut").expect("whole");
        let bytes = &units[..frame.total];
        let [id, sequence, crc] = format.numbers(bytes);
        assert_eq!(frame.id.map(u64::from), id);
        assert_eq!(u64::from(frame.sequence), sequence.unwrap_or(0));
        assert_eq!(frame.crc.map(u64::from), crc);
        assert_eq!(frame.body, &bytes[format.header..]);
        let right = u64::from(crc32(frame.body));
        assert_eq!(frame.verify().is_ok(), crc.is_none_or(|crc| crc == right));
        again(layout, format, &frame, bytes);
        units = &units[frame.total..];
    }
}

/// What was read can be written: the same frame, its gaps and checksum aside.
fn again(
    layout: &Layout,
    format: &Format,
    frame: &purlin::protocol::frame::Frame<'_>,
    bytes: &[u8],
) {
    let mut written = Vec::new();
    encode(layout, frame.id, frame.sequence, frame.body, &mut written).expect("it was legal");
    assert_eq!(format.head(&written), Head::Whole(bytes.len()));
    let (numbers, before) = (format.numbers(&written), format.numbers(bytes));
    assert_eq!(numbers[..2], before[..2]);
    let right = format.crc.map(|_| u64::from(crc32(frame.body)));
    assert_eq!(numbers[2], right);
    assert_eq!(&written[format.header..], frame.body);
}
