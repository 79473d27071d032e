//! The parts of a frame that a [`Layout`](super::super::Layout) has no words for.

use serde::{Deserialize, Serialize};

use super::super::layout::{Endian, Field, Length};

/// How the end of a frame is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// A field says how long it is.
    Length(Length),
    /// A number of seven bits a byte, the lowest first, says how long the body
    /// is: while the eighth bit is set, another byte follows. The body begins
    /// behind it.
    Varint {
        /// Bytes before the number.
        offset: usize,
        /// Bytes that it has at most, 1 to 5.
        bytes: usize,
        /// Added to what it says.
        adjust: i64,
    },
    /// These bytes stand behind it.
    Delimiter {
        /// The bytes.
        bytes: Vec<u8>,
        /// A carriage return before them belongs to them.
        crlf: bool,
    },
    /// Every frame has so many bytes.
    Fixed(usize),
}

/// A number in some bits of the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bits {
    /// Where it stands.
    pub field: Field,
    /// Which bits of the field it has: one run of them.
    pub mask: u64,
}

impl Bits {
    /// A number that fills its field.
    #[must_use]
    pub const fn all(field: Field) -> Self {
        Self {
            field,
            mask: field.max(),
        }
    }

    /// The largest number that fits.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.mask >> (self.mask.trailing_zeros() % u64::BITS)
    }

    pub(super) fn read(&self, frame: &[u8]) -> u32 {
        let number = (self.field.read(frame) & self.mask) >> self.mask.trailing_zeros();
        u32::try_from(number).expect("a field of at most 4 bytes: see `check`")
    }

    /// Puts the number beside what stands there; higher bits than fit are
    /// dropped.
    pub(super) fn write(&self, frame: &mut [u8], number: u32) {
        let number = u64::from(number) << self.mask.trailing_zeros() & self.mask;
        let other = self.field.read(frame);
        self.field.write(frame, other | number);
    }

    /// The bits of each byte.
    pub(super) fn bits(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.field.bytes];
        let field = Field {
            offset: 0,
            ..self.field
        };
        field.write(&mut bytes, self.mask);
        bytes
    }
}

/// Bytes that are always the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constant {
    /// Bytes before them.
    pub offset: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Which bits of them; as many bytes.
    pub mask: Vec<u8>,
    /// Whether others are refused.
    pub is_checked: bool,
}

impl Constant {
    /// Where the first byte stands that is another one.
    pub(super) fn mismatch(&self, frame: &[u8]) -> Option<usize> {
        let found = frame.get(self.offset..).unwrap_or_default();
        let pairs = found.iter().zip(&self.bytes).zip(&self.mask);
        let differs = |((found, byte), mask): ((&u8, &u8), &u8)| (found ^ byte) & mask != 0;
        let at = pairs.into_iter().position(differs)?;
        Some(self.offset + at).filter(|_| self.is_checked)
    }

    pub(super) fn write(&self, header: &mut [u8]) {
        let place = header[self.offset..].iter_mut();
        for ((place, byte), mask) in place.zip(&self.bytes).zip(&self.mask) {
            *place |= byte & mask;
        }
    }
}

/// Bytes that a reply repeats from its request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repeated {
    /// Bytes before them.
    pub offset: usize,
    /// Which bits of them are repeated; as many bytes.
    pub mask: Vec<u8>,
    /// What stands there in a message that answers none; as many bytes.
    pub push: Vec<u8>,
    /// Added to a single byte on its way into the reply.
    pub add: u8,
}

impl Repeated {
    /// What a reply repeats of this frame.
    pub(super) fn read<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        let place = frame[self.offset..].iter();
        place.zip(&self.mask).map(|(byte, mask)| byte & mask)
    }

    /// Writes what a reply repeats, or what else stands there.
    pub(super) fn write(&self, header: &mut [u8], repeated: Option<&[u8]>) {
        let place = header[self.offset..].iter_mut();
        let add = if repeated.is_some() { self.add } else { 0 };
        for (place, byte) in place.zip(repeated.unwrap_or(&self.push)) {
            *place |= byte.wrapping_add(add);
        }
    }
}

/// What stands behind the body: a checksum, constant bytes, both, or nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trailer {
    /// The checksum, its byte order, and what it is of.
    pub checksum: Option<(Checksum, Endian, Covers)>,
    /// Constant bytes behind it.
    pub constant: Vec<u8>,
}

impl Trailer {
    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        let checksum = self.checksum.map_or(0, |(kind, ..)| kind.bytes());
        checksum + self.constant.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of a frame whose body begins behind `header` of these bytes.
    pub(super) fn of(&self, frame: &[u8], header: usize) -> Vec<u8> {
        let mut trailer = Vec::with_capacity(self.len());
        if let Some((kind, endian, covers)) = self.checksum {
            let from = match covers {
                Covers::Body => header,
                Covers::All => 0,
            };
            let sum = kind.of(&frame[from..]).to_le_bytes();
            let sum = sum.into_iter().take(kind.bytes());
            match endian {
                Endian::Little => trailer.extend(sum),
                Endian::Big => trailer.extend(sum.rev()),
            }
        }
        trailer.extend_from_slice(&self.constant);
        trailer
    }
}

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// CRC-32 (IEEE, as zlib), in 4 bytes.
    Crc32,
    /// All bytes added up, the lowest 8 bits.
    Sum8,
    /// Exclusive or of all bytes.
    Xor8,
}

impl Checksum {
    const fn bytes(self) -> usize {
        match self {
            Self::Crc32 => 4,
            Self::Sum8 | Self::Xor8 => 1,
        }
    }

    fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Crc32 => crc32fast::hash(bytes),
            Self::Sum8 => bytes
                .iter()
                .fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
                .into(),
            Self::Xor8 => bytes.iter().fold(0, |sum, byte| sum ^ byte).into(),
        }
    }
}

/// What a checksum is of.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Covers {
    /// The body.
    #[default]
    Body,
    /// Header and body.
    All,
}
