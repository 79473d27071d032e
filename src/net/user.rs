//! The name of a user, as an operator gives it.

use std::fmt;
use std::str::FromStr;

/// A name of at most [`Self::MAX`] bytes, which is passed on like a number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UserName {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl UserName {
    /// Bytes of the longest.
    pub const MAX: usize = 128;

    /// The name.
    ///
    /// # Panics
    ///
    /// Never: it was text when it was made.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it was text")
    }
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut bytes = [0; Self::MAX];
        let room = bytes.get_mut(..name.len()).filter(|_| !name.is_empty());
        let (Some(room), Ok(len)) = (room, u8::try_from(name.len())) else {
            return Err(format!(
                "a user has a name of 1 to {} bytes, this one has {}; close others by their ids, \
                 which `connections` lists",
                Self::MAX,
                name.len()
            ));
        };
        room.copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len })
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_was_or_refused() {
        let longest = "ä".repeat(64);
        for name in ["a", "ann b\n", &longest] {
            assert_eq!(name.parse::<UserName>().unwrap().as_str(), name);
        }
        for name in ["", &"a".repeat(129)] {
            let error = name.parse::<UserName>().unwrap_err();
            assert!(error.contains("1 to 128 bytes"), "{error}");
        }
    }
}
