//! What became of the messages of a drain: whatever was received is answered or
//! refused, and the log says so in numbers. On the reactor.

use std::fmt;
use std::time::Duration;

use std::sync::Arc;

use crate::scoreboard::{Counter, Row};
use crate::worker::connection::Connection;

/// A worker's counts at one moment.
#[derive(Clone, Copy, Debug)]
struct Counts {
    received: u64,
    /// Whose handler has put its reply off: neither answered nor refused yet.
    owed: u64,
    answered: u64,
    refused: u64,
    /// Which went along with their connections, and are received elsewhere.
    moved: u64,
}

impl Counts {
    fn read(row: &Row) -> Self {
        let owed = row.read(Counter::RepliesOwed);
        let abandoned = row.read(Counter::RepliesAbandoned);
        let served = row.read(Counter::HandledInline);
        let served = served.wrapping_add(row.read(Counter::ServedByPool));
        Self {
            received: row.read(Counter::Received),
            owed,
            answered: served.wrapping_sub(owed.wrapping_add(abandoned)),
            refused: row.read(Counter::Dropped).wrapping_add(abandoned),
            moved: row.read(Counter::MessagesMoved),
        }
    }
}

/// A drain that goes on.
#[derive(Debug)]
pub(super) struct DrainReport {
    before: Counts,
    connections: usize,
    began: u64,
}

impl DrainReport {
    pub(super) fn open(row: &Row, connections: usize, now: u64) -> Self {
        Self {
            before: Counts::read(row),
            connections,
            began: now,
        }
    }

    /// The drain is over; nobody serves any more. Who was still there then was
    /// `cut`: what of it is not written off yet never will be answered.
    pub(super) fn close(&self, row: &Row, cut: &[Arc<Connection>], now: u64) -> Drained {
        let owed: u64 = cut.iter().map(|conn| u64::from(conn.owed())).sum();
        let (before, after) = (self.before, Counts::read(row));
        let done = before.answered.wrapping_add(before.refused);
        // None did before.
        let done = done.wrapping_add(after.moved);
        Drained {
            took: Duration::from_millis(now.saturating_sub(self.began)),
            connections: self.connections,
            received: after.received.saturating_sub(done),
            answered: after.answered.saturating_sub(before.answered),
            refused: after.refused.saturating_sub(before.refused) + owed + after.owed,
        }
    }
}

/// What a drain came to. `received` is `answered` and `refused` together: each
/// message is counted once where it arrives, and once where it is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drained {
    /// From the order to the last connection.
    pub took: Duration,
    /// Connections that lived when it began.
    pub connections: usize,
    /// Messages that waited to be served when it began, or came later, but for those
    /// that went along to another worker with their connection. A request
    /// over HTTP has come with its head if its body is passed on in parts.
    pub received: u64,
    /// Those that were served: by a handler, or by the rule for heartbeats and
    /// for ids that no handler claims; where the handler put its reply off, when
    /// that was given.
    pub answered: u64,
    /// Those that were not, because their connection ended first: its peer
    /// broke a rule or was gone, a handler closed it, or time was up. Who waited
    /// for a reply that was put off got an error.
    pub refused: u64,
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            took,
            connections,
            received,
            answered,
            refused,
        } = self;
        let took = took.as_secs_f32();
        write!(f, "drained in {took:.2} s: {connections} connections; ")?;
        write!(
            f,
            "{received} messages received = {answered} answered + {refused} refused"
        )?;
        match i128::from(*received) - i128::from(*answered) - i128::from(*refused) {
            0 => Ok(()),
            lost => write!(f, " + {lost} unaccounted for"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_waited_at_the_begin_counts_and_what_was_done_before_does_not() {
        let row = Row::alone().unwrap();
        row.add(Counter::Received, 10);
        row.add(Counter::HandledInline, 3);
        row.add(Counter::ServedByPool, 4);
        row.add(Counter::Dropped, 1);
        let report = DrainReport::open(&row, 7, 1000);
        row.add(Counter::Received, 5);
        row.add(Counter::ServedByPool, 6);
        row.add(Counter::Dropped, 1);
        let drained = report.close(&row, &[], 2500);
        assert_eq!(
            drained.to_string(),
            "drained in 1.50 s: 7 connections; 7 messages received = 6 answered + 1 refused"
        );
        // One is put off, one was before; one of them is given, one never.
        row.add(Counter::Received, 1);
        row.add(Counter::ServedByPool, 1);
        row.add(Counter::RepliesOwed, 1);
        let text = report.close(&row, &[], 2500).to_string();
        assert!(
            text.ends_with("8 messages received = 6 answered + 2 refused"),
            "{text}"
        );
        let report = DrainReport::open(&row, 7, 1000);
        let text = report.close(&row, &[], 1000).to_string();
        assert!(
            text.ends_with("1 messages received = 0 answered + 1 refused"),
            "{text}"
        );
        row.subtract(Counter::RepliesOwed, 1);
        let text = report.close(&row, &[], 1000).to_string();
        assert!(
            text.ends_with("1 messages received = 1 answered + 0 refused"),
            "{text}"
        );
        row.add(Counter::RepliesAbandoned, 1);
        let text = report.close(&row, &[], 1000).to_string();
        assert!(
            text.ends_with("1 messages received = 0 answered + 1 refused"),
            "{text}"
        );
        row.add(Counter::Received, 2);
        let text = report.close(&row, &[], 2500).to_string();
        assert!(text.ends_with("+ 1 refused + 2 unaccounted for"), "{text}");
        row.add(Counter::MessagesMoved, 2);
        let text = report.close(&row, &[], 2500).to_string();
        assert!(text.ends_with("0 answered + 1 refused"), "{text}");
    }
}
