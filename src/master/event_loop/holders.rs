//! Who leaves no room for another generation, and what for: older workers that
//! drain, and the master before this one. What workers say of themselves is only
//! told.

use super::Master;
use crate::master::supervisor::{SlotId, Stage};
use crate::scoreboard::{Counter, Row};

/// What a worker that drains is there for, one and many of them.
const WHAT: [(Counter, &str, &str); 5] = [
    (Counter::LeavingFiles, "file", "files"),
    (Counter::LeavingStreams, "stream", "streams"),
    (Counter::LeavingUploads, "upload", "uploads"),
    (Counter::LeavingReplies, "answer owed", "answers owed"),
    (Counter::Quarantined, "closing", "closing"),
];

impl Master<'_> {
    /// What the workers of the master before this one are there for, as far as they
    /// count where ours do.
    pub(super) fn old_master_holds(&self) -> Option<String> {
        let old_master = self.old_master.as_ref()?;
        let rows = old_master.taken.iter().filter(|_| old_master.is_shared);
        let rows: Vec<Row> = rows.map(|SlotId(row)| self.board.row(row)).collect();
        Some(told(&rows))
    }

    /// Who drains, in words for an operator who is refused something for it.
    pub(super) fn holders(&self) -> String {
        let (current, incoming) = (self.supervisor.current(), self.supervisor.incoming());
        let max = self.current.as_ref();
        let max = max.map_or(0, |cycle| cycle.config.generations_max);
        let mut who: Vec<String> = (self.supervisor.status())
            .filter(|slot| matches!(slot.stage, Stage::Draining | Stage::Ending))
            .filter(|slot| ![current, incoming].contains(&Some(slot.generation)))
            .map(|slot| {
                let pid = slot.pid.map_or("none".to_owned(), |pid| pid.to_string());
                let row = self.board.row(slot.slot.0);
                let (generation, does) = (slot.generation.0, told(&[row]));
                format!("generation {generation}, worker pid {pid}, still drains: {does}")
            })
            .collect();
        if let Some((old_master, does)) = self.old_master.as_ref().zip(self.old_master_holds()) {
            let pid = old_master.pid;
            let others = match old_master.lives().count() {
                0 | 1 => "",
                _ => ", with those before it",
            };
            who.push(format!(
                "master pid {pid}, which the last upgrade replaced, still drains{others}: {does}"
            ));
        }
        let who = who.join("; ");
        format!("{who} (generations_max is {max}; what the masters before drain counts)")
    }
}

/// What these workers hold.
pub(super) fn told(rows: &[Row]) -> String {
    let sum = |counter| {
        rows.iter()
            .map(|row| row.read(counter))
            .fold(0, u64::saturating_add)
    };
    let live = sum(Counter::Live);
    let what: Vec<String> = (WHAT.iter())
        .map(|(counter, one, many)| (sum(*counter), one, many))
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    let connections = if live == 1 {
        "connection"
    } else {
        "connections"
    };
    if what.is_empty() {
        return format!("{live} {connections}");
    }
    format!("{live} {connections} ({})", what.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_worker_is_told_in_words() {
        let row = Row::alone().unwrap();
        assert_eq!(told(&[]), "0 connections");
        row.set(Counter::Live, 1);
        assert_eq!(told(std::slice::from_ref(&row)), "1 connection");
        row.set(Counter::LeavingFiles, 1);
        row.set(Counter::LeavingReplies, 2);
        assert_eq!(
            told(std::slice::from_ref(&row)),
            "1 connection (1 file, 2 answers owed)"
        );
        row.set(Counter::LeavingFiles, u64::MAX);
        let many = format!("2 connections ({} files, 4 answers owed)", u64::MAX);
        assert_eq!(told(&[row.clone(), row]), many);
    }
}
