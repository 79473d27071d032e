//! Whether frames of a layout can exist, in words for whoever wrote it.

use super::super::codec::Echo;
use super::super::layout::{Counts, Field, LayoutError};
use super::{Bits, Custom, End};

/// Bytes of an [`ErrorBody`](super::ErrorBody) without text.
const ERROR_BODY: usize = 6;

/// Bits of the header that belong to somebody.
struct Claim {
    name: String,
    offset: usize,
    bits: Vec<u8>,
}

impl Claim {
    fn whole(name: &str, field: Field) -> Self {
        Self {
            name: name.to_owned(),
            offset: field.offset,
            bits: vec![0xff; field.bytes],
        }
    }

    const fn end(&self) -> usize {
        self.offset + self.bits.len()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let bits = |claim: &Self, at: usize| {
            let at = at.checked_sub(claim.offset)?;
            claim.bits.get(at).copied()
        };
        let both = self.offset.max(other.offset)..self.end().min(other.end());
        both.into_iter()
            .any(|at| bits(self, at).unwrap_or(0) & bits(other, at).unwrap_or(0) != 0)
    }
}

impl Custom {
    /// Checks that such frames can exist.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] with the words for the operator.
    pub fn check(&self) -> Result<(), LayoutError> {
        self.check_widths()?;
        self.check_places()?;
        self.check_end()?;
        let (least, most) = self.bodies();
        if least > most {
            return wrong(format!(
                "max is {} bytes, and a body has at least {least}",
                self.max
            ));
        }
        for (name, id, body) in [
            ("heartbeat", self.heartbeat, 0..=0),
            ("error_id", self.error_id, ERROR_BODY..=ERROR_BODY + 1),
        ] {
            let Some(id) = id else { continue };
            if u64::from(id) > self.id.map_or(0, |field| field.max()) {
                return wrong(format!("{name} does not fit into the id field"));
            }
            if *body.start() < least || *body.end() > most {
                return wrong(format!(
                    "{name} has a body of {} bytes, which no frame of this layout can have",
                    body.start()
                ));
            }
        }
        Ok(())
    }

    fn check_widths(&self) -> Result<(), LayoutError> {
        for (name, field) in [("id", self.id), ("sequence", self.sequence)] {
            let Some(Bits { field, mask }) = field else {
                continue;
            };
            if !(1..=4).contains(&field.bytes) {
                let bytes = field.bytes;
                return wrong(format!("{name}.bytes is {bytes}, must be from 1 to 4"));
            }
            let run = mask >> (mask.trailing_zeros() % u64::BITS);
            if mask == 0 || mask > field.max() || run & (run + 1) != 0 {
                let max = field.max();
                return wrong(format!(
                    "{name}.mask is {mask:#x}, must be one run of bits from 0x1 to {max:#x}"
                ));
            }
        }
        if let Some(field) = self.crc.filter(|field| field.bytes != 4) {
            return wrong(format!("crc.bytes is {}, must be 4", field.bytes));
        }
        for (n, one) in self.constants.iter().enumerate() {
            if one.bytes.is_empty() || one.mask.len() != one.bytes.len() {
                return wrong(format!(
                    "constants.{n} has {} bytes in `hex` and {} in `mask`, must be equally many",
                    one.bytes.len(),
                    one.mask.len()
                ));
            }
        }
        let mut repeated = 0;
        for (n, one) in self.repeated.iter().enumerate() {
            let bytes = one.mask.len();
            repeated += bytes;
            if bytes == 0 || one.push.len() != bytes {
                return wrong(format!(
                    "echo.{n} has {bytes} bytes and {} in `push`, must be equally many",
                    one.push.len()
                ));
            }
            if one.add != 0 && (bytes != 1 || one.mask != [0xff]) {
                return wrong(format!("echo.{n}.add needs a whole byte and no more"));
            }
        }
        if repeated > Echo::MAX {
            let max = Echo::MAX;
            return wrong(format!(
                "echo has {repeated} bytes in all, at most {max} fit"
            ));
        }
        Ok(())
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        if let End::Length(length) = &self.end {
            claims.push(Claim::whole("length", length.field));
        }
        let numbers = [("id", self.id), ("sequence", self.sequence)];
        claims.extend(numbers.into_iter().filter_map(|(name, bits)| {
            let bits = bits?;
            Some(Claim {
                name: name.to_owned(),
                offset: bits.field.offset,
                bits: bits.bits(),
            })
        }));
        claims.extend(self.crc.map(|field| Claim::whole("crc", field)));
        claims.extend(self.constants.iter().enumerate().map(|(n, one)| Claim {
            name: format!("constants.{n}"),
            offset: one.offset,
            bits: one.mask.clone(),
        }));
        claims.extend(self.repeated.iter().enumerate().map(|(n, one)| {
            let bits = one.mask.iter().zip(&one.push);
            Claim {
                name: format!("echo.{n}"),
                offset: one.offset,
                bits: bits.map(|(mask, push)| mask | push).collect(),
            }
        }));
        claims
    }

