//! Where a frame ends: by its length, its delimiter or its place, unless its
//! constants are others.

use super::super::layout::Counts;
use super::{Custom, End};
use crate::protocol::Refusal;
use crate::scoreboard::Counter;

/// What the first bytes of a frame say about its length.
struct Extent {
    /// So many of them were needed to know it.
    decided: usize,
    /// The length; `None` when more bytes are needed.
    total: Result<Option<usize>, Refusal>,
}

impl Extent {
    const fn open() -> Self {
        Self {
            decided: usize::MAX,
            total: Ok(None),
        }
    }
}

impl Custom {
    /// Length of the first frame of `bytes`, whether it is there or not.
    pub(super) fn end_of(
        &self,
        bytes: &[u8],
        looked: &mut usize,
    ) -> Result<Option<usize>, Refusal> {
        let Extent { decided, total } = self.extent(bytes, looked);
        // Whatever is known first decides, as if the bytes came one by one. A
        // frame that is one has room for its header, so these are its bytes.
        match self.mismatch(bytes) {
            Some(at) if at < decided || total.is_ok() => Err(not_constant(at, bytes[at])),
            Some(_) | None => total,
        }
    }

    fn extent(&self, bytes: &[u8], looked: &mut usize) -> Extent {
        match &self.end {
            End::Fixed(total) => Extent {
                decided: 0,
                total: Ok(Some(*total)),
            },
            End::Length(length) => {
                let decided = length.field.end();
                if bytes.len() < decided {
                    return Extent::open();
                }
                let counted = match length.counts {
                    Counts::All => 0,
                    Counts::Body => self.header + self.trailer.len(),
                };
                let claimed = length.field.read(bytes);
                let total = self.sum(claimed, counted, length.adjust, self.header);
                Extent { decided, total }
            }
            &End::Varint {
                offset,
                bytes: most,
                adjust,
            } => {
                let number = bytes.get(offset..).unwrap_or_default();
                let Some((claimed, len)) = varint(&number[..number.len().min(most)]) else {
                    if number.len() < most {
                        return Extent::open();
                    }
                    let detail = format!("a length of more than {most} bytes");
                    return Extent {
                        decided: offset + most,
                        total: Err(Refusal::malformed(detail)),
                    };
                };
                let header = offset + len;
                let total = self.sum(claimed, header + self.trailer.len(), adjust, header);
                Extent {
                    decided: header,
                    total,
                }
            }
            End::Delimiter { bytes: end, .. } => {
                // Its first bytes may have been the last that came.
                let from = looked.saturating_sub(end.len() - 1);
                let Some(at) = memchr::memmem::find(&bytes[from..], end) else {
                    *looked = bytes.len();
                    return Extent::open();
                };
                let (body, decided) = (from + at, from + at + end.len());
                let total = if body < self.header {
                    Err(self.too_short(body as u64))
                } else {
                    Ok(Some(decided))
                };
                Extent { decided, total }
            }
        }
    }

    /// The length of a frame that claims `claimed` beside `counted` bytes.
    fn sum(
        &self,
        claimed: u64,
        counted: usize,
        adjust: i64,
        header: usize,
    ) -> Result<Option<usize>, Refusal> {
        let total = i128::from(claimed) + counted as i128 + i128::from(adjust);
        match usize::try_from(total) {
            Ok(total) if total > self.max => Err(self.too_long(claimed)),
            Ok(total) if total >= header + self.trailer.len() => Ok(Some(total)),
            Ok(_) => Err(self.too_short(claimed)),
            Err(_) if total < 0 => Err(self.too_short(claimed)),
            Err(_) => Err(self.too_long(claimed)),
        }
    }

    /// The first byte that is not the constant that it should be.
    fn mismatch(&self, bytes: &[u8]) -> Option<usize> {
        let constants = self.constants.iter();
        constants.filter_map(|one| one.mismatch(bytes)).min()
    }

    fn too_long(&self, claimed: u64) -> Refusal {
        let max = self.max;
        Refusal {
            counter: Counter::TooLong,
            detail: format!("frame claims a length of {claimed}, the largest has {max} bytes"),
            answer: b"",
            about: Vec::new(),
        }
    }

    fn too_short(&self, claimed: u64) -> Refusal {
        let around = self.header + self.trailer.len();
        Refusal {
            counter: Counter::TooShort,
            detail: format!(
                "frame of a length of {claimed} has no room for the {around} bytes around its body"
            ),
            answer: b"",
            about: Vec::new(),
        }
    }
}

#[cold]
pub(super) fn not_constant(at: usize, found: u8) -> Refusal {
    Refusal {
        counter: Counter::BadConstant,
        detail: format!(
            "byte {at} of a frame is {found:02x}, which its layout does not have there"
        ),
        answer: b"",
        about: Vec::new(),
    }
}

/// The number at the start of `bytes`, and how many bytes it has; `None` when
/// its last byte is not there.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (at, byte) in (0_u32..).zip(bytes.iter().take(9)) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at as usize + 1));
        }
    }
    None
}
