//! Bodies and queries of HTML forms: `name=value&name=value`, percent-encoded.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::percent_decode;
use serde::de::value::{Error as Refused, MapAccessDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Error, FromBody, Raw};

/// The body of a form that a browser sent (`application/x-www-form-urlencoded`),
/// as a struct: `Form(login): Form<Login>`. A body that is none answers 400 with
/// the name of the field.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned> FromBody for Form<T> {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        from_pairs(body.bytes()).map(Self)
    }
}

/// A struct from `name=value&…`. Values are text, numbers, booleans, unit
/// variants or `Option`s of these; of a name that comes twice serde says so.
///
/// # Errors
///
/// 400, with the field that is missing or wrong.
pub fn from_pairs<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    let fields = Fields {
        pairs: pairs(text),
        at: None,
    };
    T::deserialize(MapAccessDeserializer::new(fields)).map_err(|error: Refused| {
        Error::new(
            400,
            format!("the form or query is not as expected: {error}"),
        )
    })
}

/// The decoded names and values; what is no UTF-8 is replaced.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let at = pair.iter().position(|&byte| byte == b'=');
            let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            (decoded(name), decoded(value))
        })
}

/// `+` is a space in forms, and only there.
fn decoded(text: &[u8]) -> Cow<'_, str> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return String::from_utf8_lossy(text);
    }
    let spaced: Vec<u8> = text
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    let bytes: Vec<u8> = percent_decode(&spaced).collect();
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names and values, as serde asks for them: what is wrong with a value is said
/// with its name.
struct Fields<'a, I> {
    pairs: I,
    /// The pair whose name was asked for.
    at: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'de, I: Iterator<Item = (Cow<'de, str>, Cow<'de, str>)>> MapAccess<'de> for Fields<'de, I> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        self.at = self.pairs.next();
        let name = self.at.as_ref().map(|(name, _)| name.clone());
        name.map(|name| seed.deserialize(name.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let (name, value) = self.at.take().unwrap_or_default();
        seed.deserialize(Value(value))
            .map_err(|error| de::Error::custom(format_args!("`{name}`: {error}")))
    }
}

/// Text that becomes whatever is asked for.
struct Value<'a>(Cow<'a, str>);

impl Value<'_> {
    fn parsed<T: FromStr<Err: Display>>(&self) -> Result<T, Refused> {
        let text = &self.0;
        text.parse()
            .map_err(|error| de::Error::custom(format_args!("`{text}`: {error}")))
    }
}

macro_rules! numbers {
    ($($deserialize:ident $visit:ident)*) => { $(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            visitor.$visit(self.parsed()?)
        }
    )* };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Refused;

    numbers! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8
        deserialize_i16 visit_i16
        deserialize_i32 visit_i32
        deserialize_i64 visit_i64
        deserialize_u8 visit_u8
        deserialize_u16 visit_u16
        deserialize_u32 visit_u32
        deserialize_u64 visit_u64
        deserialize_f32 visit_f32
        deserialize_f64 visit_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_string(self.0.into_owned())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(self.0.into_owned().into_deserializer())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any i128 u128
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        name: String,
        age: Option<u8>,
        #[serde(default)]
        admin: bool,
    }

    #[test]
    fn forms_become_structs() {
        let ann = |age, admin| Wanted {
            name: "ann b".to_owned(),
            age,
            admin,
        };
        for (text, expected) in [
            ("name=ann+b", ann(None, false)),
            ("&name=ann%20b&age=7&other=x", ann(Some(7), false)),
            ("admin=true&name=a%6En+b", ann(None, true)),
        ] {
            assert_eq!(from_pairs(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "`name`"),
            ("name=a&age=300", "`300`"),
            ("name=a&admin=perhaps", "`perhaps`"),
            ("name=a&name=b", "duplicate field `name`"),
        ] {
            let error = from_pairs::<Wanted>(text.as_bytes()).unwrap_err();
            assert_eq!(error.code, 400);
            assert!(error.text.contains(word), "{text}: {}", error.text);
        }
    }
}
