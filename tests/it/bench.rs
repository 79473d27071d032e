//! The statistics of `benches/compare`: no bench runs its own tests, and a
//! verdict on a goal must be right.

#[path = "../../benches/compare/stats.rs"]
mod stats;

use stats::Bound::{AtLeast, AtMost};
use stats::{Spread, Verdict};

fn spread(values: &[f64]) -> Spread {
    Spread::of(values.to_vec()).unwrap()
}

#[test]
fn the_median_is_in_the_middle_of_an_interval_within_the_values() {
    for (values, median) in [
        (&[3.0][..], 3.0),
        (&[4.0, 1.0], 2.5),
        (&[9.0, 1.0, 2.0], 2.0),
        (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 100.0], 5.5),
    ] {
        let found = spread(values);
        assert_eq!(found.median, median, "{values:?}");
        let order = [
            found.min,
            found.interval.0,
            found.median,
            found.interval.1,
            found.max,
        ];
        assert!(order.is_sorted(), "{values:?}: {order:?}");
    }
    assert_eq!(Spread::of(Vec::new()), None);
}

#[test]
fn the_same_values_give_the_same_interval_in_any_order() {
    let values: Vec<f64> = (0..15).map(|n| f64::from(n * 7 % 15)).collect();
    let mut backwards = values.clone();
    backwards.reverse();
    assert_eq!(spread(&values), spread(&backwards));
}

/// For 15 values the order statistics say: 4th to 12th with 96.5 %, 5th to
/// 11th with 88 %.
#[test]
fn the_interval_of_fifteen_values_is_what_order_statistics_say() {
    let values: Vec<f64> = (1..=15).map(f64::from).collect();
    let (low, high) = spread(&values).interval;
    assert!((4.0..=5.0).contains(&low), "{low}");
    assert!((11.0..=12.0).contains(&high), "{high}");
}

#[test]
fn a_goal_that_only_the_interval_reaches_is_undecided() {
    let measured = Spread {
        min: 1.0,
        median: 5.0,
        max: 9.0,
        interval: (4.0, 6.0),
    };
    for (bound, verdict) in [
        (AtLeast(5.0), Verdict::Met),
        (AtLeast(5.5), Verdict::Undecided),
        (AtLeast(6.5), Verdict::Missed),
        (AtMost(5.0), Verdict::Met),
        (AtMost(4.5), Verdict::Undecided),
        (AtMost(3.5), Verdict::Missed),
    ] {
        assert_eq!(bound.judge(&measured), verdict, "{bound}");
    }
}
