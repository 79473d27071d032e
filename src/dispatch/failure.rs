//! Errors that are nobody's business but the operator's: into the log under a name
//! that the peer is told.

use super::hub::Hub;
use super::log_fields;
use super::request_id::request_id;
use super::service::Named;
use crate::body::{Answer, Error, Id};
use crate::scoreboard::Counter;

/// Counts what a handler answered to message `id`, if that is an error, and reports
/// it.
pub(super) fn note(answer: &mut Answer, whose: (&Hub, Named), id: Option<Id>) {
    let Answer::Error(error) = answer else {
        return;
    };
    whose.0.row().count(Counter::HandlerErrors);
    if error.cause().is_some() {
        let what = || id.map_or_else(|| "a message".to_owned(), |id| format!("message {id}"));
        report(error, whose, &request_id(), what);
    }
}

/// Logs why `error` came about, if that is not for the peer, and adds the request's
/// name to what the peer gets. `what` was asked of `conn`.
#[cold]
pub(super) fn report(
    error: &mut Error,
    (hub, conn): (&Hub, Named),
    request: &str,
    what: impl FnOnce() -> String,
) {
    let Some(cause) = error.cause() else {
        return;
    };
    let _conn = log_fields::enter(conn, hub);
    ::log::error!(request; "{} of {} failed: {cause}", what(), conn.name);
    error.text.push_str(", request ");
    error.text.push_str(request);
}
