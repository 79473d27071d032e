//! Which bytes a request asks for (RFC 9110, 14). Pure.
//!
//! A field `Range` that is wrong, in another unit or asks for too many pieces is
//! as good as none: the answer is the whole, as the RFC allows.

use std::ops::Range;

use super::wanted::trim;

/// Ranges that one field may ask for. Each costs a head of its own and a system
/// call; players and readers of archives ask for a few.
pub const RANGES_MAX: usize = 32;

/// What a field `Range` comes to, for a file of a certain length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Everything.
    Whole,
    /// These bytes.
    One(Range<u64>),
    /// These, two and more: no two of them overlap or touch, and they are in the
    /// order in which they were asked for.
    Many(Vec<Range<u64>>),
    /// Bytes that are not there: 416.
    Nothing,
}

impl Asked {
    /// Reads the value of `Range` for a file of `len` bytes.
    ///
    /// ```
    /// use purlin::web::files::Asked;
    ///
    /// assert_eq!(Asked::read(b"bytes=5-", 10), Asked::One(5..10));
    /// assert_eq!(Asked::read(b"bytes=-3", 10), Asked::One(7..10));
    /// assert_eq!(Asked::read(b"bytes=0-0, 9-20", 10), Asked::Many(vec![0..1, 9..10]));
    /// assert_eq!(Asked::read(b"bytes=0-4, 2-7", 10), Asked::One(0..8));
    /// assert_eq!(Asked::read(b"bytes=10-", 10), Asked::Nothing);
    /// assert_eq!(Asked::read(b"lines=1-2", 10), Asked::Whole);
    /// ```
    #[must_use]
    pub fn read(field: &[u8], len: u64) -> Self {
        let Some(mut parts) = parts(field, len) else {
            return Self::Whole;
        };
        match &parts[..] {
            [] => Self::Nothing,
            // The first or the last bytes of an empty file are all that it has.
            [only] if only.is_empty() => Self::Whole,
            [_] => Self::One(parts.remove(0)),
            _ => Self::Many(parts),
        }
    }
}

/// Those ranges that are there, joined; `None` when the field means nothing.
fn parts(field: &[u8], len: u64) -> Option<Vec<Range<u64>>> {
    let at = field.iter().position(|&byte| byte == b'=')?;
    if !field[..at].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let specs = field[at + 1..].split(|&byte| byte == b',').map(trim);
    let (mut parts, mut count) = (Vec::new(), 0);
    for spec in specs.filter(|spec| !spec.is_empty()) {
        count += 1;
        if count > RANGES_MAX {
            return None;
        }
        if let Some(part) = Spec::read(spec)?.within(len) {
            join(&mut parts, part);
        }
    }
    (count > 0).then_some(parts)
}

/// One range as it was asked for.
#[derive(Clone, Copy)]
enum Spec {
    /// From the first to the last, that one included.
    FromTo(u64, u64),
    /// So many at the end.
    Last(u64),
}

