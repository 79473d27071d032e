//! Short texts of an operator: the name of a user, and what a peer is told who is
//! kicked. Passed on like numbers.

use std::fmt;
use std::str::FromStr;

/// A text of at most `MAX` bytes, which are at most 255.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Short<const MAX: usize> {
    bytes: [u8; MAX],
    len: u8,
}

impl<const MAX: usize> Short<MAX> {
    /// `None`: it has no bytes, or too many.
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX];
        let room = bytes.get_mut(..text.len())?;
        room.copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).ok().filter(|len| *len > 0)?;
        Some(Self { bytes, len })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it was text")
    }
}

/// The name of a user, as an operator gives it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UserName(Short<{ Self::MAX }>);

impl UserName {
    /// Bytes of the longest.
    pub const MAX: usize = 128;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Short::new(name).map(Self).ok_or_else(|| {
            format!(
                "a user has a name of 1 to {} bytes, this one has {}; close others by their ids, \
                 which `connections` lists",
                Self::MAX,
                name.len()
            )
        })
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operator says to a peer who is kicked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Words(Short<{ Self::MAX }>);

impl Words {
    /// Bytes of the longest: what the close frame of a WebSocket has room for behind
    /// its code (RFC 6455, 5.5).
    pub const MAX: usize = 123;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(char::is_control) {
            return Err("what is said is one line, without control characters".into());
        }
        Short::new(text).map(Self).ok_or_else(|| {
            format!(
                "what is said has 1 to {} bytes, which is what a WebSocket has room for; this has {}",
                Self::MAX,
                text.len()
            )
        })
    }
}

impl fmt::Display for Words {
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

    #[test]
    fn words_are_one_line_that_a_close_frame_has_room_for() {
        let longest = "x".repeat(123);
        for text in ["bye", "wörk until 22:00, \"sorry\"", &longest] {
            assert_eq!(text.parse::<Words>().unwrap().as_str(), text);
        }
        for (text, expected) in [
            ("", "has 1 to 123 bytes"),
            (&"x".repeat(124), "this has 124"),
            ("a\nb", "one line"),
        ] {
            let error = text.parse::<Words>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
