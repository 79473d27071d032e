//! Counters as metrics: families, labels and units, for whoever reads them by
//! their names.
//!
//! A name is the family's, in base units: milliseconds are seconds outside. Those
//! of one family differ by a label, and are of one kind.

use super::Counter;

/// What a counter is called as a metric, without the prefix of the server and the
/// suffix of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// The family.
    pub family: &'static str,
    /// Name and value of the label by which it differs from others of its family.
    pub label: Option<(&'static str, &'static str)>,
}

/// What families with labels are about; those without have the help of their counter.
const FAMILIES: &[(&str, &str)] = &[
    (
        "accept_paused",
        "Times that accepting paused, by what was missing.",
    ),
    (
        "connections_closed",
        "Connections that the server closed, by reason.",
    ),
    (
        "connections_not_handed_over",
        "Connections not handed over to another worker, by reason.",
    ),
    ("connections_refused", "Connections refused, by reason."),
    (
        "draining_connections",
        "Connections of workers that drain, by what they wait for.",
    ),
    (
        "messages_dropped",
        "Messages that arrived whole and were not served, by reason.",
    ),
    (
        "reactor_slow_turns",
        "Turns of the event loop that took longer than so many seconds, each counted once.",
    ),
    (
        "redis_connections",
        "Connections of the workers to Redis, by state.",
    ),
    ("reloads", "Reloads, by how they went."),
    (
        "websockets_refused",
        "Upgrades to WebSocket refused, by reason.",
    ),
    (
        "worker_restarts",
        "Workers that ended without being told to, by reason.",
    ),
];

/// What counters are about, for whoever reads many of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// Who came and went.
    Connections,
    /// Whose turn it was to accept.
    Accepting,
    /// Who was not let in.
    Refused,
    /// Whom the server closed.
    Closed,
    /// What was served.
    Messages,
    /// Messages in frames of WebSocket.
    WebSocket,
    /// What moved to other workers.
    Handover,
    /// Between the workers.
    Bus,
    /// Bytes and system calls.
    Traffic,
    /// The event loop and its threads.
    Loop,
    /// Connections to Redis.
    Redis,
    /// What the master did.
    Master,
}

/// Beginnings of families; the first that fits holds.
const GROUPS: &[(&str, Group)] = &[
    ("connections_refused", Group::Refused),
    ("connections_closed", Group::Closed),
    ("connections_handed", Group::Handover),
    ("connections_taken", Group::Handover),
    ("connections_handover", Group::Handover),
    ("connections_not_handed", Group::Handover),
    ("draining", Group::Handover),
    ("messages_handed", Group::Handover),
    ("connections", Group::Connections),
    ("pool_slots", Group::Connections),
    ("accept", Group::Accepting),
    ("websocket", Group::WebSocket),
    ("bus_", Group::Bus),
    ("redis_", Group::Redis),
    ("messages", Group::Messages),
    ("handlers", Group::Messages),
    ("replies", Group::Messages),
    ("repliers", Group::Messages),
    ("pushes", Group::Messages),
    ("stale", Group::Messages),
    ("files", Group::Messages),
    ("access_log", Group::Messages),
    ("heartbeats", Group::Messages),
    ("received_bytes", Group::Traffic),
    ("sent_bytes", Group::Traffic),
    ("buffered_bytes", Group::Traffic),
    ("reads", Group::Traffic),
    ("writes", Group::Traffic),
    ("reactor", Group::Loop),
    ("business", Group::Loop),
    ("deadlines", Group::Loop),
    ("worker_restarts", Group::Master),
    ("worker_", Group::Loop),
    ("reloads", Group::Master),
];

impl Group {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Accepting => "accepting",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Messages => "messages",
            Self::Redis => "redis",
            Self::WebSocket => "websocket",
            Self::Handover => "handover",
            Self::Bus => "bus",
            Self::Traffic => "traffic",
            Self::Loop => "loop",
            Self::Master => "master",
        }
    }
}

impl Counter {
    /// What its family is about.
    #[must_use]
    pub fn family_help(self) -> &'static str {
        let mut shared = FAMILIES.iter();
        let found = shared.find(|(family, _)| *family == self.metric().family);
        found.map_or(self.help(), |(_, help)| help)
    }

    /// The group that it is reported in.
    #[must_use]
    pub fn group(self) -> Group {
        let mut groups = GROUPS.iter();
        let found = groups.find(|(begin, _)| self.metric().family.starts_with(begin));
        found.map_or(Group::Connections, |(_, group)| *group)
    }

    /// How many of its own unit are one of its metric's.
    #[must_use]
    pub fn per_unit(self) -> u32 {
        if self.name().ends_with("_milliseconds") {
            1000
        } else {
            1
        }
    }
}

impl Metric {
    /// The unit that its name ends with; empty: it counts things.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        let units = ["bytes", "seconds"];
        let mut found = units.into_iter().filter(|unit| self.family.ends_with(unit));
        found.next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn no_two_counters_are_one_metric() {
        let metrics: HashSet<String> = (Counter::ALL.iter())
            .map(|counter| format!("{:?}", counter.metric()))
            .collect();
        assert_eq!(metrics.len(), Counter::ALL.len());
    }

    #[test]
    fn a_family_is_of_one_kind_and_one_label_and_has_a_help_of_its_own() {
        let mut families: BTreeMap<&str, Vec<Counter>> = BTreeMap::new();
        for &counter in Counter::ALL {
            let family = counter.metric().family;
            families.entry(family).or_default().push(counter);
        }
        for (family, counters) in &families {
            let first = counters[0];
            let label = |counter: &Counter| counter.metric().label.map(|(name, _)| name);
            for counter in counters {
                assert_eq!(counter.is_gauge(), first.is_gauge(), "{family}");
                assert_eq!(label(counter), label(&first), "{family}");
            }
            let has_labels = label(&first).is_some();
            let is_shared = FAMILIES.iter().any(|(shared, _)| shared == family);
            assert_eq!(is_shared, has_labels, "{family}");
        }
        assert!(FAMILIES.iter().all(|(name, _)| families.contains_key(name)));
    }

    #[test]
    fn names_are_in_base_units_without_what_writers_add() {
        for counter in Counter::ALL {
            let Metric { family, label } = counter.metric();
            let (_, value) = label.unwrap_or_default();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(family.chars().all(plain), "{family}");
            let bad = [
                "_total",
                "_count",
                "_sum",
                "_bucket",
                "_ms",
                "_milliseconds",
            ];
            assert!(!bad.iter().any(|end| family.ends_with(end)), "{family}");
            assert!(!value.contains(['"', '\\', '\n']), "{value}");
        }
    }

    #[test]
    fn every_counter_has_a_group_and_every_group_counters() {
        let mut found = HashSet::new();
        for counter in Counter::ALL {
            let family = counter.metric().family;
            let known = GROUPS.iter().find(|(begin, _)| family.starts_with(begin));
            assert!(known.is_some(), "{family} has no group");
            found.insert(counter.group().name());
        }
        let all: HashSet<&str> = GROUPS.iter().map(|(_, group)| group.name()).collect();
        assert_eq!(found, all);
    }
}
