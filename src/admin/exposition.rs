//! The text formats of metrics: Prometheus 0.0.4 and OpenMetrics 1.0, written by
//! hand.
//!
//! ```text
//! # HELP purlin_connections_refused_total Connections refused, by reason.
//! # TYPE purlin_connections_refused_total counter
//! purlin_connections_refused_total{reason="denied"} 12
//! ```
//!
//! In OpenMetrics the family has no `_total`, its unit and the time since when it
//! counts are told, and `# EOF` ends it. Numbers are written alike in both, so that
//! a series is the same whichever a server asks for.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

/// What kind of thing a family measures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics of one name, which differ by their labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    /// Without `_total`; with its unit.
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    pub(super) kind: Kind,
    /// What the name ends with, if it has a unit.
    pub(super) unit: &'static str,
    pub(super) samples: Vec<Sample>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Count(u64),
    Number(f64),
    Spread {
        /// Upper bounds; one bucket more than these has the rest.
        bounds: Cow<'static, [f64]>,
        /// How many fell into each bucket.
        counts: Vec<u64>,
        sum: f64,
    },
}

impl Format {
    /// What a client that says `Accept: …` is given: OpenMetrics if it wants that at
    /// least as much as anything else.
    pub(super) fn accepted(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let mut ranges = accept.split(',').map(|range| range.split(';'));
            let found = ranges.find_map(|mut parts| {
                let is_it = parts.next()?.trim().eq_ignore_ascii_case(wanted);
                let mut qualities = parts.filter_map(|part| part.trim().strip_prefix("q="));
                let quality = qualities
                    .next()
                    .map_or(Some(1.0), |q| q.parse::<f32>().ok());
                is_it.then_some(quality.unwrap_or(0.0))
            });
            found.unwrap_or(0.0)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The families as text; they count since `created`, in seconds since 1970.
pub(super) fn write(families: &[Family], format: Format, created: f64) -> String {
    let mut text = String::with_capacity(64 << 10);
    for family in families {
        let _never_fails = write_family(&mut text, family, format, created);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(
    text: &mut String,
    family: &Family,
    format: Format,
    created: f64,
) -> Result<(), fmt::Error> {
    let Family {
        name,
        help,
        kind,
        unit,
        samples,
    } = family;
    let is_open = format == Format::OpenMetrics;
    let (kind, total) = match kind {
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Histogram => ("histogram", ""),
    };
    let called = if is_open { "" } else { total };
    writeln!(text, "# HELP {name}{called} {}", Escaped(help, is_open))?;
    writeln!(text, "# TYPE {name}{called} {kind}")?;
    if is_open && !unit.is_empty() {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    for Sample { labels, value } in samples {
        match value {
            Value::Count(count) => writeln!(text, "{name}{total}{} {count}", Labels(labels, None))?,
            Value::Number(number) => {
                writeln!(
                    text,
                    "{name}{total}{} {}",
                    Labels(labels, None),
                    Real(*number)
                )?;
            }
            Value::Spread {
                bounds,
                counts,
                sum,
            } => write_buckets(text, (name, labels), bounds, counts, *sum)?,
        }
        if is_open && kind != "gauge" {
            let since = format!("{created:.3}");
            writeln!(text, "{name}_created{} {since}", Labels(labels, None))?;
        }
    }
    Ok(())
}

fn write_buckets(
    text: &mut String,
    (name, labels): (&str, &[(&'static str, Cow<'static, str>)]),
    bounds: &[f64],
    counts: &[u64],
    sum: f64,
) -> fmt::Result {
    let mut so_far = 0_u64;
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(counts) {
        so_far = so_far.wrapping_add(*count);
        let labels = Labels(labels, Some(bound));
        writeln!(text, "{name}_bucket{labels} {so_far}")?;
    }
    writeln!(text, "{name}_sum{} {}", Labels(labels, None), Real(sum))?;
    writeln!(text, "{name}_count{} {so_far}", Labels(labels, None))
}

/// In braces, with the upper bound of a bucket.
struct Labels<'a>(&'a [(&'static str, Cow<'static, str>)], Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(labels, bound) = self;
        if labels.is_empty() && bound.is_none() {
            return Ok(());
        }
        let mut before = '{';
        for (name, value) in *labels {
            write!(f, "{before}{name}=\"{}\"", Escaped(value, true))?;
            before = ',';
        }
        if let Some(bound) = bound {
            write!(f, "{before}le=\"{}\"", Real(*bound))?;
        }
        f.write_str("}")
    }
}

/// Without what would end a line or a label.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, is_quoted) = self;
        for c in text.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if *is_quoted => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// As both formats read it, and never without a point: `1` and `1.0` would be two
/// buckets.
struct Real(f64);

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        if number.is_nan() {
            f.write_str("NaN")
        } else if number.is_infinite() {
            f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" })
        } else if number.fract() == 0.0 {
            write!(f, "{number:.1}")
        } else {
            write!(f, "{number}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        let sample = |labels, value| Sample { labels, value };
        vec![
            Family {
                name: "a_bytes".into(),
                help: "Bytes \\ \"and\"\nmore.".into(),
                kind: Kind::Counter,
                unit: "bytes",
                samples: vec![
                    sample(vec![], Value::Count(7)),
                    sample(vec![("by", "a\"b\\c\nd".into())], Value::Count(u64::MAX)),
                ],
            },
            Family {
                name: "b".into(),
                help: "Rooms.".into(),
                kind: Kind::Gauge,
                unit: "",
                samples: vec![sample(vec![], Value::Number(-0.5))],
            },
            Family {
                name: "c_seconds".into(),
                help: "Times.".into(),
                kind: Kind::Histogram,
                unit: "seconds",
                samples: vec![sample(
                    vec![("id", "1".into())],
                    Value::Spread {
                        bounds: vec![0.000_01, 1.0].into(),
                        counts: vec![2, 0, 1],
                        sum: 12.25,
                    },
                )],
            },
        ]
    }

    #[test]
    fn prometheus_text_has_names_as_they_are_queried() {
        let text = write(&families(), Format::Prometheus, 1.5);
        let expected = r#"# HELP a_bytes_total Bytes \\ "and"\nmore.
# TYPE a_bytes_total counter
a_bytes_total 7
a_bytes_total{by="a\"b\\c\nd"} 18446744073709551615
# HELP b Rooms.
# TYPE b gauge
b -0.5
# HELP c_seconds Times.
# TYPE c_seconds histogram
c_seconds_bucket{id="1",le="0.00001"} 2
c_seconds_bucket{id="1",le="1.0"} 2
c_seconds_bucket{id="1",le="+Inf"} 3
c_seconds_sum{id="1"} 12.25
c_seconds_count{id="1"} 3
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn openmetrics_has_units_and_beginnings_and_an_end() {
        let text = write(&families(), Format::OpenMetrics, 1.5);
        let expected = r#"# HELP a_bytes Bytes \\ \"and\"\nmore.
# TYPE a_bytes counter
# UNIT a_bytes bytes
a_bytes_total 7
a_bytes_created 1.500
a_bytes_total{by="a\"b\\c\nd"} 18446744073709551615
a_bytes_created{by="a\"b\\c\nd"} 1.500
# HELP b Rooms.
# TYPE b gauge
b -0.5
# HELP c_seconds Times.
# TYPE c_seconds histogram
# UNIT c_seconds seconds
c_seconds_bucket{id="1",le="0.00001"} 2
c_seconds_bucket{id="1",le="1.0"} 2
c_seconds_bucket{id="1",le="+Inf"} 3
c_seconds_sum{id="1"} 12.25
c_seconds_count{id="1"} 3
c_seconds_created{id="1"} 1.500
# EOF
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn the_format_is_what_the_client_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, expected) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html, text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (prometheus, Format::OpenMetrics),
            (
                "text/plain, application/openmetrics-text; q=0.9",
                Format::Prometheus,
            ),
            ("application/openmetrics-text; q=0", Format::Prometheus),
            ("application/openmetrics-text; q=x", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }
}
