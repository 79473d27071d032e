//! Bytes written in hex, as in `"ca fe"`. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Some bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hex(pub Vec<u8>);

impl Hex {
    fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|char| *char != ' ')
            .map(|char| char.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        Some(Self(
            pairs.iter().map(|[high, low]| high << 4 | low).collect(),
        ))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom("bytes are written in hex, as in \"cafe01\"");
        let text = String::deserialize(from).map_err(|_no_text| refused())?;
        Self::parse(&text).ok_or_else(refused)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = self.0.iter().fold(String::new(), |mut text, byte| {
            let _never_fails = write!(text, "{byte:02x}");
            text
        });
        to.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_digits_are_bytes() {
        for (text, bytes) in [
            ("", Some(&[][..])),
            ("cafe01", Some(&[0xca, 0xfe, 1])),
            ("CA FE 01", Some(&[0xca, 0xfe, 1])),
            ("caf", None),
            ("0x01", None),
            ("é0", None),
        ] {
            let expected = bytes.map(|bytes| Hex(bytes.to_vec()));
            assert_eq!(Hex::parse(text), expected, "{text}");
        }
    }
}
