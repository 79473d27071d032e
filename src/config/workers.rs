//! The number of worker processes. Pure.

use std::ops::RangeInclusive;

use super::value::{Given, Refusal, Value, quoted};

/// How many worker processes there are to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Workers {
    /// One for each core that this process may keep busy.
    Auto,
    /// So many.
    Count(u16),
}

impl Value for Workers {
    type Limits = RangeInclusive<u16>;

    fn read(given: &Given<'_>, limits: &Self::Limits) -> Result<Self, Refusal> {
        if given.text() == Some("auto") {
            return Ok(Self::Auto);
        }
        u16::read(given, limits)
            .map(Self::Count)
            .map_err(|_| Self::refusal(limits))
    }

    fn limits(limits: &Self::Limits) -> String {
        format!("auto, or {}", u16::limits(limits))
    }

    fn write(&self) -> String {
        match self {
            Self::Auto => quoted("auto"),
            Self::Count(count) => count.write(),
        }
    }
}
