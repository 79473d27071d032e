//! Reads what callgrind writes. Pure; `tests/it/bench.rs` tests it.
//!
//! ```text
//! events: Ir
//! summary: 33197398
//! fn=...
//! totals: 33197398
//! ```
//!
//! A file has one part or, after a dump on request, several; each has its total.

/// Instructions of all parts; `None` when no part tells them.
pub(crate) fn total(text: &str) -> Option<u64> {
    let sum = |key| {
        let counts = text.lines().filter_map(|line| first(line, key));
        counts.reduce(|sum, count| sum + count)
    };
    let counted = text.lines().any(|line| events(line) == Some("Ir"));
    // A part that was cut off has a summary at its beginning only, if at all.
    counted.then(|| sum("totals:").or_else(|| sum("summary:")))?
}

/// The first event, of which the first column tells.
fn events(line: &str) -> Option<&str> {
    line.strip_prefix("events:")?.split_whitespace().next()
}

/// The first number behind `key`.
fn first(line: &str, key: &str) -> Option<u64> {
    let numbers = line.strip_prefix(key)?;
    numbers.split_whitespace().next()?.parse().ok()
}
