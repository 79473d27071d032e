//! What is counted by name instead of by a line of the table: a program's own
//! metrics, messages by id, requests by route.
//!
//! ```text
//! of each row:  own sums | ids | routes | gauges | checks
//!               '------ sums -----------' '---- now -----'
//! ```
//!
//! Which there are is known before the first fork and never changes, so that nobody
//! can make more of them by what he asks for. Sums go to the totals when their worker
//! ends; what is now goes with it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Row;
use crate::sys::memory::SharedWords;

/// Upper bounds of durations in nanoseconds: one bucket more has the rest.
pub const DURATIONS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Methods that are told apart; the last one is any other.
pub const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other",
];

/// Codes that are told apart; the last one is any other.
pub const CODES: [u16; 36] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409,
    410, 412, 413, 414, 415, 416, 417, 421, 422, 429, 431, 500, 501, 502, 503, 504, 0,
];

/// Routes behind those of the program: what no route is for, and files.
pub const OTHER_ROUTES: [&str; 2] = ["unmatched", "files"];

/// Parts of one in sums of a histogram of the program's own.
pub const PARTS: u32 = 1_000_000;

/// Buckets and the sum.
const DURATION_WORDS: usize = DURATIONS.len() + 2;
const ID_WORDS: usize = 1 + DURATION_WORDS;
const ANSWERS: usize = METHODS.len() * CODES.len();
const ROUTE_WORDS: usize = ANSWERS + DURATION_WORDS;
/// How it went, how long it took, when that was.
const CHECK_WORDS: usize = 3;

/// What a metric of the program's own is.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnKind {
    /// It only rises.
    Counter,
    /// It rises and falls; those of the workers are added.
    Gauge,
    /// Values by these upper bounds.
    Histogram(Vec<f64>),
}

/// A metric of the program's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// As it was registered.
    pub name: String,
    /// A sentence for people.
    pub help: String,
    /// What it is.
    pub kind: OwnKind,
}

/// Which series there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// The program's own.
    pub own: Vec<Own>,
    /// Message ids with figures of their own.
    pub ids: Vec<u32>,
    /// Paths of routes, each once.
    pub routes: Vec<String>,
    /// By the number of a route: which of the paths it has.
    pub numbers: Vec<usize>,
    /// Checks of whether the program is ready.
    pub checks: Vec<String>,
}

/// Durations of one id or route.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// How many fell into each bucket.
    pub counts: Vec<u64>,
    /// In units of whoever asks: nanoseconds, or [`PARTS`].
    pub sum: u64,
}

/// Who answered a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AnsweredBy {
    /// The route of this number.
    Route(u32),
    /// Files of the disk.
    Files,
    /// No route is for it.
    #[default]
    Nobody,
}

/// How a check went last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checked {
    /// `None`: it has not run yet.
    pub went_well: Option<bool>,
    /// Nanoseconds that it took.
    pub took: u64,
    /// When, by the coarse clock.
    pub at: u64,
}

impl Shape {
    /// Words that are summed up.
    pub(super) fn sums(&self) -> usize {
        self.routes_at() + (self.routes.len() + OTHER_ROUTES.len()) * ROUTE_WORDS
    }

    /// Words of a row.
    pub(super) fn words(&self) -> usize {
        let gauges = self.own.iter().filter(|own| own.kind == OwnKind::Gauge);
        self.sums() + gauges.count() + self.checks.len() * CHECK_WORDS
    }

    fn ids_at(&self) -> usize {
        self.own.iter().map(sum_words).sum()
    }

    fn routes_at(&self) -> usize {
        self.ids_at() + (self.ids.len() + 1) * ID_WORDS
    }

    /// Where the words of a metric of the program's own are.
    fn own_at(&self, n: usize) -> Range<usize> {
        if self.own[n].kind == OwnKind::Gauge {
            let before = &self.own[..n];
            let before = before.iter().filter(|own| own.kind == OwnKind::Gauge);
            let at = self.sums() + before.count();
            return at..at + 1;
        }
        let at: usize = self.own[..n].iter().map(sum_words).sum();
        at..at + sum_words(&self.own[n])
    }

    /// Those of the `n`-th id; behind the last one, those of all others.
    fn id_at(&self, n: usize) -> usize {
        self.ids_at() + n * ID_WORDS
    }

    fn route_at(&self, n: usize) -> usize {
        self.routes_at() + n * ROUTE_WORDS
    }

    fn check_at(&self, n: usize) -> usize {
        self.words() - (self.checks.len() - n) * CHECK_WORDS
    }

