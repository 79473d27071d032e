//! Lists of networks as values: `["10.0.0.0/8", "::1"]`. Pure.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::value::{Given, Refusal, Value, quoted};
use crate::sys::network::Network;

/// A list of networks. Outside of the file, commas may stand for the brackets
/// and quotes: `10.0.0.0/8,::1`.
impl Value for Vec<Network> {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        match given {
            Given::Toml(value) => {
                let list = value.get_ref().as_array();
                let list = list.ok_or_else(|| Self::refusal(limits))?;
                list.iter().map(element).collect()
            }
            Given::Text(text) => {
                let texts = listed(text).ok_or_else(|| Self::refusal(limits))?;
                let networks = texts.iter().map(|text| text.parse());
                networks
                    .collect::<Result<_, String>>()
                    .map_err(|wrong| Refusal::Inside(wrong, None))
            }
        }
    }

    fn limits((): &()) -> String {
        r#"a list of networks such as ["10.0.0.0/8", "2001:db8::/32"]"#.into()
    }

    fn write(&self) -> String {
        let texts: Vec<String> = (self.iter())
            .map(|network| quoted(&network.to_string()))
            .collect();
        format!("[{}]", texts.join(", "))
    }
}

fn element(value: &Spanned<DeValue<'_>>) -> Result<Network, Refusal> {
    let inside = |wrong: String| Refusal::Inside(wrong, Some(value.span()));
    let text = value.get_ref().as_str();
    let text = text.ok_or_else(|| inside("a network is text, as in \"10.0.0.0/8\"".into()))?;
    text.parse().map_err(inside)
}

/// The elements of a list without its file.
pub(super) fn listed(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') {
        return Vec::deserialize(ValueDeserializer::parse(text).ok()?).ok();
    }
    let elements = text.split(',').map(str::trim);
    Some(match text.trim() {
        "" => Vec::new(),
        _ => elements.map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn lists_are_read_with_and_without_brackets() {
        for (text, expected) in [
            ("", &[][..]),
            ("[]", &[]),
            ("10.0.0.0/8", &["10.0.0.0/8"]),
            ("10.0.0.0/8, ::1", &["10.0.0.0/8", "::1"]),
            (r#"["10.0.0.0/8","::1"]"#, &["10.0.0.0/8", "::1"]),
        ] {
            let read = Vec::<Network>::read(&Given::Text(text.into()), &());
            assert_eq!(read, Ok(networks(expected)), "{text}");
        }
        for text in [
            "[",
            "[1]",
            "10.0.0.0/8,",
            "10.0.0.0",
            "nonsense",
            "10.0.0.1/8",
        ] {
            let read = Vec::<Network>::read(&Given::Text(text.into()), &());
            assert_eq!(read.is_err(), text != "10.0.0.0", "{text}");
        }
    }

    #[test]
    fn lists_are_written_as_they_are_read() {
        for texts in [&[][..], &["10.0.0.0/8"], &["::/0", "1.2.3.4"]] {
            let list = networks(texts);
            let read = Vec::<Network>::read(&Given::Text(list.write()), &());
            assert_eq!(read, Ok(list));
        }
    }
}
