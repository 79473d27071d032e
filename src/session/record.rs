//! What a store keeps of a session. Plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::Key;

/// A device that is logged in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// Names the session, and is no secret.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When it was seen last, to the minute.
    pub seen: u64,
    /// From where it began.
    pub address: String,
    /// What its client calls itself.
    pub agent: String,
}

/// A session that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) device: Device,
    /// What it is known by now.
    pub(crate) key: Key,
    /// When it got this name.
    pub(crate) renewed: u64,
    /// It was asked for by the name that it had before.
    pub(crate) by_old_name: bool,
}

/// How long sessions live, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Times {
    /// Unused.
    pub(crate) idle: u64,
    /// In all.
    pub(crate) max: u64,
    /// Until their name is changed.
    pub(crate) renew: u64,
}

/// For how long the old name is good beside the new one: for requests that are on their
/// way.
pub(crate) const OVERLAP: u64 = 30;

/// Between two times that a store is told that a session is used.
pub(crate) const TOUCH: u64 = 60;

impl Times {
    pub(crate) fn new(idle: Duration, max: Duration, renew: Duration) -> Self {
        Self {
            idle: idle.as_secs(),
            max: max.as_secs(),
            renew: renew.as_secs(),
        }
    }

    /// When a session ends that is not used again.
    pub(crate) fn expires(&self, device: &Device) -> u64 {
        (device.seen + self.idle).min(device.since + self.max)
    }

    pub(crate) fn is_over(&self, device: &Device, now: u64) -> bool {
        now >= self.expires(device)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_unused_or_old() {
        let times = Times {
            idle: 100,
            max: 1000,
            renew: 1,
        };
        for (since, seen, now, expected) in [
            (0, 0, 99, false),
            (0, 0, 100, true),
            (0, 950, 999, false),
            (0, 950, 1000, true),
        ] {
            let text = String::new;
            let device = Device {
                id: text(),
                user: text(),
                since,
                seen,
                address: text(),
                agent: text(),
            };
            assert_eq!(
                times.is_over(&device, now),
                expected,
                "{since} {seen} {now}"
            );
        }
    }
}
