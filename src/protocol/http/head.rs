//! A head, read strictly. Borrows from the bytes of the request.

use std::mem::MaybeUninit;

use super::FIELDS_MAX;
use super::refusal::Bad;
use super::scan::{Length, trim};
use super::target::{self, Target};
use super::upgrade;

/// Room for what is read of a head and is not as it was sent.
pub(super) struct Room<'a> {
    fields: [MaybeUninit<httparse::Header<'a>>; FIELDS_MAX],
    /// Memory that hardly any head needs.
    path: String,
    head: Vec<u8>,
}

impl Room<'_> {
    pub(super) const fn new() -> Self {
        Self {
            fields: [const { MaybeUninit::uninit() }; FIELDS_MAX],
            path: String::new(),
            head: Vec::new(),
        }
    }
}

/// Request line and fields.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// As sent, `GET`.
    pub method: &'a str,
    /// As sent, `/a%20b?c=d`.
    pub target: &'a str,
    /// What of it is the path, in its one spelling: `/a b`. `*` for the server
    /// itself, empty for `CONNECT`.
    pub path: &'a str,
    /// What of it is the query, as sent, without its question mark.
    pub query: &'a str,
    /// HTTP/1.1 is 1, HTTP/1.0 is 0; later ones mean the same as 1.
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

    /// The values of all fields called `name` (in small letters).
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The name that the client gave the request (`X-Request-Id`), if it is one
    /// that can be passed on: a word of at most 64 plain characters.
    #[must_use]
    pub fn request_id(&self) -> Option<&'a str> {
        as_request_id(self.find("x-request-id")?)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.0.iter().map(|field| (field.name, field.value))
    }
}

/// A value that can name a request.
pub(super) fn as_request_id(id: &[u8]) -> Option<&str> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    let is_id = (1..=64).contains(&id.len()) && id.iter().all(is_plain);
    std::str::from_utf8(id).ok().filter(|_| is_id)
}

/// The value of the first field called `name` in the beginning of a head,
/// whatever is wrong with that.
pub(super) fn field_of_part<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields_of_part(bytes, name).next()
}

/// As [`field_of_part`], of all fields called `name`.
pub(super) fn fields_of_part<'a>(bytes: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let fields = bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    });
    fields
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
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
    /// It asks for another protocol behind its answer, and has no body.
    pub(super) upgrades: bool,
}

/// Reads the head that `bytes` begin with. `merge`: as for [`target::read`].
///
/// # Errors
///
/// What is wrong with it. The cutter has found its end, so nothing is missing.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    merge: bool,
    room: &'a mut Room<'a>,
) -> Result<(Head<'a>, Meaning), Bad> {
    let Room {
        fields,
        path,
        head: later,
    } = room;
    // Whoever says 1.2 understands 1.1 (RFC 9110, 2.5), which is all that the
    // parser knows.
    let sent = later_minor(bytes);
    let bytes = match sent {
        None => bytes,
        Some((at, _)) => {
            later.extend_from_slice(bytes);
            later[at] = b'1';
            later
        }
    };
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, fields);
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
    let Target { path, query } = target::read(method, target, merge, path)?;
    let head = Head {
        method,
        target,
        path,
        query,
        minor: sent.map_or(minor, |(_, sent)| sent),
        fields: Fields(request.headers),
    };
    let meaning = meaning(&head, len)?;
    Ok((head, meaning))
}

/// Where the last digit of a version behind 1.1 stands in the first line, and
/// its value.
fn later_minor(bytes: &[u8]) -> Option<(usize, u8)> {
    let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let end = begin + memchr::memchr(b'\r', &bytes[begin..])?;
    let (at, minor) = (end - 1, bytes[end - 1]);
    let is_later = bytes[begin..at].ends_with(b" HTTP/1.") && matches!(minor, b'2'..=b'9');
    is_later.then(|| (at, minor - b'0'))
}

fn meaning(head: &Head<'_>, len: usize) -> Result<Meaning, Bad> {
    let mut meaning = Meaning {
        len,
        length: Length::Fixed(0),
        expects: false,
        keeps: false,
        upgrades: false,
    };
    let mut hosts = 0;
    let mut connection = Connection::default();
    for (name, value) in head.fields.iter() {
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                if !target::is_host(value) {
                    return Err(Bad::Syntax("a field Host that names none"));
                }
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                meaning.expects |= head.minor > 0 && value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case("upgrade") => {
                meaning.upgrades |= upgrade::is_wanted(value);
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
    // As the cutter sees it, which has stopped behind such a head.
    meaning.upgrades &= head.minor > 0 && meaning.length == Length::Fixed(0);
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
        !self.close && (minor > 0 || self.keep_alive)
    }
}
