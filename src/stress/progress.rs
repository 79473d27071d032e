//! A line on the terminal that tells how far the run is. Main thread only.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::load::{End, Load};
use super::report::{decimal, grouped};

/// Time over which the rate is taken.
const WINDOW: Duration = Duration::from_millis(500);

/// The line, if anybody looks at it.
pub(super) struct Progress {
    bar: ProgressBar,
    end: End,
    name: String,
    /// When the rate was taken last, the replies then, and the rate.
    last: Cell<(Duration, u64, f64)>,
}

impl Progress {
    /// A line on standard error, if that is a terminal and not `quiet`.
    pub(super) fn new(load: &Load, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let length = match (load.end, load.schedule()) {
            (End::After(time), _) => millis(time),
            (End::Count(count), _) => count,
        };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let style = ProgressStyle::with_template("{bar:24} {msg}").expect("a good template");
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_message(format!("connecting to {}", load.address));
        bar.tick();
        Self {
            bar,
            end: load.end,
            name: String::new(),
            last: Cell::default(),
        }
    }

    /// The same, for one run of several.
    pub(super) fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// How far it is.
    pub(super) fn show(&self, elapsed: Duration, replies: u64, errors: u64) {
        if self.bar.is_hidden() {
            return;
        }
        let position = match self.end {
            End::After(time) => millis(elapsed.min(time)),
            End::Count(_) => replies + errors,
        };
        self.bar.set_position(position);
        let (at, before, mut rate) = self.last.get();
        let since = elapsed.saturating_sub(at);
        if since >= WINDOW || at.is_zero() {
            rate = replies.saturating_sub(before) as f64 / since.as_secs_f64().max(1e-3);
            self.last.set((elapsed, replies, rate));
        }
        let all = match self.end {
            End::After(time) => format!(" of {}", decimal(time.as_secs_f64(), 1)),
            End::Count(_) => String::new(),
        };
        self.bar.set_message(format!(
            "{}{}{all} s  {} ops/s  {} replies  {} errors",
            self.name,
            decimal(elapsed.as_secs_f64(), 1),
            decimal(rate, 0),
            grouped(replies),
            grouped(errors)
        ));
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
