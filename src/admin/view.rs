//! What there is to see, at one moment.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::facts::{Facts, Reader, Worker};
use crate::net::accept_mutex::AcceptMutex;
use crate::scoreboard::series::Sums;
use crate::scoreboard::{Counter, Row, Scoreboard};
use crate::sys::clock::wall_millis;

/// How long an event loop that does not wait may be in one turn and be said to go
/// on.
const ADVANCES: Duration = Duration::from_secs(3);

/// Bytes and lines of the log that are shown.
const LOG_BYTES: u64 = 16 << 10;
const LOG_LINES: usize = 60;

/// Where everything is read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) board: Scoreboard,
    pub(super) facts: Reader,
    /// The log, if it may be shown.
    tail: Mutex<Option<File>>,
    /// Turns of each row's loop, and when there were as many first.
    turns: Mutex<HashMap<usize, (u64, Instant)>>,
}

/// One moment.
pub(super) struct View<'a> {
    pub(super) source: &'a Source,
    /// `None`: the master has said nothing yet.
    pub(super) facts: Option<Facts>,
    pub(super) totals: Vec<(Counter, u64)>,
    pub(super) sums: Sums,
    /// In seconds since 1970.
    pub(super) now: f64,
}

impl Source {
    pub(super) fn new(board: Scoreboard, facts: Reader, tail: Option<File>) -> Self {
        Self {
            board,
            facts,
            tail: Mutex::new(tail),
            turns: Mutex::default(),
        }
    }

    /// The log is another file now.
    pub(super) fn follow(&self, tail: Option<File>) {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = tail;
    }

    /// Its last lines; `None`: it is not shown.
    pub(super) fn log(&self) -> Option<Vec<String>> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let file = tail.as_ref()?;
        let from = file.metadata().ok()?.len().saturating_sub(LOG_BYTES);
        let mut bytes = vec![0; usize::try_from(LOG_BYTES).unwrap_or(0)];
        let len = file.read_at(&mut bytes, from).ok()?;
        Some(last_lines(&bytes[..len], from > 0))
    }

    pub(super) fn look(&self) -> View<'_> {
        let (totals, sums) = self.board.figures();
        View {
            source: self,
            facts: self.facts.read(),
            totals,
            sums,
            now: seconds(wall_millis()),
        }
    }

    /// Whose worker holds the accept mutex.
    pub(super) fn row_that_accepts(&self) -> Option<usize> {
        let holder = AcceptMutex::new(self.board.clone()).holder()?;
        Some(holder.row.into())
    }

    /// Since when counters count, in seconds since 1970.
    pub(super) fn created(&self) -> f64 {
        seconds(self.board.created())
    }

    /// Takes note of how far each loop is.
    pub(super) fn note(&self, now: Instant) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        for row in 0..self.board.rows() {
            let loops = self.board.row(row).read(Counter::Loops);
            let noted = turns.entry(row).or_insert((loops, now));
            if noted.0 != loops {
                *noted = (loops, now);
            }
        }
    }

    /// Whether the worker's event loop goes on: it waits, or its turns are not all the
    /// same one.
    pub(super) fn advances(&self, worker: &Worker, now: Instant) -> bool {
        if worker.is_stopped || worker.row >= self.board.rows() {
            return false;
        }
        let row = self.board.row(worker.row);
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |noted: &&(u64, Instant)| noted.0 == row.read(Counter::Loops);
        let noted = turns.get(&worker.row).filter(is_same);
        row.is_asleep() || noted.is_none_or(|(_, since)| now < *since + ADVANCES)
    }
}

/// The last lines of a text, of which the first one may have lost its beginning.
fn last_lines(bytes: &[u8], is_cut: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().skip(usize::from(is_cut)).collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES)..];
    shown.iter().map(|line| (*line).to_owned()).collect()
}

impl View<'_> {
    pub(super) fn workers(&self) -> &[Worker] {
        self.facts.as_ref().map_or(&[], |facts| &facts.workers)
    }

    /// The counters of a worker, if it says a row that there is.
    pub(super) fn row(&self, worker: &Worker) -> Option<Row> {
        let board = &self.source.board;
        (worker.row < board.rows()).then(|| board.row(worker.row))
    }

    /// Rows with a worker in them, whoever its master is.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, Row)> {
        let board = &self.source.board;
        let used = (0..board.rows()).filter(|n| board.is_used(*n));
        used.map(|n| (n, board.row(n)))
    }

    pub(super) fn total(&self, wanted: Counter) -> u64 {
        let found = self.totals.iter().find(|(counter, _)| *counter == wanted);
        found.map_or(0, |(_, value)| *value)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "thirty years are a millionth of what is exact"
)]
pub(super) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// A count in the unit of its metric.
#[allow(clippy::cast_precision_loss, reason = "for people and for charts")]
pub(super) fn in_unit(counter: Counter, value: u64) -> f64 {
    value as f64 / f64::from(counter.per_unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_ones() {
        assert_eq!(last_lines(b"a\nb\n", false), ["a", "b"]);
        assert_eq!(last_lines(b"lf\nb\nc", true), ["b", "c"]);
        assert_eq!(last_lines(b"", false), [""; 0]);
        let many = "x\n".repeat(LOG_LINES + 5);
        assert_eq!(last_lines(many.as_bytes(), false).len(), LOG_LINES);
    }
}
