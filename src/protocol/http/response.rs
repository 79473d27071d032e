//! What is answered: status, fields, content. Plain data.

use super::content::Content;
use super::scan::is_token;
use crate::protocol::{Answer, Error, Media, Successor};
use crate::scoreboard::series::AnsweredBy;

/// What is answered to one request. Empty at first: a handler that sets nothing
/// and answers nothing has answered 204.
#[derive(Debug, Default)]
pub struct Response {
    /// 200 to 599; `None`: what fits the content, 200 or 204.
    pub status: Option<u16>,
    /// Close the connection behind this response.
    pub close: bool,
    /// What is sent.
    pub content: Content,
    /// What the connection speaks behind this response.
    pub(super) becomes: Option<Successor>,
    /// Encoded fields, each with its line end.
    pub(super) fields: Vec<u8>,
    /// `Content-Type` is among the fields.
    pub(super) typed: bool,
    /// The request's name, which is among the fields.
    request_id: Option<Box<str>>,
    /// Who has answered, for figures.
    pub answered_by: AnsweredBy,
    /// Why it is an error, for the log alone.
    failure: Option<Box<Error>>,
    /// A field, encoded, that it has unless it is an error.
    on_success: Option<Box<[u8]>>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Served {
    /// The response says what to send.
    Done,
    /// The answer comes as [`Event::Reply`](crate::protocol::Event::Reply) with this
    /// token, into this response.
    Later(u64),
    /// Nothing was done: its handler may block.
    NotInline,
    /// Nothing was done: nobody knows the method.
    NoSuchMethod,
}

impl Response {
    /// Adds a field. One whose name or value cannot be sent is left out, and
    /// false returned: a line break in it would begin a response of its own.
    pub fn field(&mut self, name: &str, value: &[u8]) -> bool {
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        let is_value = value
            .iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        if !is_name || !is_value {
            return false;
        }
        self.typed |= name.eq_ignore_ascii_case("content-type");
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.extend_from_slice(b": ");
        self.fields.extend_from_slice(value);
        self.fields.extend_from_slice(b"\r\n");
        true
    }

    /// As [`Self::field`], unless the answer is an error in the end: then the field is
    /// left out, and one that asks to try later (503) says when.
    #[cfg(feature = "session")]
    pub(crate) fn on_success(&mut self, name: &str, value: &str) {
        let mut field = Self::default();
        field.field(name, value.as_bytes());
        self.on_success = Some(field.fields.into());
    }

    /// Adds fields that are encoded already, each with its line end. `typed`:
    /// `Content-Type` is among them.
    pub(crate) fn encoded(&mut self, fields: &[&[u8]], typed: bool) {
        self.typed |= typed;
        self.fields
            .reserve(fields.iter().map(|fields| fields.len()).sum());
        for fields in fields {
            self.fields.extend_from_slice(fields);
        }
    }

    /// Gives the request a name, and says it in the response.
    pub fn identify(&mut self, id: Box<str>) {
        // One allocation instead of three.
        self.fields.reserve(64 + id.len());
        self.field("X-Request-Id", id.as_bytes());
        self.request_id = Some(id);
    }

    /// The request's name, if it has one yet.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Takes the request's name, which is still said in the response.
    pub(super) fn take_request_id(&mut self) -> Option<Box<str>> {
        self.request_id.take()
    }

    /// As new, but for the request's name.
    pub fn restart(&mut self) {
        let id = self.request_id.take();
        *self = Self {
            answered_by: self.answered_by,
            ..Self::default()
        };
        if let Some(id) = id {
            self.identify(id);
        }
    }

    /// Whether a field of this name was added.
    #[must_use]
    pub fn has_field(&self, name: &str) -> bool {
        self.fields.split(|&byte| byte == b'\n').any(|line| {
            line.split_at_checked(name.len())
                .is_some_and(|(found, rest)| {
                    found.eq_ignore_ascii_case(name.as_bytes()) && rest.starts_with(b":")
                })
        })
    }

    /// Takes what a handler returned.
    pub fn take(&mut self, answer: Answer) -> Served {
        if !matches!(answer, Answer::Later(_))
            && let Some(field) = self.on_success.take()
        {
            match &answer {
                Answer::Error(error) if error.code == 503 => {
                    self.field("Retry-After", b"5");
                }
                Answer::Error(_) => {}
                Answer::None | Answer::Reply { .. } | Answer::Content(_) | Answer::Later(_) => {
                    self.fields.extend_from_slice(&field);
                }
            }
        }
        match answer {
            Answer::None => {}
            Answer::Reply { body, media, .. } => self.content = Content::Bytes(body, media),
            Answer::Content(content) => self.content = *content,
            Answer::Error(error) => self.error(&error),
            Answer::Later(token) => return Served::Later(token),
        }
        Served::Done
    }

    /// Answers an error: its code is the status if it can be one, and 500
    /// otherwise; its text is the content.
    pub fn error(&mut self, error: &Error) {
        let is_status = (400..600).contains(&error.code);
        self.status = Some(if is_status { error.code } else { 500 });
        let mut text = error.text.clone();
        text.push('\n');
        self.content = Content::Bytes(text.into(), Media::Text);
        self.failure = error.cause().is_some().then(|| Box::new(error.clone()));
    }

    /// The error that it answers, if that has a cause which was not logged yet.
    pub fn take_failure(&mut self) -> Option<Box<Error>> {
        self.failure.take()
    }

    /// Whether the connection speaks something else behind it.
    #[must_use]
    pub const fn is_upgrade(&self) -> bool {
        self.becomes.is_some()
    }

    /// The status that will be sent.
    #[must_use]
    pub const fn sent_status(&self) -> u16 {
        match (self.status, &self.content) {
            (Some(status), _) => status,
            (None, Content::None) => 204,
            (None, _) => 200,
        }
    }
}

/// What a status says in words: those of the registry (RFC 9110, 15 and 16.2), and
/// of others what their class says, as which clients have to take them. Some clients
/// cannot read a response without.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => match status / 100 {
            1 => "Informational",
            2 => "Successful",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_words() {
        let all: Vec<&str> = (100..600).map(reason).collect();
        let is_said = |words: &&str| !words.is_empty() && words.is_ascii();
        assert!(all.iter().all(is_said));
        for (status, words) in [
            (204, "No Content"),
            (299, "Successful"),
            (418, "Client Error"),
            (507, "Insufficient Storage"),
            (599, "Server Error"),
        ] {
            assert_eq!(reason(status), words);
        }
    }

    #[test]
    fn fields_cannot_end_their_line() {
        let mut response = Response::default();
        for (name, value) in [
            ("", &b"x"[..]),
            ("a b", b"x"),
            ("a:", b"x"),
            ("a\r\nb", b"x"),
            ("a", b"x\r\ny: z"),
            ("a", b"x\ny"),
            ("a", b"\0"),
        ] {
            assert!(!response.field(name, value), "{name:?} {value:?}");
        }
        assert!(response.fields.is_empty());
        assert!(response.field("A-b", b"x y"));
        assert!(response.has_field("a-B") && !response.has_field("A"));
    }
}
