//! From numbers to places between 0 and 1, with ticks at round numbers. Pure.

use crate::stress::report::decimal;

/// Ticks that a linear axis has, about.
const TICKS: f64 = 5.0;

/// A ratio beyond which the smaller latencies would be one flat line.
const WIDE: f64 = 20.0;

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
    /// Numbers and what is written beside them.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to `most`, or the next round number.
    pub(super) fn linear(most: f64) -> Self {
        let step = round_step(most);
        let steps = (most / step).ceil().max(1.0);
        Self {
            from: 0.0,
            to: step * steps,
            logarithmic: false,
            ticks: ticks(step, step * steps),
        }
    }

    /// From 0 to exactly `most`.
    pub(super) fn seconds(most: f64) -> Self {
        let most = most.max(1e-3);
        Self {
            from: 0.0,
            to: most,
            logarithmic: false,
            ticks: ticks(round_step(most), most),
        }
    }

    /// Linear, or logarithmic when the latencies differ much.
    pub(super) fn for_latencies(least: f64, most: f64) -> Self {
        let least = least.max(1e-6);
        if most / least < WIDE {
            return Self::linear(most);
        }
        let (from, to) = (least.log10().floor(), most.log10().ceil());
        let decades = std::iter::successors(Some(from), |decade| Some(decade + 1.0));
        let ticks = decades.take_while(|decade| *decade <= to).map(|decade| {
            let number = 10_f64.powf(decade);
            (number, decimal(number, places(number)))
        });
        Self {
            from: 10_f64.powf(from),
            to: 10_f64.powf(to),
            logarithmic: true,
            ticks: ticks.collect(),
        }
    }

    /// By the number of nines: 1 is 90 %, 2 is 99 %.
    pub(super) fn percentiles(nines: f64) -> Self {
        let all = std::iter::successors(Some(0.0), |nines| Some(nines + 1.0));
        let ticks = all
            .take_while(|tick| *tick <= nines)
            .map(|tick| (tick, percent(1.0 - 10_f64.powf(-tick))));
        Self {
            from: 0.0,
            to: nines,
            logarithmic: false,
            ticks: ticks.collect(),
        }
    }

    /// Where `number` stands, from 0 to 1.
    pub(super) fn place(&self, number: f64) -> f64 {
        let place = if self.logarithmic {
            (number.max(self.from) / self.from).log10() / (self.to / self.from).log10()
        } else {
            (number - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }
}

/// A percentage with as many places as it has nines.
pub(super) fn percent(quantile: f64) -> String {
    let percent = quantile * 100.0;
    let places = (0..8).find(|places| {
        let scale = 10_f64.powi(*places);
        ((percent * scale).round() / scale - percent).abs() <= (100.0 - percent) * 0.05
    });
    format!(
        "{percent:.0$}%",
        usize::try_from(places.unwrap_or(8)).unwrap_or(8)
    )
}

/// 1, 2 or 5 times a power of ten: about a fifth of `most`.
fn round_step(most: f64) -> f64 {
    let rough = (most / TICKS).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

/// Places that a number needs to be more than 0.
fn places(number: f64) -> usize {
    let needed = (0..9).find(|places| number * 10_f64.powi(*places) > 0.999);
    usize::try_from(needed.unwrap_or(9)).unwrap_or(9)
}

fn ticks(step: f64, to: f64) -> Vec<(f64, String)> {
    let places = places(step);
    let numbers = (0..).map(|n| f64::from(n) * step);
    numbers
        .take_while(|number| *number <= to * 1.000_001)
        .map(|number| (number, decimal(number, places)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        for (axis, expected) in [
            (
                Axis::linear(97_000.0),
                "0 20,000 40,000 60,000 80,000 100,000",
            ),
            (Axis::linear(0.9), "0.0 0.2 0.4 0.6 0.8 1.0"),
            (Axis::linear(0.0), "0.000000000 0.000000001"),
            (Axis::seconds(9.9), "0 2 4 6 8"),
            (Axis::seconds(0.31), "0.0 0.1 0.2 0.3"),
            (Axis::for_latencies(0.07, 340.0), "0.01 0.1 1 10 100 1,000"),
            (Axis::for_latencies(1.0, 3.0), "0 1 2 3"),
            (Axis::percentiles(3.2), "0% 90% 99% 99.9%"),
        ] {
            assert_eq!(labels(&axis).join(" "), expected);
        }
    }

    #[test]
    fn places_go_from_0_to_1() {
        let linear = Axis::linear(10.0);
        assert_eq!(
            [0.0, 5.0, 10.0, 99.0].map(|n| linear.place(n)),
            [0.0, 0.5, 1.0, 1.0]
        );
        let log = Axis::for_latencies(0.1, 1000.0);
        let places = [0.01, 0.1, 10.0, 1000.0].map(|n| (log.place(n) * 100.0).round());
        assert_eq!(places, [0.0, 0.0, 50.0, 100.0]);
    }

    #[test]
    fn percentages_have_as_many_places_as_they_need() {
        for (quantile, expected) in [
            (0.0, "0%"),
            (0.5, "50%"),
            (0.9, "90%"),
            (0.999, "99.9%"),
            (0.999_99, "99.999%"),
            (1.0, "100%"),
        ] {
            assert_eq!(percent(quantile), expected);
        }
    }
}
