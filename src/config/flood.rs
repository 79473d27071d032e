//! The value of `limits.flood`: `"off"`, or a table that says what is too much
//! and what follows. Pure.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::de::ValueDeserializer;

use super::layout::inside;
use super::value::{Given, Refusal, Value, duration_text, parse_duration};

/// When a connection sends too many messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flood {
    /// Never.
    Off,
    /// More than `burst` at once and `rate` a second.
    Bucket {
        /// Messages a second.
        rate: u32,
        /// Messages at once.
        burst: u32,
        /// What follows.
        action: FloodAction,
    },
    /// More than `count` in a row, each within `window` of the one before.
    Gaps {
        /// Less than this between two messages is quick.
        window: Duration,
        /// Messages in a row.
        count: u32,
        /// What follows.
        action: FloodAction,
    },
}

/// What happens to a message that is too much.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum FloodAction {
    /// The connection is closed.
    #[default]
    Close,
    /// The message is dropped and counted.
    Drop,
    /// The connection is not read for a while.
    Delay,
}

const COUNTS: RangeInclusive<u32> = 1..=1_000_000_000;
const WINDOWS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rate: Option<u32>,
    burst: Option<u32>,
    window: Option<String>,
    count: Option<u32>,
    #[serde(default)]
    action: FloodAction,
}

impl Written {
    fn check(self) -> Result<Flood, String> {
        let action = self.action;
        match (self.rate, self.window, self.count) {
            (Some(rate), None, None) => {
                let burst = self.burst.unwrap_or(rate);
                Ok(Flood::Bucket {
                    rate: counted("rate", rate)?,
                    burst: counted("burst", burst)?,
                    action,
                })
            }
            (None, Some(window), Some(count)) if self.burst.is_none() => {
                let (from, to) = (WINDOWS.start(), WINDOWS.end());
                let window = parse_duration(&window).filter(|time| WINDOWS.contains(time));
                let range = format!("from {} to {}", duration_text(*from), duration_text(*to));
                Ok(Flood::Gaps {
                    window: window.ok_or_else(|| format!("window must be {range}"))?,
                    count: counted("count", count)?,
                    action,
                })
            }
            _ => Err("must have rate, or window and count".into()),
        }
    }
}

fn counted(name: &str, number: u32) -> Result<u32, String> {
    if COUNTS.contains(&number) {
        return Ok(number);
    }
    let (from, to) = (COUNTS.start(), COUNTS.end());
    Err(format!("{name} is {number}, must be from {from} to {to}"))
}

impl Value for Flood {
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
                let off = given.text().filter(|text| *text == "off");
                return off.map(|_| Self::Off).ok_or_else(|| Self::refusal(limits));
            }
        };
        let written = Written::deserialize(table).map_err(|error| inside(&error, given))?;
        written
            .check()
            .map_err(|message| Refusal::Inside(message, None))
    }

    fn limits((): &()) -> String {
        "off, or a table of rate and burst or of window and count, each with an action".into()
    }

    fn write(&self) -> String {
        match self {
            Self::Off => "\"off\"".into(),
            Self::Bucket {
                rate,
                burst,
                action,
            } => format!("{{ rate = {rate}, burst = {burst}, action = \"{action}\" }}"),
            Self::Gaps {
                window,
                count,
                action,
            } => {
                let window = duration_text(*window);
                format!("{{ window = \"{window}\", count = {count}, action = \"{action}\" }}")
            }
        }
    }
}

impl fmt::Display for FloodAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "close",
            Self::Drop => "drop",
            Self::Delay => "delay",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_alike() {
        for (text, shown) in [
            ("off", "\"off\""),
            (
                "{ rate = 5 }",
                "{ rate = 5, burst = 5, action = \"close\" }",
            ),
            (
                "{ rate = 5, burst = 9, action = \"drop\" }",
                "{ rate = 5, burst = 9, action = \"drop\" }",
            ),
            (
                "{ window = \"100ms\", count = 10 }",
                "{ window = \"100ms\", count = 10, action = \"close\" }",
            ),
        ] {
            let read = Flood::read(&Given::Text(text.into()), &()).unwrap();
            assert_eq!(read.write(), shown);
            let again = Flood::read(&Given::Text(read.write().trim_matches('"').into()), &());
            assert_eq!(again, Ok(read));
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_in_words() {
        for (text, expected) in [
            ("on", "off, or a table"),
            ("{ rate = 0 }", "rate is 0, must be from 1 to 1000000000"),
            ("{ count = 10 }", "must have rate, or window and count"),
            (
                "{ rate = 1, count = 10 }",
                "must have rate, or window and count",
            ),
            (
                "{ window = \"100\", count = 10 }",
                "window must be from 1ms to 60s",
            ),
            (
                "{ rate = 1, bust = 2 }",
                "unknown key `bust`; the nearest known one is `burst`",
            ),
            ("{ rate = 1, action = \"kick\" }", "unknown variant `kick`"),
        ] {
            let refusal = Flood::read(&Given::Text(text.into()), &()).unwrap_err();
            let said = match refusal {
                Refusal::MustBe(text) | Refusal::Inside(text, _) => text,
            };
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
