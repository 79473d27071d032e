//! Types for the values of a program's own keys. Pure.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::value::{parse_size, size_text};

/// A number of bytes, which is written with its unit: `"64KiB"`, `"10MB"`.
///
/// ```
/// use purlin::Size;
/// use purlin::prelude::*;
///
/// #[derive(Deserialize, Serialize)]
/// #[serde(default)]
/// struct Uploads { max: Size }
///
/// impl Default for Uploads {
///     fn default() -> Self {
///         Self { max: Size::new(1 << 20) }
///     }
/// }
///
/// let app = App::<()>::new().settings::<Uploads>("uploads");
/// # drop(app);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Size(usize);

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&size_text(self.0))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const RANGE: &str = "must be a size with its unit, as in \"64KiB\"";
        let text = String::deserialize(from).map_err(|_no_text| D::Error::custom(RANGE))?;
        let size = parse_size(&text).map(Self);
        size.ok_or_else(|| D::Error::custom(RANGE))
    }
}

/// A whole number from `MIN` to `MAX`: the range of a key, as a type.
///
/// ```
/// use purlin::Within;
/// use purlin::prelude::*;
///
/// #[derive(Deserialize, Serialize)]
/// #[serde(default)]
/// struct Lobby { seats: Within<2, 64> }
///
/// impl Default for Lobby {
///     fn default() -> Self {
///         Self { seats: Within::new(8) }
///     }
/// }
///
/// let app = App::<()>::new()
///     .settings::<Lobby>("lobby")
///     .on(1, |c, (): ()| c.hub().settings::<Lobby>().seats.to_string());
/// let mut test = app.test_with(&[("lobby.seats", "12")]);
/// let ann = test.connect();
/// assert_eq!(test.call(ann, 1, ()).unwrap(), "12");
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Within<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Within<MIN, MAX> {
    /// This number.
    ///
    /// # Panics
    ///
    /// When it is not from `MIN` to `MAX`: the program names a default that its own
    /// type refuses.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        assert!(
            MIN <= number && number <= MAX,
            "the number is out of its range"
        );
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl<const MIN: i64, const MAX: i64> fmt::Display for Within<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: i64, const MAX: i64> Serialize for Within<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(self.0)
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let range = || D::Error::custom(format!("must be from {MIN} to {MAX}"));
        let number = i64::deserialize(from).map_err(|_no_number| range())?;
        let is_within = (MIN..=MAX).contains(&number);
        is_within.then_some(Self(number)).ok_or_else(range)
    }
}
