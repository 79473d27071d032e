//! What is counted by name as metrics: messages by id, requests by route, and the
//! program's own.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use super::exposition::{Family, Kind, Sample, Value};
use super::families::Labels;
use super::view::View;
use crate::scoreboard::series::{DURATIONS, OwnKind, PARTS, Spread, Sums, quantile};

const NANOS: f64 = 1e9;

const SAMPLED: &str = "the first in each tick of the clock, and every 64th of a thread";

/// All of them.
pub(super) fn families(view: &View<'_>) -> Vec<Family> {
    let mut all = Vec::from(messages(&view.sums));
    all.extend(requests(&view.sums));
    all.extend(own(view));
    all.retain(|family| !family.samples.is_empty());
    all
}

/// The labels of ids, the last of which is for all others.
fn ids(sums: &Sums) -> impl Iterator<Item = String> {
    let known = sums.shape().ids.iter().map(u32::to_string);
    known.chain(["other".to_owned()])
}

fn messages(sums: &Sums) -> [Family; 2] {
    let mut counts = Vec::new();
    let mut times = Vec::new();
    for (n, id) in ids(sums).enumerate() {
        let labels: Labels = vec![("id", id.into())];
        let (count, spread) = sums.id(n);
        counts.push(sample(labels.clone(), Value::Count(count)));
        times.push(sample(labels, durations(spread)));
    }
    [
        Family {
            name: "purlin_messages".into(),
            help: "Messages that reached a handler, by id, each of them; `other`: of ids without \
                   figures of their own."
                .into(),
            kind: Kind::Counter,
            unit: "",
            samples: counts,
        },
        Family {
            name: "purlin_message_duration_seconds".into(),
            help: format!("How long handlers of messages took, by id, of a sample: {SAMPLED}.")
                .into(),
            kind: Kind::Histogram,
            unit: "seconds",
            samples: times,
        },
    ]
}

fn requests(sums: &Sums) -> [Family; 2] {
    let mut counts = Vec::new();
    let mut times = Vec::new();
    for (n, route) in sums.shape().route_names().enumerate() {
        let (answers, spread) = sums.route(n);
        for (method, code, count) in &answers {
            let labels: Labels = vec![
                ("route", route.to_owned().into()),
                ("method", (*method).into()),
                ("code", code_name(*code)),
            ];
            counts.push(sample(labels, Value::Count(*count)));
        }
        if !answers.is_empty() {
            let labels: Labels = vec![("route", route.to_owned().into())];
            times.push(sample(labels, durations(spread)));
        }
    }
    [
        Family {
            name: "purlin_http_requests".into(),
            help: "Requests answered, by the template of their route, each of them; code \
                   `other`: rarer ones, and of answers that were put off."
                .into(),
            kind: Kind::Counter,
            unit: "",
            samples: counts,
        },
        Family {
            name: "purlin_http_request_duration_seconds".into(),
            help: format!("How long handlers of requests took, by route, of a sample: {SAMPLED}.")
                .into(),
            kind: Kind::Histogram,
            unit: "seconds",
            samples: times,
        },
    ]
}

fn own(view: &View<'_>) -> Vec<Family> {
    let shape = view.sums.shape();
    let own = shape.own.iter().enumerate();
    own.map(|(n, own)| {
        let (kind, value) = match &own.kind {
            OwnKind::Counter => (Kind::Counter, Value::Count(view.sums.own(n))),
            OwnKind::Gauge => (Kind::Gauge, Value::Number(own_gauge(view, n))),
            OwnKind::Histogram(bounds) => {
                let spread = view.sums.own_spread(n);
                let value = Value::Spread {
                    bounds: bounds.clone().into(),
                    sum: scaled(spread.sum, f64::from(PARTS)),
                    counts: spread.counts,
                };
                (Kind::Histogram, value)
            }
        };
        Family {
            name: own.name.clone().into(),
            help: own.help.clone().into(),
            kind,
            unit: "",
            samples: vec![sample(Vec::new(), value)],
        }
    })
    .collect()
}

