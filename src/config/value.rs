//! The kinds of value that a key can have, each with how it is read, limited
//! and written. Pure.
//!
//! The type of a field decides how it is written in the file: a count is a
//! plain number (`u16`, `u32`), bytes are a size with its unit (`usize`), a time
//! is a duration with its unit, and a time that `"0s"` turns off is an
//! `Option`. A number without a unit can therefore never be misread.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::DeValue;

use crate::sys::socket::Address;

/// What somebody wrote for a key.
pub(super) enum Given<'a> {
    /// In the file.
    Toml(&'a Spanned<DeValue<'a>>),
    /// In an environment variable or on the command line, where text needs no
    /// quotes.
    Text(String),
}

impl Given<'_> {
    /// The whole number, if it is one that fits.
    fn integer(&self) -> Option<i64> {
        match self {
            Self::Toml(value) => {
                let number = value.get_ref().as_integer()?;
                i64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Self::Text(text) => text.parse().ok(),
        }
    }

    /// The text, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(value) => value.get_ref().as_str(),
            Self::Text(text) => Some(text),
        }
    }
}

/// Why a value was refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// The key must be this; the whole value is wrong.
    MustBe(String),
    /// A part of the value is wrong, at this place of the file when it is there.
    Inside(String, Option<Range<usize>>),
}

/// A type that a key can have.
pub(super) trait Value: Sized {
    /// What limits the values; `()` for a type whose values are all good.
    type Limits;

