//! How frames of a listener are laid out: a name, or a table of fields. Pure;
//! what a layout means, and whether its fields overlap, is for the frame
//! protocol to say.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use toml::de::ValueDeserializer;

use super::hex::Hex;
use super::nearest::nearest;
use super::value::{Given, Refusal, Value, parse_size, quoted, size_text};
pub use crate::protocol::frame::{Checksum, Counts, Covers, Endian};
use crate::protocol::frame::{PRESETS, is_name};

/// The value of a listener's `frame`.
#[derive(Clone, Debug, PartialEq)]
pub enum Framing {
    /// A preset, or a codec of the program: whether there is one of this name is
    /// for who has the program to say.
    Named(String),
    /// A layout of the user's own.
    Custom(Box<FrameLayout>),
}

/// A table of fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FrameLayout {
    /// How long the frame is: this, or one of the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthField>,
    /// What stands behind each frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// Bytes of every frame, header and trailer included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<u32>,
    /// Whether a carriage return before the delimiter belongs to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub crlf: bool,
    /// Message id; without it every message goes to `otherwise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Field>,
    /// Number of the request, copied into its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Field>,
    /// CRC-32 of the body, in 4 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc: Option<CrcField>,
    /// Bytes that are always the same.
    #[serde(
        default,
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub constants: Vec<ConstantField>,
    /// Bytes that a reply repeats from its request.
    #[serde(
        default,
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub echo: Vec<EchoField>,
    /// Bytes of the header; without it, up to the end of the last field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<u16>,
    /// What stands behind the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailer: Option<TrailerFields>,
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
    /// Its width in bytes; of a varint, the most that it has, and 5 without
    /// this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u8>,
    /// Whether it has seven bits in each byte, the lowest first, while the
    /// eighth says that another byte follows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub varint: bool,
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
    /// Which of its bits are the number; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
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

/// Bytes that are always the same.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantField {
    /// Bytes before them.
    pub offset: u16,
    /// The bytes.
    pub hex: Hex,
    /// Which of their bits; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Hex>,
    /// Whether other bytes close the connection; otherwise these are written,
    /// and what comes is not looked at.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub check: bool,
}

/// Bytes that a reply repeats from its request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EchoField {
    /// Bytes before them.
    pub offset: u16,
    /// How many they are.
    pub bytes: u8,
    /// Which of their bits; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Hex>,
    /// What stands there in a message that answers no request; without it,
    /// zeroes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<Hex>,
    /// Added to a single byte on its way into the reply; 0 comes behind 255.
    #[serde(default, skip_serializing_if = "is_default")]
    pub add: u8,
}

/// What stands behind the body: a checksum, constant bytes, or both in this
/// order.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrailerFields {
    /// The checksum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Its byte order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub endian: Endian,
    /// What it is of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub covers: Covers,
    /// The constant bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<Hex>,
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
        let layout = FrameLayout::deserialize(table).map_err(|error| inside(&error, given))?;
        if layout.length.is_none() && layout.delimiter.is_none() && layout.fixed.is_none() {
            let span = match given {
                Given::Toml(value) => Some(value.span()),
                Given::Text(_) => None,
            };
            let text = "missing field `length`: it has one of `length`, `delimiter` and `fixed`";
            return Err(Refusal::Inside(text.into(), span));
        }
        Ok(Self::Custom(Box::new(layout)))
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

/// As it stands in the file: `"rpc"`, or a table of fields; with or without
/// `frame =` before it, and for a name without its quotes.
impl FromStr for Framing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = match text.split_once('=') {
            Some((key, value)) if key.trim() == "frame" => value,
            Some(_) | None => text,
        };
        let value = value.trim();
        let name = value.strip_prefix('"').and_then(|s| s.strip_suffix('"'));
        let given = Given::Text(name.unwrap_or(value).to_owned());
        Self::read(&given, &()).map_err(|refusal| match refusal {
            Refusal::MustBe(limits) => format!("must be {limits}"),
            Refusal::Inside(why, _) => why,
        })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn yes() -> bool {
    true
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
const fn is_yes(flag: &bool) -> bool {
    *flag
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

/// A list of tables, or one without its brackets.
fn one_or_more<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Tables<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table, or a list of tables")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(table)).map(|one| vec![one])
        }
    }

    from.deserialize_any(Tables(PhantomData))
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
