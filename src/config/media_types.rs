//! The value of `http.types`: a table of what names end with and their media
//! types. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::de::ValueDeserializer;

use super::layout::inside;
use super::value::{Given, Refusal, Value};

/// Media types by what the names of files end with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MediaTypes(pub BTreeMap<String, String>);

impl Value for MediaTypes {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let table = match given {
            Given::Toml(value) if value.get_ref().is_table() => {
                ValueDeserializer::from((*value).clone())
            }
            Given::Text(text) if text.is_empty() => return Ok(Self::default()),
            Given::Text(text) if text.starts_with('{') => {
                ValueDeserializer::parse(text).map_err(|error| inside(&error, given))?
            }
            Given::Toml(_) | Given::Text(_) => return Err(Self::refusal(limits)),
        };
        let types = BTreeMap::deserialize(table).map_err(|error| inside(&error, given))?;
        Ok(Self(types))
    }

    fn limits((): &()) -> String {
        r#"a table such as { ts = "video/mp2t", md = "text/markdown" }"#.into()
    }

    fn write(&self) -> String {
        let rows = self.0.iter();
        let rows = rows.map(|(end, media)| (end.clone(), media.as_str().into()));
        toml::Value::Table(rows.collect()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MediaTypes, Refusal> {
        MediaTypes::read(&Given::Text(text.into()), &())
    }

    #[test]
    fn a_table_is_written_as_it_is_read() {
        for (text, written) in [
            ("", "{}"),
            ("{}", "{}"),
            (
                r#"{ ts = "video/mp2t", "c++" = "a/b" }"#,
                r#"{ "c++" = "a/b", ts = "video/mp2t" }"#,
            ),
        ] {
            let types = read(text).unwrap();
            assert_eq!(types.write(), written);
            assert_eq!(read(written).unwrap(), types);
        }
        for odd in ["a\nb", "", "\"", "'", "\\", "\u{0}", "ä", "a.b"] {
            let types = MediaTypes([(odd.into(), odd.into())].into());
            let written = types.write();
            assert_eq!(read(&written).unwrap(), types, "{written}");
        }
    }

    #[test]
    fn what_is_no_table_of_texts_is_refused() {
        for text in ["ts", "[]", "{ ts = 1 }", "{ ts }", "{ ts = [\"a/b\"] }"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
