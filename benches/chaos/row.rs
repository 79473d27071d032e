//! A row of the table: what was measured, and whether the goal was met.

use std::time::{Duration, Instant};

use crate::ticker::{Span, Ticker};

/// How many reasons of failures are printed.
const REASONS: usize = 5;

/// The outcome of a scenario.
pub(crate) struct Row {
    pub(crate) met: bool,
    text: String,
    samples: Vec<Span>,
    beside: String,
    reasons: Vec<String>,
}

impl Row {
    pub(crate) fn new(met: bool, text: String) -> Self {
        Self {
            met,
            text,
            samples: Vec::new(),
            beside: String::new(),
            reasons: Vec::new(),
        }
    }

    /// The times it was about, to be compared with the ticker's.
    pub(crate) fn samples(mut self, samples: Vec<Span>) -> Self {
        self.samples = samples;
        self
    }

    pub(crate) fn beside(mut self, beside: String) -> Self {
        self.beside = beside;
        self
    }

    /// Adds to the reasons.
    pub(crate) fn reasons(mut self, reasons: Vec<String>) -> Self {
        self.reasons.extend(reasons);
        self
    }

    /// Missed, too, if `bad`.
    pub(crate) fn unless(mut self, bad: bool) -> Self {
        self.met &= !bad;
        self
    }

    /// As lines of the table.
    pub(crate) fn print(&self, id: &str, goal: &str, took: Duration, ticker: &Ticker) -> String {
        let met = if self.met { "met" } else { "MISSED" };
        let took = took.as_secs();
        let mut text = format!(
            "{id:4} {met:6} {goal} ({took} s)\n            {}",
            self.text
        );
        if !self.samples.is_empty() {
            let marked = ticker.marked(&self.samples);
            text += &format!("; ticker late in {marked} of {}", self.samples.len());
        }
        text += "\n";
        if !self.beside.is_empty() {
            text += &format!("            beside: {}\n", self.beside);
        }
        for reason in self.reasons.iter().take(REASONS) {
            text += &format!("            {reason}\n");
        }
        text
    }
}

/// Median, 99th percentile and longest of the samples, in milliseconds.
pub(crate) fn millis(samples: &[(Instant, Instant)]) -> String {
    let mut times: Vec<f64> = samples
        .iter()
        .map(|(from, to)| (*to - *from).as_secs_f64() * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let at = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(at).copied().unwrap_or(f64::NAN)
    };
    let (p50, p99, longest) = (at(50), at(99), at(100));
    format!("p50 {p50:.1} p99 {p99:.1} max {longest:.1} ms")
}
