//! What `status -w` shows: two reports of the master and the time between them
//! become lines of at most 80 characters. Pure.

use serde_json::Value;

/// Columns that are used, however wide the terminal is.
const WIDTH: usize = 80;

/// Message ids that are shown at least, when there are so many and so few lines.
const IDS_MIN: usize = 3;

/// Two reports, and the seconds between them.
pub(super) struct Span<'a> {
    /// None at the first look: there are no rates yet.
    pub(super) before: Option<&'a Value>,
    pub(super) now: &'a Value,
    pub(super) seconds: f64,
}

impl Span<'_> {
    /// At most `height` lines, the most important first.
    pub(super) fn lines(&self, height: usize) -> Vec<String> {
        let mut lines = self.summary();
        let (workers, ids) = (self.workers(), self.ids());
        let room = height.saturating_sub(lines.len() + 2);
        // In very few lines the workers come first.
        let below = if ids.is_empty() || room < 2 * IDS_MIN + 2 {
            0
        } else {
            ids.len().min(IDS_MIN) + 2
        };
        let shown = workers.len().min(room.saturating_sub(below).max(1));
        lines.push(String::new());
        lines.push(format!(
            "{:>6} {:>7} {:>4} {:<11} {:>6} {:>6} {:>7} {:>6} {:>6} {:>4}  {}",
            "worker",
            "pid",
            "gen",
            "state",
            "conns",
            "new/s",
            "msg/s",
            "wait",
            "held",
            "busy",
            "lag"
        ));
        let hidden = workers.len() - shown;
        if hidden > 0 {
            lines.extend(workers.into_iter().take(shown.saturating_sub(1)));
            lines.push(format!("   ... and {} more", hidden + 1));
        } else {
            lines.extend(workers);
        }
        if !ids.is_empty() {
            lines.push(String::new());
            lines.push(format!(
                "{:>10} {:>10} {:>10} {:>10} {:>8}",
                "message id", "mean now", "mean", "longest", "timed"
            ));
            lines.extend(ids);
        }
        lines.truncate(height);
        let cut = |line: String| line.chars().take(WIDTH).collect();
        lines.into_iter().map(cut).collect()
    }

    /// What the whole server does.
    fn summary(&self) -> Vec<String> {
        let now = self.now;
        let generation = match now["generation"].as_u64() {
            Some(generation) => format!("generation {generation}"),
            None => "drained".into(),
        };
        let refused = self.total_rate(|name| name.starts_with("connections_refused"));
        let rate = |name: &str| self.total_rate(|other| other == name);
        let gauge = |name: &str| short(float(&now["counters"][name]));
        let workers = now["workers"].as_array().into_iter().flatten();
        let waiting: f64 = workers.map(|worker| float(&worker["waiting"])).sum();
        let uptime = span(now["uptime"].as_u64().unwrap_or(0));
        vec![
            format!(
                "purlin {}, master {}, {generation}, up {uptime}, accept {}",
                word(&now["version"]),
                now["pid"],
                word(&now["accept"]),
            ),
            format!(
                "connections {:>8} live {:>8}/s new {:>8}/s closed {:>8}/s refused",
                gauge("connections_live"),
                rate("connections_accepted"),
                rate("connections_closed"),
                refused,
            ),
            format!(
                "messages {:>9}/s in {:>8}/s handled {:>8}/s errors {:>8} waiting",
                rate("messages_received"),
                rate("messages_handled"),
                rate("messages_answered_error"),
                short(waiting),
            ),
            format!(
                "bytes {:>12}/s in {:>8}/s out {:>10} held",
                rate("bytes_received"),
                rate("bytes_sent"),
                gauge("bytes_buffered"),
            ),
        ]
    }

    /// The rate of all counters that are meant, together.
    fn total_rate(&self, is_meant: impl Fn(&str) -> bool) -> String {
        let sum = |report: &Value| -> f64 {
            let counters = report["counters"].as_object().into_iter().flatten();
            let meant = counters.filter(|(name, _)| is_meant(name));
            meant.map(|(_, value)| float(value)).sum()
        };
        self.rate(self.before.map(sum), sum(self.now))
    }

    fn rate(&self, before: Option<f64>, now: f64) -> String {
        before.map_or("-".into(), |before| {
            short((now - before).max(0.0) / self.seconds.max(1e-3))
        })
    }

    /// A line for each worker.
    fn workers(&self) -> Vec<String> {
        let workers = self.now["workers"].as_array().into_iter().flatten();
        workers.map(|worker| self.worker(worker)).collect()
    }

    fn worker(&self, worker: &Value) -> String {
        // By pid: another worker may have the place now.
        let same = |other: &&Value| other["pid"] == worker["pid"] && !worker["pid"].is_null();
        let workers = self.before.and_then(|before| before["workers"].as_array());
        let before = workers.and_then(|all| all.iter().find(same));
        let grew = |name: &str| {
            let count = |one: &Value| float(&one["counters"][name]);
            before.map(|before| count(worker) - count(before))
        };
        let rate = |name: &str| self.rate(grew(name).map(|_| 0.0), grew(name).unwrap_or(0.0));
        let busy = grew("reactor_busy_milliseconds").map_or("-".into(), |millis| {
            format!("{:.0}%", (millis / self.seconds / 10.0).min(100.0))
        });
        let was_awake = before.is_some_and(|before| before["asleep"] == false);
        let is_stuck = was_awake && worker["asleep"] == false && grew("reactor_loops") == Some(0.0);
        let grown = |name: &str| grew(name).is_some_and(|count| count > 0.0);
        let lag = match before {
            None => "-",
            Some(_) if is_stuck => "stuck",
            Some(_) if grown("reactor_turns_over_100_ms") => ">100ms",
            Some(_) if grown("reactor_turns_10_to_100_ms") => ">10ms",
            Some(_) => "<10ms",
        };
        let turn = if worker["has_turn"] == true { "*" } else { "" };
        format!(
            "{:>6} {:>7} {:>4} {:<11} {:>6} {:>6} {:>7} {:>6} {:>6} {:>4}  {lag}",
            format!("{}{turn}", worker["worker"]),
            worker["pid"]
                .as_u64()
                .map_or("-".into(), |pid| pid.to_string()),
            worker["generation"].to_string(),
            word(&worker["state"]),
            short(float(&worker["live"])),
            rate("connections_accepted"),
            rate("messages_received"),
            short(float(&worker["waiting"])),
            short(float(&worker["counters"]["bytes_buffered"])),
            busy,
        )
    }

    /// A line for each message id whose handlers were timed, the slowest first.
    fn ids(&self) -> Vec<String> {
        let known = self.now["slowest"].as_array().into_iter().flatten();
        known.map(|timing| self.id(timing)).collect()
    }

    fn id(&self, timing: &Value) -> String {
        let before = self.before.and_then(|before| before["slowest"].as_array());
        let same = |other: &&Value| other["id"] == timing["id"];
        let before = before.and_then(|all| all.iter().find(same));
        let grew = |name: &str| float(&timing[name]) - before.map_or(0.0, |one| float(&one[name]));
        let (timed, total) = (grew("timed"), grew("total_ns"));
        // Fewer than before: a worker ended and took its own along.
        let recent = if self.before.is_some() && timed > 0.0 && total >= 0.0 {
            time(total / timed)
        } else {
            "-".into()
        };
        format!(
            "{:>10} {recent:>10} {:>10} {:>10} {:>8}",
            timing["id"].to_string(),
            time(float(&timing["mean_ns"])),
            time(float(&timing["longest_ns"])),
            short(float(&timing["timed"])),
        )
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// At most six characters.
fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        ..1e4 => (number, ""),
        ..1e7 => (number / 1e3, "k"),
        ..1e10 => (number / 1e6, "M"),
        _ => (number / 1e9, "G"),
    };
    // What would be rounded to a whole number is written as one.
    let is_whole = scaled >= 99.95 || (scaled - scaled.round()).abs() < 0.05;
    if is_whole {
        format!("{scaled:.0}{unit}")
    } else {
        format!("{scaled:.1}{unit}")
    }
}

