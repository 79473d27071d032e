//! Figures of rounds, as a table of Markdown.

/// Rows with a figure for each round.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    pub(crate) fn add(&mut self, name: &str, figure: f64) {
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, figures)) => figures.push(figure),
            None => self.rows.push((name.to_owned(), vec![figure])),
        }
    }

    /// The same, as ratios to another row, round by round.
    pub(crate) fn over(&self, name: &str, other: &str) -> Option<String> {
        let of = |wanted: &str| {
            let found = self.rows.iter().find(|(known, _)| known == wanted);
            found.map(|(_, figures)| figures)
        };
        let ratios = of(name)?
            .iter()
            .zip(of(other)?)
            .map(|(one, other)| one / other);
        Some(spread(ratios.collect(), 2))
    }

    pub(crate) fn text(&self, unit: &str, digits: usize) -> String {
        let mut text = format!("| | {unit} |\n| --- | ---: |\n");
        for (name, figures) in &self.rows {
            text += &format!("| {name} | {} |\n", spread(figures.clone(), digits));
        }
        text
    }
}

/// Median, and in brackets least and greatest.
fn spread(mut figures: Vec<f64>, digits: usize) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |at: usize| grouped(figures[at], digits);
    let last = figures.len() - 1;
    format!("{} ({}–{})", at(last / 2), at(0), at(last))
}

fn grouped(figure: f64, digits: usize) -> String {
    let text = format!("{figure:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
