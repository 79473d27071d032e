//! Latencies by the time at which their replies came. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Steps that are kept; twice as many become as many twice as wide.
const STEPS: usize = 200;

/// The width to begin with.
const FINEST: Duration = Duration::from_millis(100);

/// Longer latencies count as this: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Latencies of a run, or of one of its threads, in steps of time.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    width: Duration,
    steps: Vec<Histogram<u32>>,
}

/// What happened in one step of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Seconds from the start, in the middle of the step.
    pub(super) at: f64,
    /// Replies a second.
    pub(super) rate: f64,
    /// Nanoseconds; `None` when no reply came.
    pub(super) quantiles: Option<(u64, u64)>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width: FINEST,
            steps: Vec::new(),
        }
    }
}

impl Timeline {
    /// Takes note of a reply that came when `elapsed` had passed.
    pub(super) fn record(&mut self, elapsed: Duration, latency_ns: u64) {
        let at = loop {
            let at = elapsed.as_nanos() / self.width.as_nanos();
            match usize::try_from(at) {
                Ok(at) if at < STEPS => break at,
                Ok(_) | Err(_) => self.widen(),
            }
        };
        while self.steps.len() <= at {
            self.steps.push(empty());
        }
        // Not `saturating_record`: that would not let the histogram grow.
        let recorded = self.steps[at].record(latency_ns.min(LONGEST_NS));
        recorded.expect("it grows up to an hour");
    }

    fn widen(&mut self) {
        self.width *= 2;
        let pairs = self.steps.chunks(2).map(|pair| {
            let mut wide = pair[0].clone();
            if let Some(second) = pair.get(1) {
                add(&mut wide, second);
            }
            wide
        });
        self.steps = pairs.collect();
    }

    /// Adds what another thread saw.
    pub(super) fn merge(&mut self, mut other: Self) {
        while self.width < other.width {
            self.widen();
        }
        while other.width < self.width {
            other.widen();
        }
        while self.steps.len() < other.steps.len() {
            self.steps.push(empty());
        }
        for (own, other) in self.steps.iter_mut().zip(&other.steps) {
            add(own, other);
        }
    }

    /// The steps of a run that took `duration`. A last one that is hardly begun
    /// is left out: its rate would be that of a few replies.
    pub(super) fn steps(&self, duration: Duration) -> Vec<Step> {
        let width = self.width.as_secs_f64();
        let mut steps = Vec::new();
        for (begin, step) in
            std::iter::successors(Some(0.0), |at| Some(at + width)).zip(&self.steps)
        {
            let span = (duration.as_secs_f64() - begin).min(width);
            if span < width / 4.0 && !steps.is_empty() {
                break;
            }
            let count = u32::try_from(step.len()).unwrap_or(u32::MAX);
            steps.push(Step {
                at: begin + span / 2.0,
                rate: f64::from(count) / span.max(f64::EPSILON),
                quantiles: (count > 0)
                    .then(|| (step.value_at_quantile(0.5), step.value_at_quantile(0.99))),
            });
        }
        steps
    }
}

fn empty() -> Histogram<u32> {
    Histogram::new(2).expect("two digits are allowed")
}

fn add(to: &mut Histogram<u32>, from: &Histogram<u32>) {
    to.add(from).expect("it grows as it must");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn replies_are_found_in_the_step_of_their_time() {
        let mut timeline = Timeline::default();
        for (at, latency) in [(0, 10), (99, 20), (100, 30), (350, 1000)] {
            timeline.record(MS(at), latency);
        }
        let steps = timeline.steps(MS(400));
        let rates: Vec<f64> = steps.iter().map(|step| step.rate.round()).collect();
        assert_eq!(rates, [20.0, 10.0, 0.0, 10.0]);
        assert_eq!(steps[0].quantiles, Some((10, 20)));
        assert_eq!(steps[2].quantiles, None);
        assert!((steps[3].at - 0.35).abs() < 1e-9);
    }

    #[test]
    fn latencies_of_every_size_are_kept_to_two_digits() {
        for latency in [1_u64, 950, 71_000, 5_000_000, 200_000_000, LONGEST_NS] {
            let mut timeline = Timeline::default();
            timeline.record(MS(1), latency);
            timeline.merge(timeline.clone());
            let (p50, _) = timeline.steps(MS(100))[0].quantiles.unwrap();
            assert!(
                p50 >= latency && p50 - latency <= latency / 50,
                "{latency}: {p50}"
            );
        }
    }

    #[test]
    fn a_long_run_has_few_steps_and_loses_nothing() {
        let mut timeline = Timeline::default();
        (0..100_000).for_each(|second| timeline.record(MS(second * 1000), second));
        assert!(timeline.steps.len() <= STEPS);
        let count: u64 = timeline.steps.iter().map(Histogram::len).sum();
        assert_eq!(count, 100_000);
    }

    #[test]
    fn threads_with_other_steps_are_added_by_time() {
        let mut long = Timeline::default();
        long.record(MS(90_000), 5);
        for swap in [false, true] {
            let mut short = Timeline::default();
            short.record(MS(50), 7);
            short.record(MS(150), 9);
            let (mut one, other) = if swap {
                (short, long.clone())
            } else {
                (long.clone(), short)
            };
            one.merge(other);
            assert_eq!(one.width, MS(800));
            assert_eq!(one.steps[0].len(), 2);
            assert_eq!(one.steps.last().unwrap().len(), 1);
        }
    }

    #[test]
    fn a_last_step_that_has_hardly_begun_is_left_out() {
        let mut timeline = Timeline::default();
        timeline.record(MS(10), 1);
        timeline.record(MS(101), 1);
        assert_eq!(timeline.steps(MS(101)).len(), 1);
        assert_eq!(timeline.steps(MS(150)).len(), 2);
        assert_eq!(timeline.steps(MS(10)).len(), 1, "all there is");
    }
}
