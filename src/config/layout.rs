//! How frames of a listener are laid out: a name, or a table of fields. Pure; what a layout means, and whether its fields overlap, is for
//! the frame protocol to say.

use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::nearest::nearest;
use super::value::{Given, Refusal, Value, parse_size, quoted, size_text};
use crate::protocol::frame::{PRESETS, is_name};

/// The value of a listener's `frame`.
#[derive(Clone, Debug, PartialEq)]
pub enum Framing {
    /// A preset, or a codec of the program: whether there is one of this name is
    /// for who has the program to say.
    Named(String),
    /// A layout of the user's own.
    Custom(FrameLayout),
}

/// Where the fields of a frame's header are.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FrameLayout {
    /// How long the frame is.
    pub length: LengthField,
    /// Message id; without it every message goes to `otherwise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Field>,
    /// Number of the request, copied into its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Field>,
    /// CRC-32 of the body, in 4 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc: Option<CrcField>,
    /// Bytes of the header; without it, up to the end of the last field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<u16>,
    /// Bytes of the largest frame, header included; written as a size. Without
    /// it, 1 MiB.
    #[serde(
        default,
        with = "optional_size",
        skip_serializing_if = "Option::is_none"
    )]
    pub max: Option<usize>,
    /// Id of the heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u32>,
    /// Id of error frames; without it an error closes the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_id: Option<u32>,
}

/// The field that holds the length.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LengthField {
    /// Bytes before it.
    pub offset: u16,
    /// Its width in bytes.
    pub bytes: u8,
    /// Its byte order.
    #[serde(default)]
    pub endian: Endian,
    /// What it counts.
    #[serde(default)]
    pub counts: Counts,
    /// Added to what the field says.
    #[serde(default)]
    pub adjust: i64,
}

/// A field that holds a number.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Bytes before it.
    pub offset: u16,
    /// Its width in bytes.
    pub bytes: u8,
    /// Its byte order.
    #[serde(default)]
    pub endian: Endian,
}

/// The field that holds the checksum.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CrcField {
    /// Bytes before it.
    pub offset: u16,
    /// Its byte order.
    #[serde(default)]
    pub endian: Endian,
}

/// Byte order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Endian {
    /// Highest byte first.
    #[default]
    Big,
    /// Lowest byte first.
    Little,
}

/// What a length counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Header and body.
    All,
    /// The body alone.
    #[default]
    Body,
}

impl Value for Framing {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let table = match given {
            Given::Toml(value) if value.get_ref().is_table() => {
                ValueDeserializer::from((*value).clone())
            }
            Given::Text(text) if text.starts_with('{') => {
                ValueDeserializer::parse(text).map_err(|error| inside(&error, given))?
            }
            Given::Toml(_) | Given::Text(_) => {
                let name = given.text().filter(|name| is_name(name));
                let name = name.ok_or_else(|| Self::refusal(limits))?;
                return Ok(Self::Named(name.to_owned()));
            }
        };
        FrameLayout::deserialize(table)
            .map(Self::Custom)
            .map_err(|error| inside(&error, given))
    }

    fn limits((): &()) -> String {
        let presets = PRESETS.join(", ");
        format!("one of {presets}, the name of a codec, or a table of fields")
    }

    fn write(&self) -> String {
        match self {
            Self::Named(name) => quoted(name),
            Self::Custom(layout) => toml::Value::try_from(layout)
                .expect("numbers that fit an i64 and short names are TOML")
                .to_string(),
        }
    }
}

/// What is wrong inside a layout, and where, if it is in the file. Of a mistyped
/// field serde lists all that it knows; the reader wants the nearest.
pub(super) fn inside(error: &toml::de::Error, given: &Given<'_>) -> Refusal {
    let span = error.span().filter(|_| matches!(given, Given::Toml(_)));
    let message = error.message();
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = message
        .starts_with("unknown field")
        .then(|| names.next())
        .flatten();
    let known = unknown.and_then(|unknown| Some((unknown, nearest(unknown, names)?)));
    let message = known.map_or_else(
        || message.to_owned(),
        |(unknown, near)| format!("unknown key `{unknown}`; the nearest known one is `{near}`"),
    );
    Refusal::Inside(message, span)
}

/// A size with its unit inside a serde struct.
mod optional_size {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{parse_size, size_text};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<usize>, D::Error> {
        let refused = || de::Error::custom("a size needs its unit, as in \"64KiB\"");
        let text = String::deserialize(from).map_err(|_no_text| refused())?;
        parse_size(&text).map(Some).ok_or_else(refused)
    }

    #[allow(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(super) fn serialize<S: Serializer>(size: &Option<usize>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_some(&size.map(size_text))
    }
}
