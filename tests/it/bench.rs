//! What the benches decide by: no bench runs its own tests, and a verdict on a
//! goal or a growth must be right.

#[path = "../../benches/instructions/counts.rs"]
mod counts;
#[path = "../../benches/compare/markdown.rs"]
mod markdown;
#[path = "../../benches/compare/stats.rs"]
mod stats;
#[path = "../../benches/instructions/table.rs"]
mod table;
#[path = "../../benches/instructions/verdict.rs"]
mod verdict;

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

#[test]
fn the_total_of_a_process_is_that_of_all_its_parts() {
    let part = |total| {
        format!(
            "version: 1\npid: 7\nevents: Ir\nsummary: {total}\n\nfn=(1) main\n12 34\ntotals: {total}\n"
        )
    };
    assert_eq!(counts::total(&part(33_197_398)), Some(33_197_398));
    assert_eq!(counts::total(&(part(5) + &part(37))), Some(42));
    // The end is missing.
    assert_eq!(counts::total("events: Ir\nsummary: 12\n\nfn=(1)"), Some(12));
    // Of further events the first column is still the instructions.
    let cached = "events: Ir Dr Dw\nsummary: 1 2 3\ntotals: 4 5 6\n";
    assert_eq!(counts::total(cached), Some(4));
}

#[test]
fn what_tells_no_instructions_has_no_total() {
    for text in [
        "",
        "summary: 12\ntotals: 12\n",
        "events: Dr Ir\ntotals: 1 2\n",
        "events: Ir\nfn=(1)\n12 34\n",
        "events: Ir\ntotals: many\n",
    ] {
        assert_eq!(counts::total(text), None, "{text}");
    }
}

fn row(cell: &str, values: &[f64]) -> table::Row {
    table::Row {
        cell: cell.into(),
        title: "an echo".into(),
        spread: spread(values),
        rounds: values.len(),
        may_grow: 3,
        peers: [Some(456.4), None],
    }
}

#[test]
fn figures_are_read_as_they_were_written() {
    let machine = [("compiler", "rustc 1.95.0".to_owned())];
    let settings = [("load", "`stress`: all of it".to_owned())];
    let rows = [
        row("comm-d16", &[1_380.6, 1_381.2, 1_399.0]),
        row("comm-d1", &[1_234_567.0]),
    ];
    let text = table::head(&machine, &settings) + &table::render(&rows);
    assert_eq!(table::committed(&text, "comm-d16"), Some(1_381.0));
    assert_eq!(table::committed(&text, "comm-d1"), Some(1_234_567.0));
    assert_eq!(table::committed(&text, "comm-d"), None);
    assert_eq!(table::committed(&text, "an echo"), None);
    assert_eq!(table::setting(&text, "compiler"), Some("rustc 1.95.0"));
    assert_eq!(table::setting(&text, "load"), Some("`stress`: all of it"));
    assert_eq!(table::setting(&text, "valgrind"), None);
}

#[test]
fn a_broken_row_is_no_figure() {
    for text in [
        "",
        "comm | 12 |",
        "| comm |",
        "| comm | twelve |",
        "- `comm`: 12",
    ] {
        assert_eq!(table::committed(text, "comm"), None, "{text}");
    }
}

#[test]
fn only_growth_beyond_its_limit_fails_a_cell() {
    for (measured, grown, told) in [
        (1_000.0, false, "+0.0 % of 1,000 in the file"),
        (1_029.0, false, "+2.9 % of 1,000 in the file"),
        (1_031.0, true, "GREW: +3.1 % of 1,000 in the file"),
        (971.0, false, "-2.9 % of 1,000 in the file"),
        (
            900.0,
            false,
            "shrank, worth committing: -10.0 % of 1,000 in the file",
        ),
    ] {
        let verdict = verdict::judge(Some(1_000.0), measured, 3);
        assert_eq!(verdict.has_grown(), grown, "{measured}");
        assert_eq!(verdict.to_string(), told);
    }
    let new = verdict::judge(None, 1_000.0, 3);
    assert!(!new.has_grown());
}

#[test]
fn a_complaint_names_cell_figures_and_limit() {
    let grew = verdict::judge(Some(1_000.0), 1_100.4, 3);
    assert_eq!(
        grew.complaint("comm-d16", 1_100.4, 3).as_deref(),
        Some(
            "comm-d16 grew: 1,100 instructions, the file says 1,000 (+10.0 %), it may grow by 3 %"
        )
    );
    let new = verdict::judge(None, 1_000.0, 3);
    assert_eq!(
        new.complaint("comm-d16", 1_000.0, 3).as_deref(),
        Some("comm-d16 is not in the file: 1,000 instructions")
    );
    let kept = verdict::judge(Some(1_000.0), 1_001.0, 3);
    assert_eq!(kept.complaint("comm-d16", 1_001.0, 3), None);
}