    /// Reads and checks a value.
    fn read(given: &Given<'_>, limits: &Self::Limits) -> Result<Self, Refusal>;

    /// What is accepted, as in "must be …".
    fn limits(limits: &Self::Limits) -> String;

    /// The value as TOML.
    fn write(&self) -> String;

    /// The refusal of a value that is wrong as a whole.
    fn refusal(limits: &Self::Limits) -> Refusal {
        Refusal::MustBe(Self::limits(limits))
    }
}

/// Counts.
macro_rules! counts {
    ($($type:ty),*) => { $(
        impl Value for $type {
            type Limits = RangeInclusive<Self>;

            fn read(given: &Given<'_>, limits: &Self::Limits) -> Result<Self, Refusal> {
                given
                    .integer()
                    .and_then(|number| Self::try_from(number).ok())
                    .filter(|number| limits.contains(number))
                    .ok_or_else(|| Self::refusal(limits))
            }

            fn limits(limits: &Self::Limits) -> String {
                format!("from {} to {}", limits.start(), limits.end())
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

counts!(u16, u32);

/// A number of bytes.
impl Value for usize {
    type Limits = RangeInclusive<Self>;

    fn read(given: &Given<'_>, limits: &Self::Limits) -> Result<Self, Refusal> {
        quantity(given, limits, parse_size, "64KiB")
    }

    fn limits(limits: &Self::Limits) -> String {
        format!(
            "from {} to {}",
            size_text(*limits.start()),
            size_text(*limits.end())
        )
    }

    fn write(&self) -> String {
        quoted(&size_text(*self))
    }
}

impl Value for Duration {
    type Limits = RangeInclusive<Self>;

    fn read(given: &Given<'_>, limits: &Self::Limits) -> Result<Self, Refusal> {
        quantity(given, limits, parse_duration, "30s")
    }

    fn limits(limits: &Self::Limits) -> String {
        let (from, to) = (duration_text(*limits.start()), duration_text(*limits.end()));
        format!("from {from} to {to}")
    }

    fn write(&self) -> String {
        quoted(&duration_text(*self))
    }
}

/// A time that `"0s"` turns off.
impl Value for Option<Duration> {
    type Limits = RangeInclusive<Duration>;

    fn read(given: &Given<'_>, limits: &Self::Limits) -> Result<Self, Refusal> {
        if given.text().and_then(parse_duration) == Some(Duration::ZERO) {
            return Ok(None);
        }
        match Duration::read(given, limits) {
            Ok(time) => Ok(Some(time)),
            Err(Refusal::MustBe(limits)) => Err(Refusal::MustBe(format!("0s (off) or {limits}"))),
            Err(inside) => Err(inside),
        }
    }

    fn limits(limits: &Self::Limits) -> String {
        format!("0s (off) or {}", Duration::limits(limits))
    }

    fn write(&self) -> String {
        self.unwrap_or(Duration::ZERO).write()
    }
}

/// A path; empty for none.
impl Value for Option<PathBuf> {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let path = given.text().filter(|path| !path.contains('\0'));
        let path = path.ok_or_else(|| Self::refusal(limits))?;
        Ok((!path.is_empty()).then(|| path.into()))
    }

    fn limits((): &()) -> String {
        "a path, or empty for none".into()
    }

    fn write(&self) -> String {
        quoted(&self.clone().unwrap_or_default().to_string_lossy())
    }
}

/// A path that has to be there.
impl Value for PathBuf {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let path = Option::<Self>::read(given, limits).ok().flatten();
        path.ok_or_else(|| Self::refusal(limits))
    }

    fn limits((): &()) -> String {
        "a path".into()
    }

    fn write(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// A name; empty for none.
impl Value for Option<String> {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let name = given.text().filter(|name| !name.contains('\0'));
        let name = name.ok_or_else(|| Self::refusal(limits))?;
        Ok((!name.is_empty()).then(|| name.into()))
    }

    fn limits((): &()) -> String {
        "a name, or empty for none".into()
    }

    fn write(&self) -> String {
        quoted(self.as_deref().unwrap_or_default())
    }
}

/// A name that has to be there.
impl Value for String {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let name = Option::<Self>::read(given, limits).ok().flatten();
        name.ok_or_else(|| Self::refusal(limits))
    }

    fn limits((): &()) -> String {
        "a name".into()
    }

    fn write(&self) -> String {
        quoted(self)
    }
}

impl Value for bool {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let found = match given {
            Given::Toml(value) => value.get_ref().as_bool(),
            Given::Text(text) => text.parse().ok(),
        };
        found.ok_or_else(|| Self::refusal(limits))
    }

    fn limits((): &()) -> String {
        "true or false".into()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for Address {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let text = given.text().ok_or_else(|| Self::refusal(limits))?;
        text.parse().map_err(|why: String| {
            if text.starts_with("unix:") {
                Refusal::Inside(why, None)
            } else {
                Self::refusal(limits)
            }
        })
    }

    fn limits((): &()) -> String {
        "IP:PORT such as 127.0.0.1:7000 or [::1]:7000, or unix:PATH".into()
    }

    fn write(&self) -> String {
        quoted(&self.to_string())
    }
}

/// An address; empty for none.
impl Value for Option<Address> {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        if given.text() == Some("") {
            return Ok(None);
        }
        let read = Address::read(given, limits).map(Some);
        read.map_err(|refusal| match refusal {
            Refusal::MustBe(_) => Self::refusal(limits),
            inside @ Refusal::Inside(..) => inside,
        })
    }

    fn limits((): &()) -> String {
        format!("{}, or empty for none", Address::limits(&()))
    }

    fn write(&self) -> String {
        self.as_ref().map_or(quoted(""), Value::write)
    }
}

impl Value for log::LevelFilter {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        given
            .text()
            .and_then(|text| Self::iter().find(|level| level_name(*level) == text))
            .ok_or_else(|| Self::refusal(limits))
    }

    fn limits((): &()) -> String {
        one_of(&Self::iter().map(level_name).collect::<Vec<_>>())
    }

    fn write(&self) -> String {
        quoted(&level_name(*self))
    }
}

fn level_name(level: log::LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}

/// Declares an enum whose variants have names in the file.
macro_rules! choice {
    (
        $(#[$about:meta])*
        pub enum $name:ident { $( $(#[$doc:meta])* $variant:ident = $text:literal, )* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name { $( $(#[$doc])* $variant, )* }

        impl $crate::config::value::Value for $name {
            type Limits = ();

            fn read(
                given: &$crate::config::value::Given<'_>,
                limits: &(),
            ) -> Result<Self, $crate::config::value::Refusal> {
                match given.text() {
                    $( Some($text) => Ok(Self::$variant), )*
                    _ => Err(Self::refusal(limits)),
                }
            }

            fn limits((): &()) -> String {
                $crate::config::value::one_of(&[$( $text ),*])
            }

            fn write(&self) -> String {
                $crate::config::value::quoted(match self { $( Self::$variant => $text, )* })
            }
        }
    };
}

pub(super) use choice;

/// Names the alternatives.
pub(super) fn one_of(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// Text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reads a value that consists of a number and its unit.
fn quantity<T>(
    given: &Given<'_>,
    limits: &RangeInclusive<T>,
    parse: fn(&str) -> Option<T>,
    example: &str,
) -> Result<T, Refusal>
where
    T: PartialOrd + Value<Limits = RangeInclusive<T>>,
{
    let Some(value) = given.text().and_then(parse) else {
        let limits = T::limits(limits);
        return Err(Refusal::MustBe(format!(
            "{limits}, with its unit as in \"{example}\""
        )));
    };
    if limits.contains(&value) {
        Ok(value)
    } else {
        Err(T::refusal(limits))
    }
}

/// Whether a unit follows the number; both parsers would do without.
fn has_unit(text: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_alphabetic())
}

/// Reads `"64KiB"`; not a number without a unit.
pub(super) fn parse_size(text: &str) -> Option<usize> {
    let ByteSize(bytes) = text.parse().ok().filter(|_| has_unit(text))?;
    usize::try_from(bytes).ok()
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|_| has_unit(text))
}

/// The size in the largest unit that divides it.
pub(super) fn size_text(bytes: usize) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = |&(_, bits): &(&str, u32)| bytes >> bits != 0 && bytes.trailing_zeros() >= bits;
    match units.into_iter().find(whole) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => format!("{bytes}B"),
    }
}

/// The duration in hours, seconds, milliseconds, microseconds or nanoseconds:
/// the largest of them that divides it.
pub(super) fn duration_text(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [
        ("h", 3_600_000_000_000_u128),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    match units
        .into_iter()
        .find(|(_, unit)| nanos.is_multiple_of(*unit))
    {
        Some(_) if nanos == 0 => "0s".into(),
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_written_as_they_are_read() {
        for text in ["1B", "1023B", "64KiB", "1025KiB", "4MiB", "3GiB", "0B"] {
            assert_eq!(size_text(parse_size(text).unwrap()), text);
        }
        for text in ["0s", "1ns", "100us", "10ms", "1500ms", "60s", "1h", "24h"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_number_without_a_unit_is_neither_size_nor_duration() {
        for text in ["0", "64", "1.5", "", "-1s", "1e3", "KiB", "s"] {
            assert_eq!(parse_size(text), None, "{text}");
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn strings_survive_being_quoted() {
        for text in ["", "a\"b", "back\\slash", "new\nline", "tab\t", "'''\"\"\""] {
            let parsed: toml::Table = format!("v = {}", quoted(text)).parse().unwrap();
            assert_eq!(parsed["v"].as_str(), Some(text));
        }
    }
}
