//! Metrics of the program's own, as its handlers count them.

use super::hub::Hub;
use crate::scoreboard::Row;
use crate::scoreboard::series::{Own, OwnKind};

/// A counter that was registered with [`App::counter`](crate::App::counter). From any
/// thread; keep it where finding it by name, some 30 ns, is too much.
#[derive(Clone, Debug)]
pub struct OwnCounter {
    row: Row,
    n: usize,
}

impl OwnCounter {
    /// Adds so many.
    pub fn add(&self, count: u64) {
        self.row.add_own(self.n, count);
    }

    /// What this worker has counted so far: for tests.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.row.own_count(self.n)
    }
}

/// A gauge that was registered with [`App::gauge`](crate::App::gauge): this worker's
/// part of it. From any thread.
#[derive(Clone, Debug)]
pub struct OwnGauge {
    row: Row,
    n: usize,
}

impl OwnGauge {
    /// Makes it so much.
    pub fn set(&self, value: f64) {
        self.row.change_own(self.n, |_| value);
    }

    /// Adds so much, which may be below 0.
    pub fn add(&self, value: f64) {
        self.row.change_own(self.n, |was| was + value);
    }

    /// What it is in this worker: for tests.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.row.own_gauge(self.n)
    }
}

/// A histogram that was registered with [`App::histogram`](crate::App::histogram). From
/// any thread.
#[derive(Clone, Debug)]
pub struct OwnHistogram {
    row: Row,
    n: usize,
}

impl OwnHistogram {
    /// Puts a value in.
    pub fn observe(&self, value: f64) {
        self.row.observe_own(self.n, value);
    }
}

impl Hub {
    /// A counter of the program's own, by the name that it was registered under.
    ///
    /// # Panics
    ///
    /// When there is none: the program lacks an [`App::counter`](crate::App::counter).
    #[must_use]
    pub fn counter(&self, name: &str) -> OwnCounter {
        let n = self.own(name, "counter", |kind| matches!(kind, OwnKind::Counter));
        let row = self.row().clone();
        OwnCounter { row, n }
    }

    /// A gauge of the program's own.
    ///
    /// # Panics
    ///
    /// When there is none: the program lacks an [`App::gauge`](crate::App::gauge).
    #[must_use]
    pub fn gauge(&self, name: &str) -> OwnGauge {
        let n = self.own(name, "gauge", |kind| matches!(kind, OwnKind::Gauge));
        let row = self.row().clone();
        OwnGauge { row, n }
    }

    /// A histogram of the program's own.
    ///
    /// # Panics
    ///
    /// When there is none: the program lacks an
    /// [`App::histogram`](crate::App::histogram).
    #[must_use]
    pub fn histogram(&self, name: &str) -> OwnHistogram {
        let n = self.own(name, "histogram", |kind| {
            matches!(kind, OwnKind::Histogram(_))
        });
        let row = self.row().clone();
        OwnHistogram { row, n }
    }

    fn own(&self, name: &str, what: &str, is_so: impl Fn(&OwnKind) -> bool) -> usize {
        let own = self.row().shape().map_or(&[][..], |shape| &shape.own);
        let name = name.strip_suffix("_total").unwrap_or(name);
        let is_it = |own: &Own| own.name == name && is_so(&own.kind);
        let found = own.iter().position(is_it);
        found.unwrap_or_else(|| panic!("no {what} `{name}`: register it with .{what}()"))
    }

    /// The worker's clock, in milliseconds.
    pub(crate) fn millis(&self) -> u64 {
        self.worker().clock()
    }
}