    /// Which of [`Self::ids`] this is; the number behind them: none.
    #[must_use]
    pub fn id(&self, id: u32) -> usize {
        let found = self.ids.binary_search(&id);
        found.unwrap_or(self.ids.len())
    }

    /// The labels of [`Self::routes`], those of [`OTHER_ROUTES`] included.
    pub fn route_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(String::as_str).chain(OTHER_ROUTES)
    }

    /// What a sum is called where it goes to a program whose words are others: what
    /// it is of, and which of its words.
    pub(super) fn keys(&self) -> Vec<(String, Range<usize>)> {
        let mut keys = Vec::new();
        for (n, own) in self.own.iter().enumerate() {
            if own.kind != OwnKind::Gauge {
                keys.push((format!("own {}", own.name), self.own_at(n)));
            }
        }
        let ids = self.ids.iter().map(u32::to_string).chain(["other".into()]);
        for (n, id) in ids.enumerate() {
            let at = self.id_at(n);
            keys.push((format!("id {id}"), at..at + ID_WORDS));
        }
        for (n, route) in self.route_names().enumerate() {
            let at = self.route_at(n);
            keys.push((format!("route {route}"), at..at + ROUTE_WORDS));
        }
        keys
    }
}

const fn sum_words(own: &Own) -> usize {
    match &own.kind {
        OwnKind::Counter => 1,
        OwnKind::Gauge => 0,
        OwnKind::Histogram(bounds) => bounds.len() + 2,
    }
}

/// The words of one row.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) words: Arc<SharedWords>,
    pub(super) start: usize,
    pub(super) shape: Arc<Shape>,
}

impl Series {
    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[self.start + at]
    }

    fn add(&self, at: usize, n: u64) {
        self.word(at).fetch_add(n, Ordering::Relaxed);
    }

    fn add_duration(&self, at: usize, nanos: u64) {
        let bucket = DURATIONS.partition_point(|bound| *bound < nanos);
        self.add(at + bucket, 1);
        self.add(at + DURATIONS.len() + 1, nanos);
    }
}

/// What a worker counts.
impl Row {
    /// Which series there are; `None`: this row has none.
    #[must_use]
    pub fn shape(&self) -> Option<&Arc<Shape>> {
        self.series.as_ref().map(|series| &series.shape)
    }

    /// So many messages of an id were handled.
    pub fn count_messages(&self, id: u32, n: u64) {
        if let Some(series) = &self.series {
            let at = series.shape.id_at(series.shape.id(id));
            series.add(at, n);
        }
    }

    /// The handler of one of them took so many nanoseconds.
    pub(super) fn time_message(&self, id: u32, nanos: u64) {
        if let Some(series) = &self.series {
            let at = series.shape.id_at(series.shape.id(id)) + 1;
            series.add_duration(at, nanos);
        }
    }

    /// A request was answered.
    pub fn count_request(&self, by: AnsweredBy, method: &str, code: u16, nanos: Option<u64>) {
        let Some(series) = &self.series else { return };
        let (numbers, routes) = (&series.shape.numbers, series.shape.routes.len());
        let path = match by {
            AnsweredBy::Route(number) => usize::try_from(number).ok(),
            AnsweredBy::Files | AnsweredBy::Nobody => None,
        };
        let path = path.and_then(|number| numbers.get(number)).copied();
        let path = path.unwrap_or(match by {
            AnsweredBy::Route(_) | AnsweredBy::Nobody => routes,
            AnsweredBy::Files => routes + 1,
        });
        let methods = &METHODS[..METHODS.len() - 1];
        let method = methods.iter().position(|known| *known == method);
        let method = method.unwrap_or(METHODS.len() - 1);
        let code = CODES.binary_search_by_key(&code_key(code), |known| code_key(*known));
        let code = code.unwrap_or(CODES.len() - 1);
        let at = series.shape.route_at(path);
        series.add(at + method * CODES.len() + code, 1);
        if let Some(nanos) = nanos {
            series.add_duration(at + ANSWERS, nanos);
        }
    }

    /// Adds to a counter of the program's own.
    pub fn add_own(&self, n: usize, count: u64) {
        if let Some(series) = &self.series {
            series.add(series.shape.own_at(n).start, count);
        }
    }

    /// What this row has of a counter of the program's own.
    #[must_use]
    pub fn own_count(&self, n: usize) -> u64 {
        let series = self.series.as_ref();
        series.map_or(0, |series| {
            let word = series.word(series.shape.own_at(n).start);
            word.load(Ordering::Relaxed)
        })
    }

