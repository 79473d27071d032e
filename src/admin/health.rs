//! Whether clients are served: `/readyz`, and what it says if not.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::facts::Worker;
use super::view::{View, seconds};
use crate::sys::clock::coarse_millis;

/// How old what a check said may be.
const CHECKED: u64 = 15_000;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) ok: bool,
    pub(super) reasons: Vec<String>,
    pub(super) checks: Vec<Check>,
}

/// What a check said in a worker.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) worker: usize,
    /// That of the worker: two generations have workers of the same number.
    #[serde(skip)]
    pub(super) row: usize,
    /// `None`: it has not run yet.
    pub(super) ok: Option<bool>,
    /// How long it took.
    seconds: Option<f64>,
    /// How long ago that was.
    age: Option<f64>,
}

impl Health {
    pub(super) fn of(view: &View<'_>, now: Instant) -> Self {
        let checks = checks(view);
        let mut reasons: Vec<String> = out_of_service(view, now).into_iter().collect();
        // One that starts beside others has a moment for its first look.
        let is_well = |name: &String| {
            let mut others = checks.iter();
            others.any(|other| other.name == *name && other.ok == Some(true))
        };
        let failed = checks.iter().filter(|check| match check.ok {
            Some(well) => !well,
            None => !is_well(&check.name),
        });
        reasons.extend(failed.map(Check::reason));
        Self {
            ok: reasons.is_empty(),
            reasons,
            checks,
        }
    }

    pub(super) fn text(&self) -> String {
        if self.ok {
            return "ok\n".to_owned();
        }
        let lines = self.reasons.iter().map(|reason| format!("{reason}\n"));
        lines.collect()
    }

    pub(super) fn object(&self) -> Value {
        json!(self)
    }
}

impl Check {
    fn reason(&self) -> String {
        let Self { name, worker, .. } = self;
        match (self.ok, self.age) {
            (None, _) => format!("check `{name}` has not run yet in worker {worker}"),
            (Some(_), Some(age)) if age > seconds(CHECKED) => {
                format!("check `{name}` ran {age:.0} s ago in worker {worker}, and not since")
            }
            (Some(_), _) => format!("check `{name}` failed in worker {worker}"),
        }
    }
}

fn serving<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Worker> {
    let workers = view.workers().iter();
    workers.filter(|worker| worker.state == "serving")
}

/// What every check says in every worker that serves.
fn checks(view: &View<'_>) -> Vec<Check> {
    let now = coarse_millis();
    let mut checks = Vec::new();
    for worker in serving(view) {
        let Some(row) = view.row(worker) else {
            continue;
        };
        for (n, name) in view.sums.shape().checks.iter().enumerate() {
            let checked = row.checked(n);
            let age = now.saturating_sub(checked.at);
            let is_known = checked.went_well.is_some();
            checks.push(Check {
                name: name.clone(),
                worker: worker.number,
                row: worker.row,
                ok: checked.went_well.map(|well| well && age <= CHECKED),
                seconds: is_known.then(|| seconds(checked.took / 1000) / 1000.0),
                age: is_known.then(|| seconds(age)),
            });
        }
    }
    checks
}

/// Why nobody would be served.
fn out_of_service(view: &View<'_>, now: Instant) -> Option<String> {
    let Some(facts) = &view.facts else {
        return Some("starting: the master has not said anything yet".into());
    };
    if facts.is_stopping {
        return Some("draining: the server stops".into());
    }
    let mut workers = serving(view).peekable();
    if workers.peek().is_none() {
        let is_starting = facts.is_starting || facts.generation.is_none();
        let why = if is_starting {
            "starting: no worker serves yet"
        } else {
            "draining: no worker accepts"
        };
        return Some(why.into());
    }
    let goes_on = |worker: &Worker| view.source.advances(worker, now);
    (!workers.any(goes_on)).then(|| "no worker goes on".into())
}
