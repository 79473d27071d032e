//! In which coding a file is sent (RFC 9110, 12.5.3). Pure.

use super::wanted::trim;

/// How a content is packed. Ordered as we like them: smallest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    pub(super) const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// In `Content-Encoding`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the name of a file packed so has at its end.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// How much a client wants each coding, in thousandths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Accepted {
    weights: [u16; Coding::ALL.len()],
    identity: u16,
}

impl Accepted {
    /// Nothing but the file as it is.
    pub(super) const IDENTITY: Self = Self {
        weights: [0; Coding::ALL.len()],
        identity: 1000,
    };

    /// Reads all fields `Accept-Encoding`.
    pub(super) fn read(fields: &[&[u8]]) -> Self {
        if fields.is_empty() {
            return Self::IDENTITY;
        }
        let mut weights = [None; Coding::ALL.len()];
        let (mut identity, mut others) = (None, None);
        let elements = fields.iter().flat_map(|field| field.split(|&b| b == b','));
        for element in elements {
            let (name, weight) = weighted(element);
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let at = Coding::ALL.iter().position(|coding| is(coding.name()));
            // An old name of it (RFC 9110, 8.4.1.3).
            let at = at.or_else(|| is("x-gzip").then_some(Coding::Gzip as usize));
            let slot = match at {
                Some(at) => &mut weights[at],
                None if is("identity") => &mut identity,
                None if name == b"*" => &mut others,
                None => continue,
            };
            *slot = Some(weight);
        }
        Self {
            weights: weights.map(|weight| weight.or(others).unwrap_or(0)),
            // Unnamed, it is as good as the least that is wanted.
            identity: identity.unwrap_or(1),
        }
    }

    /// Which of those that there are the client wants most; `None`: the file as
    /// it is, which is sent even to a client that does not want it.
    pub(super) fn choose(&self, has: impl Fn(Coding) -> bool) -> Option<Coding> {
        let weight = |coding: &Coding| self.weights[*coding as usize];
        let there = Coding::ALL.into_iter().filter(|coding| has(*coding));
        let wanted = there.filter(|coding| weight(coding) >= self.identity.max(1));
        // The first of equals is the one that we like best.
        wanted.reduce(|best, next| {
            if weight(&next) > weight(&best) {
                next
            } else {
                best
            }
        })
    }
}

/// A name and its weight in thousandths.
fn weighted(element: &[u8]) -> (&[u8], u16) {
    let mut parts = element.split(|&byte| byte == b';').map(trim);
    let name = parts.next().unwrap_or_default();
    let is_weight = |part: &&[u8]| part.len() > 2 && part[..2].eq_ignore_ascii_case(b"q=");
    let weight = parts.find(is_weight).map(|part| thousandths(&part[2..]));
    (name, weight.unwrap_or(1000))
}

/// `0.5`, `1`, `0.123`; anything else is a coding that is not wanted.
fn thousandths(text: &[u8]) -> u16 {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    let mut weight = 0;
    for at in 0..3 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        weight = weight * 10 + u16::from(digit.wrapping_sub(b'0'));
    }
    let is_fraction = fraction.len() <= 3 && fraction.iter().all(u8::is_ascii_digit);
    match whole {
        b"0" if is_fraction => weight,
        b"1" if is_fraction => 1000,
        _ => 0,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Coding::{Brotli, Gzip, Zstd};
    use super::*;

    #[test]
    fn the_weights_of_the_client_decide_then_our_taste() {
        for (fields, has, expected) in [
            (&[][..], &Coding::ALL[..], None),
            (&[""], &Coding::ALL, None),
            (&["gzip"], &Coding::ALL, Some(Gzip)),
            (&["GZIP"], &Coding::ALL, Some(Gzip)),
            (&["x-gzip"], &Coding::ALL, Some(Gzip)),
            (&["gzip, deflate, br, zstd"], &Coding::ALL, Some(Brotli)),
            (&["gzip, deflate, br, zstd"], &[Gzip, Zstd], Some(Zstd)),
            (&["gzip", "br"], &Coding::ALL, Some(Brotli)),
            (&["gzip;q=0.9, br;q=0.8"], &Coding::ALL, Some(Gzip)),
            (&["gzip;q=0.999, br ; q=1.000"], &Coding::ALL, Some(Brotli)),
            (&["gzip;q=0"], &Coding::ALL, None),
            (&["gzip;q=0.000"], &Coding::ALL, None),
            (&["gzip;q=0.001"], &Coding::ALL, Some(Gzip)),
            (&["gzip;q=x"], &Coding::ALL, None),
            (&["gzip;q=-1"], &Coding::ALL, None),
            (&["*"], &[Gzip], Some(Gzip)),
            (&["*;q=0"], &Coding::ALL, None),
            (&["*;q=0, gzip"], &Coding::ALL, Some(Gzip)),
            (&["*, br;q=0"], &Coding::ALL, Some(Zstd)),
            (&["identity"], &Coding::ALL, None),
            (&["identity, gzip;q=0.5"], &Coding::ALL, None),
            (&["identity;q=0.5, gzip"], &Coding::ALL, Some(Gzip)),
            (&["identity;q=0, gzip;q=0.1"], &Coding::ALL, Some(Gzip)),
            (&["identity;q=0"], &Coding::ALL, None),
            (&["br"], &[Gzip], None),
            (&["deflate, compress"], &Coding::ALL, None),
        ] {
            let bytes: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
            let chosen = Accepted::read(&bytes).choose(|coding| has.contains(&coding));
            assert_eq!(chosen, expected, "{fields:?} of {has:?}");
        }
    }

    #[test]
    fn weights_have_three_digits() {
        for (text, expected) in [
            ("1", 1000),
            ("1.0", 1000),
            ("0.5", 500),
            ("0.123", 123),
            ("0.001", 1),
            ("0", 0),
            ("1.000", 1000),
            ("7", 0),
            ("0.1234", 0),
            ("0.1x", 0),
            ("", 0),
            ("1e3", 0),
            ("NaN", 0),
            ("inf", 0),
        ] {
            assert_eq!(thousandths(text.as_bytes()), expected, "{text}");
        }
    }
}
