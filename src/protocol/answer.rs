//! What handlers answer, and how it is called when they cannot. Plain data.

use std::fmt;

use bytes::Bytes;

use super::http;

/// What a handler answered. Users meet it only when they implement
/// [`IntoReply`](crate::body::IntoReply) themselves.
#[derive(Debug, Default, PartialEq)]
pub enum Answer {
    /// No reply.
    #[default]
    None,
    /// This body, under the request's id unless another one is given.
    Reply {
        /// Instead of the request's.
        id: Option<u32>,
        /// Body.
        body: Bytes,
        /// What it is, for protocols that say it.
        media: Media,
    },
    /// What goes over HTTP alone: a file, a stream. Boxed, because it is
    /// rare and large.
    Content(Box<http::Content>),
    /// An error frame, or the connection's end where the protocol has none.
    Error(Error),
    /// The reply comes as [`Event::Reply`](super::Event::Reply) with this token.
    Later(u64),
}

impl Answer {
    /// A reply under the request's own id.
    #[must_use]
    pub const fn body(body: Bytes) -> Self {
        Self::media(body, Media::Bytes)
    }

    /// As [`Self::body`], of a certain kind.
    #[must_use]
    pub const fn media(body: Bytes, media: Media) -> Self {
        Self::Reply {
            id: None,
            body,
            media,
        }
    }
}

/// What a body is, for protocols that say it. Frames do not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Media {
    /// Bytes of any kind.
    #[default]
    Bytes,
    /// Text in UTF-8.
    Text,
    /// A page.
    Html,
    /// JSON.
    Json,
}

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
