//! The page of a run: one file that needs nothing else, with curves as SVG.

mod axis;
mod chart;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use self::axis::Axis;
use self::chart::{Chart, Line, Point};
use super::StressError;
use super::load::Load;
use super::report::{Report, decimal, summary};
use super::timeline::Step;

/// Points of the curve by percentile.
const POINTS: u32 = 160;

/// Colours by name, for bright and dark screens; paper is always bright.
const STYLE: &str = include_str!("style.css");

/// A file that the page will be written to.
#[derive(Debug)]
pub(super) struct Page {
    path: PathBuf,
    file: File,
}

impl Page {
    /// Creates the file, empty.
    ///
    /// # Errors
    ///
    /// [`StressError::Plot`] when that is impossible.
    pub(super) fn create(path: &Path) -> Result<Self, StressError> {
        let file = File::create(path);
        let failed = |error| StressError::Plot(path.to_owned(), error);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(failed)?,
        })
    }

    /// Writes the page.
    ///
    /// # Errors
    ///
    /// [`StressError::Plot`], as when the disk is full.
    pub(super) fn write(mut self, load: &Load, report: &Report) -> Result<(), StressError> {
        let failed = |error| StressError::Plot(self.path, error);
        let text = page(load, report);
        self.file.write_all(text.as_bytes()).map_err(failed)
    }
}

fn page(load: &Load, report: &Report) -> String {
    let title = escape(&summary(load));
    let mut rows = String::new();
    for (name, value) in report.rows() {
        let _infallible = write!(
            rows,
            "<div><dt>{name}</dt><dd>{}</dd></div>",
            escape(&value)
        );
    }
    let faults: Vec<String> = report
        .stats
        .faults
        .told()
        .iter()
        .map(|told| escape(told))
        .collect();
    let faults = match faults.as_slice() {
        [] => String::new(),
        told => format!(
            "<h2>The first errors</h2>\n<pre>{}</pre>\n",
            told.join("\n")
        ),
    };
    let charts: String = charts(report).iter().map(Chart::svg).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>purlin stress: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>purlin stress</h1>\n<p>{title}</p>\n<dl>{rows}</dl>\n{faults}{charts}</body>\n</html>\n"
    )
}

/// `text` as a page shows it: an error may quote anything.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn charts(report: &Report) -> Vec<Chart> {
    let timeline = report.stats.timeline.as_ref();
    let steps = timeline.map_or(Vec::new(), |timeline| timeline.steps(report.duration));
    let mut charts = Vec::new();
    if !steps.is_empty() {
        charts.push(throughput(report, &steps));
        charts.push(latencies(report, &steps));
    }
    if report.stats.replies > 0 {
        charts.push(percentiles(report));
    }
    charts
}

fn throughput(report: &Report, steps: &[Step]) -> Chart {
    let most = steps.iter().map(|step| step.rate).fold(0.0, f64::max);
    let point = |step: &Step| Point {
        x: step.at,
        y: step.rate,
        text: format!("{} s: {} ops/s", decimal(step.at, 2), decimal(step.rate, 0)),
    };
    Chart {
        title: "Throughput over time",
        x_title: "seconds",
        y_title: "replies a second",
        x: Axis::seconds(report.duration.as_secs_f64()),
        y: Axis::linear(most),
        lines: vec![Line::new("rate", "ops/s", steps.iter().map(point))],
    }
}

