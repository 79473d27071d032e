//! The field `Range` by the letter of RFC 9110, 14.1 and 14.2, for small files.

use std::collections::BTreeSet;

/// Ranges of one field that are served; from the manual of the function.
const MOST: usize = 32;

/// What a field means.
#[derive(Debug, Eq, PartialEq)]
pub enum Ranges {
    /// It is wrong, unknown or too long, or the file is empty and the whole of it
    /// is asked for.
    Ignored,
    /// None of its bytes is there.
    Nothing,
    /// These bytes are asked for.
    Bytes(BTreeSet<u64>),
}

/// Reads the field for a file of `len` bytes.
pub fn ranges(field: &[u8], len: u64) -> Ranges {
    read(field, len).unwrap_or(Ranges::Ignored)
}

fn read(field: &[u8], len: u64) -> Option<Ranges> {
    let text: String = field.iter().map(|byte| char::from(*byte)).collect();
    let (unit, set) = text.split_once('=')?;
    if unit.to_ascii_lowercase() != "bytes" {
        return None;
    }
    let specs: Vec<&str> = set
        .split(',')
        .map(|spec| spec.trim_matches([' ', '\t']))
        .filter(|spec| !spec.is_empty())
        .collect();
    if specs.is_empty() || specs.len() > MOST {
        return None;
    }
    let mut bytes = BTreeSet::new();
    let mut all_of_nothing = false;
    for spec in specs {
        let (first, last) = spec.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        match (first, last) {
            (None, None) => return None,
            (Some(first), Some(last)) if first > last => return None,
            (Some(first), last) => {
                all_of_nothing |= len == 0 && first == 0;
                bytes.extend((0..len).filter(|at| *at >= first && last.is_none_or(|l| *at <= l)));
            }
            (None, Some(count)) => {
                all_of_nothing |= len == 0 && count > 0;
                bytes.extend((0..len).filter(|at| len - at <= count));
            }
        }
    }
    Some(match (bytes.is_empty(), all_of_nothing) {
        (true, true) => Ranges::Ignored,
        (true, false) => Ranges::Nothing,
        (false, _) => Ranges::Bytes(bytes),
    })
}

/// Nothing, a number (the largest for any that is larger), or neither.
fn number(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let short = digits.trim_start_matches('0');
    let number = if short.is_empty() {
        Ok(0)
    } else {
        short.parse()
    };
    Some(Some(number.unwrap_or(u64::MAX)))
}
