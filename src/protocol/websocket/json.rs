//! Messages with ids as text, for peers without a line of binary code.
//!
//! ```text
//! {"id": 1, "seq": 7, "body": ANY}               a request, a reply, a push
//! {"id": 1, "seq": 7, "bytes": "AAEC"}           the same with bytes, in base64
//! {"id": 1, "seq": 7, "error": {"code": 404, "text": "…"}}
//! ```
//!
//! `seq` is the client's, and a reply repeats it; a push has none. Without a body
//! there is neither `body` nor `bytes`. Unknown members are ignored.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::frame::Opcode;
use super::writer::Writer;
use crate::protocol::{Error, Media};

/// What a request says.
#[derive(Debug, Deserialize)]
pub(super) struct Asked<'a> {
    pub(super) id: u32,
    #[serde(default)]
    pub(super) seq: Option<u64>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bytes: Option<&'a RawValue>,
}

/// A body: what its bytes are.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Body<'a> {
    /// A value, as it was written.
    Value(&'a str),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl<'a> Asked<'a> {
    /// Reads a message; `None`: it is no such object.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Its body.
    ///
    /// # Errors
    ///
    /// What stands in `bytes` is no base64.
    pub(super) fn body(&self) -> Result<Body<'a>, Error> {
        let wrong = || Error::new(400, "`bytes` is no base64");
        match (self.bytes, self.body) {
            (Some(bytes), _) => {
                let text: String = serde_json::from_str(bytes.get()).map_err(|_| wrong())?;
                let bytes = BASE64_STANDARD.decode(text).map_err(|_| wrong())?;
                Ok(Body::Bytes(bytes))
            }
            (None, Some(value)) => Ok(Body::Value(value.get())),
            (None, None) => Ok(Body::Bytes(Vec::new())),
        }
    }
}

/// What is said under an id.
#[derive(Serialize)]
struct Said<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(rename = "body", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failed<'a>>,
}

#[derive(Serialize)]
struct Failed<'a> {
    code: u16,
    text: &'a str,
}

impl Said<'_> {
    const fn under(id: u32, seq: Option<u64>) -> Self {
        Self {
            id,
            seq,
            body: None,
            text: None,
            bytes: None,
            error: None,
        }
    }

    /// Appends it as a text message.
    fn write(&self, to: &Writer, out: &mut Vec<u8>) {
        let written = to.write_with(Opcode::Text, out, |out| serde_json::to_writer(out, self));
        written.expect("numbers and texts, into memory");
    }
}

/// Appends a reply, or a push, which has no `seq`.
pub(super) fn write(
    (id, seq): (u32, Option<u64>),
    body: &[u8],
    media: Media,
    to: &Writer,
    out: &mut Vec<u8>,
) {
    let mut said = Said::under(id, seq);
    match media {
        Media::Json => said.body = serde_json::from_slice(body).ok(),
        Media::Text | Media::Html => said.text = std::str::from_utf8(body).ok(),
        Media::Bytes => {}
    }
    if said.body.is_none() && said.text.is_none() && !body.is_empty() {
        said.bytes = Some(BASE64_STANDARD.encode(body));
    }
    said.write(to, out);
}

/// Appends the answer to a request that failed.
pub(super) fn write_error(
    (id, seq): (u32, Option<u64>),
    error: &Error,
    to: &Writer,
    out: &mut Vec<u8>,
) {
    let mut said = Said::under(id, seq);
    let (code, text) = (error.code, &*error.text);
    said.error = Some(Failed { code, text });
    said.write(to, out);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_the_kind_of_its_body() {
        for (text, id, seq, body) in [
            (r#"{"id":1}"#, 1, None, Body::Bytes(vec![])),
            (
                r#"{"seq":9,"id":2,"body":"a\n","x":[]}"#,
                2,
                Some(9),
                Body::Value(r#""a\n""#),
            ),
            (
                r#"{"id":3,"body":{"a":[1, 2]}}"#,
                3,
                None,
                Body::Value(r#"{"a":[1, 2]}"#),
            ),
            (r#"{"id":3,"body":null}"#, 3, None, Body::Bytes(vec![])),
            (
                r#"{"id":4294967295,"bytes":"AAH/"}"#,
                u32::MAX,
                None,
                Body::Bytes(vec![0, 1, 255]),
            ),
        ] {
            let asked = Asked::read(text.as_bytes()).expect(text);
            assert_eq!((asked.id, asked.seq), (id, seq));
            assert_eq!(asked.body(), Ok(body), "{text}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"id":-1}"#,
            r#"{"id":"1"}"#,
            r#"{"id":1}x"#,
        ] {
            assert!(Asked::read(text.as_bytes()).is_none(), "{text}");
        }
        for text in [r#"{"id":1,"bytes":"A"}"#, r#"{"id":1,"bytes":5}"#] {
            assert!(
                Asked::read(text.as_bytes()).unwrap().body().is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_reply_says_its_body_by_its_kind() {
        for (body, media, said) in [
            (
                &b"[1, 2]"[..],
                Media::Json,
                r#"{"id":5,"seq":7,"body":[1, 2]}"#,
            ),
            (b"a\"b", Media::Text, r#"{"id":5,"seq":7,"body":"a\"b"}"#),
            (
                b"\x00\xff",
                Media::Bytes,
                r#"{"id":5,"seq":7,"bytes":"AP8="}"#,
            ),
            (b"", Media::Bytes, r#"{"id":5,"seq":7}"#),
            (b"{no", Media::Json, r#"{"id":5,"seq":7,"bytes":"e25v"}"#),
        ] {
            let mut out = Vec::new();
            write((5, Some(7)), body, media, &Writer::default(), &mut out);
            assert_eq!(&out[2..], said.as_bytes());
            assert_eq!(out[..2], [0x81, u8::try_from(said.len()).unwrap()]);
        }
        let mut out = Vec::new();
        write_error(
            (5, None),
            &Error::new(404, "gone"),
            &Writer::default(),
            &mut out,
        );
        let said = r#"{"id":5,"error":{"code":404,"text":"gone"}}"#;
        assert_eq!(&out[2..], said.as_bytes());
    }
}
