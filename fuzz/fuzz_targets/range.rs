//! The field `Range` against a slow reading of it: for each byte of a small file,
//! whether it was asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::web::files::Asked;
use reference::{Ranges, ranges};

fuzz_target!(|input: &[u8]| {
    let Some((&len, field)) = input.split_first() else {
        return;
    };
    let len = u64::from(len);
    let asked = Asked::read(field, len);
    let parts = match (&asked, ranges(field, len)) {
        (Asked::Whole, Ranges::Ignored) | (Asked::Nothing, Ranges::Nothing) => return,
        (Asked::One(part), Ranges::Bytes(_)) => vec![part.clone()],
        (Asked::Many(parts), Ranges::Bytes(_)) => {
            assert!(parts.len() > 1);
            parts.clone()
        }
        (asked, expected) => panic!("{asked:?}, but {expected:?}"),
    };
    let Ranges::Bytes(expected) = ranges(field, len) else {
        unreachable!("as above");
    };
    for at in 0..=len {
        let count = parts.iter().filter(|part| part.contains(&at)).count();
        assert_eq!(
            count,
            usize::from(expected.contains(&at)),
            "byte {at}: {asked:?}"
        );
    }
    for (n, part) in parts.iter().enumerate() {
        assert!(part.start < part.end && part.end <= len);
        for other in &parts[..n] {
            assert!(part.end < other.start || other.end < part.start);
        }
    }
    // Larger numbers than any file has must do no harm.
    let _ = Asked::read(field, u64::MAX);
});