    /// Changes a gauge of the program's own.
    pub fn change_own(&self, n: usize, change: impl Fn(f64) -> f64) {
        if let Some(series) = &self.series {
            let word = series.word(series.shape.own_at(n).start);
            let changed = |bits| Some(change(f64::from_bits(bits)).to_bits());
            let _always = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        }
    }

    /// Puts a value into a histogram of the program's own; one below 0 counts as 0.
    pub fn observe_own(&self, n: usize, value: f64) {
        let Some(series) = &self.series else { return };
        let OwnKind::Histogram(bounds) = &series.shape.own[n].kind else {
            return;
        };
        let at = series.shape.own_at(n).start;
        // NaN is over every bound.
        let bucket = bounds.iter().position(|bound| value <= *bound);
        series.add(at + bucket.unwrap_or(bounds.len()), 1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float becomes the nearest number that there is"
        )]
        let parts = (value * f64::from(PARTS)) as u64;
        series.add(at + bounds.len() + 1, parts);
    }

    /// A check went so, at this time of the coarse clock.
    pub fn note_check(&self, n: usize, went_well: bool, took: u64, now: u64) {
        if let Some(series) = &self.series {
            let at = series.shape.check_at(n);
            series.word(at + 1).store(took, Ordering::Relaxed);
            series.word(at + 2).store(now, Ordering::Relaxed);
            let word = if went_well { 1 } else { 2 };
            series.word(at).store(word, Ordering::Release);
        }
    }

    /// How a check went last.
    #[must_use]
    pub fn checked(&self, n: usize) -> Checked {
        let read = |at: usize| {
            let series = self.series.as_ref();
            series.map_or(0, |series| {
                let at = series.shape.check_at(n) + at;
                series.word(at).load(Ordering::Acquire)
            })
        };
        let went_well = match read(0) {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        };
        Checked {
            went_well,
            took: read(1),
            at: read(2),
        }
    }

    /// A gauge of the program's own, as this worker has it.
    #[must_use]
    pub fn own_gauge(&self, n: usize) -> f64 {
        let series = self.series.as_ref();
        series.map_or(0.0, |series| {
            let word = series.word(series.shape.own_at(n).start);
            f64::from_bits(word.load(Ordering::Relaxed))
        })
    }
}

/// So that `other`, which is 0, is behind all.
const fn code_key(code: u16) -> u16 {
    if code == 0 { u16::MAX } else { code }
}

/// All sums of a server, at one moment.
#[derive(Clone, Debug)]
pub struct Sums {
    pub(super) shape: Arc<Shape>,
    pub(super) words: Vec<u64>,
}

impl Sums {
    /// Which series there are.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    fn spread(&self, at: usize, buckets: usize) -> Spread {
        Spread {
            counts: self.words[at..at + buckets].to_vec(),
            sum: self.words[at + buckets],
        }
    }

    /// A counter of the program's own.
    #[must_use]
    pub fn own(&self, n: usize) -> u64 {
        self.words[self.shape.own_at(n).start]
    }

    /// A histogram of the program's own; its sum is in [`PARTS`].
    #[must_use]
    pub fn own_spread(&self, n: usize) -> Spread {
        let at = self.shape.own_at(n);
        self.spread(at.start, at.len() - 1)
    }

    /// Messages of the `n`-th id, and how long those took that were timed.
    #[must_use]
    pub fn id(&self, n: usize) -> (u64, Spread) {
        let at = self.shape.id_at(n);
        (self.words[at], self.spread(at + 1, DURATIONS.len() + 1))
    }

    /// Answers of the `n`-th path, by method and code, but for those that there were
    /// none of; and how long those took that were timed.
    #[must_use]
    pub fn route(&self, n: usize) -> (Vec<(&'static str, u16, u64)>, Spread) {
        let at = self.shape.route_at(n);
        let counts = self.words[at..at + ANSWERS].iter().enumerate();
        let answers = counts.filter(|(_, count)| **count > 0).map(|(n, count)| {
            let (method, code) = (n / CODES.len(), n % CODES.len());
            (METHODS[method], CODES[code], *count)
        });
        let spread = self.spread(at + ANSWERS, DURATIONS.len() + 1);
        (answers.collect(), spread)
    }
}

