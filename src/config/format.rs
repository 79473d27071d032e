//! From a table of fields to a frame format. Pure.

use super::layout::{
    ConstantField, CrcField, EchoField, Field, FrameLayout, LengthField, TrailerFields,
};
use crate::protocol::frame::{
    self, AnyFormat, Bits, Coded, Constant, Custom, End, Layout, LayoutError, Length, Repeated,
    Trailer,
};

/// Bytes of the largest frame where a layout does not say.
const MAX: usize = 1 << 20;

/// Bytes of a varint where its field does not say: those of 32 bits.
const VARINT: u8 = 5;

impl FrameLayout {
    /// What it describes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`]: no frame can look like this.
    pub fn format(&self) -> Result<AnyFormat, LayoutError> {
        let custom = self.custom()?;
        match self.plain(&custom) {
            Some(layout) => layout.check().map(|()| AnyFormat::Plain(layout)),
            None => Coded::custom(custom).map(AnyFormat::Coded),
        }
    }

    /// The format as one whose fields stand in fixed places and need no more
    /// than the presets do, if it is one.
    fn plain(&self, custom: &Custom) -> Option<Layout> {
        let End::Length(length) = custom.end else {
            return None;
        };
        let masks = [&self.id, &self.sequence].map(|field| field.as_ref()?.mask);
        let needs_more = !custom.constants.is_empty()
            || !custom.repeated.is_empty()
            || !custom.trailer.is_empty()
            || masks.iter().any(Option::is_some)
            // A body that may not be empty.
            || length.adjust > custom.around(length.counts);
        (!needs_more).then(|| Layout {
            length,
            id: custom.id.map(|id| id.field),
            sequence: custom.sequence.map(|sequence| sequence.field),
            crc: custom.crc,
            header: custom.header,
            max: custom.max,
            heartbeat: custom.heartbeat,
            error_id: custom.error_id,
        })
    }

    fn custom(&self) -> Result<Custom, LayoutError> {
        let bits = |field: &Option<Field>| field.as_ref().map(Field::bits);
        let end = self.end()?;
        let mut custom = Custom {
            id: bits(&self.id),
            sequence: bits(&self.sequence),
            crc: self.crc.as_ref().map(CrcField::field),
            constants: self.constants.iter().map(ConstantField::constant).collect(),
            repeated: self.repeated()?,
            trailer: self
                .trailer
                .as_ref()
                .map_or_else(Trailer::default, TrailerFields::trailer),
            header: 0,
            max: 0,
            heartbeat: self.heartbeat,
            error_id: self.error_id,
            end,
        };
        let before = match custom.end {
            End::Varint { offset, .. } => offset,
            End::Length(_) | End::Delimiter { .. } | End::Fixed(_) => custom.fields_end(),
        };
        custom.header = self.header.map_or(before, usize::from);
        let usual = match custom.end {
            End::Fixed(total) => total,
            End::Length(_) | End::Varint { .. } | End::Delimiter { .. } => custom.largest(MAX),
        };
        custom.max = self.max.unwrap_or(usual);
        if self.trailer.is_some() && custom.trailer.is_empty() {
            return Err(LayoutError::new("trailer has neither `checksum` nor `hex`"));
        }
        Ok(custom)
    }

    fn repeated(&self) -> Result<Vec<Repeated>, LayoutError> {
        let one = |(n, field): (usize, &EchoField)| {
            let (bytes, one) = (usize::from(field.bytes), field.repeated());
            if one.mask.len() == bytes {
                return Ok(one);
            }
            let mask = one.mask.len();
            let text =
                format!("echo.{n} has {bytes} bytes and {mask} in `mask`, must be equally many");
            Err(LayoutError::new(text))
        };
        self.echo.iter().enumerate().map(one).collect()
    }

    fn end(&self) -> Result<End, LayoutError> {
        let crlf = self.crlf;
        let end = match (&self.length, &self.delimiter, self.fixed) {
            (Some(length), None, None) => length.end()?,
            (None, Some(delimiter), None) => End::Delimiter {
                bytes: delimiter.clone().into_bytes(),
                crlf,
            },
            (None, None, Some(total)) => End::Fixed(usize::try_from(total).unwrap_or(usize::MAX)),
            _ => {
                let text = "it has one of `length`, `delimiter` and `fixed`";
                return Err(LayoutError::new(text));
            }
        };
        if crlf && self.delimiter.is_none() {
            return Err(LayoutError::new("crlf needs a delimiter"));
        }
        Ok(end)
    }
}

impl LengthField {
    fn end(&self) -> Result<End, LayoutError> {
        let (offset, adjust) = (usize::from(self.offset), self.adjust);
        if self.varint {
            if self.counts != frame::Counts::Body || self.endian != frame::Endian::Big {
                let text = "length is a varint: it counts the body and has no byte order";
                return Err(LayoutError::new(text));
            }
            return Ok(End::Varint {
                offset,
                bytes: self.bytes.unwrap_or(VARINT).into(),
                adjust,
            });
        }
        let Some(bytes) = self.bytes else {
            return Err(LayoutError::new("length.bytes is missing"));
        };
        Ok(End::Length(Length {
            field: frame::Field {
                offset,
                bytes: bytes.into(),
                endian: self.endian,
            },
            counts: self.counts,
            adjust,
        }))
    }
}

impl Field {
    fn bits(&self) -> Bits {
        let all = Bits::all(frame::Field {
            offset: self.offset.into(),
            bytes: self.bytes.into(),
            endian: self.endian,
        });
        Bits {
            mask: self.mask.map_or(all.mask, u64::from),
            ..all
        }
    }
}

impl CrcField {
    fn field(&self) -> frame::Field {
        frame::Field {
            offset: self.offset.into(),
            bytes: 4,
            endian: self.endian,
        }
    }
}

impl ConstantField {
    fn constant(&self) -> Constant {
        let all = || vec![0xff; self.hex.0.len()];
        Constant {
            offset: self.offset.into(),
            bytes: self.hex.0.clone(),
            mask: self.mask.as_ref().map_or_else(all, |mask| mask.0.clone()),
            is_checked: self.check,
        }
    }
}

impl EchoField {
    fn repeated(&self) -> Repeated {
        let bytes = usize::from(self.bytes);
        let all = || vec![0xff; bytes];
        let mask = self.mask.as_ref().map_or_else(all, |mask| mask.0.clone());
        let zeroes = || vec![0; bytes];
        Repeated {
            offset: self.offset.into(),
            push: self
                .push
                .as_ref()
                .map_or_else(zeroes, |push| push.0.clone()),
            mask,
            add: self.add,
        }
    }
}

impl TrailerFields {
    fn trailer(&self) -> Trailer {
        let checksum = self.checksum.map(|kind| (kind, self.endian, self.covers));
        let constant = self.hex.as_ref().map_or_else(Vec::new, |hex| hex.0.clone());
        Trailer { checksum, constant }
    }
}
