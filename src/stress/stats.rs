//! What one thread measured, and the sum over threads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::fault::Faults;
use super::timeline::Timeline;

/// The longest latency that is told apart: longer ones count as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    /// Requests that were sent, or begun to be.
    pub(super) requests: u64,
    /// Right replies.
    pub(super) replies: u64,
    pub(super) faults: Faults,
    /// How many replies had which status; HTTP alone.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Connections that were made.
    pub(super) connections: u64,
    /// Clients that sent nothing.
    pub(super) silent: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    /// A thread ended before its time, as nothing worked any more.
    pub(super) gave_up: bool,
    /// Nanoseconds, of right replies.
    pub(super) latency: Histogram<u64>,
    /// Kept only for a page.
    pub(super) timeline: Option<Timeline>,
    pub(super) last_reply: Option<Instant>,
}

impl Stats {
    pub(super) fn new(with_timeline: bool) -> Self {
        let longest = nanos(LONGEST);
        Self {
            requests: 0,
            replies: 0,
            faults: Faults::default(),
            statuses: BTreeMap::new(),
            connections: 0,
            silent: 0,
            gave_up: false,
            sent_bytes: 0,
            received_bytes: 0,
            latency: Histogram::new_with_bounds(1, longest, 3).expect("an hour in three digits"),
            timeline: with_timeline.then(Timeline::default),
            last_reply: None,
        }
    }

    /// Takes note of a right reply.
    pub(super) fn reply(&mut self, start: Instant, since: Instant, now: Instant) {
        let latency = nanos(now.saturating_duration_since(since));
        self.replies += 1;
        self.latency.saturating_record(latency);
        self.last_reply = Some(now);
        if let Some(timeline) = &mut self.timeline {
            timeline.record(now.saturating_duration_since(start), latency);
        }
    }

    /// Adds what another thread measured.
    pub(super) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.replies += other.replies;
        self.faults.merge(&other.faults);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.connections += other.connections;
        self.silent += other.silent;
        self.gave_up |= other.gave_up;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.latency.add(&other.latency).expect("equal bounds");
        self.last_reply = self.last_reply.max(other.last_reply);
        if let (Some(own), Some(other)) = (&mut self.timeline, other.timeline) {
            own.merge(other);
        }
    }
}

/// Where a connection writes down what came at a moment.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    pub(super) stats: &'a mut Stats,
    pub(super) start: Instant,
    pub(super) now: Instant,
}

impl Ledger<'_> {
    /// A right reply to a request whose latency counts from `since`.
    pub(super) fn right(&mut self, since: Instant) {
        self.stats.reply(self.start, since, self.now);
    }

    /// A reply, right or not, with this status.
    pub(super) fn status(&mut self, status: u16) {
        *self.stats.statuses.entry(status).or_default() += 1;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits_and_sums_are_sums() {
        let start = Instant::now();
        let mut even = Stats::new(true);
        let mut odd = Stats::new(true);
        for n in 1..=10_000 {
            let half = if n % 2 == 0 { &mut even } else { &mut odd };
            let latency = Duration::from_micros(n);
            half.reply(start, start, start + latency);
        }
        even.merge(odd);
        assert_eq!(even.replies, 10_000);
        assert_eq!(even.last_reply, Some(start + Duration::from_millis(10)));
        for (quantile, expected_us) in [(0.5, 5000.0), (0.95, 9500.0), (0.999, 9990.0), (1.0, 1e4)]
        {
            let found = Duration::from_nanos(even.latency.value_at_quantile(quantile));
            let found_us = found.as_secs_f64() * 1e6;
            let off = (found_us - expected_us).abs() / expected_us;
            assert!(off < 0.001, "{quantile}: {found_us}");
        }
    }

    #[test]
    fn what_takes_longer_than_an_hour_took_an_hour() {
        let start = Instant::now();
        let mut stats = Stats::new(false);
        stats.reply(start, start, start + Duration::from_secs(9999));
        let hours = stats.latency.max() as f64 / stats.latency.high() as f64;
        assert!((1.0..1.001).contains(&hours), "{hours}");
    }
}
