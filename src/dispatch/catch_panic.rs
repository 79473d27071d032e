//! User code, fenced: its panics end here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::scoreboard::{Counter, Row};

/// Runs user code; a panic is counted and logged as one of `what`, and gives
/// `None`. State it has half changed is its own: `&mut S` may be left as the
/// panic found it.
pub(super) fn guard<R>(
    row: &Row,
    what: impl FnOnce() -> String,
    code: impl FnOnce() -> R,
) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(payload) => {
            row.count(Counter::Panicked);
            ::log::error!("run {}: panicked: {}", what(), text(&*payload));
            // Dropping what somebody panicked with may panic again, outside of
            // the fence; text cannot, and anything else is not worth the risk.
            if !payload.is::<&str>() && !payload.is::<String>() {
                std::mem::forget(payload);
            }
            None
        }
    }
}

/// The words of a panic.
fn text(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
