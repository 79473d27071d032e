//! The flood guard: how many messages of a batch a connection may have served.
//! Pure: time and counts come in. The state is the reactor's, per connection.
//!
//! Costs one subtraction, one multiplication and one comparison per *batch*,
//! whose length the cutter knows and whose time the loop knows.

use std::time::Duration;

use crate::config::{self, FloodAction};

/// What is too much, and what follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flood {
    /// What is too much.
    pub rule: Rule,
    /// What happens to the message that is too much.
    pub action: FloodAction,
}

/// When a message is too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// A token bucket: `burst` messages at once, `rate` a second for ever.
    Bucket {
        /// Messages a second, at least 1.
        rate: u32,
        /// Messages at once, at least 1.
        burst: u32,
    },
    /// The classic rule: a message that comes less than `window` behind the one
    /// before it is a quick one, and the `count`th quick one in a row is too
    /// much. A pause of `window` starts again from nothing.
    Gaps {
        /// At least a millisecond.
        window: Duration,
        /// At least 1.
        count: u32,
    },
}

/// What one connection has used up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Meter {
    /// When the last batch came; 0: none yet.
    at: u64,
    /// Of a bucket, thousandths of messages that are missing in it; of gaps,
    /// quick messages in a row.
    used: u64,
}

impl Meter {
    /// Its two words, which mean something to another meter of the same rule.
    pub(crate) const fn words(&self) -> [u64; 2] {
        [self.at, self.used]
    }

    /// The meter of which these are the words.
    pub(crate) const fn of([at, used]: [u64; 2]) -> Self {
        Self { at, used }
    }
}

/// What the guard says of a batch.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Verdict {
    /// So many messages, from the first, may be served.
    pub(crate) admitted: usize,
    /// Milliseconds for which nothing more is to be read; 0: go on.
    pub(crate) wait: u64,
}

impl Flood {
    /// What is written in the configuration; `None`: nothing is too much.
    pub(crate) fn new(written: &config::Flood) -> Option<Self> {
        let (rule, action) = match *written {
            config::Flood::Off => return None,
            config::Flood::Bucket {
                rate,
                burst,
                action,
            } => (Rule::Bucket { rate, burst }, action),
            config::Flood::Gaps {
                window,
                count,
                action,
            } => (Rule::Gaps { window, count }, action),
        };
        Some(Self { rule, action })
    }

    /// Judges `messages`, at least one, that came together at `now`, in
    /// milliseconds of a clock that never shows 0.
    pub(crate) fn judge(&self, meter: &mut Meter, messages: usize, now: u64) -> Verdict {
        let since = now.saturating_sub(meter.at);
        let (admitted, wait) = match self.rule {
            Rule::Bucket { rate, burst } => {
                let (rate, full) = (u64::from(rate), u64::from(burst) * 1000);
                meter.used = meter.used.saturating_sub(since.saturating_mul(rate));
                let room = full.saturating_sub(meter.used) / 1000;
                let admitted = messages.min(usize::try_from(room).unwrap_or(usize::MAX));
                let served = self.served(messages, admitted) as u64;
                meter.used = meter.used.saturating_add(served.saturating_mul(1000));
                (
                    admitted,
                    meter.used.saturating_sub(full).div_ceil(rate.max(1)),
                )
            }
            Rule::Gaps { window, count } => {
                let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                let quick = if meter.at == 0 || since >= window {
                    0
                } else {
                    meter.used.saturating_add(1)
                };
                let room = u64::from(count).saturating_sub(quick);
                let admitted = messages.min(usize::try_from(room).unwrap_or(usize::MAX));
                meter.used = quick.saturating_add(messages as u64 - 1);
                (admitted, if admitted < messages { window } else { 0 })
            }
        };
        meter.at = now;
        Verdict {
            admitted: self.served(messages, admitted),
            wait: if self.action == FloodAction::Delay {
                wait
            } else {
                0
            },
        }
    }

