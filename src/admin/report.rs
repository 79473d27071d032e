//! `/status.json`: what the page reads, each second.

use std::time::Instant;

use serde_json::{Value, json};

use super::by_name;
use super::facts::Worker;
use super::health::Health;
use super::process::figures::Figures;
use super::view::{View, in_unit, seconds};
use crate::scoreboard::{Counter, Group, Row};

/// The document.
pub(super) fn report(view: &View<'_>, now: Instant) -> Value {
    let facts = view.facts.clone().unwrap_or_default();
    let reload = facts.reload;
    let count = |counter| view.total(counter);
    let mut report = json!({
        "program": facts.program,
        "version": env!("CARGO_PKG_VERSION"),
        "now": view.now,
        "started": facts.started,
        "uptime": (view.now - facts.started).max(0.0),
        "since": view.source.created(),
        "pid": facts.pid,
        "generation": facts.generation,
        "state": state(view),
        "configuration": facts.configuration,
        "accept": facts.accept,
        "upgrading": facts.upgrading,
        "replaces": facts.replaces,
        "listeners": facts.listeners,
        "ready": Health::of(view, now).object(),
        "workers": view.workers().iter().map(|one| worker(view, one)).collect::<Vec<_>>(),
        "counters": counters(view),
        "restarts": [
            { "reason": "signal", "count": count(Counter::RestartsSignal) },
            { "reason": "exit", "count": count(Counter::RestartsExit) },
        ],
        "reloads": {
            "succeeded": count(Counter::ReloadsDone),
            "failed": count(Counter::ReloadsFailed),
            "last_ok": reload.map(|reload| reload.was_good),
            "last_at": reload.map(|reload| reload.at),
        },
    });
    if let Some(lines) = view.source.log() {
        report["log"] = json!({ "lines": lines });
    }
    for (name, value) in by_name::objects(view) {
        report[name] = value;
    }
    report
}

fn state(view: &View<'_>) -> &'static str {
    let Some(facts) = &view.facts else {
        return "starting";
    };
    if facts.is_stopping {
        "draining"
    } else if facts.upgrading.is_some() {
        "upgrading"
    } else if facts.generation.is_none() {
        "starting"
    } else {
        "serving"
    }
}

fn worker(view: &View<'_>, worker: &Worker) -> Value {
    let mut object = json!(worker);
    let Some(row) = view.row(worker) else {
        return object;
    };
    let process = worker.pid.and_then(Figures::of);
    object["process"] = json!(process);
    if object["process"].is_object() && row.read(Counter::WorkerDescriptorsMax) > 0 {
        let process = &mut object["process"];
        process["cpu_seconds"] = seconds(row.read(Counter::WorkerCpu)).into();
        process["open_fds"] = row.read(Counter::WorkerDescriptors).into();
        process["max_fds"] = row.read(Counter::WorkerDescriptorsMax).into();
    }
    let figures = figures(&row);
    object["accepts"] = json!(view.source.row_that_accepts() == Some(worker.row));
    if let (Value::Object(into), Value::Object(figures)) = (&mut object, figures) {
        into.extend(figures);
    }
    object
}

fn figures(row: &Row) -> Value {
    let read = |counter| row.read(counter);
    let slow = read(Counter::LoopLate).saturating_add(read(Counter::LoopVeryLate));
    json!({
        "asleep": row.is_asleep(),
        "connections": read(Counter::Live),
        "accepted": read(Counter::Accepted),
        "messages": read(Counter::Handled),
        "bytes_received": read(Counter::BytesIn),
        "bytes_sent": read(Counter::BytesOut),
        "buffered_bytes": read(Counter::Buffered),
        "waiting": row.waiting(),
        "busy_seconds": seconds(read(Counter::LoopBusy)),
        "turns": read(Counter::Loops),
        "slow_turns": slow,
    })
}

/// The table of counters, as it is in `/metrics`.
fn counters(view: &View<'_>) -> Vec<Value> {
    let object = |(counter, value): &(Counter, u64)| {
        let metric = counter.metric();
        let total = if counter.is_gauge() { "" } else { "_total" };
        let label = metric.label.into_iter();
        let labels: serde_json::Map<String, Value> = label
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "name": format!("purlin_{}{total}", metric.family),
            "labels": labels,
            "kind": if counter.is_gauge() { "gauge" } else { "counter" },
            "unit": metric.unit(),
            "group": Group::name(counter.group()),
            "help": counter.help(),
            "value": in_unit(*counter, *value),
        })
    };
    // Those stand with their workers.
    let of_workers = [Counter::WorkerDescriptors, Counter::WorkerDescriptorsMax];
    let all = view.totals.iter();
    let all = all.filter(|(counter, _)| !of_workers.contains(counter));
    all.map(object).collect()
}
