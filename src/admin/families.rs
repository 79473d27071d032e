//! From what is counted to metrics.

use std::borrow::Cow;
use std::time::Instant;

use super::by_name;
use super::exposition::{Family, Kind, Sample, Value};
use super::health::{Check, Health};
use super::process::figures::Figures;
use super::view::{View, in_unit};
use crate::scoreboard::{Counter, Metric, Row};

/// What a worker can be doing, as [`Stage`](crate::scoreboard) names it.
const STATES: [&str; 5] = ["starting", "serving", "draining", "ending", "backing off"];

/// Shown for each worker.
const OF_EACH: [Counter; 3] = [
    Counter::Live,
    Counter::WorkerDescriptors,
    Counter::WorkerDescriptorsMax,
];

pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// All of them.
pub(super) fn families(view: &View<'_>, now: Instant) -> Vec<Family> {
    let mut all = vec![build(view)];
    all.extend(counters(view));
    all.extend(by_name::families(view));
    all.extend(per_worker(view));
    all.extend(state(view, now));
    all.extend(processes(view));
    all
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    let units = ["seconds", "bytes"];
    let mut unit = units.into_iter().filter(|unit| name.ends_with(unit));
    Family {
        name: name.into(),
        help: help.into(),
        kind: Kind::Gauge,
        unit: unit.next().unwrap_or_default(),
        samples: samples
            .into_iter()
            .map(|(labels, value)| Sample {
                labels,
                value: Value::Number(value),
            })
            .collect(),
    }
}

fn build(view: &View<'_>) -> Family {
    let program = (view.facts.as_ref()).map_or(String::new(), |facts| facts.program.clone());
    let labels = vec![
        ("program", program.into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
    ];
    gauge(
        "purlin_build_info",
        "The program and the version of purlin in it; always 1.",
        vec![(labels, 1.0)],
    )
}

/// What the table of counters has, those of one family together.
fn counters(view: &View<'_>) -> Vec<Family> {
    let mut all: Vec<Family> = Vec::new();
    for (counter, value) in &view.totals {
        if OF_EACH.contains(counter) {
            continue;
        }
        let metric = counter.metric();
        let name = format!("purlin_{}", metric.family);
        let sample = sample(*counter, &metric, *value);
        match all.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push(sample),
            None => all.push(Family {
                name: name.into(),
                help: counter.family_help().into(),
                kind: if counter.is_gauge() {
                    Kind::Gauge
                } else {
                    Kind::Counter
                },
                unit: metric.unit(),
                samples: vec![sample],
            }),
        }
    }
    all
}

fn sample(counter: Counter, metric: &Metric, value: u64) -> Sample {
    let label = metric.label.map(|(name, value)| (name, value.into()));
    Sample {
        labels: label.into_iter().collect(),
        value: if counter.per_unit() == 1 {
            Value::Count(value)
        } else {
            Value::Number(in_unit(counter, value))
        },
    }
}

/// What the workers have now: each by its row, of which there are so many for as long
/// as the server lives.
fn per_worker(view: &View<'_>) -> Vec<Family> {
    let of = |figure: &dyn Fn(&Row) -> u64| {
        // Also those of masters that an upgrade has replaced.
        let samples = view.used().map(|(n, row)| {
            let labels = vec![("worker", n.to_string().into())];
            (labels, number(figure(&row)))
        });
        samples.collect::<Vec<_>>()
    };
    vec![
        gauge(
            "purlin_connections",
            Counter::Live.help(),
            of(&|row| row.read(Counter::Live)),
        ),
        gauge(
            "process_open_fds",
            Counter::WorkerDescriptors.help(),
            of(&|row| row.read(Counter::WorkerDescriptors)),
        ),
        gauge(
            "process_max_fds",
            Counter::WorkerDescriptorsMax.help(),
            of(&|row| row.read(Counter::WorkerDescriptorsMax)),
        ),
        gauge(
            "purlin_queue_length",
            "Messages that came and were not served yet.",
            of(&Row::waiting),
        ),
    ]
}

fn state(view: &View<'_>, now: Instant) -> Vec<Family> {
    let facts = view.facts.as_ref();
    let in_state = |state: &'static str| {
        let workers = view.workers().iter();
        let count = workers.filter(|worker| worker.state == state).count();
        (vec![("state", state.into())], number(count as u64))
    };
    let reload = facts.and_then(|facts| facts.reload);
    let is_good = reload.is_none_or(|reload| reload.was_good);
    let at = reload.map_or(facts.map_or(0.0, |facts| facts.started), |reload| reload.at);
    let health = Health::of(view, now);
    let is_ready = health.ok;
    let check = |check: &Check| {
        let labels = vec![
            ("check", check.name.clone().into()),
            ("worker", check.row.to_string().into()),
        ];
        (labels, truth(check.ok == Some(true)))
    };
    let checks = health.checks.iter().map(check).collect();
    vec![
        gauge(
            "purlin_workers",
            "Worker processes, by what they are doing.",
            STATES.into_iter().map(in_state).collect(),
        ),
        gauge(
            "purlin_ready",
            "Whether /readyz says yes.",
            vec![(vec![], truth(is_ready))],
        ),
        gauge(
            "purlin_check_success",
            "Whether a check of the program went well when it ran last.",
            checks,
        ),
        gauge(
            "purlin_generation",
            "Generation of workers that serves.",
            vec![(
                vec![],
                number(facts.and_then(|facts| facts.generation).unwrap_or(0)),
            )],
        ),
        gauge(
            "purlin_config_last_reload_success",
            "Whether the last reload was put in force; 1 before the first.",
            vec![(vec![], truth(is_good))],
        ),
        gauge(
            "purlin_config_last_reload_timestamp_seconds",
            "When the last reload ended, or the server started.",
            vec![(vec![], at)],
        ),
    ]
}

/// Memory and threads of every process: what anybody may read of others.
fn processes(view: &View<'_>) -> Vec<Family> {
    let mut resident = Vec::new();
    let mut threads = Vec::new();
    let mut add = |labels: Labels, pid: i32| {
        let Some(figures) = Figures::of(pid) else {
            return;
        };
        resident.push((labels.clone(), number(figures.resident)));
        threads.push((labels, number(figures.threads)));
    };
    let role = |role: &'static str| vec![("role", role.into()), ("worker", "".into())];
    add(role("admin"), crate::sys::process::Pid::own().raw());
    if let Some(facts) = &view.facts {
        add(role("master"), facts.pid);
    }
    for worker in view.workers() {
        let row = worker.row.to_string().into();
        if let Some(pid) = worker.pid {
            add(vec![("role", "worker".into()), ("worker", row)], pid);
        }
    }
    vec![
        gauge(
            "process_resident_memory_bytes",
            "Resident memory, by process.",
            resident,
        ),
        gauge("process_threads", "Threads, by process.", threads),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "for people and for charts")]
const fn number(value: u64) -> f64 {
    value as f64
}

const fn truth(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}