/// The value below which so large a part of the values is, as far as buckets tell:
/// within one, they are taken to be spread evenly. `None`: there are no values.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn quantile(counts: &[u64], bounds: &[f64], part: f64) -> Option<f64> {
    let all: u64 = counts.iter().fold(0, |sum, count| sum.wrapping_add(*count));
    let wanted = all as f64 * part;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (count, upper) in counts.iter().zip(bounds) {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            return Some(lower + (upper - lower) * ((wanted - below) / count).clamp(0.0, 1.0));
        }
        below += count;
        lower = *upper;
    }
    // Somewhere above the highest bound.
    (all > 0).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        let own = |name: &str, kind| Own {
            name: name.into(),
            help: "Things.".into(),
            kind,
        };
        Shape {
            own: vec![
                own("a", OwnKind::Counter),
                own("b", OwnKind::Gauge),
                own("c", OwnKind::Histogram(vec![1.0, 10.0])),
                own("d", OwnKind::Gauge),
                own("e", OwnKind::Counter),
            ],
            ids: vec![1, 7, 100],
            routes: vec!["/".into(), "/a/:b".into()],
            numbers: vec![0, 1, 1],
            checks: vec!["x".into(), "y".into()],
        }
    }

    fn sums(row: &Row) -> Sums {
        let series = row.series.as_ref().unwrap();
        let words = (0..series.shape.sums()).map(|at| series.word(at).load(Ordering::Relaxed));
        Sums {
            shape: Arc::clone(&series.shape),
            words: words.collect(),
        }
    }

    #[test]
    fn each_has_words_of_its_own() {
        let row = Row::alone_with(Arc::new(shape())).unwrap();
        row.add_own(0, 3);
        row.add_own(4, 5);
        row.change_own(1, |_| 1.5);
        row.change_own(3, |was| was - 2.0);
        row.observe_own(2, 0.5);
        row.observe_own(2, 99.0);
        row.count_messages(7, 4);
        row.count_messages(8, 1);
        row.count_messages(u32::MAX, 1);
        row.time_message(100, 30_000);
        row.count_request(AnsweredBy::Route(2), "GET", 200, Some(1));
        row.count_request(AnsweredBy::Nobody, "BREW", 418, None);
        row.count_request(AnsweredBy::Route(99), "BREW", 418, None);
        row.count_request(AnsweredBy::Files, "GET", 404, None);
        row.note_check(1, false, 9, 5);
        let sums = sums(&row);
        assert_eq!((sums.own(0), sums.own(4)), (3, 5));
        assert_eq!((row.own_gauge(1), row.own_gauge(3)), (1.5, -2.0));
        let spread = sums.own_spread(2);
        assert_eq!(spread.counts, [1, 0, 1]);
        assert_eq!(spread.sum, 99_500_000);
        assert_eq!([0, 1, 2, 3].map(|n| sums.id(n).0), [0, 4, 0, 2]);
        let (_, timed) = sums.id(2);
        assert_eq!((timed.counts[2], timed.sum), (1, 30_000));
        assert_eq!(sums.route(0).0, []);
        assert_eq!(sums.route(1).0, [("GET", 200, 1)]);
        assert_eq!(sums.route(1).1.counts[0], 1);
        assert_eq!(sums.route(2).0, [("other", 0, 2)]);
        assert_eq!(sums.route(3).0, [("GET", 404, 1)]);
        assert_eq!(row.checked(0).went_well, None);
        assert_eq!(
            (row.checked(1).went_well, row.checked(1).took),
            (Some(false), 9)
        );
    }

    #[test]
    fn every_sum_has_a_key_and_no_two_share_a_word() {
        let shape = shape();
        let mut words: Vec<usize> = shape.keys().into_iter().flat_map(|(_, at)| at).collect();
        words.sort_unstable();
        assert_eq!(words, (0..shape.sums()).collect::<Vec<_>>());
    }

    #[test]
    fn codes_are_in_order() {
        assert!(CODES.is_sorted_by_key(|code| code_key(*code)));
        assert!(DURATIONS.is_sorted());
    }

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let bounds = [1.0, 2.0, 4.0];
        for (counts, part, expected) in [
            ([0, 0, 0, 0], 0.5, None),
            ([10, 0, 0, 0], 0.5, Some(0.5)),
            ([5, 5, 0, 0], 0.5, Some(1.0)),
            ([0, 10, 0, 0], 0.99, Some(1.99)),
            ([0, 0, 0, 3], 0.5, Some(4.0)),
        ] {
            assert_eq!(quantile(&counts, &bounds, part), expected, "{counts:?}");
        }
    }
}
