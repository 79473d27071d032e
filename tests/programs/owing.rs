//! The program that the tests of ends start: it owes replies that it never gives,
//! and notes its hooks.
//!
//! The file `ends` in the working directory has a line for each run of a hook, and
//! for each reply that is owed: the worker's pid, what it was, and for `closed`
//! the reason.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use purlin::prelude::*;

/// Puts its reply off for ever.
const OWE: Id = 3;

/// To drop one would answer.
static OWED: Mutex<Vec<Replier>> = Mutex::new(Vec::new());

fn note(what: &str) {
    let file = OpenOptions::new().create(true).append(true).open("ends");
    let line = format!("{} {what}\n", std::process::id());
    let _noted = file.map(|mut file| file.write_all(line.as_bytes()));
}

fn keep(replier: Replier) {
    let mut owed = OWED.lock().unwrap_or_else(PoisonError::into_inner);
    owed.push(replier);
    note("owed");
}

fn main() -> ExitCode {
    App::<()>::new()
        .opened(|_| note("opened"))
        .closed(|c| match c.close_reason() {
            Some(reason) => note(&format!("closed {reason:?}")),
            None => note("closed"),
        })
        .draining(|_| note("draining"))
        .stopping(|_| note("stopping"))
        .on(OWE, |c, _: Bytes| c.later(keep))
        .web(
            Web::<()>::new()
                .get("/later", |c, (): ()| c.later(keep))
                .get("/events", |c, (): ()| {
                    note("owed");
                    c.events_of(&["lobby"], |_, _| Some("said"))
                }),
        )
        .single_worker()
        .main()
}
