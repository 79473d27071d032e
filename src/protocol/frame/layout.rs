//! Where the fields of a header are, and how long a frame is. Pure.
//!
//! | preset | header | order | length counts | from |
//! |---|---|---|---|---|
//! | `comm` | u16 length · u16 id · u32 crc32 | big | all | my_nginx `COMM_PKG_HEADER` |
//! | `zinx` | u32 id · u32 length | big | body | zinx `DataPack` |
//! | `zinx-ltv` | u32 length · u32 id | little | body | zinx `DataPackLtv` |
//! | `rpc` | u32 length · u32 id · u32 sequence · u32 crc32 | big | body | purlin |
//! | `frame32` | u32 length | big | all | workerman `Frame` |
//! | `len16` | u16 length | big | body | skynet gate |
//! | `len32` | u32 length | big | body | Swoole `package_length_type = "N"` |

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plain::Frame;
use crate::protocol::Refusal;
use crate::scoreboard::Counter;

/// The order of a field's bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Endian {
    /// Highest byte first.
    #[default]
    Big,
    /// Lowest byte first.
    Little,
}

/// A number in the header.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Field {
    /// Bytes before it.
    pub offset: usize,
    /// Its width: 1, 2, 3, 4 or 8 bytes.
    pub bytes: usize,
    /// Its byte order.
    pub endian: Endian,
}

impl Field {
    const fn big(offset: usize, bytes: usize) -> Self {
        Self {
            offset,
            bytes,
            endian: Endian::Big,
        }
    }

    const fn little(offset: usize, bytes: usize) -> Self {
        Self {
            offset,
            bytes,
            endian: Endian::Little,
        }
    }

    /// Bytes up to and with the field.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.offset + self.bytes
    }

    /// The largest number that fits.
    #[must_use]
    pub const fn max(&self) -> u64 {
        if self.bytes >= 8 {
            u64::MAX
        } else {
            (1 << (8 * self.bytes)) - 1
        }
    }

    /// The number, from the start of a frame.
    ///
    /// # Panics
    ///
    /// When `frame` ends before the field does: the caller must look first.
    #[must_use]
    #[inline(always)]
    pub fn read(&self, frame: &[u8]) -> u64 {
        // One load of eight bytes where there are so many, whatever the width.
        let word = match frame[self.offset..].first_chunk() {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => self.last_word(frame),
        };
        let unused = 8 * (8 - self.bytes);
        match self.endian {
            Endian::Big => word >> unused,
            Endian::Little => word.swap_bytes() << unused >> unused,
        }
    }

    /// The field and zeroes behind it, of a frame that ends soon after it.
    #[cold]
    fn last_word(&self, frame: &[u8]) -> u64 {
        let mut word = [0; 8];
        word[..self.bytes].copy_from_slice(&frame[self.offset..self.end()]);
        u64::from_be_bytes(word)
    }

    /// Puts the number into its place; higher bytes than fit are dropped.
    #[inline(always)]
    pub(super) fn write(&self, frame: &mut [u8], number: u64) {
        let place = &mut frame[self.offset..self.end()];
        let big = number.to_be_bytes();
        match (self.endian, place) {
            // Widths that are known here become single stores.
            (Endian::Big, [a, b]) => [*a, *b] = [big[6], big[7]],
            (Endian::Big, [a, b, c, d]) => [*a, *b, *c, *d] = [big[4], big[5], big[6], big[7]],
            (Endian::Big, place) => place.copy_from_slice(&big[8 - self.bytes..]),
            (Endian::Little, place) => place.copy_from_slice(&number.to_le_bytes()[..self.bytes]),
        }
    }
}

/// What a length counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Header and body.
    All,
    /// The body alone.
    #[default]
    Body,
}

/// How long the frame is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Length {
    /// Where the number stands.
    pub field: Field,
    /// What it counts.
    pub counts: Counts,
    /// Added to what the field says.
    pub adjust: i64,
}

/// A frame format.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Layout {
    /// How long the frame is.
    pub length: Length,
    /// Message id, at most 4 bytes; `None`: every frame goes to `otherwise`.
    pub id: Option<Field>,
    /// Number of the request, at most 4 bytes, copied into its reply.
    pub sequence: Option<Field>,
    /// CRC-32 (IEEE, as zlib) of the body in 4 bytes; 0 for an empty body.
    pub crc: Option<Field>,
    /// Bytes before the body.
    pub header: usize,
    /// Bytes of the largest frame, header included.
    pub max: usize,
    /// Id that is answered with the same frame.
    pub heartbeat: Option<u32>,
    /// Id of error frames; `None`: an error closes the connection.
    pub error_id: Option<u32>,
}

