//! Bodies that are bytes or text, and files.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;

use bytes::Bytes;

use super::reply::IntoReply;
use super::{Answer, Error, FromBody, Raw};
use crate::protocol::Media;
use crate::protocol::http::Content;

/// Bytes of a file that says it has none.
const UNSAID_MAX: u64 = 1 << 20;

/// Any body, ignored.
impl FromBody for () {
    const TAKES_FILES: bool = true;

    fn from_body(_: Raw<'_>) -> Result<Self, Error> {
        Ok(())
    }
}

/// The text that a value of a message in JSON is; `None`: the body is no such value,
/// or none that is a text.
fn text_in_json(body: Raw<'_>) -> Option<String> {
    let text = body.is_json().then(|| serde_json::from_slice(body.bytes()));
    text?.ok()
}

/// Of a message in JSON: the text that its body is, or else the value as it was
/// written.
impl FromBody for Bytes {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        if let Some(text) = text_in_json(body) {
            return Ok(text.into());
        }
        Ok(body.to_bytes())
    }
}

impl FromBody for Vec<u8> {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        if let Some(text) = text_in_json(body) {
            return Ok(text.into());
        }
        Ok(body.bytes().to_vec())
    }
}

impl FromBody for String {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        if body.is_json() {
            let text = text_in_json(body);
            return text.ok_or_else(|| Error::new(400, "the body is no text"));
        }
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
/// whose length cannot be told answers 500; those of `/proc`, which say that they
/// are empty, are read, up to 1 MiB.
impl IntoReply for File {
    fn into_reply(self) -> Answer {
        match self.metadata() {
            Ok(found) if !found.is_file() => {
                let why = "what is no regular file has no length: return a stream of it";
                Answer::Error(Error::new(500, why))
            }
            Ok(found) if found.len() == 0 => of_unknown_length(&self),
            Ok(found) => Answer::Content(Box::new(Content::File {
                file: Arc::new(self),
                range: 0..found.len(),
            })),
            Err(error) => Answer::Error(error.into()),
        }
    }
}

/// Files of `/proc` say that they are empty, and are not.
fn of_unknown_length(mut file: &File) -> Answer {
    let mut bytes = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(UNSAID_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(len) if len as u64 > UNSAID_MAX => {
            let why = "a file that says it is empty is long: return a stream of it";
            Answer::Error(Error::new(500, why))
        }
        Ok(_) => Answer::media(bytes.into(), Media::Bytes),
        Err(error) => Answer::Error(error.into()),
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn files_that_say_they_are_empty_are_read_and_what_is_no_file_is_refused() {
        let reply = |path: &str| File::open(path).map(IntoReply::into_reply).ok();
        let Some(Answer::Reply { body, .. }) = reply("/proc/self/status") else {
            panic!("it was not read");
        };
        assert!(body.starts_with(b"Name:"), "{body:?}");
        for path in ["/proc/self", "/dev/null"] {
            let refused = reply(path);
            assert!(
                matches!(&refused, Some(Answer::Error(error)) if error.code == 500),
                "{path}: {refused:?}"
            );
        }
        let empty = tempfile::tempfile().map(IntoReply::into_reply).ok();
        assert!(
            matches!(&empty, Some(Answer::Reply { body, .. }) if body.is_empty()),
            "{empty:?}"
        );
    }
}
