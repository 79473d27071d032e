//! What `status` tells, for people and for programs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Master;
use super::holders::told;
use crate::master::control::Response;
use crate::master::cycle::Cycle;
use crate::master::exit::Exit;
use crate::master::supervisor::{Stage, Status};
use crate::scoreboard::series::{OwnKind, Sums};
use crate::scoreboard::{Counter, Group, Row, Scoreboard, Timing};
use crate::sys::process::Pid;

impl Master<'_> {
    /// Who holds the accept mutex.
    fn row_that_accepts(&self) -> Option<usize> {
        let holder = self.accept_mutex.holder()?;
        Some(holder.row.into())
    }

    /// Where the configuration is, and where the server listens.
    fn places(&self, listeners: &[String]) -> String {
        let file = self.plan.file.as_ref();
        let file = file.map(|file| format!("configured by {}\n", file.display()));
        let listeners = listeners.iter();
        let listeners = listeners.map(|listener| format!("listening on {listener}\n"));
        let admin = (self.admin.as_ref()).and_then(|admin| admin.listener.place());
        let admin = admin.map(|admin| format!("{admin}\n"));
        file.into_iter().chain(listeners).chain(admin).collect()
    }

    /// What becomes of the masters before and behind this one.
    fn other_masters(&self) -> String {
        let old_master = self.old_master.as_ref().map(|one| one.pid);
        let mut text = String::new();
        if let Some((pid, holds)) = old_master.zip(self.old_master_holds()) {
            let _never_fails = writeln!(text, "master {pid}, which it replaced, drains: {holds}");
        }
        if let Some(pid) = self.supervisor.successor() {
            let _never_fails = writeln!(text, "upgrading to pid {pid}");
        }
        text
    }

    /// The whole report; `is_all`: with counters that are 0.
    pub(super) fn status(&self, is_all: bool) -> Response {
        let now = Instant::now();
        let slots: Vec<Status> = self.supervisor.status().collect();
        let rows: Vec<Row> = slots.iter().map(|one| self.board.row(one.slot.0)).collect();
        let listeners: Vec<String> = (self.current.iter()).flat_map(Cycle::addresses).collect();
        let (totals, sums) = self.board.figures();
        let accept = (self.current.as_ref()).map_or("", |now| now.accept(&self.board).name());
        let generation = self.supervisor.current().map(|generation| generation.0);
        let holder = self.row_that_accepts();
        let uptime = now.saturating_duration_since(self.born).as_secs();

        let old_master = self.old_master.as_ref().map(|old_master| old_master.pid);
        let mut text = format!("master {} serves", Pid::own());
        let _never_fails = match generation {
            Some(generation) => write!(text, " generation {generation}"),
            None => write!(text, " nobody"),
        };
        let _never_fails = writeln!(text, ", up {uptime} s, accept {accept}");
        text.push_str(&self.other_masters());
        text.push_str(&self.places(&listeners));
        for (slot, row) in slots.iter().zip(&rows) {
            let accepts = if holder == Some(slot.slot.0) {
                ", accepts"
            } else {
                ""
            };
            let _never_fails = writeln!(text, "{}{accepts}", line(slot, row, now));
        }
        let slowest = slowest(rows.iter());
        for timing in slowest.iter().take(SLOWEST) {
            let _never_fails = writeln!(text, "{}", words(timing));
        }
        let own = own(&self.board, &sums);
        text.push_str(&grouped(&totals, is_all));
        text.push_str(&of_program(&self.plan.program, &own));
        let workers: Vec<Value> = (slots.iter().zip(&rows))
            .map(|(slot, row)| object(slot, row, holder, now))
            .collect();
        let totals: Map<String, Value> = (totals.into_iter())
            .map(|(counter, value)| (counter.name().to_owned(), value.into()))
            .collect();
        Response {
            code: Exit::Ok as u8,
            text: text.trim_end().to_owned(),
            json: json!({
                "pid": Pid::own().raw(),
                "version": env!("CARGO_PKG_VERSION"),
                "conf": self.plan.file.as_ref().map(|file| file.to_string_lossy()),
                "set": self.plan.overrides,
                "uptime": uptime,
                "generation": generation,
                "starting": self.supervisor.incoming().map(|generation| generation.0),
                "stopping": self.supervisor.is_stopping(),
                "upgrading": self.supervisor.successor().map(Pid::raw),
                "replaces": old_master,
                "accept": accept,
                "listeners": listeners,
                "admin": self.admin_address(),
                "workers": workers,
                "counters": totals,
                "own": own.into_iter().collect::<Map<_, _>>(),
                "slowest": slowest.iter().map(numbers).collect::<Vec<_>>(),
            }),
        }
    }
}

/// The counters, those of one group together.
fn grouped(totals: &[(Counter, u64)], is_all: bool) -> String {
    let mut groups: BTreeMap<Group, String> = BTreeMap::new();
    for (counter, value) in totals.iter().filter(|(_, value)| is_all || *value > 0) {
        let lines = groups.entry(counter.group()).or_default();
        let _never_fails = writeln!(lines, "  {} {value}", counter.name());
    }
    let groups = groups.into_iter();
    let groups = groups.map(|(group, lines)| format!("{}:\n{lines}", group.name()));
    groups.collect()
}

/// The program's own metrics; of a histogram, how many values it has.
fn own(board: &Scoreboard, sums: &Sums) -> Vec<(String, Value)> {
    let own = sums.shape().own.iter().enumerate();
    own.map(|(n, own)| {
        let value = match own.kind {
            OwnKind::Counter => sums.own(n).into(),
            OwnKind::Gauge => {
                let rows = (0..board.rows()).filter(|row| board.is_used(*row));
                let sum: f64 = rows.map(|row| board.row(row).own_gauge(n)).sum();
                sum.into()
            }
            OwnKind::Histogram(_) => {
                let counts = sums.own_spread(n).counts.into_iter();
                counts.fold(0, u64::wrapping_add).into()
            }
        };
        (own.name.clone(), value)
    })
    .collect()
}