impl Spec {
    fn read(spec: &[u8]) -> Option<Self> {
        let at = spec.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&spec[..at], &spec[at + 1..]);
        match (first, last) {
            (b"", last) => Some(Self::Last(number(last)?)),
            (first, b"") => Some(Self::FromTo(number(first)?, u64::MAX)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    /// What of it is in a file of `len` bytes. From the first byte on, that is all
    /// of an empty one: players and loaders begin so, and take a 416 for a file
    /// that is broken.
    fn within(self, len: u64) -> Option<Range<u64>> {
        match self {
            Self::FromTo(first, last) => {
                (first == 0 || first < len).then(|| first..last.saturating_add(1).min(len))
            }
            Self::Last(count) => (count > 0).then(|| len.saturating_sub(count)..len),
        }
    }
}

/// Digits; a number beyond all files stands for the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// Adds a range; those that it overlaps or touches become one with it, in the
/// place of the first of them.
fn join(parts: &mut Vec<Range<u64>>, mut new: Range<u64>) {
    let mut place = parts.len();
    let touches =
        |part: &Range<u64>, new: &Range<u64>| part.start <= new.end && new.start <= part.end;
    // What has grown may touch a further one.
    while let Some(at) = parts.iter().position(|part| touches(part, &new)) {
        let part = parts.remove(at);
        new = new.start.min(part.start)..new.end.max(part.end);
        place = place.min(at);
    }
    parts.insert(place.min(parts.len()), new);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_the_field_is_read() {
        use Asked::{Many, Nothing, One, Whole};
        for (field, expected) in [
            ("bytes=0-0", One(0..1)),
            ("BYTES=1-2", One(1..3)),
            ("bytes=0-", One(0..10)),
            ("bytes=9-", One(9..10)),
            ("bytes=10-", Nothing),
            ("bytes=-1", One(9..10)),
            ("bytes=-10", One(0..10)),
            ("bytes=-11", One(0..10)),
            ("bytes=-0", Nothing),
            ("bytes=3-99", One(3..10)),
            ("bytes=3-99999999999999999999999999", One(3..10)),
            ("bytes=99999999999999999999999999-", Nothing),
            ("bytes=-99999999999999999999999999", One(0..10)),
            ("bytes=0-1,3-4", Many(vec![0..2, 3..5])),
            ("bytes=3-4,0-1", Many(vec![3..5, 0..2])),
            ("bytes=0-1, \t3-4 ,, -1", Many(vec![0..2, 3..5, 9..10])),
            ("bytes=0-1,2-4", One(0..5)),
            ("bytes=0-5,2-7", One(0..8)),
            ("bytes=0-0,4-4,8-8,1-7", One(0..9)),
            ("bytes=8-8,0-0,4-4,1-3", Many(vec![8..9, 0..5])),
            ("bytes=0-1,50-", One(0..2)),
            ("bytes=50-,60-", Nothing),
            ("bytes=-0,50-", Nothing),
            ("bytes=2-1", Whole),
            ("bytes=0-1,2-1", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=-", Whole),
            ("bytes=1", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 -2", Whole),
            ("bytes=1-2-3", Whole),
            ("bytes =0-1", Whole),
            ("bytes", Whole),
            ("", Whole),
            ("items=0-1", Whole),
        ] {
            assert_eq!(Asked::read(field.as_bytes(), 10), expected, "{field}");
        }
    }

    #[test]
    fn an_empty_file_is_sent_from_its_beginning() {
        for (field, expected) in [
            ("bytes=0-", Asked::Whole),
            ("bytes=0-5", Asked::Whole),
            ("bytes=0-0,7-8", Asked::Whole),
            ("bytes=0-5,-0", Asked::Whole),
            ("bytes=1-", Asked::Nothing),
            ("bytes=5-9,7-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=-5", Asked::Whole),
            ("bytes=-5,0-,-1", Asked::Whole),
        ] {
            assert_eq!(Asked::read(field.as_bytes(), 0), expected, "{field}");
        }
    }

    #[test]
    fn too_many_ranges_are_none() {
        let field = |count: usize| {
            let specs: Vec<_> = (0..count).map(|n| format!("{0}-{0}", 2 * n)).collect();
            format!("bytes={}", specs.join(","))
        };
        let most = Asked::read(field(RANGES_MAX).as_bytes(), 1000);
        assert!(matches!(most, Asked::Many(parts) if parts.len() == RANGES_MAX));
        let more = Asked::read(field(RANGES_MAX + 1).as_bytes(), 1000);
        assert_eq!(more, Asked::Whole);
        // Also when they would be joined: reading them is what costs.
        let same = format!("bytes={}", vec!["0-0"; RANGES_MAX + 1].join(","));
        assert_eq!(Asked::read(same.as_bytes(), 1000), Asked::Whole);
    }

    /// Byte by byte: which of them does anybody ask for?
    fn reference(specs: &[(Option<u64>, Option<u64>)], len: u64) -> Option<Vec<bool>> {
        let mut asked: Vec<bool> = (0..len).map(|_| false).collect();
        let mut any = false;
        for spec in specs {
            for (at, asked) in (0..len).zip(&mut asked) {
                let hit = match *spec {
                    (Some(first), Some(last)) if first > last => return None,
                    (Some(first), last) => at >= first && last.is_none_or(|last| at <= last),
                    (None, Some(count)) => len - at <= count,
                    (None, None) => return None,
                };
                *asked |= hit;
                any |= hit;
            }
        }
        any.then_some(asked)
    }

    fn spec() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
        let number = || proptest::option::weighted(0.8, 0..50_u64);
        (number(), number())
    }

    proptest! {
        #[test]
        fn ranges_are_those_of_a_slow_reference(
            specs in proptest::collection::vec(spec(), 1..8),
            len in 1..40_u64,
        ) {
            let text = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
            let texts: Vec<_> = specs
                .iter()
                .map(|(first, last)| format!("{}-{}", text(*first), text(*last)))
                .collect();
            let field = format!("bytes={}", texts.join(", "));
            let wrong = specs.iter().any(|spec| match spec {
                (Some(first), Some(last)) => first > last,
                (None, None) => true,
                (_, None) | (None, _) => false,
            });
            let parts = match Asked::read(field.as_bytes(), len) {
                Asked::Whole => {
                    prop_assert!(wrong);
                    return Ok(());
                }
                Asked::Nothing => Vec::new(),
                Asked::One(part) => vec![part],
                Asked::Many(parts) => {
                    prop_assert!(parts.len() > 1);
                    parts
                }
            };
            prop_assert!(!wrong);
            let expected = reference(&specs, len);
            let expected = expected.unwrap_or((0..len).map(|_| false).collect());
            for (at, expected) in (0..len).zip(&expected) {
                let count = parts.iter().filter(|part| part.contains(&at)).count();
                prop_assert_eq!(count, usize::from(*expected), "byte {} of {}", at, field);
            }
            // Apart from each other, none empty, and not out of the file.
            for (n, part) in parts.iter().enumerate() {
                prop_assert!(part.start < part.end && part.end <= len);
                for other in &parts[..n] {
                    prop_assert!(part.end < other.start || other.end < part.start);
                }
            }
        }
    }
}
