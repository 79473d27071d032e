//! A report for programs: one object, with the units in its names.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::asks::Asks;
use super::fault::Kind;
use super::load::{End, Load, Pace};
use super::report::Report;

#[derive(Serialize)]
struct Settings<'a> {
    address: String,
    /// These two are `null` over HTTP, the next two over frames.
    preset: Option<&'a str>,
    id: Option<u32>,
    method: Option<&'a str>,
    url: Option<&'a str>,
    size_bytes: usize,
    connections: u32,
    /// Requests in flight on a connection.
    depth: u32,
    /// `null`: a closed loop.
    rate_per_second: Option<u64>,
    seconds: Option<f64>,
    count: Option<u64>,
    threads: u32,
    ramp_seconds: f64,
    churn_requests: Option<u64>,
    timeout_seconds: f64,
}

#[derive(Serialize)]
struct Object<'a> {
    settings: Settings<'a>,
    requests: u64,
    replies: u64,
    errors: u64,
    errors_by_kind: BTreeMap<&'static str, u64>,
    /// Replies by status, over HTTP.
    statuses: &'a BTreeMap<u16, u64>,
    faults: &'a [String],
    silent_clients: u64,
    interrupted: bool,
    connections_opened: u64,
    duration_seconds: f64,
    operations_per_second: f64,
    /// These are `null` when there was no reply.
    latency_mean_ms: Option<f64>,
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    latency_p99_9_ms: Option<f64>,
    latency_max_ms: Option<f64>,
    sent_bytes: u64,
    received_bytes: u64,
    sent_mib_per_second: f64,
    received_mib_per_second: f64,
}

/// The report and its settings, as one line.
pub(super) fn object(load: &Load, report: &Report) -> String {
    let stats = &report.stats;
    let kinds = Kind::ALL.iter();
    let known = |ms: f64| (stats.replies > 0).then_some(ms);
    let quantile = |quantile| known(report.latency_ms(quantile));
    let object = Object {
        settings: settings(load),
        requests: stats.requests,
        replies: stats.replies,
        errors: stats.faults.total(),
        errors_by_kind: kinds
            .map(|(kind, name, _)| (*name, stats.faults.count(*kind)))
            .collect(),
        statuses: &stats.statuses,
        faults: stats.faults.told(),
        silent_clients: stats.silent,
        interrupted: report.interrupted,
        connections_opened: stats.connections,
        duration_seconds: report.duration.as_secs_f64(),
        operations_per_second: report.rate(),
        latency_mean_ms: known(report.mean_ms()),
        latency_p50_ms: quantile(0.5),
        latency_p95_ms: quantile(0.95),
        latency_p99_ms: quantile(0.99),
        latency_p99_9_ms: quantile(0.999),
        latency_max_ms: known(report.max_ms()),
        sent_bytes: stats.sent_bytes,
        received_bytes: stats.received_bytes,
        sent_mib_per_second: report.mib_per_second(stats.sent_bytes),
        received_mib_per_second: report.mib_per_second(stats.received_bytes),
    };
    serde_json::to_string(&object).expect("its keys are text")
}

fn settings(load: &Load) -> Settings<'_> {
    let frames = load.asks.frames();
    let (method, url) = match &load.asks {
        Asks::Frames(_) => (None, None),
        Asks::Socket(socket) => (None, Some(&*socket.url)),
        Asks::Http(http) => (Some(&*http.method), Some(&*http.url)),
    };
    Settings {
        address: load.address.to_string(),
        preset: frames.map(|frames| &*frames.preset),
        id: frames.and_then(|frames| frames.id),
        method,
        url,
        size_bytes: load.asks.size(),
        connections: load.connections,
        depth: load.depth,
        rate_per_second: match load.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(rate),
        },
        seconds: match load.end {
            End::After(time) => Some(time.as_secs_f64()),
            End::Count(_) => None,
        },
        count: match load.end {
            End::After(_) => None,
            End::Count(count) => Some(count),
        },
        threads: load.threads,
        ramp_seconds: Duration::as_secs_f64(&load.ramp),
        churn_requests: load.churn,
        timeout_seconds: load.timeout.as_secs_f64(),
    }
}
