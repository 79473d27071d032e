//! One chart as SVG: grid, lines, labels, and a text for every point. Pure.

use std::fmt::Write;

use super::axis::Axis;

/// The whole picture and the room around the curves, in its own units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 62.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// Bars that the pointer finds, one for each point.
const NEAR: f64 = 3.0;

/// A point, and what it says when pointed at.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

/// One curve.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its colour and dash, by the name in the style sheet.
    class: &'static str,
    label: &'static str,
    points: Vec<Point>,
}

impl Line {
    pub(super) fn new(
        class: &'static str,
        label: &'static str,
        points: impl IntoIterator<Item = Point>,
    ) -> Self {
        Self {
            class,
            label,
            points: points.into_iter().collect(),
        }
    }
}

/// One chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x_title: &'static str,
    pub(super) y_title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

impl Chart {
    /// The chart with its heading.
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<h2>{0}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{0}\">\n",
            self.title
        );
        self.grid(&mut svg);
        for line in &self.lines {
            self.curve(line, &mut svg);
        }
        self.labels(&mut svg);
        self.texts(&mut svg);
        svg += "</svg>\n";
        svg
    }

    fn x(&self, number: f64) -> f64 {
        LEFT + self.x.place(number) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, number: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(number) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (number, label) in &self.y.ticks {
            let y = self.y(*number);
            let _infallible = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (number, label) in &self.x.ticks {
            let x = self.x(*number);
            let _infallible = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>\
                 <text class=\"x\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
                bottom + 18.0
            );
        }
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _infallible = writeln!(
            svg,
            "<text class=\"x title\" x=\"{middle_x}\" y=\"{:.1}\">{}</text>\
             <text class=\"x title\" transform=\"translate(14 {middle_y}) rotate(-90)\">{}</text>",
            HEIGHT - 8.0,
            self.x_title,
            self.y_title
        );
    }

    fn curve(&self, line: &Line, svg: &mut String) {
        let mut path = String::new();
        for (n, point) in line.points.iter().enumerate() {
            let command = if n == 0 { 'M' } else { 'L' };
            let (x, y) = (self.x(point.x), self.y(point.y));
            let _infallible = write!(path, "{command}{x:.1} {y:.1}");
        }
        let class = line.class;
        if line.points.len() == 1 {
            // A path of one point draws nothing.
            path += "h0.1";
        }
        let _infallible = writeln!(svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    /// The names of the curves, at their ends and not upon each other.
    fn labels(&self, svg: &mut String) {
        let mut taken: Option<f64> = None;
        for line in &self.lines {
            let Some(end) = line.points.last() else {
                continue;
            };
            let mut y = self.y(end.y) + 4.0;
            // The lines come from top to bottom.
            if let Some(taken) = taken {
                y = y.max(taken + 16.0);
            }
            taken = Some(y);
            let (x, class, label) = (self.x(end.x) + 6.0, line.class, line.label);
            let _infallible = writeln!(
                svg,
                "<text class=\"name {class}\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>"
            );
        }
    }

    /// Invisible bars over the points; a browser shows their text.
    fn texts(&self, svg: &mut String) {
        let Some(first) = self.lines.first() else {
            return;
        };
        let height = HEIGHT - TOP - BOTTOM;
        let count = first.points.len().max(1) as f64;
        let width = ((WIDTH - LEFT - RIGHT) / count).max(NEAR);
        for (n, point) in first.points.iter().enumerate() {
            let texts = self.lines.iter().filter_map(|line| line.points.get(n));
            let texts: Vec<&str> = texts.map(|point| point.text.as_str()).collect();
            let _infallible = writeln!(
                svg,
                "<rect class=\"point\" x=\"{:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{height}\"><title>{}</title></rect>",
                self.x(point.x) - width / 2.0,
                texts.join("\n")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(ys: &[f64]) -> Chart {
        let points = (0..).zip(ys).map(|(x, &y)| Point {
            x: f64::from(x),
            y,
            text: format!("{x}: {y}"),
        });
        let line = Line::new("rate", "ops/s", points);
        Chart {
            title: "T",
            x_title: "s",
            y_title: "ops",
            x: Axis::seconds(2.0),
            y: Axis::linear(10.0),
            lines: vec![line.clone(), line],
        }
    }

    #[test]
    fn points_stand_where_their_numbers_are() {
        let svg = chart(&[0.0, 5.0, 10.0]).svg();
        assert!(
            svg.contains("d=\"M78.0 254.0L438.0 134.0L798.0 14.0\""),
            "{svg}"
        );
        assert!(svg.contains("<title>1: 5\n1: 5</title>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3);
    }

    #[test]
    fn names_of_curves_do_not_lie_upon_each_other() {
        let svg = chart(&[10.0]).svg();
        assert!(
            svg.contains("y=\"18.0\">ops/s") && svg.contains("y=\"34.0\">ops/s"),
            "{svg}"
        );
        assert!(svg.contains("h0.1"), "one point is seen");
    }

    #[test]
    fn no_points_make_an_empty_chart() {
        let svg = chart(&[]).svg();
        assert!(svg.contains("<path class=\"grid\"") && !svg.contains("<rect"));
    }
}
