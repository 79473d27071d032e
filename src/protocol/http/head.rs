//! A head, read strictly. Borrows from the bytes of the request.

use std::mem::MaybeUninit;

use super::FIELDS_MAX;
use super::refusal::Bad;
use super::scan::{Length, trim};

/// Room for the fields of a head.
pub(super) type FieldSlots<'a> = [MaybeUninit<httparse::Header<'a>>; FIELDS_MAX];

/// Request line and fields.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// As sent, `GET`.
    pub method: &'a str,
    /// As sent, `/a%20b?c=d`.
    pub target: &'a str,
    /// HTTP/1.1 is 1, HTTP/1.0 is 0.
    pub minor: u8,
    /// The fields, in order.
    pub fields: Fields<'a>,
}

/// The fields of a head.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub(super) &'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// The value of the first field called `name`, whatever its case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The name that the client gave the request (`X-Request-Id`), if it is one
    /// that can be passed on: a word of at most 64 plain characters.
    #[must_use]
    pub fn request_id(&self) -> Option<&'a str> {
        let id = self.find("x-request-id")?;
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let is_id = (1..=64).contains(&id.len()) && id.iter().all(is_plain);
        std::str::from_utf8(id).ok().filter(|_| is_id)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.0.iter().map(|field| (field.name, field.value))
    }
}

/// What a head says about its message, beside what it asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    /// Bytes of the head.
    pub(super) len: usize,
    pub(super) length: Length,
    pub(super) expects: bool,
    /// The connection goes on behind this request.
    pub(super) keeps: bool,
}

/// Reads the head that `bytes` begin with.
///
/// # Errors
///
/// What is wrong with it. The cutter has found its end, so nothing is missing.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    room: &'a mut FieldSlots<'a>,
) -> Result<(Head<'a>, Meaning), Bad> {
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, room);
    let Ok(httparse::Status::Complete(len)) = parsed else {
        return Err(Bad::Syntax(match parsed {
            Err(httparse::Error::Token) => "a request line that is none",
            Err(httparse::Error::HeaderName) => "a field without a proper name",
            Err(httparse::Error::HeaderValue) => "a field with a character that none may have",
            Ok(_) | Err(_) => "a head that is no HTTP",
        }));
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Bad::Syntax("a request line that is none"));
    };
    let fields = Fields(request.headers);
    let head = Head {
        method,
        target,
        minor,
        fields,
    };
    let meaning = meaning(&head, len)?;
    Ok((head, meaning))
}

fn meaning(head: &Head<'_>, len: usize) -> Result<Meaning, Bad> {
    let mut meaning = Meaning {
        len,
        length: Length::Fixed(0),
        expects: false,
        keeps: false,
    };
    let mut hosts = 0;
    let mut connection = Connection::default();
    for (name, value) in head.fields.iter() {
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => hosts += 1,
            6 if name.eq_ignore_ascii_case("expect") => {
                meaning.expects |= head.minor == 1 && value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if name.eq_ignore_ascii_case("connection") => connection.options(value),
            14 if name.eq_ignore_ascii_case("content-length") => {
                // The cutter let no other pass; were it wrong, 400 is right.
                let text = std::str::from_utf8(trim(value)).unwrap_or_default();
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Bad::Syntax("a bad Content-Length"));
                }
                // More than can be counted is more than any limit.
                let length = text.parse().unwrap_or(usize::MAX);
                meaning.length = Length::Fixed(length);
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                meaning.length = Length::Chunked;
            }
            _ => {}
        }
    }
    meaning.keeps = connection.keeps(head.minor);
    match (hosts, head.minor) {
        (1, _) | (0, 0) => Ok(meaning),
        (0, _) => Err(Bad::Syntax("a request without a field Host")),
        (_, _) => Err(Bad::Syntax("two fields Host")),
    }
}

/// What the fields `Connection` say together.
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    fn options(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(trim) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// `close` wins, in whatever order they come (RFC 9112, 9.3).
    const fn keeps(&self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.keep_alive)
    }
}
