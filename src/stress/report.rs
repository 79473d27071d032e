//! What came of a run, in words. The numbers are sums over its threads.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::fault::Kind;
use super::load::{Load, Pace};
use super::shared::Shared;
use super::stats::Stats;

const MIB: f64 = 1_048_576.0;

/// Connections above which a server may have too few places for them.
const MANY: u32 = 1000;

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) stats: Stats,
    /// From the first request to the last reply.
    pub(super) duration: Duration,
    /// The operator ended it early.
    pub(super) interrupted: bool,
}

impl Report {
    pub(super) fn new(stats: Stats, shared: &Shared) -> Self {
        let now = Instant::now();
        let start = shared.started().unwrap_or(now);
        let last = stats.last_reply.unwrap_or(now);
        Self {
            duration: last.saturating_duration_since(start),
            interrupted: shared.is_ending(),
            stats,
        }
    }

    /// Every client was served, without an error.
    pub(super) fn is_good(&self) -> bool {
        self.stats.faults.total() == 0 && self.stats.silent == 0
    }

    /// Right replies a second.
    pub(super) fn rate(&self) -> f64 {
        per_second(self.stats.replies as f64, self.duration)
    }

    /// A percentile of the latencies in milliseconds; `quantile` from 0 to 1.
    pub(super) fn latency_ms(&self, quantile: f64) -> f64 {
        self.stats.latency.value_at_quantile(quantile) as f64 / 1e6
    }

    pub(super) fn mean_ms(&self) -> f64 {
        self.stats.latency.mean() / 1e6
    }

    pub(super) fn max_ms(&self) -> f64 {
        self.stats.latency.max() as f64 / 1e6
    }

    /// Mebibytes a second that `bytes` were.
    pub(super) fn mib_per_second(&self, bytes: u64) -> f64 {
        per_second(bytes as f64 / MIB, self.duration)
    }

    /// The report for people: one number a line.
    pub(super) fn text(&self, load: &Load) -> String {
        let mut text = format!("{}\n\n", summary(load));
        for (name, value) in self.rows() {
            let _infallible = writeln!(text, "  {name:<12} {value}");
        }
        text
    }

    /// Names and values, as they are printed.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let stats = &self.stats;
        let ms = |ms: f64| match stats.replies {
            0 => "-".to_owned(),
            _ => format!("{} ms", decimal(ms, 3)),
        };
        let bytes = |bytes: u64| {
            let (mib, rate) = (bytes as f64 / MIB, self.mib_per_second(bytes));
            format!("{} MiB, {} MiB/s", decimal(mib, 1), decimal(rate, 1))
        };
        let early = if self.interrupted {
            ", ended early"
        } else {
            ""
        };
        let mut rows = vec![
            (
                "total",
                format!(
                    "{} of {} replies",
                    grouped(stats.replies),
                    grouped(stats.requests)
                ),
            ),
            ("errors", self.errors()),
            (
                "duration",
                format!("{} s{early}", decimal(self.duration.as_secs_f64(), 3)),
            ),
            ("ops/s", decimal(self.rate(), 0)),
            ("mean", ms(self.mean_ms())),
            ("p50", ms(self.latency_ms(0.5))),
            ("p95", ms(self.latency_ms(0.95))),
            ("p99", ms(self.latency_ms(0.99))),
            ("p99.9", ms(self.latency_ms(0.999))),
            ("max", ms(self.max_ms())),
            ("sent", bytes(stats.sent_bytes)),
            ("received", bytes(stats.received_bytes)),
            ("connections", grouped(stats.connections)),
        ];
        if !stats.statuses.is_empty() {
            let each = stats.statuses.iter();
            let each = each.map(|(status, count)| format!("{status}: {}", grouped(*count)));
            rows.push(("statuses", each.collect::<Vec<_>>().join(", ")));
        }
        if stats.silent > 0 {
            rows.push(("silent", format!("{} clients", grouped(stats.silent))));
        }
        rows
    }

    /// The number of errors, and of which kinds.
    pub(super) fn errors(&self) -> String {
        let faults = &self.stats.faults;
        let kinds: Vec<String> = Kind::ALL
            .iter()
            .filter(|(kind, ..)| faults.count(*kind) > 0)
            .map(|(kind, _, words)| format!("{} {words}", grouped(faults.count(*kind))))
            .collect();
        match kinds.as_slice() {
            [] => "0".into(),
            [kind] => kind.clone(),
            kinds => format!("{}: {}", grouped(faults.total()), kinds.join(", ")),
        }
    }

    /// What went wrong, for standard error; `None` when all is well.
    pub(super) fn complaint(&self, load: &Load) -> Option<String> {
        if self.is_good() {
            return None;
        }
        let mut text = format!("errors: {}", self.errors());
        if self.stats.silent > 0 {
            let (silent, all) = (self.stats.silent, load.connections);
            let _infallible = write!(text, "\n{silent} of {all} clients sent nothing");
        }
        for told in self.stats.faults.told() {
            let _infallible = write!(text, "\n  {told}");
        }
        if self.stats.gave_up {
            let timeout = load.timeout;
            let _infallible = write!(text, "\ngave up: no right reply in the last {timeout:?}");
        }
        for hint in self.hints(load) {
            let _infallible = write!(text, "\nhint: {hint}");
        }
        Some(text)
    }

    fn hints(&self, load: &Load) -> Vec<String> {
        let has = |kind| self.stats.faults.count(kind) > 0;
        let none = self.stats.replies == 0;
        let mut hints = Vec::new();
        if none {
            let kinds = [Kind::Unreadable, Kind::Lost, Kind::ErrorFrame, Kind::Status];
            let found = kinds.into_iter().filter(|kind| has(*kind));
            // Both of the first two mean the same.
            hints.extend(found.filter_map(|kind| load.asks.hint(kind)));
            hints.dedup();
        }
        if load.connections >= MANY && (has(Kind::Timeout) || has(Kind::Connect)) {
            hints.push(format!(
                "may the server hold {} connections? See its worker.connections_max and open files",
                grouped(load.connections.into())
            ));
        }
        hints
    }
}

