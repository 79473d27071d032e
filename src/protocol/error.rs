//! What a peer is told when a handler cannot answer. Plain data.

use std::fmt;

/// What went wrong, for the peer: a code and a text.
///
/// Any [`std::error::Error`] becomes one by `?`, with code 500 and its own
/// text. On the wire it is an error frame: request id u32 and code u16, both
/// big-endian, then the text in UTF-8.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// As in HTTP: 4xx the request's fault, 5xx ours.
    pub code: u16,
    /// For people.
    pub text: String,
}

impl Error {
    /// An error of this code and text.
    #[must_use]
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// `Error` itself is no [`std::error::Error`]: otherwise the conversion below
/// would meet itself.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(500, error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.code, self.text)
    }
}