fn of_program(program: &str, own: &[(String, Value)]) -> String {
    if own.is_empty() {
        return String::new();
    }
    let lines = own
        .iter()
        .map(|(name, value)| format!("  {name} {value}\n"));
    format!("{program}:\n{}", lines.collect::<String>())
}

/// Message ids that are told to people.
const SLOWEST: usize = 5;

/// What is known of the handlers' times in these rows, by id, the slowest
/// first.
fn slowest<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Timing> {
    let mut by_id: BTreeMap<u32, Timing> = BTreeMap::new();
    for timing in rows.flat_map(Row::timings) {
        let sum = by_id.entry(timing.id).or_insert(Timing {
            id: timing.id,
            samples: 0,
            total: 0,
            longest: 0,
        });
        sum.samples = sum.samples.saturating_add(timing.samples);
        sum.total = sum.total.saturating_add(timing.total);
        sum.longest = sum.longest.max(timing.longest);
    }
    let mut all: Vec<Timing> = by_id.into_values().collect();
    all.sort_by_key(|timing| Reverse(timing.total / timing.samples.max(1)));
    all
}

fn words(timing: &Timing) -> String {
    let millis = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
    let mean = millis(timing.total / timing.samples.max(1));
    let (id, samples, longest) = (timing.id, timing.samples, millis(timing.longest));
    format!("message {id}: mean {mean:.3} ms, longest {longest:.3} ms of {samples} timed")
}

fn numbers(timing: &Timing) -> Value {
    json!({
        "id": timing.id,
        "timed": timing.samples,
        "total_ns": timing.total,
        "mean_ns": timing.total / timing.samples.max(1),
        "longest_ns": timing.longest,
    })
}

/// One worker, in words.
fn line(slot: &Status, row: &Row, now: Instant) -> String {
    let pid = slot.pid.map_or("none".to_owned(), |pid| pid.to_string());
    let exit = slot
        .last_exit
        .map_or("none".to_owned(), |exit| exit.to_string());
    let mut line = format!(
        "worker {}: pid {pid}, generation {}, {} for {} s, live {}, restarts {}, last exit {exit}",
        slot.number,
        slot.generation.0,
        slot.stage.name(),
        now.saturating_duration_since(slot.since).as_secs(),
        row.read(Counter::Live),
        slot.restarts,
    );
    if slot.stage == Stage::Draining {
        let _never_fails = write!(line, ", holds {}", told(std::slice::from_ref(row)));
    }
    if let Some(until) = slot.until {
        let left = until.saturating_duration_since(now).as_secs_f32();
        let _never_fails = write!(line, ", {left:.1} s left");
    }
    line
}

/// One worker, for programs.
fn object(slot: &Status, row: &Row, holder: Option<usize>, now: Instant) -> Value {
    let counters: Map<String, Value> = (Counter::ALL.iter())
        .map(|counter| (counter.name().to_owned(), row.read(*counter).into()))
        .collect();
    json!({
        "worker": slot.number,
        "slot": slot.slot.0,
        "pid": slot.pid.map(Pid::raw),
        "generation": slot.generation.0,
        "state": slot.stage.name(),
        "for": now.saturating_duration_since(slot.since).as_secs(),
        "until": slot.until.map(|until| until.saturating_duration_since(now).as_secs_f32()),
        "live": row.read(Counter::Live),
        "has_turn": holder == Some(slot.slot.0),
        "waiting": row.waiting(),
        "asleep": row.is_asleep(),
        "restarts": slot.restarts,
        "last_exit": slot.last_exit.map(|exit| exit.to_string()),
        "counters": counters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::supervisor::{Command, Event, Policy, Supervisor};
    use crate::scoreboard::Scoreboard;
    use proptest::prelude::*;

    fn policy() -> Policy {
        Policy {
            slots: 2,
            shutdown_timeout: Duration::from_secs(1),
            ready_timeout: Duration::from_secs(1),
            generations_max: 2,
            upgrade_timeout: Duration::from_secs(1),
            is_first_process: false,
            seed: 1,
        }
    }

    #[test]
    fn counters_stand_in_groups_and_those_that_are_0_only_if_wanted() {
        let totals = [
            (Counter::Accepted, 3),
            (Counter::RefusedDenied, 1),
            (Counter::Live, 2),
            (Counter::Closed, 0),
        ];
        let few = "connections:\n  connections_accepted 3\n  connections_live 2\n\
                   refused:\n  connections_refused_denied 1\n";
        assert_eq!(grouped(&totals, false), few);
        assert!(grouped(&totals, true).contains("  connections_closed 0\n"));
    }

    proptest! {
        #[test]
        fn any_words_of_workers_are_told(seed in any::<u64>(), small in any::<bool>()) {
            let (board, now) = (Scoreboard::new(2).unwrap(), Instant::now());
            let mut supervisor = Supervisor::new(policy());
            let two = Command::NewGeneration { workers: 2 };
            let _forks = supervisor.on_event(Event::Ordered(two), now);
            board.scramble(seed, small);
            let rows = [board.row(0), board.row(1)];
            for (slot, row) in supervisor.status().zip(&rows) {
                let _text = (line(&slot, row, now), object(&slot, row, Some(0), now));
            }
            for timing in slowest(rows.iter()) {
                let _text = (words(&timing), numbers(&timing));
            }
        }
    }
}
