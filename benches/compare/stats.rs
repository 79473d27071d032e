//! What some measured values say: least, middle, greatest, how sure the middle
//! is, and whether that is good enough. Pure, and the same for the same values.
//!
//! `tests/it/bench.rs` tests this file.

use std::fmt;

/// Samples that the bootstrap draws.
const DRAWS: usize = 2_000;

/// Part of the draws that lie outside of the interval, at both ends together.
const OUTSIDE: f64 = 0.05;

/// The values of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Least.
    pub(crate) min: f64,
    /// Half of the values are below.
    pub(crate) median: f64,
    /// Greatest.
    pub(crate) max: f64,
    /// Where the median of such rounds is, 95 times of 100.
    pub(crate) interval: (f64, f64),
}

impl Spread {
    /// The spread of `values`; `None` without any.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self {
            min,
            median: median(&values),
            max,
            interval: bootstrap(&values),
        })
    }
}

/// What is good enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// How a goal ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The median reaches it.
    Met,
    /// The median does not, but the interval does.
    Undecided,
    /// Not even the interval does.
    Missed,
}

impl Bound {
    /// What `measured` says about it.
    pub(crate) fn judge(self, measured: &Spread) -> Verdict {
        let (low, high) = measured.interval;
        let (reached, reachable) = match self {
            Self::AtLeast(bound) => (measured.median >= bound, high >= bound),
            Self::AtMost(bound) => (measured.median <= bound, low <= bound),
        };
        match (reached, reachable) {
            (true, _) => Verdict::Met,
            (false, true) => Verdict::Undecided,
            (false, false) => Verdict::Missed,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Undecided => "undecided",
            Self::Missed => "MISSED",
        })
    }
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// The percentile bootstrap of the median: draws as many values as there are,
/// with repetition, and looks where the medians of the draws lie.
fn bootstrap(values: &[f64]) -> (f64, f64) {
    let mut random = SplitMix(0x9E37_79B9);
    let mut drawn = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        for place in &mut drawn {
            *place = values[random.below(values.len())];
        }
        drawn.sort_by(f64::total_cmp);
        medians.push(median(&drawn));
    }
    medians.sort_by(f64::total_cmp);
    (
        percentile(&medians, OUTSIDE / 2.0),
        percentile(&medians, 1.0 - OUTSIDE / 2.0),
    )
}

/// The value below which `part` of the sorted values lie.
///
/// # Panics
///
/// Without values.
pub(crate) fn percentile<T: Copy>(sorted: &[T], part: f64) -> T {
    let last = sorted.len() - 1;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index: from 0 to the length of a slice"
    )]
    let at = (part * last as f64).round() as usize;
    sorted[at.min(last)]
}

/// Random numbers of a fixed seed: a table is the same each time it is made.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let bound = u64::try_from(bound).expect("usize has at most 64 bits");
        usize::try_from(mixed % bound).expect("below a usize")
    }
}