    fn check_places(&self) -> Result<(), LayoutError> {
        let claims = self.claims();
        let header = self.header;
        for (n, claim) in claims.iter().enumerate() {
            let (name, end) = (&claim.name, claim.end());
            if end > header {
                let what = match self.end {
                    End::Varint { .. } => "what stands before the varint",
                    End::Length(_) | End::Delimiter { .. } | End::Fixed(_) => "the header",
                };
                return wrong(format!(
                    "{name} ends at byte {end}, behind {what} of {header}"
                ));
            }
            if let Some(other) = claims[..n].iter().find(|other| other.overlaps(claim)) {
                return wrong(format!("{name} and {} overlap", other.name));
            }
        }
        if header > 256 {
            return wrong(format!("header is {header} bytes, must be at most 256"));
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), LayoutError> {
        // A varint as well: what has not ended in as many bytes as a frame may
        // have would be refused for this or for that, as its bytes happen to come.
        let varint = match self.end {
            End::Varint { bytes, .. } => bytes,
            End::Length(_) | End::Delimiter { .. } | End::Fixed(_) => 0,
        };
        let (max, around) = (self.max, self.header + varint + self.trailer.len());
        if u32::try_from(max).is_err() {
            return wrong(format!("max is {max} bytes, must be below 4 GiB"));
        }
        if max <= around && !matches!(self.end, End::Fixed(_)) {
            return wrong(format!(
                "max is {max} bytes, must be over the {around} around a body"
            ));
        }
        let adjust = match &self.end {
            End::Length(length) => length.adjust,
            End::Varint { adjust, .. } => *adjust,
            End::Delimiter { .. } | End::Fixed(_) => 0,
        };
        if i32::try_from(adjust).is_err() {
            let text = format!("length.adjust is {adjust}, must be within 2 GiB of 0");
            return wrong(text);
        }
        match &self.end {
            End::Length(length) => {
                let bytes = length.field.bytes;
                if ![1, 2, 3, 4, 8].contains(&bytes) {
                    let text = format!("length.bytes is {bytes}, must be one of [1, 2, 3, 4, 8]");
                    return wrong(text);
                }
            }
            &End::Varint { offset, bytes, .. } => {
                if !(1..=5).contains(&bytes) {
                    let text = format!("length.bytes is {bytes}, must be from 1 to 5 of a varint");
                    return wrong(text);
                }
                if offset != self.header {
                    let header = self.header;
                    return wrong(format!(
                        "header is {header} bytes, but the body begins behind the varint at {offset}"
                    ));
                }
            }
            End::Delimiter { bytes, .. } => {
                if !(1..=16).contains(&bytes.len()) {
                    let len = bytes.len();
                    return wrong(format!("delimiter has {len} bytes, must have 1 to 16"));
                }
                if !self.trailer.is_empty() {
                    return wrong("a trailer needs a length, and has a delimiter".to_owned());
                }
            }
            End::Fixed(total) => {
                if *total < around.max(1) || *total > max {
                    return wrong(format!(
                        "fixed is {total} bytes, must be from {} to {max}",
                        around.max(1)
                    ));
                }
            }
        }
        if self.largest(max) < max {
            let text = format!("max is {max} bytes, which the length field cannot express");
            return wrong(text);
        }
        Ok(())
    }

    /// The largest frame of at most `wanted` bytes that the length field can
    /// express.
    #[must_use]
    pub fn largest(&self, wanted: usize) -> usize {
        let around = (self.header + self.trailer.len()) as i128;
        let (number, counted, adjust) = match &self.end {
            End::Delimiter { .. } | End::Fixed(_) => return wanted,
            End::Length(length) => {
                let counted = match length.counts {
                    Counts::All => 0,
                    Counts::Body => around,
                };
                (length.field.max(), counted, length.adjust)
            }
            End::Varint { bytes, adjust, .. } => {
                let bits = 7 * u32::try_from(*bytes).unwrap_or(0).min(9);
                ((1 << bits) - 1, around + *bytes as i128, *adjust)
            }
        };
        let most = i128::from(number) + counted + i128::from(adjust);
        usize::try_from(most).unwrap_or(0).min(wanted)
    }
}

fn wrong<T>(text: String) -> Result<T, LayoutError> {
    Err(LayoutError::new(text))
}