/// What the load was, in one line.
pub(super) fn summary(load: &Load) -> String {
    let connections = many(load.connections.into(), "connection");
    let mut text = format!("{connections} to {}, ", load.address);
    let _infallible = match load.pace {
        Pace::Closed => write!(text, "depth {}", load.depth),
        Pace::Open(rate) => write!(text, "open loop at {}/s", grouped(rate)),
    };
    if let Some(churn) = load.churn {
        let _infallible = write!(text, ", {} a connection", many(churn, "request"));
    }
    let threads = many(load.threads.into(), "thread");
    let _infallible = write!(text, ", {}, {threads}", load.asks.summary());
    text
}

fn per_second(number: f64, duration: Duration) -> f64 {
    if duration.is_zero() {
        0.0
    } else {
        number / duration.as_secs_f64()
    }
}

/// So many of a thing.
pub(super) fn many(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", grouped(number))
}

/// The number with a comma between its thousands.
pub(super) fn grouped(number: u64) -> String {
    group(&number.to_string())
}

/// The number with so many places, and commas between its thousands.
pub(super) fn decimal(number: f64, places: usize) -> String {
    let text = format!("{number:.places$}");
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", group(whole)),
        None => group(&text),
    }
}

fn group(digits: &str) -> String {
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::fault::Fault;
    use crate::stress::options::tests::load;

    fn report(stats: Stats) -> Report {
        Report {
            stats,
            duration: Duration::from_secs(2),
            interrupted: false,
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (40_000, "40,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(decimal(1342.1799, 3), "1,342.180");
        assert_eq!(decimal(999.6, 0), "1,000");
        assert_eq!(decimal(0.05, 1), "0.1");
    }

    #[test]
    fn a_good_report_has_every_number_and_no_complaint() {
        let mut stats = Stats::new(false);
        stats.requests = 2000;
        let start = Instant::now();
        (1..=2000).for_each(|n| stats.reply(start, start, start + Duration::from_micros(n)));
        stats.sent_bytes = 3 << 20;
        let report = report(stats);
        let load = load("--rate 60000 --churn 10").unwrap();
        assert_eq!(report.complaint(&load), None);
        let text = report.text(&load);
        for line in [
            "100 connections to 127.0.0.1:7000, open loop at 60,000/s, 10 requests a connection, comm, id 1, 128 bytes, ",
            "\n  total        2,000 of 2,000 replies\n",
            "\n  errors       0\n",
            "\n  duration     2.000 s\n",
            "\n  ops/s        1,000\n",
            "\n  p50          1.000 ms\n",
            "\n  max          2.",
            "\n  sent         3.0 MiB, 1.5 MiB/s\n",
        ] {
            assert!(text.contains(line), "{line:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_complaint_says_what_was_wrong_and_what_to_try() {
        let mut stats = Stats::new(false);
        stats.silent = 3;
        let fault = Fault {
            kind: Kind::Lost,
            detail: "request 0: gone".into(),
        };
        stats.faults.add(7, &fault);
        let report = report(stats);
        let complaint = report.complaint(&load("--preset zinx").unwrap()).unwrap();
        let expected = "errors: 1 lost with their connection\n\
                        3 of 100 clients sent nothing\n  client 7, request 0: gone\n\
                        hint: does the listener speak `zinx`?";
        assert!(complaint.starts_with(expected), "{complaint}");
        let complaint = report.complaint(&load("--preset len32").unwrap()).unwrap();
        assert!(complaint.contains("`App::otherwise`"), "{complaint}");
    }
}
