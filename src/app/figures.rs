//! What a program counts beside what is counted for it, and whether it is ready.

use std::sync::Arc;
use std::time::Duration;

use super::{App, Verdict, fenced};
use crate::dispatch::{Hub, Periodic};
use crate::scoreboard::Counter;
use crate::scoreboard::series::{Own, OwnKind, Shape};
use crate::sys::process;

/// Whether the program is ready.
pub(super) type Check = Arc<dyn Fn(&Hub) -> Result<(), String> + Send + Sync>;

/// How often a check runs in each worker, in milliseconds.
const PERIOD: u64 = 5000;

/// How often it is looked whether one is to run: the first run comes soon.
const LOOK: Duration = Duration::from_secs(1);

/// Bounds of a histogram, and metrics of a program, at most.
const MOST: usize = 64;

impl<S: Default + Send + 'static> App<S> {
    /// A counter of the program's own: all workers together, over restarts, reloads and
    /// upgrades. It is in `/metrics` of the admin listener, with `_total` behind its
    /// name, in `status` and on the status page; handlers count with
    /// [`Hub::counter`].
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .counter("chat_messages", "Messages stored.")
    ///     .on(1, |c, _: Bytes| {
    ///         c.hub().counter("chat_messages").add(1);
    ///         c.hub().counter("chat_messages").value().to_string()
    ///     });
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// assert_eq!(test.call(ann, 1, "hello").unwrap(), "1");
    /// ```
    ///
    /// # Panics
    ///
    /// When the name is given already, is purlin's (`purlin_…`, `process_…`), or has
    /// other characters than small letters, digits and `_`; with over 64 metrics.
    #[must_use]
    #[track_caller]
    pub fn counter(self, name: &str, help: &str) -> Self {
        let name = name.strip_suffix("_total").unwrap_or(name);
        self.own_figure(name, help, OwnKind::Counter)
    }

    /// A gauge of the program's own, which rises and falls: those of the workers are
    /// added, and each ends with its worker. As [`Self::counter`], by [`Hub::gauge`].
    ///
    /// # Panics
    ///
    /// As [`Self::counter`].
    #[must_use]
    #[track_caller]
    pub fn gauge(self, name: &str, help: &str) -> Self {
        self.own_figure(name, help, OwnKind::Gauge)
    }

    /// A histogram of the program's own: how many values were at most each of
    /// `bounds`. As [`Self::counter`], by [`Hub::histogram`].
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .histogram("chat_length", "Characters of a message.", &[10.0, 100.0, 1000.0])
    ///     .on(1, |c, text: String| {
    ///         c.hub().histogram("chat_length").observe(text.len() as f64);
    ///     });
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.send(ann, 1, "hello");
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Self::counter`], and when `bounds` do not rise, or are none or over 64.
    #[must_use]
    #[track_caller]
    pub fn histogram(self, name: &str, help: &str, bounds: &[f64]) -> Self {
        let rise = bounds.is_sorted_by(|one, next| one < next);
        let are_finite = bounds.iter().all(|bound| bound.is_finite());
        assert!(
            rise && are_finite && (1..=MOST).contains(&bounds.len()),
            "the bounds of `{name}` have to rise, and be 1 to {MOST}"
        );
        self.own_figure(name, help, OwnKind::Histogram(bounds.to_vec()))
    }

    #[track_caller]
    fn own_figure(mut self, name: &str, help: &str, kind: OwnKind) -> Self {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_plain),
            "metric `{name}`: a name has small letters, digits and _"
        );
        let is_ours = ["purlin_", "process_"]
            .iter()
            .any(|own| name.starts_with(own));
        assert!(!is_ours, "metric `{name}`: such names are purlin's");
        let ends = ["_total", "_count", "_sum", "_bucket", "_created"];
        assert!(
            !ends.iter().any(|end| name.ends_with(end)),
            "metric `{name}`: what it ends with is added to names"
        );
        let mut known = self.figures.iter();
        assert!(
            known.all(|own| own.name != name),
            "metric `{name}` was registered before"
        );
        assert!(self.figures.len() < MOST, "more than {MOST} metrics");
        self.figures.push(Own {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
        });
        self
    }

    /// Has `/readyz` of the admin listener say no while `f` does: it runs every five
    /// seconds in each worker, on the business pool, and counts as failed when it did
    /// not end for fifteen, or panicked. Why is in the log.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// struct Database;
    /// impl Database {
    ///     fn ping(&self) -> Result<(), String> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let app = App::<()>::new()
    ///     .data(|| Ok::<_, String>(Database))
    ///     .ready("database", |hub| hub.data::<Database>().ping());
    /// ```
    ///
    /// # Panics
    ///
    /// When a check of this name was registered before.
    #[must_use]
    #[track_caller]
    pub fn ready<V: Verdict>(
        mut self,
        name: &str,
        f: impl Fn(&Hub) -> V + Send + Sync + 'static,
    ) -> Self {
        let mut known = self.checks.iter();
        assert!(
            known.all(|(known, _)| known != name),
            "check `{name}` was registered before"
        );
        let check: Check = Arc::new(move |hub| f(hub).verdict());
        self.checks.push((name.to_owned(), check));
        self
    }

    /// What is counted by name.
    pub(super) fn shape(&self, ids_max: usize) -> Arc<Shape> {
        let own = self.listeners.iter().flat_map(super::Listener::ids);
        let mut ids: Vec<u32> = Vec::new();
        for id in self.routes.iter().map(|route| route.id).chain(own) {
            if !ids.contains(&id) && ids.len() < ids_max {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        let (routes, numbers) = self.paths();
        Arc::new(Shape {
            own: self.figures.clone(),
            ids,
            routes,
            numbers,
            checks: self.checks.iter().map(|(name, _)| name.clone()).collect(),
        })
    }

    /// The checks as jobs, and what says how much the worker uses.
    pub(super) fn checking(&self) -> impl Iterator<Item = Periodic> {
        let using = Periodic {
            period: Duration::from_millis(PERIOD),
            name: None,
            run: Arc::new(|hub, _| note_usage(hub)),
        };
        let checks = self.checks.iter().cloned().enumerate();
        let checks = checks.map(|(n, (name, check))| Periodic {
            period: LOOK,
            name: None,
            run: Arc::new(move |hub, _| run_if_due(hub, n, &name, &check)),
        });
        checks.chain([using])
    }
}

fn note_usage(hub: &Hub) {
    let Ok(usage) = process::usage() else { return };
    let row = hub.row();
    row.set(Counter::WorkerCpu, usage.cpu);
    row.set(Counter::WorkerDescriptors, usage.descriptors);
    row.set(Counter::WorkerDescriptorsMax, usage.descriptors_max);
}

fn run_if_due(hub: &Hub, n: usize, name: &str, check: &Check) {
    let (row, begun) = (hub.row(), hub.millis());
    let before = row.checked(n);
    if before.went_well.is_some() && begun < before.at.saturating_add(PERIOD) {
        return;
    }
    let clock = std::time::Instant::now();
    let result = fenced("the check", || check(hub));
    let took = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
    match &result {
        Err(why) if before.went_well != Some(false) => {
            log::warn!("check `{name}` failed, the server is not ready: {why}");
        }
        Ok(()) if before.went_well == Some(false) => log::info!("check `{name}` is well again"),
        Ok(()) | Err(_) => {}
    }
    row.note_check(n, result.is_ok(), took, hub.millis());
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::web::Web;

    #[test]
    fn ids_and_paths_are_known_before_anybody_asks() {
        let web = Web::new()
            .get("/a/:b", |_, (): ()| ())
            .post("/a/:b", |_, (): ()| ())
            .get("/c", |_, (): ()| ());
        let app = App::<()>::new()
            .on(9, |_, (): ()| ())
            .on(3, |_, (): ()| ())
            .on(4, |_, (): ()| ())
            .web(web)
            .listener("more", |l| {
                l.on(5, |_, (): ()| ()).on(9, |_, (): ()| ()).web(
                    Web::new()
                        .get("/c", |_, (): ()| ())
                        .get("/d", |_, (): ()| ()),
                )
            });
        let shape = app.shape(3);
        assert_eq!(shape.ids, [3, 4, 9], "the first three that are registered");
        assert_eq!(app.shape(50).ids, [3, 4, 5, 9]);
        assert_eq!(shape.routes, ["/a/:b", "/c", "otherwise", "/d"]);
        let of = |number: usize| shape.numbers[number];
        assert_eq!((of(0), of(1), of(2), of(3)), (0, 0, 1, 2));
        // Behind them those of the listener.
        assert_eq!((of(4), of(5)), (1, 3));
    }

    #[test]
    fn names_are_refused_that_no_metric_can_have() {
        for name in [
            "",
            "A",
            "a-b",
            "1a",
            "purlin_x",
            "process_x",
            "a_sum",
            "a_count",
        ] {
            let made = std::panic::catch_unwind(|| App::<()>::new().gauge(name, "Things."));
            assert!(made.is_err(), "{name}");
        }
        let twice = || App::<()>::new().counter("a_total", "A.").gauge("a", "A.");
        assert!(std::panic::catch_unwind(twice).is_err());
        let bounds: [&[f64]; 3] = [&[], &[2.0, 1.0], &[1.0, f64::INFINITY]];
        for bounds in bounds {
            let made = std::panic::catch_unwind(|| App::<()>::new().histogram("a", "A.", bounds));
            assert!(made.is_err(), "{bounds:?}");
        }
    }

    #[test]
    fn a_check_runs_soon_and_every_five_seconds_and_a_panic_is_a_no() {
        static IS_WELL: AtomicBool = AtomicBool::new(true);
        let app = App::<()>::new()
            .gauge("runs", "Times that it ran.")
            .ready("database", |hub| {
                hub.gauge("runs").add(1.0);
                assert!(IS_WELL.load(Ordering::Relaxed), "as expected");
            })
            .on(1, |c, (): ()| c.hub().gauge("runs").value().to_string())
            .on(2, |c, (): ()| {
                format!("{:?}", c.hub().row().checked(0).went_well)
            });
        let mut test = app.test();
        let ann = test.connect();
        let ask = |test: &mut crate::app::Test<()>, id| {
            let answer = test.call(ann, id, ()).unwrap();
            String::from_utf8(answer.to_vec()).unwrap()
        };
        assert_eq!(ask(&mut test, 2), "None");
        for (seconds, runs) in [(1, "1"), (1, "1"), (4, "2"), (5, "3")] {
            test.advance(Duration::from_secs(seconds));
            assert_eq!(ask(&mut test, 1), runs);
        }
        assert_eq!(ask(&mut test, 2), "Some(true)");
        IS_WELL.store(false, Ordering::Relaxed);
        test.advance(Duration::from_secs(5));
        assert_eq!(ask(&mut test, 2), "Some(false)");
    }
}
