//! Which known name a mistyped one is nearest to. Pure.

/// The candidate that needs the fewest edits to become `wrong`, if it is near. A
/// key that exists under another table counts as one edit away. Near is what has
/// two letters of five wrong in its own name at most: `port` is no `root`.
pub(super) fn nearest<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = leaf(wrong).chars().count() * 2 / 5;
    let measured = candidates.into_iter().map(|candidate| {
        let moved = distance(leaf(wrong), leaf(candidate));
        let whole = distance(wrong, candidate);
        (whole.min(moved + 1), moved.min(whole), candidate)
    });
    let near = measured.filter(|(_, wrong, _)| *wrong <= most);
    near.min_by_key(|(edits, ..)| *edits)
        .map(|(.., candidate)| candidate)
}

fn leaf(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, leaf)| leaf)
}

/// Levenshtein's distance: insertions, deletions and replacements of a letter.
fn distance(from: &str, to: &str) -> usize {
    // The row of the distances from the letters of `from` so far to each prefix
    // of `to`; long input is cut, it is no typing mistake.
    let to: Vec<char> = to.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(LONGEST).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

const LONGEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_the_edits() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("timeuot", "timeout", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn the_right_key_in_the_wrong_table_is_found() {
        let known = ["log.level", "worker.connections_max", "limits.linger"];
        for (wrong, expected) in [
            ("heartbeat.linger", "limits.linger"),
            ("connections_max", "worker.connections_max"),
            ("log.levle", "log.level"),
        ] {
            assert_eq!(nearest(wrong, known), Some(expected), "{wrong}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn what_is_far_from_everything_is_near_to_nothing() {
        let known = [
            "listener.0.root",
            "limits.idle",
            "user",
            "log.file",
            "workers",
        ];
        for wrong in [
            "port",
            "listener.0.port",
            "include",
            "x",
            "",
            "foo.bar",
            "limits.zzz",
        ] {
            assert_eq!(nearest(wrong, known), None, "{wrong}");
        }
        for (wrong, expected) in [
            ("usr", "user"),
            ("worker", "workers"),
            ("log.fil", "log.file"),
        ] {
            assert_eq!(nearest(wrong, known), Some(expected), "{wrong}");
        }
    }
}
