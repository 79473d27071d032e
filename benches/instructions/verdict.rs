//! Whether a figure may stay. Pure; `tests/it/bench.rs` tests it.

use std::fmt;

use super::markdown::number;

/// What became of a cell. Changes are in percent of the committed figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The file does not know the cell.
    New,
    /// Within its limit.
    Kept { before: f64, change: f64 },
    /// Above it.
    Grew { before: f64, change: f64 },
    /// So far below that growing back would not be seen.
    Shrank { before: f64, change: f64 },
}

/// Compares what was measured with what is `committed`, if that is known.
pub(crate) fn judge(committed: Option<f64>, measured: f64, may_grow: u32) -> Verdict {
    let Some(before) = committed else {
        return Verdict::New;
    };
    let change = (measured / before - 1.0) * 100.0;
    let limit = f64::from(may_grow);
    if change > limit {
        Verdict::Grew { before, change }
    } else if change < -limit {
        Verdict::Shrank { before, change }
    } else {
        Verdict::Kept { before, change }
    }
}

impl Verdict {
    /// Whether it is above its limit.
    pub(crate) const fn has_grown(&self) -> bool {
        matches!(self, Self::Grew { .. })
    }

    /// What is wrong with a cell, in a line.
    pub(crate) fn complaint(&self, cell: &str, measured: f64, may_grow: u32) -> Option<String> {
        let measured = number(measured, 0);
        match self {
            Self::New => Some(format!(
                "{cell} is not in the file: {measured} instructions"
            )),
            Self::Grew { before, change } => {
                let before = number(*before, 0);
                Some(format!(
                    "{cell} grew: {measured} instructions, the file says {before} \
                     ({change:+.1} %), it may grow by {may_grow} %"
                ))
            }
            Self::Kept { .. } | Self::Shrank { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, before, change) = match self {
            Self::New => return f.write_str("not in the file"),
            Self::Kept { before, change } => ("", before, change),
            Self::Grew { before, change } => ("GREW: ", before, change),
            Self::Shrank { before, change } => ("shrank, worth committing: ", before, change),
        };
        let before = number(*before, 0);
        write!(f, "{word}{change:+.1} % of {before} in the file")
    }
}
