//! The classic table: how the rate depends on connections and on the sizes of
//! frames, or on how many requests over HTTP are in flight.

use std::io::Write;

use super::load::Load;
use super::options::Options;
use super::progress::Progress;
use super::report::{Report, decimal, grouped};
use super::{StressError, engine, json};
use crate::sys::signal::Signals;

const CONNECTIONS: [u32; 4] = [1, 100, 1_000, 10_000];
const SIZES: [usize; 5] = [1, 128, 1_024, 4_096, 10_240];
const DEPTHS: [usize; 5] = [1, 2, 4, 8, 16];

/// Runs all cells, writes a row for each as it ends, and the rates once more
/// side by side; gives the complaints, if any.
///
/// # Errors
///
/// As a single run.
pub(super) fn run(
    options: &Options,
    signals: &Signals,
    out: &mut dyn Write,
) -> Result<Option<String>, StressError> {
    let cells = cells(options)?;
    let across = Across::of(options);
    for cell in &cells {
        engine::allow_descriptors(cell)?;
    }
    let says_rows = !options.quiet && !options.json;
    let mut tell = |text: &str| {
        // Nobody is left to tell when the reader has gone.
        let _nobody_listens = write!(out, "{text}").and_then(|()| out.flush());
    };
    if says_rows {
        tell(&row(&[
            "connections",
            across.name(),
            "ops/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "errors",
        ]));
    }
    let (mut rates, mut objects, mut complaints) = (Vec::new(), Vec::new(), Vec::new());
    for load in &cells {
        let place = format!("{} x {}", load.connections, across.value(load));
        let progress = Progress::new(load, options.quiet).named(format!("{place}  "));
        let report = engine::run(load, Some(signals), &progress, false)?;
        progress.end();
        if says_rows {
            tell(&report_row(load, across, &report));
        }
        rates.push(report.rate());
        let complaint = report.complaint(load);
        complaints.extend(complaint.map(|text| format!("{place}: {text}")));
        objects.push(json::object(load, &report));
        if report.interrupted {
            break;
        }
    }
    if options.json {
        tell(&format!("{{\"cells\":[{}]}}\n", objects.join(",")));
    } else if says_rows {
        tell(&matrix(across, &rates));
    }
    Ok((!complaints.is_empty()).then(|| complaints.join("\n")))
}

/// What the columns are.
#[derive(Clone, Copy)]
enum Across {
    Sizes,
    Depths,
}

impl Across {
    fn of(options: &Options) -> Self {
        match options.url() {
            None => Self::Sizes,
            Some(_) => Self::Depths,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sizes => "bytes",
            Self::Depths => "depth",
        }
    }

    const fn values(self) -> [usize; 5] {
        match self {
            Self::Sizes => SIZES,
            Self::Depths => DEPTHS,
        }
    }

    fn value(self, load: &Load) -> usize {
        match self {
            Self::Sizes => load.asks.size(),
            Self::Depths => load.depth as usize,
        }
    }

    fn head(self, value: usize) -> String {
        match self {
            Self::Sizes => format!("{} B", grouped(value as u64)),
            Self::Depths => format!("x {value}"),
        }
    }
}

fn cells(options: &Options) -> Result<Vec<Load>, StressError> {
    let values = Across::of(options).values();
    let most = options.connections.unwrap_or(u32::MAX);
    let all = CONNECTIONS
        .iter()
        .filter(|connections| **connections <= most)
        .flat_map(|&connections| values.map(|value| (connections, value)));
    all.map(|(connections, value)| options.cell(connections, value))
        .collect()
}

fn report_row(load: &Load, across: Across, report: &Report) -> String {
    row(&[
        &grouped(load.connections.into()),
        &grouped(across.value(load) as u64),
        &decimal(report.rate(), 0),
        &decimal(report.latency_ms(0.5), 3),
        &decimal(report.latency_ms(0.99), 3),
        &decimal(report.max_ms(), 3),
        &grouped(report.stats.faults.total() + report.stats.silent),
    ])
}

fn row(fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("{field:>11}")).collect();
    format!("{}\n", fields.join(" "))
}

/// Rates by connections (down) and what is across.
fn matrix(across: Across, rates: &[f64]) -> String {
    let heads = across.values().map(|value| across.head(value));
    let mut head = vec!["ops/s"];
    head.extend(heads.iter().map(String::as_str));
    let mut text = format!("\n{}", row(&head));
    for (connections, rates) in CONNECTIONS.iter().zip(rates.chunks(SIZES.len())) {
        let mut fields = vec![grouped((*connections).into())];
        fields.extend(rates.iter().map(|rate| decimal(*rate, 0)));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        text += &row(&fields);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_a_row_for_each_number_of_connections() {
        let rates: Vec<f64> = (0..20).map(|n| f64::from(n) * 1000.0).collect();
        let text = matrix(Across::Sizes, &rates);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let fields = |line: &str| {
            line.split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines.len(), 5);
        assert_eq!(
            fields(lines[1]),
            ["1", "0", "1,000", "2,000", "3,000", "4,000"]
        );
        assert_eq!(fields(lines[4])[0], "10,000");
        assert_eq!(fields(lines[4])[5], "19,000");
        assert!(
            lines.iter().all(|line| line.len() == lines[0].len()),
            "{text}"
        );
    }

    #[test]
    fn a_table_that_was_cut_short_has_the_rows_that_ran() {
        assert_eq!(matrix(Across::Sizes, &[1.0; 6]).lines().count(), 4);
        assert_eq!(matrix(Across::Sizes, &[]).lines().count(), 2);
    }
}
