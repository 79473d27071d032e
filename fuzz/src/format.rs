//! Where the numbers of a header are, and what one frame says; slowly.

/// A number in a header.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Bytes before it.
    pub offset: usize,
    /// Its width.
    pub bytes: usize,
    /// Whether the highest byte comes last.
    pub little: bool,
}

impl Number {
    fn read(self, bytes: &[u8]) -> Option<u64> {
        let mut number = 0;
        for n in 0..self.bytes {
            let place = if self.little { self.bytes - 1 - n } else { n };
            number = number * 256 + u64::from(*bytes.get(self.offset + place)?);
        }
        Some(number)
    }
}

/// A frame format, as its table row says it.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The length.
    pub length: Number,
    /// Whether the length counts the header, too.
    pub all: bool,
    /// Added to the length.
    pub adjust: i64,
    /// The message id.
    pub id: Option<Number>,
    /// The number of the request.
    pub sequence: Option<Number>,
    /// The checksum of the body.
    pub crc: Option<Number>,
    /// Bytes before the body.
    pub header: usize,
    /// Bytes of the largest frame.
    pub max: usize,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Head {
    /// Part of a frame, or nothing.
    Part,
    /// A whole frame of so many bytes.
    Whole(usize),
    /// More than the largest.
    TooLong,
    /// Less than its own header.
    TooShort,
}

impl Format {
    /// What `bytes` begin with.
    pub fn head(&self, bytes: &[u8]) -> Head {
        let Some(said) = self.length.read(bytes) else {
            return Head::Part;
        };
        let header = if self.all { 0 } else { self.header as i128 };
        let total = i128::from(said) + i128::from(self.adjust) + header;
        if total > self.max as i128 {
            Head::TooLong
        } else if total < self.header as i128 {
            Head::TooShort
        } else if total > bytes.len() as i128 {
            Head::Part
        } else {
            Head::Whole(total as usize)
        }
    }

    /// Id, sequence and checksum of a whole frame.
    pub fn numbers(&self, frame: &[u8]) -> [Option<u64>; 3] {
        [self.id, self.sequence, self.crc].map(|number| number?.read(frame))
    }
}

const fn big(offset: usize, bytes: usize) -> Number {
    Number {
        offset,
        bytes,
        little: false,
    }
}

const fn little(offset: usize, bytes: usize) -> Number {
    Number {
        offset,
        bytes,
        little: true,
    }
}

const fn bare(length: Number, all: bool, header: usize, max: usize) -> Format {
    Format {
        length,
        all,
        adjust: 0,
        id: None,
        sequence: None,
        crc: None,
        header,
        max,
    }
}

const MIB: usize = 1 << 20;

/// The presets, with their names.
pub const PRESETS: [(&str, Format); 7] = [
    (
        "comm",
        Format {
            id: Some(big(2, 2)),
            crc: Some(big(4, 4)),
            ..bare(big(0, 2), true, 8, 29_000)
        },
    ),
    (
        "zinx",
        Format {
            id: Some(big(0, 4)),
            ..bare(big(4, 4), false, 8, MIB + 8)
        },
    ),
    (
        "zinx-ltv",
        Format {
            id: Some(little(4, 4)),
            ..bare(little(0, 4), false, 8, MIB + 8)
        },
    ),
    (
        "rpc",
        Format {
            id: Some(big(4, 4)),
            sequence: Some(big(8, 4)),
            crc: Some(big(12, 4)),
            ..bare(big(0, 4), false, 16, 16 * MIB + 16)
        },
    ),
    ("frame32", bare(big(0, 4), true, 4, MIB)),
    ("len16", bare(big(0, 2), false, 2, 65_537)),
    ("len32", bare(big(0, 4), false, 4, MIB + 4)),
];