    /// Who delays loses nothing.
    fn served(&self, messages: usize, admitted: usize) -> usize {
        if self.action == FloodAction::Delay {
            messages
        } else {
            admitted
        }
    }
}

/// As in the log: "over 10 messages within 100ms of each other".
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bucket { rate, burst } => {
                write!(f, "more than {rate} messages a second and {burst} at once")
            }
            Self::Gaps { window, count } => {
                write!(f, "more than {count} messages, each within {window:?}")
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const CLASSIC: Rule = Rule::Gaps {
        window: Duration::from_millis(100),
        count: 10,
    };
    const BUCKET: Rule = Rule::Bucket {
        rate: 100,
        burst: 20,
    };

    /// Batches as (time, messages), and how many of each are admitted.
    #[test]
    fn batches_are_admitted_up_to_the_limit() {
        type Case<'a> = (&'a str, Rule, &'a [(u64, usize)], &'a [usize]);
        let cases: &[Case<'_>] = &[
            ("eleven at once", CLASSIC, &[(5, 11)], &[10]),
            ("ten and one", CLASSIC, &[(5, 10), (5, 1)], &[10, 0]),
            (
                "one by one",
                CLASSIC,
                &[
                    (5, 1),
                    (9, 1),
                    (14, 1),
                    (19, 1),
                    (24, 1),
                    (29, 1),
                    (34, 1),
                    (39, 1),
                    (44, 1),
                    (49, 1),
                    (54, 1),
                ],
                &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            ),
            ("a pause", CLASSIC, &[(5, 10), (105, 10)], &[10, 10]),
            (
                "too short a pause",
                CLASSIC,
                &[(5, 10), (104, 10)],
                &[10, 0],
            ),
            (
                "a pause behind a flood",
                CLASSIC,
                &[(5, 99), (105, 1)],
                &[10, 1],
            ),
            ("a full bucket", BUCKET, &[(5, 20), (5, 1)], &[20, 0]),
            ("more than a bucket", BUCKET, &[(5, 99)], &[20]),
            (
                "it fills by ten milliseconds a message",
                BUCKET,
                &[(5, 20), (14, 1), (15, 2), (45, 9)],
                &[20, 0, 1, 3],
            ),
            (
                "it is never more than full",
                BUCKET,
                &[(5, 1), (u64::MAX, 99)],
                &[1, 20],
            ),
        ];
        for (name, rule, batches, expected) in cases {
            for action in [FloodAction::Close, FloodAction::Drop] {
                let (rule, mut meter) = (*rule, Meter::default());
                let flood = Flood { rule, action };
                let got = batches
                    .iter()
                    .map(|&(now, messages)| flood.judge(&mut meter, messages, now));
                let got: Vec<_> = got.map(|verdict| verdict.admitted).collect();
                assert_eq!(got, *expected, "{name}");
            }
        }
    }

    #[test]
    fn who_delays_serves_all_and_waits_until_it_is_paid_for() {
        let cases = [(BUCKET, 20, 0), (BUCKET, 21, 10), (BUCKET, 120, 1000)];
        for (rule, messages, wait) in cases {
            let action = FloodAction::Delay;
            let (flood, mut meter) = (Flood { rule, action }, Meter::default());
            let admitted = messages;
            assert_eq!(
                flood.judge(&mut meter, messages, 7),
                Verdict { admitted, wait }
            );
            let one = flood.judge(&mut meter, 1, 7 + wait + 10);
            assert_eq!(one.wait, 0, "{messages}: the debt is paid");
        }
        let flood = Flood {
            rule: CLASSIC,
            action: FloodAction::Delay,
        };
        let mut meter = Meter::default();
        assert_eq!(flood.judge(&mut meter, 10, 7).wait, 0);
        assert_eq!(flood.judge(&mut meter, 1, 8).wait, 100);
        assert_eq!(flood.judge(&mut meter, 10, 108).wait, 0);
    }
}