/// Why no frame can look like this.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayoutError(pub(super) String);

impl LayoutError {
    /// An error with these words for whoever wrote the layout.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LayoutError {}

const MIB: usize = 1 << 20;

/// What is not said: four bytes of length, big-endian, that count a body of at
/// most 1 MiB behind them, and nothing else; the preset `len32`. For layouts that
/// name only what they have: `Layout { id, header, ..Layout::default() }`.
impl Default for Layout {
    fn default() -> Self {
        Self::preset("len32").expect("a preset")
    }
}

impl Layout {
    /// The layout of a preset, if there is one of this name.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        use Counts::{All, Body};
        let bare = |field: Field, counts, max| Self {
            length: Length {
                field,
                counts,
                adjust: 0,
            },
            id: None,
            sequence: None,
            crc: None,
            header: field.end(),
            max,
            heartbeat: None,
            error_id: None,
        };
        Some(match name {
            "comm" => Self {
                id: Some(Field::big(2, 2)),
                crc: Some(Field::big(4, 4)),
                header: 8,
                heartbeat: Some(0),
                error_id: Some(65_535),
                ..bare(Field::big(0, 2), All, 29_000)
            },
            "zinx" => Self {
                id: Some(Field::big(0, 4)),
                heartbeat: Some(99_999),
                error_id: Some(u32::MAX),
                ..bare(Field::big(4, 4), Body, 8 + MIB)
            },
            "zinx-ltv" => Self {
                id: Some(Field::little(4, 4)),
                header: 8,
                heartbeat: Some(99_999),
                error_id: Some(u32::MAX),
                ..bare(Field::little(0, 4), Body, 8 + MIB)
            },
            "rpc" => Self {
                id: Some(Field::big(4, 4)),
                sequence: Some(Field::big(8, 4)),
                crc: Some(Field::big(12, 4)),
                header: 16,
                heartbeat: Some(0),
                error_id: Some(u32::MAX),
                ..bare(Field::big(0, 4), Body, 16 + 16 * MIB)
            },
            "frame32" => bare(Field::big(0, 4), All, MIB),
            "len16" => bare(Field::big(0, 2), Body, 2 + 65_535),
            "len32" => bare(Field::big(0, 4), Body, 4 + MIB),
            _ => return None,
        })
    }

    /// Bytes that a body may have.
    #[must_use]
    pub const fn max_body(&self) -> usize {
        self.max - self.header
    }

    /// The largest frame of at most `wanted` bytes that the length field can
    /// express.
    #[must_use]
    pub fn largest(&self, wanted: usize) -> usize {
        let header = match self.length.counts {
            Counts::All => 0,
            Counts::Body => self.header as i128,
        };
        let most = i128::from(self.length.field.max()) + i128::from(self.length.adjust) + header;
        usize::try_from(most).unwrap_or(0).min(wanted)
    }

    /// Checks that such frames can exist.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] with the words for the operator.
    pub fn check(&self) -> Result<(), LayoutError> {
        let wrong = |text: String| Err(LayoutError(text));
        let fields = self.fields();
        for (name, field, widths) in &fields {
            if !widths.contains(&field.bytes) {
                return wrong(format!(
                    "{name}.bytes is {}, must be one of {widths:?}",
                    field.bytes
                ));
            }
            if field.end() > self.header {
                let (end, header) = (field.end(), self.header);
                return wrong(format!(
                    "{name} ends at byte {end}, behind the header of {header}"
                ));
            }
        }
        for (n, (name, field, _)) in fields.iter().enumerate() {
            let overlap = |(_, other, _): &&(_, Field, _)| {
                field.offset < other.end() && other.offset < field.end()
            };
            if let Some((other, ..)) = fields[..n].iter().find(overlap) {
                return wrong(format!("{name} and {other} overlap"));
            }
        }
        if self.header > 256 {
            return wrong(format!(
                "header is {} bytes, must be at most 256",
                self.header
            ));
        }
        if self.max <= self.header {
            let (max, header) = (self.max, self.header);
            return wrong(format!(
                "max is {max} bytes, must be over the header of {header}"
            ));
        }
        self.check_sums()?;
        let largest = i128::from(self.length.field.max());
        if self.claim(self.max) < 0 || self.claim(self.max) > largest {
            let max = self.max;
            return wrong(format!(
                "max is {max} bytes, which the length field cannot express"
            ));
        }
        if self.claim(self.header) < 0 {
            return wrong("length.adjust leaves no number for an empty body".to_owned());
        }
        for (name, id) in [("heartbeat", self.heartbeat), ("error_id", self.error_id)] {
            let fits = self.id.map_or(0, |field| field.max());
            if id.is_some_and(|id| u64::from(id) > fits) {
                return wrong(format!("{name} does not fit into the id field"));
            }
        }
        Ok(())
    }

