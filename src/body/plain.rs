//! Bodies that are bytes or text, and files.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::reply::IntoReply;
use super::{Answer, Error, FromBody, Raw};
use crate::protocol::Media;
use crate::protocol::http::Content;

/// Any body, ignored.
impl FromBody for () {
    const TAKES_FILES: bool = true;

    fn from_body(_: Raw<'_>) -> Result<Self, Error> {
        Ok(())
    }
}

impl FromBody for Bytes {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        Ok(body.to_bytes())
    }
}

impl FromBody for Vec<u8> {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        Ok(body.bytes().to_vec())
    }
}

impl FromBody for String {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        match std::str::from_utf8(body.bytes()) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(Error::new(
                400,
                format!("the body is no UTF-8 text: {error}"),
            )),
        }
    }
}

/// No reply.
impl IntoReply for () {
    fn into_reply(self) -> Answer {
        Answer::None
    }
}

impl IntoReply for Bytes {
    fn into_reply(self) -> Answer {
        Answer::body(self)
    }
}

impl IntoReply for Vec<u8> {
    fn into_reply(self) -> Answer {
        Answer::body(self.into())
    }
}

impl IntoReply for &'static [u8] {
    fn into_reply(self) -> Answer {
        Answer::body(Bytes::from_static(self))
    }
}

impl IntoReply for String {
    fn into_reply(self) -> Answer {
        Answer::media(self.into(), Media::Text)
    }
}

/// All of the file, over HTTP alone: from the disk's cache to the socket. One
/// whose length cannot be told answers 500.
impl IntoReply for File {
    fn into_reply(self) -> Answer {
        match self.metadata() {
            Ok(found) => Answer::Content(Box::new(Content::File {
                file: Arc::new(self),
                range: 0..found.len(),
            })),
            Err(error) => Answer::Error(error.into()),
        }
    }
}

impl IntoReply for &'static str {
    fn into_reply(self) -> Answer {
        Answer::media(Bytes::from_static(self.as_bytes()), Media::Text)
    }
}

/// A page: text that goes over HTTP as `text/html`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Html<T>(pub T);

impl<T: Into<String>> IntoReply for Html<T> {
    fn into_reply(self) -> Answer {
        Answer::media(self.0.into().into(), Media::Html)
    }
}