fn latencies(report: &Report, steps: &[Step]) -> Chart {
    let known: Vec<(f64, f64, f64)> = steps
        .iter()
        .filter_map(|step| {
            let (p50, p99) = step.quantiles?;
            Some((step.at, p50 as f64 / 1e6, p99 as f64 / 1e6))
        })
        .collect();
    let least = known.iter().map(|step| step.1).fold(f64::MAX, f64::min);
    let most = known.iter().map(|step| step.2).fold(0.0, f64::max);
    let line = |class, name, pick: fn(&(f64, f64, f64)) -> f64| {
        let points = known.iter().map(|step| Point {
            x: step.0,
            y: pick(step),
            text: format!(
                "{} s: {name} {} ms",
                decimal(step.0, 2),
                decimal(pick(step), 3)
            ),
        });
        Line::new(class, name, points)
    };
    Chart {
        title: "Latency over time",
        x_title: "seconds",
        y_title: "milliseconds",
        x: Axis::seconds(report.duration.as_secs_f64()),
        y: Axis::for_latencies(least, most),
        lines: vec![
            line("p99", "p99", |step| step.2),
            line("p50", "p50", |step| step.1),
        ],
    }
}

/// As HdrHistogram draws it: each further nine has the same width.
fn percentiles(report: &Report) -> Chart {
    let latency = &report.stats.latency;
    let nines = (report.stats.replies as f64).log10().max(1.0);
    let points: Vec<Point> = (0..=POINTS)
        .map(|n| nines * f64::from(n) / f64::from(POINTS))
        .map(|x| {
            let quantile = 1.0 - 10_f64.powf(-x);
            let ms = latency.value_at_quantile(quantile) as f64 / 1e6;
            Point {
                x,
                y: ms,
                text: format!("{}: {} ms", axis::percent(quantile), decimal(ms, 3)),
            }
        })
        .collect();
    let least = points.first().map_or(0.0, |point| point.y);
    Chart {
        title: "Latency by percentile",
        x_title: "percentile",
        y_title: "milliseconds",
        x: Axis::percentiles(nines),
        y: Axis::for_latencies(least, report.max_ms()),
        lines: vec![Line::new("p99", "latency", points)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::fault::{Fault, Kind};
    use crate::stress::options::tests::load;
    use crate::stress::stats::Stats;
    use std::time::{Duration, Instant};

    fn report(replies: u32, seconds: u64) -> Report {
        let mut stats = Stats::new(true);
        let start = Instant::now();
        for n in 0..replies {
            let came = start + Duration::from_secs(seconds) * n / replies.max(1);
            stats.reply(
                start,
                came.checked_sub(Duration::from_micros(n.into())).unwrap(),
                came,
            );
        }
        Report {
            stats,
            duration: Duration::from_secs(seconds),
            interrupted: false,
        }
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let text = page(&load("").unwrap(), &report(10_000, 3));
        assert_eq!(text.matches("<svg").count(), 3);
        for foreign in ["<script", "http://", "https://", "@import", "url("] {
            assert!(!text.contains(foreign), "{foreign}");
        }
        for part in [
            "prefers-color-scheme: dark",
            "@media print",
            "99.99%",
            "<dt>p99.9</dt>",
        ] {
            assert!(text.contains(part), "{part}");
        }
        for odd in ["NaN", "inf"] {
            assert!(!text.contains(odd), "{odd}");
        }
    }

    #[test]
    fn runs_with_little_to_show_have_pages_too() {
        for replies in [0, 1, 2] {
            let text = page(&load("").unwrap(), &report(replies, 1));
            assert!(!text.contains("NaN"), "{replies}");
            assert!(text.ends_with("</html>\n"));
        }
    }

    #[test]
    fn what_an_error_quotes_is_text_and_no_markup() {
        let mut report = report(1, 1);
        let fault = Fault {
            kind: Kind::ErrorFrame,
            detail: "<b>&\"".into(),
        };
        report.stats.faults.add(1, &fault);
        let text = page(&load("").unwrap(), &report);
        assert!(text.contains("&lt;b&gt;&amp;&quot;"));
        assert!(!text.contains("<b>"));
    }

    #[test]
    fn the_file_is_made_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let made = Page::create(&path).unwrap();
        made.write(&load("").unwrap(), &report(5, 1)).unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .starts_with("<!doctype html>")
        );
        let error = Page::create(&folder.path().join("no/such")).unwrap_err();
        assert!(
            error.to_string().contains("no/such: No such file"),
            "{error}"
        );
    }
}