/// At most eight characters.
fn time(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.1} us", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.1} s", nanos / 1e9),
    }
}

fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {rest}s"),
        (0, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn worker(number: u64, count: u64, asleep: bool) -> Value {
        json!({
            "worker": number, "pid": 1000 + number, "generation": 3, "state": "serving",
            "live": 12_345, "waiting": 7, "has_turn": number == 0, "asleep": asleep,
            "counters": {
                "connections_accepted": count, "messages_received": count * 1_000_000,
                "bytes_buffered": 268_435_456_u64, "reactor_loops": count,
                "reactor_busy_milliseconds": count * 500, "reactor_turns_10_to_100_ms": count,
                "reactor_turns_over_100_ms": 0,
            },
        })
    }

    fn report(count: u64, workers: u64) -> Value {
        json!({
            "version": "0.1.0", "pid": 4_194_304, "generation": 3, "uptime": 93_784,
            "accept": "reuseport",
            "counters": {
                "connections_live": 1_000_000, "connections_accepted": count * 60_000,
                "connections_refused_per_ip": count, "connections_refused_denied": count,
                "messages_received": count * 25_000_000,
            },
            "workers": (0..workers).map(|n| worker(n, count, false)).collect::<Vec<_>>(),
            "slowest": (0..5).map(|n| json!({
                "id": 4_294_967_295_u64 - n, "timed": 10 * count, "total_ns": count * 50_000_000,
                "mean_ns": 5_000_000, "longest_ns": 61_000_000_000_u64,
            })).collect::<Vec<_>>(),
        })
    }

    fn lines(before: Option<&Value>, now: &Value, height: usize) -> Vec<String> {
        let seconds = 2.0;
        let span = Span {
            before,
            now,
            seconds,
        };
        span.lines(height)
    }

    #[test]
    fn rates_are_a_second_s() {
        let (before, now) = (report(2, 1), report(4, 1));
        let text = lines(Some(&before), &now, 24).join("\n");
        for part in [
            "up 1d 2h, accept reuseport",
            "1000k live",
            "60k/s new",
            "2/s refused",
            "25M/s in",
            "7 waiting",
            "    0*    1000    3 serving      12.3k      1   1000k      7   268M  50%  >10ms",
            "4294967295     5.0 ms     5.0 ms     61.0 s       40",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn a_first_look_has_no_rates() {
        let text = lines(None, &report(4, 1), 24).join("\n");
        assert!(text.contains("-/s new"), "{text}");
        assert!(text.contains("-  -"), "{text}");
    }

    #[test]
    fn a_loop_that_neither_sleeps_nor_turns_is_stuck() {
        let (before, mut now) = (report(2, 2), report(2, 2));
        now["workers"][1]["asleep"] = true.into();
        let lines = lines(Some(&before), &now, 24);
        assert!(lines[6].ends_with("stuck"), "{lines:?}");
        assert!(lines[7].ends_with("<10ms"), "{lines:?}");
    }

    #[test]
    fn every_height_is_kept_with_the_ids_in_sight_and_eighty_columns() {
        let (before, now) = (report(2, 64), report(900_000_000, 64));
        for height in 1..100 {
            let lines = lines(Some(&before), &now, height);
            assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
            assert_eq!(lines.len(), height.min(77));
        }
        let text = lines(Some(&before), &now, 24).join("\n");
        assert!(text.contains("... and 52 more"), "{text}");
        assert!(text.contains("4294967293"), "{text}");
    }

    #[test]
    fn a_worker_that_was_replaced_has_no_rates_yet() {
        let (before, mut now) = (report(2, 1), report(1, 1));
        now["workers"][0]["pid"] = 7.into();
        let lines = lines(Some(&before), &now, 24);
        assert!(
            lines[6].contains("7    3 serving      12.3k      -       -"),
            "{lines:?}"
        );
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.0, "0"),
            (0.51, "0.5"),
            (99.94, "99.9"),
            (9999.4, "9999"),
            (12_345.0, "12.3k"),
            (999_999.0, "1000k"),
            (9_999_999.0, "10000k"),
            (12_345_678.0, "12.3M"),
            (5e12, "5000G"),
        ] {
            assert_eq!(short(number), expected);
        }
    }
}
