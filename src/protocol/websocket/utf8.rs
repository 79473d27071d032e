//! UTF-8 that comes in pieces: wrong with the first byte that cannot be part of any
//! text, whatever would follow. Pure.

/// What of a text was seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Utf8 {
    /// A character that has begun and is not whole.
    begun: [u8; 3],
    len: u8,
}

impl Utf8 {
    /// Takes the next bytes; false: no text has them there.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0
            && let Some((&next, rest)) = bytes.split_first()
        {
            bytes = rest;
            let len = usize::from(self.len);
            let mut character = [0; 4];
            character[..len].copy_from_slice(&self.begun[..len]);
            character[len] = next;
            match std::str::from_utf8(&character[..=len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {
                    self.begun[len] = next;
                    self.len += 1;
                }
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                let begun = &bytes[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.len = u8::try_from(begun.len()).expect("at most three bytes");
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TEXTS: [&[u8]; 8] = [
        "aé€😀z".as_bytes(),
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
        b"a\xffb",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x9f\x98",
    ];

    /// The length of the shortest beginning that no text has.
    fn wrong_from(bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len()).find(|len| {
            let read = std::str::from_utf8(&bytes[..*len]);
            read.is_err_and(|error| error.error_len().is_some())
        })
    }

    #[test]
    fn a_text_is_wrong_with_the_byte_that_makes_it_so_however_it_comes() {
        for text in TEXTS {
            for step in 1..=text.len() {
                let mut utf8 = Utf8::default();
                let mut fed = 0;
                let wrong = text.chunks(step).find_map(|piece| {
                    fed += piece.len();
                    (!utf8.feed(piece)).then_some(fed)
                });
                let expected = wrong_from(text).map(|at| at.next_multiple_of(step).min(text.len()));
                assert_eq!(wrong, expected, "{text:?} by {step}");
            }
        }
    }
}
