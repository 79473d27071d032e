//! The tables, in Markdown that is legible on a terminal too.

use crate::cells::Cell;
use crate::figures::Figure;
use crate::goals::{GOALS, Goal};
use crate::markdown::{number, table};
use crate::outcome::Outcome;
use crate::rounds::TOO_BUSY;
use crate::stats::{Spread, Verdict};

/// How the tables are to be read.
const READING: &str = "\
Within a round the servers take short turns on one core; the load is on the other. Bodies \
have 96 bytes. purlin has one worker and is otherwise as shipped, unless a title says more. \
Each row is over the rounds: least, median, greatest. ÷ is the ratio to the first server of \
the table (or to the one named), taken within each round; the interval is the 95 % bootstrap \
interval of its median. Every reply was compared byte by byte with what was expected. A goal \
is met when the median reaches it, undecided when only the interval does.
";

/// What stands above the tables.
pub(crate) fn head(
    command: &str,
    machine: &[(&str, String)],
    others: Option<Spread>,
    full: bool,
) -> String {
    let mut text = String::from("# Results\n\nWritten by the run itself.\n\n");
    text += &format!("- command: `{command}`\n");
    for (what, value) in machine {
        text += &format!("- {what}: {value}\n");
    }
    if let Some(others) = others {
        text += &format!(
            "- other load during the run: {:.2} cores (median of the rounds), {:.2} (max)\n",
            others.median, others.max
        );
    }
    if !full {
        text +=
            "\nNOT A FULL RUN: too few or too short rounds to judge a goal, or not all cells.\n";
    }
    format!("{text}\n{READING}")
}

/// One cell: a table for each of its figures.
pub(crate) fn cell(outcome: &Outcome<'_>, notes: &str) -> String {
    let cell = outcome.cell;
    let mut text = format!("## {}\n\n{}\n", cell.name, sentence(&cell.title));
    for figure in cell.figures {
        text += &format!("\n{}:\n\n{}", figure.name(), figures(outcome, *figure));
    }
    if !notes.is_empty() {
        text += &format!("\n{notes}");
    }
    text + &quality(outcome)
}

fn sentence(title: &str) -> String {
    let mut characters = title.chars();
    let first = characters.next().map(char::to_uppercase);
    first
        .into_iter()
        .flatten()
        .chain(characters)
        .chain(['.'])
        .collect()
}

/// One row for each contestant.
fn figures(outcome: &Outcome<'_>, figure: Figure) -> String {
    let cell = outcome.cell;
    let per_cpu = figure == Figure::Rate;
    let mut head = vec!["server", "min", "median", "max"];
    head.extend(["÷", "min", "median", "max", "95 %"]);
    if per_cpu {
        head.extend(["per server-CPU-s", "÷ median"]);
    }
    let mut rows = vec![head.into_iter().map(String::from).collect()];
    for (of, contestant) in cell.contestants.iter().enumerate() {
        let mut row = vec![contestant.name.clone()];
        row.extend(three(outcome.spread(figure, of), figure.digits()));
        let over = contestant.over;
        row.extend(ratio(outcome, figure, of, over));
        if per_cpu {
            let median = |spread: Option<Spread>, digits| {
                spread.map_or(String::new(), |spread| number(spread.median, digits))
            };
            row.push(median(outcome.spread(Figure::PerCpu, of), 0));
            row.push(median(outcome.ratio(Figure::PerCpu, of, over), 2));
        }
        rows.push(row);
    }
    table(&rows)
}

fn ratio(outcome: &Outcome<'_>, figure: Figure, of: usize, over: usize) -> Vec<String> {
    // Nothing can be divided by what is usually zero.
    if of == over || figure == Figure::Threads {
        return vec![String::new(); 5];
    }
    let name = match over {
        0 => String::new(),
        _ => outcome.cell.contestants[over].name.clone(),
    };
    let spread = outcome.ratio(figure, of, over);
    let mut columns = vec![name];
    columns.extend(three(spread, 2));
    columns.push(interval(spread, 2));
    columns
}

fn three(spread: Option<Spread>, digits: usize) -> [String; 3] {
    spread.map_or_else(Default::default, |spread| {
        [spread.min, spread.median, spread.max].map(|value| number(value, digits))
    })
}

fn interval(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or(String::new(), |spread| {
        let (low, high) = spread.interval;
        format!("{}–{}", number(low, digits), number(high, digits))
    })
}

/// Whether the rounds can be trusted.
fn quality(outcome: &Outcome<'_>) -> String {
    let rounds = outcome.rounds.len();
    let mut text = format!("\nrounds {rounds}, errors 0");
    if let Some(others) = Spread::of(outcome.others()) {
        text += &format!(
            "; others used {:.2} cores (median), {:.2} (max); rounds repeated: {}",
            others.median, others.max, outcome.repeated
        );
    }
    let disturbed = outcome.others().iter().filter(|o| **o > TOO_BUSY).count();
    if disturbed > 0 {
        text += &format!(
            "\n\nDISTURBED: in {disturbed} of {rounds} rounds others used over {TOO_BUSY} cores"
        );
    }
    text + "\n"
}

/// What became of the goals that these cells can tell about.
pub(crate) fn goals(outcomes: &[Outcome<'_>]) -> String {
    let mut rows = vec![
        ["goal", "figure", "cell", "wanted", "median", "95 %", ""]
            .map(String::from)
            .to_vec(),
    ];
    let mut counts = [0; 3];
    for goal in GOALS {
        let judged = outcomes
            .iter()
            .filter(|outcome| goal.cells.contains(&outcome.cell.name.as_str()));
        for outcome in judged {
            if let Some((row, verdict)) = judge(goal, outcome) {
                rows.push(row);
                counts[verdict as usize] += 1;
            }
        }
    }
    let [met, undecided, missed] = counts;
    format!(
        "## Goals\n\nmet {met}, undecided {undecided}, missed {missed}\n\n{}",
        table(&rows)
    )
}

fn judge(goal: &Goal, outcome: &Outcome<'_>) -> Option<(Vec<String>, Verdict)> {
    let of = outcome.cell.find(goal.of)?;
    let (measured, digits, name) = match goal.over {
        None => {
            let spread = outcome.spread(goal.figure, of)?;
            (spread, goal.figure.digits(), goal.of.to_owned())
        }
        Some(over) => {
            let ratio = outcome.ratio(goal.figure, of, outcome.cell.find(over)?)?;
            (ratio, 2, format!("{} ÷ {over}", goal.of))
        }
    };
    let verdict = goal.bound.judge(&measured);
    let row = vec![
        name,
        goal.figure.name().to_owned(),
        outcome.cell.name.clone(),
        goal.bound.to_string(),
        number(measured.median, digits),
        interval(Some(measured), digits),
        verdict.to_string(),
    ];
    Some((row, verdict))
}

/// A goal for a cell or a contestant that does not exist would never be judged.
///
/// # Errors
///
/// Which one.
pub(crate) fn check_goals(cells: &[Cell]) -> Result<(), String> {
    for goal in GOALS {
        for name in goal.cells {
            let cell = cells.iter().find(|cell| cell.name == *name);
            let cell = cell.ok_or_else(|| format!("goal for {name}: there is no such cell"))?;
            for contestant in [Some(goal.of), goal.over].into_iter().flatten() {
                // These may be missing: they are not ours.
                let is_foreign = matches!(contestant, "nginx" | "uWebSockets.js" | "ws");
                if cell.find(contestant).is_none() && !is_foreign {
                    return Err(format!("goal for {name}: {contestant} is not in it"));
                }
            }
        }
    }
    Ok(())
}
