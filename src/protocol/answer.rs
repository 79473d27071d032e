//! What handlers answer. Plain data.

use bytes::Bytes;

use super::http::Content;
use super::{Error, Media};

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
    Content(Box<Content>),
    /// An error frame, or the connection's end where the protocol has none.
    Error(Error),
    /// The reply comes later, as an event with this token.
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