/// Of all workers that live.
fn own_gauge(view: &View<'_>, n: usize) -> f64 {
    let board = &view.source.board;
    let rows = (0..board.rows()).filter(|n| board.is_used(*n));
    rows.map(|row| board.row(row).own_gauge(n)).sum()
}

fn sample(labels: Labels, value: Value) -> Sample {
    Sample { labels, value }
}

fn durations(spread: Spread) -> Value {
    Value::Spread {
        bounds: seconds().into(),
        counts: spread.counts,
        sum: scaled(spread.sum, NANOS),
    }
}

fn seconds() -> Vec<f64> {
    DURATIONS
        .iter()
        .map(|nanos| scaled(*nanos, NANOS))
        .collect()
}

fn code_name(code: u16) -> Cow<'static, str> {
    if code == 0 {
        "other".into()
    } else {
        code.to_string().into()
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people and for charts")]
fn scaled(value: u64, parts: f64) -> f64 {
    value as f64 / parts
}

/// The same for the page.
pub(super) fn objects(view: &View<'_>) -> [(&'static str, Json); 3] {
    let sums = &view.sums;
    let ids: Vec<Json> = ids(sums)
        .enumerate()
        .map(|(n, id)| (id, sums.id(n)))
        .filter(|(_, (count, _))| *count > 0)
        .map(|(id, (count, spread))| {
            let mut object = times(&spread);
            object["id"] = id.into();
            object["messages"] = count.into();
            object
        })
        .collect();
    let routes = sums.shape().route_names().enumerate();
    let routes: Vec<Json> = routes
        .map(|(n, route)| (route, sums.route(n)))
        .filter(|(_, (answers, _))| !answers.is_empty())
        .map(|(route, (answers, spread))| {
            let count = |answers: &mut dyn Iterator<Item = &(&str, u16, u64)>| {
                answers.fold(0_u64, |sum, (_, _, count)| sum.wrapping_add(*count))
            };
            let mut failed = answers.iter().filter(|(_, code, _)| *code >= 500);
            let mut object = times(&spread);
            object["route"] = route.into();
            object["requests"] = count(&mut answers.iter()).into();
            object["errors"] = count(&mut failed).into();
            let answer = |(method, code, count): &(&str, u16, u64)| {
                json!({ "method": method, "code": code_name(*code), "count": count })
            };
            object["answers"] = answers.iter().map(answer).collect();
            object
        })
        .collect();
    let own = sums.shape().own.iter().enumerate();
    let own: Vec<Json> = own.map(|(n, own)| own_object(view, n, &own.kind)).collect();
    [
        ("ids", ids.into()),
        ("routes", routes.into()),
        ("own", own.into()),
    ]
}

fn times(spread: &Spread) -> Json {
    let timed = spread
        .counts
        .iter()
        .fold(0_u64, |sum, count| sum.wrapping_add(*count));
    let bounds = seconds();
    json!({
        "timed": timed,
        "seconds": scaled(spread.sum, NANOS),
        "p50": quantile(&spread.counts, &bounds, 0.5),
        "p99": quantile(&spread.counts, &bounds, 0.99),
    })
}

fn own_object(view: &View<'_>, n: usize, kind: &OwnKind) -> Json {
    let own = &view.sums.shape().own[n];
    let mut object = match kind {
        OwnKind::Counter => json!({ "kind": "counter", "value": view.sums.own(n) }),
        OwnKind::Gauge => json!({ "kind": "gauge", "value": own_gauge(view, n) }),
        OwnKind::Histogram(bounds) => {
            let spread = view.sums.own_spread(n);
            json!({
                "kind": "histogram",
                "count": spread.counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count)),
                "sum": scaled(spread.sum, f64::from(PARTS)),
                "p50": quantile(&spread.counts, bounds, 0.5),
                "p99": quantile(&spread.counts, bounds, 0.99),
            })
        }
    };
    object["name"] = own.name.clone().into();
    object["help"] = own.help.clone().into();
    object
}
