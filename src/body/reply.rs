//! What handlers answer.

use bytes::Bytes;

use super::{Error, Id};

/// What a handler's return value means. Users meet it only when they implement
/// [`IntoReply`] themselves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// No reply.
    Silence,
    /// A reply.
    Body {
        /// Instead of the request's id.
        id: Option<Id>,
        /// Its bytes.
        body: Bytes,
    },
    /// An error frame.
    Failure(Error),
    /// The reply comes later, under this token.
    Later(u64),
}

impl Outcome {
    /// A reply under the request's own id.
    #[must_use]
    pub const fn body(body: Bytes) -> Self {
        Self::Body { id: None, body }
    }
}

/// A type that a handler can return.
///
/// Implemented for `()` (no reply), [`Bytes`], `Vec<u8>`, [`String`], `&'static
/// str`, [`Json<T>`](super::Json), [`Packed<T>`](super::Packed), [`Reply`],
/// `Option` (`None`: no reply) and `Result<_, E>` where `E` becomes an
/// [`Error`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a reply",
    label = "return `()`, `Bytes`, `String`, `Json<T>`, `Packed<T>`, `Reply`, an `Option` or a `Result` of these, or implement `IntoReply`"
)]
pub trait IntoReply {
    /// What is sent.
    fn into_reply(self) -> Outcome;
}

/// A reply under another id than the request's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply(Outcome);

impl Reply {
    /// A reply of `body` under `id`.
    #[must_use]
    pub fn with(id: Id, body: impl IntoReply) -> Self {
        Self(match body.into_reply() {
            Outcome::Body { body, .. } => Outcome::Body { id: Some(id), body },
            other @ (Outcome::Silence | Outcome::Failure(_) | Outcome::Later(_)) => other,
        })
    }
}

impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Self {
        Self(outcome)
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Outcome {
        self.0
    }
}

impl IntoReply for Outcome {
    fn into_reply(self) -> Outcome {
        self
    }
}

impl IntoReply for Error {
    fn into_reply(self) -> Outcome {
        Outcome::Failure(self)
    }
}

impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Outcome {
        self.map_or(Outcome::Silence, R::into_reply)
    }
}

impl<R: IntoReply, E: Into<Error>> IntoReply for Result<R, E> {
    fn into_reply(self) -> Outcome {
        match self {
            Ok(reply) => reply.into_reply(),
            Err(error) => Outcome::Failure(error.into()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::body::Json;

    #[test]
    fn every_return_value_becomes_what_it_says() {
        let ok = || Outcome::body(Bytes::from_static(b"ok"));
        let teapot = || Error::new(418, "teapot");
        let io = std::io::Error::other("broken");
        let cases = [
            (().into_reply(), Outcome::Silence),
            ("ok".into_reply(), ok()),
            (String::from("ok").into_reply(), ok()),
            (b"ok".to_vec().into_reply(), ok()),
            (
                Json("ok").into_reply(),
                Outcome::body(Bytes::from_static(b"\"ok\"")),
            ),
            (Some("ok").into_reply(), ok()),
            (None::<String>.into_reply(), Outcome::Silence),
            (Ok::<_, Error>("ok").into_reply(), ok()),
            (
                Err::<String, _>(teapot()).into_reply(),
                Outcome::Failure(teapot()),
            ),
            (
                Err::<(), _>(io).into_reply(),
                Outcome::Failure(Error::new(500, "broken")),
            ),
            (
                Reply::with(7, "ok").into_reply(),
                Outcome::Body {
                    id: Some(7),
                    body: Bytes::from_static(b"ok"),
                },
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
    }
}
