//! Whether clients are served: `/readyz`, and what it says if not.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::facts::Worker;
use super::view::View;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) ok: bool,
    pub(super) reasons: Vec<String>,
    pub(super) checks: Vec<Value>,
}

impl Health {
    pub(super) fn of(view: &View<'_>, now: Instant) -> Self {
        let reasons: Vec<String> = out_of_service(view, now).into_iter().collect();
        Self {
            ok: reasons.is_empty(),
            reasons,
            checks: Vec::new(),
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

/// Why nobody would be served.
fn out_of_service(view: &View<'_>, now: Instant) -> Option<String> {
    let Some(facts) = &view.facts else {
        return Some("starting: the master has not said anything yet".into());
    };
    if facts.is_stopping {
        return Some("draining: the server stops".into());
    }
    let serving = |worker: &&Worker| worker.state == "serving";
    let mut workers = facts.workers.iter().filter(serving).peekable();
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
