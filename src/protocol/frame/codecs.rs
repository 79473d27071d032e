//! The codecs of a program, by the names that `frame` uses.

use std::collections::BTreeMap;

use super::codec::{Codec, Coded};

/// Codecs by name.
#[derive(Clone, Debug, Default)]
pub struct Codecs(BTreeMap<String, Coded>);

impl Codecs {
    /// No codec.
    pub const NONE: &'static Self = &Self(BTreeMap::new());

    /// Adds `codec` as `name`.
    ///
    /// # Panics
    ///
    /// When the name is taken, by a codec or a preset, or is none that `frame`
    /// can have: letters, digits, `-`, `_` and `.`, at most 64.
    pub fn add(&mut self, name: &str, codec: impl Codec) {
        assert!(
            is_name(name),
            "{name:?} is no name for a codec: letters, digits, `-`, `_` and `.` make one"
        );
        assert!(
            !super::PRESETS.contains(&name),
            "`{name}` is a preset: a codec needs a name of its own"
        );
        let earlier = self.0.insert(name.to_owned(), Coded::new(name, codec));
        assert!(earlier.is_none(), "two codecs are called `{name}`");
    }

    /// The codec of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Coded> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether `frame` may name a format so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_part)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_key_of_the_configuration_can_hold() {
        for (name, good) in [
            ("modbus", true),
            ("JT-T_808.2013", true),
            ("", false),
            ("a b", false),
            ("{", false),
            (&"x".repeat(65), false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
