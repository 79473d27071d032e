//! What handlers answer.

use super::{Answer, Error, Id};
use crate::protocol::Media;

/// A type that a handler can return.
///
/// Implemented for `()` (no reply), [`Bytes`](bytes::Bytes), `Vec<u8>`, [`String`], `&'static
/// str`, [`Json<T>`](super::Json), every [`Fixed`](super::Fixed) struct, [`Reply`],
/// [`std::fs::File`] over HTTP,
/// `Option` (`None`: no reply) and `Result<_, E>` where `E` becomes an
/// [`Error`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a reply",
    label = "return `()`, `Bytes`, `String`, `Json<T>`, a `Fixed` struct, `Reply`, an `Option` or a `Result` of these, or implement `IntoReply`",
    note = "of a `Result` both halves count: its error is an `Error` or any `std::error::Error`; a text is none of them, and becomes one by `.map_err(|text| Error::new(400, text))` where the peer may see it, by `.map_err(Error::internal)` where it is for the log",
    note = "a handler is no `async` function: it may block, and only its own connection waits"
)]
pub trait IntoReply {
    /// What is sent.
    fn into_reply(self) -> Answer;
}

/// A reply under another id than the request's.
#[derive(Debug, PartialEq)]
pub struct Reply(Answer);

impl Reply {
    /// A reply of `body` under `id`.
    #[must_use]
    pub fn with(id: Id, body: impl IntoReply) -> Self {
        Self(match body.into_reply() {
            Answer::Reply { body, media, .. } => Answer::Reply {
                id: Some(id),
                body,
                media,
            },
            Answer::None => Answer::Reply {
                id: Some(id),
                body: bytes::Bytes::new(),
                media: Media::Bytes,
            },
            other @ (Answer::Content(_) | Answer::Error(_) | Answer::Later(_)) => other,
        })
    }
}

impl From<Answer> for Reply {
    fn from(outcome: Answer) -> Self {
        Self(outcome)
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Answer {
        self.0
    }
}

impl IntoReply for Answer {
    fn into_reply(self) -> Answer {
        self
    }
}

impl IntoReply for Error {
    fn into_reply(self) -> Answer {
        Answer::Error(self)
    }
}

impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Answer {
        self.map_or(Answer::None, R::into_reply)
    }
}

impl<R: IntoReply, E: Into<Error>> IntoReply for Result<R, E> {
    fn into_reply(self) -> Answer {
        match self {
            Ok(reply) => reply.into_reply(),
            Err(error) => Answer::Error(error.into()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::body::Json;

    #[test]
    fn every_return_value_becomes_what_it_says() {
        let ok = || Answer::media(Bytes::from_static(b"ok"), Media::Text);
        let teapot = || Error::new(418, "teapot");
        let io = std::io::Error::other("broken");
        let cases = [
            (().into_reply(), Answer::None),
            ("ok".into_reply(), ok()),
            (String::from("ok").into_reply(), ok()),
            (
                b"ok".to_vec().into_reply(),
                Answer::body(Bytes::from_static(b"ok")),
            ),
            (
                Json("ok").into_reply(),
                Answer::media(Bytes::from_static(b"\"ok\""), Media::Json),
            ),
            (Some("ok").into_reply(), ok()),
            (None::<String>.into_reply(), Answer::None),
            (Ok::<_, Error>("ok").into_reply(), ok()),
            (
                Err::<String, _>(teapot()).into_reply(),
                Answer::Error(teapot()),
            ),
            (
                Err::<(), _>(io).into_reply(),
                Answer::Error(Error::internal("broken")),
            ),
            (
                Reply::with(7, "ok").into_reply(),
                Answer::Reply {
                    id: Some(7),
                    body: Bytes::from_static(b"ok"),
                    media: Media::Text,
                },
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
    }
}
