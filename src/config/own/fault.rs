//! What is wrong with a value of the program's own. Pure.

use std::fmt;

use super::super::nearest::nearest;
use super::super::place::printable;
use super::super::value::one_of;
use super::super::{ConfigError, Place, dotted};
use super::node::Node;

/// What is wrong, and from when that is known, where.
#[derive(Debug)]
pub(super) struct Fault {
    said: Said,
    at: Option<Box<(Place, String)>>,
}

#[derive(Debug)]
enum Said {
    /// The value must be this.
    MustBe(String),
    /// Something else is wrong with it.
    Other(String),
    /// A key has no value.
    Missing(&'static str),
    /// There is no such key, but these.
    Unknown(String, &'static [&'static str]),
}

impl Fault {
    const fn new(said: Said) -> Self {
        Self { said, at: None }
    }

    pub(super) const fn must_be(what: String) -> Self {
        Self::new(Said::MustBe(what))
    }

    /// The key itself is wrong: there are none but `known`.
    pub(super) fn unknown(key: &str, known: &[&str], place: &Place) -> Self {
        let shown = printable(key);
        let (table, _) = key.rsplit_once('.').unwrap_or_default();
        let known: Vec<String> = known.iter().map(|name| dotted(table, name)).collect();
        let message = match nearest(key, known.iter().map(String::as_str)) {
            Some(near) => format!("unknown key `{shown}`; the nearest known one is `{near}`"),
            None if known.is_empty() => format!("unknown key `{shown}`"),
            None => format!("unknown key `{shown}`; {table} has {}", known_names(&known)),
        };
        Self {
            said: Said::Other(String::new()),
            at: Some(Box::new((place.clone(), message))),
        }
    }

    /// The same, of the value `node` of `key`, unless it is known to be of one
    /// inside of it.
    pub(super) fn of(mut self, key: &str, node: &Node) -> Self {
        if self.at.is_some() {
            return self;
        }
        let Node { place, shown, .. } = node;
        let is = if shown.is_empty() {
            String::new()
        } else {
            format!(" is {shown}")
        };
        let message = match &self.said {
            Said::MustBe(what) if is.is_empty() => format!("{key} must be {what}"),
            Said::MustBe(what) => format!("{key}{is}, must be {what}"),
            Said::Other(text) => format!("{key}{is}: {text}"),
            Said::Missing(name) => {
                let name = dotted(key, name);
                format!("{name} is missing, and has no default")
            }
            Said::Unknown(name, known) => {
                let entries = node.value.table().unwrap_or_default();
                let entry = entries.iter().find(|entry| entry.key == *name);
                let place = entry.map_or(place, |entry| &entry.place);
                return Self::unknown(&dotted(key, name), known, place);
            }
        };
        self.at = Some(Box::new((place.clone(), message)));
        self
    }

    /// As operators see it.
    pub(super) fn into_error(self, key: &str, node: &Node) -> ConfigError {
        let (place, message) = (self.of(key, node).at).map_or_else(
            || (Place::Default, format!("{key} cannot be read")),
            |at| *at,
        );
        match place {
            Place::Default => ConfigError::Missing { message },
            place @ (Place::File(_) | Place::Variable(_) | Place::Flag(_)) => {
                ConfigError::Refused { place, message }
            }
        }
    }
}

fn known_names(known: &[String]) -> String {
    let leaf = |key: &String| key.rsplit('.').next().unwrap_or_default().to_owned();
    known.iter().map(leaf).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.at, &self.said) {
            (Some(at), _) => f.write_str(&at.1),
            (None, Said::MustBe(what)) => write!(f, "must be {what}"),
            (None, Said::Other(text)) => f.write_str(text),
            (None, Said::Missing(name)) => write!(f, "{name} is missing"),
            (None, Said::Unknown(name, _)) => write!(f, "unknown key `{name}`"),
        }
    }
}

impl std::error::Error for Fault {}

/// What types and `derive` say. Who says "must be …" is quoted like our own
/// limits.
impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.strip_prefix("must be ") {
            Some(what) => Self::must_be(what.to_owned()),
            None => Self::new(Said::Other(text)),
        }
    }

    fn invalid_type(_: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::must_be(expected.to_string())
    }

    fn invalid_value(_: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::must_be(expected.to_string())
    }

    fn invalid_length(_: usize, expected: &dyn serde::de::Expected) -> Self {
        Self::must_be(expected.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::must_be(one_of(expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Said::Unknown(field.to_owned(), expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Said::Missing(field))
    }
}