    /// Within these bounds the sums of [`Self::measure`] are exact wherever they
    /// decide anything: a claim near the end of 64 bits stays too long.
    fn check_sums(&self) -> Result<(), LayoutError> {
        let (max, adjust) = (self.max, self.length.adjust);
        if u32::try_from(max).is_err() {
            let text = format!("max is {max} bytes, must be below 4 GiB");
            return Err(LayoutError(text));
        }
        if i32::try_from(adjust).is_err() {
            let text = format!("length.adjust is {adjust}, must be within 2 GiB of 0");
            return Err(LayoutError(text));
        }
        Ok(())
    }

    fn fields(&self) -> Vec<(&'static str, Field, &'static [usize])> {
        let number: &[usize] = &[1, 2, 3, 4];
        let wide: &[usize] = &[1, 2, 3, 4, 8];
        let optional =
            |name, field: Option<Field>, widths| field.map(|field| (name, field, widths));
        let mut fields = vec![("length", self.length.field, wide)];
        fields.extend(optional("id", self.id, number));
        fields.extend(optional("sequence", self.sequence, number));
        fields.extend(optional("crc", self.crc, &[4]));
        fields
    }

    /// What the length field says for a frame of `total` bytes.
    pub(super) fn claim(&self, total: usize) -> i128 {
        let counted = match self.length.counts {
            Counts::All => total,
            Counts::Body => total - self.header,
        };
        counted as i128 - i128::from(self.length.adjust)
    }

    /// The first frame of `bytes`, if all of it is there.
    ///
    /// # Errors
    ///
    /// What stands there can never be a frame: close the connection. The
    /// claimed length reserves nothing; it is only compared.
    #[doc(hidden)]
    #[inline(always)]
    pub fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<Frame<'a>>, Refusal> {
        let Some(total) = self.measure(bytes)? else {
            return Ok(None);
        };
        let number = |field: Option<Field>| field.map(|field| low_half(field.read(bytes)));
        Ok(Some(Frame {
            id: number(self.id),
            sequence: number(self.sequence).unwrap_or(0),
            crc: number(self.crc),
            total,
            body: &bytes[self.header..total],
        }))
    }

    /// Length of the first frame of `bytes`, if all of it is there.
    #[inline(always)]
    pub(super) fn measure(&self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        if bytes.len() < self.length.field.end() {
            return Ok(None);
        }
        let claimed = self.length.field.read(bytes);
        let counted = match self.length.counts {
            Counts::All => 0,
            Counts::Body => self.header as u64,
        };
        // No frame is as long as a field of 8 bytes can say: what does not fit
        // into 63 bits is too long, and the sums below cannot overflow.
        let total = i64::try_from(claimed.saturating_add(counted))
            .unwrap_or(i64::MAX)
            .saturating_add(self.length.adjust);
        match usize::try_from(total) {
            Ok(total) if total > self.max => Err(self.too_long(claimed)),
            Ok(total) if total >= self.header => Ok((bytes.len() >= total).then_some(total)),
            Ok(_) | Err(_) => Err(self.too_short(claimed)),
        }
    }

    #[cold]
    fn too_long(&self, claimed: u64) -> Refusal {
        let max = self.max;
        let detail = format!("frame claims a length of {claimed}, the largest has {max} bytes");
        Refusal {
            counter: Counter::TooLong,
            detail,
            answer: b"",
            about: Vec::new(),
        }
    }

    #[cold]
    fn too_short(&self, claimed: u64) -> Refusal {
        let header = self.header;
        let detail = format!(
            "frame claims a length of {claimed}, which leaves no room for its header of {header} bytes"
        );
        Refusal {
            counter: Counter::TooShort,
            detail,
            answer: b"",
            about: Vec::new(),
        }
    }
}

/// Fields other than the length are at most 4 bytes wide: see [`Layout::check`].
fn low_half(number: u64) -> u32 {
    let [.., a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
