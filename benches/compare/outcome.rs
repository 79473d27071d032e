//! What a cell brought: a sample for each contestant and round.

use crate::cells::Cell;
use crate::figures::{Figure, Sample};
use crate::stats::Spread;

/// The rounds of one cell.
pub(crate) struct Outcome<'a> {
    /// What was measured.
    pub(crate) cell: &'a Cell,
    /// By round, then by contestant.
    pub(crate) rounds: Vec<Vec<Sample>>,
    /// Rounds that others disturbed and that were done again.
    pub(crate) repeated: usize,
}

impl<'a> Outcome<'a> {
    /// Nothing yet.
    pub(crate) const fn new(cell: &'a Cell) -> Self {
        Self {
            cell,
            rounds: Vec::new(),
            repeated: 0,
        }
    }

    /// A figure of one contestant over the rounds; `None` when not measured.
    pub(crate) fn spread(&self, figure: Figure, of: usize) -> Option<Spread> {
        let values = self.rounds.iter().map(|round| round[of].get(figure));
        Spread::of(values.collect::<Option<Vec<f64>>>()?)
    }

    /// The same divided by another's, round by round.
    pub(crate) fn ratio(&self, figure: Figure, of: usize, over: usize) -> Option<Spread> {
        let ratio = |round: &Vec<Sample>| Some(round[of].get(figure)? / round[over].get(figure)?);
        Spread::of(
            self.rounds
                .iter()
                .map(ratio)
                .collect::<Option<Vec<f64>>>()?,
        )
    }

    /// Cores that others used at worst in each round, where that is known.
    pub(crate) fn others(&self) -> Vec<f64> {
        let worst = |round: &Vec<Sample>| {
            let others = round.iter().filter_map(|sample| sample.get(Figure::Others));
            others.reduce(f64::max)
        };
        self.rounds.iter().filter_map(worst).collect()
    }
}
