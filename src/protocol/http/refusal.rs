//! What is wrong with a request, and what its sender is told before the close.

use std::net::IpAddr;

use crate::protocol::Refusal;
use crate::scoreboard::Counter;

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bad {
    /// It is no HTTP, or can be read in two ways.
    Syntax(&'static str),
    /// A body must come, and nothing says how long.
    NoLength,
    BodyTooLong,
    LineTooLong,
    HeadTooLong,
    TooManyFields,
    /// The body is coded in a way that we do not know.
    Coding,
    /// The client expects something other than our word to go on.
    Expectation,
    /// The method is none that anybody here knows.
    Method,
    /// The method is none that this server does, whatever its handlers know.
    NotAllowed,
    /// The lists of the listener do not let its client in.
    Denied,
    /// Its client has as many requests in progress as an address may have connections.
    TooMany,
    /// The chunks of the body have more beside their data than a head may have.
    Extensions,
    /// The peer ended its stream within a body.
    Truncated,
    Version,
    /// The preface of HTTP/2.
    Http2,
    Tls,
}

macro_rules! answer {
    ($status:literal, $len:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nContent-Type: text/plain\r\nContent-Length: ",
            $len,
            "\r\nConnection: close\r\n\r\n",
            $status,
            "\n"
        )
        .as_bytes()
    };
}

impl Bad {
    const fn answer(self) -> &'static [u8] {
        match self {
            Self::Syntax(_) => answer!("400 Bad Request", 16),
            Self::NoLength => answer!("411 Length Required", 20),
            Self::Denied => answer!("403 Forbidden", 14),
            Self::TooMany => answer!("429 Too Many Requests", 22),
            Self::NotAllowed => answer!("405 Method Not Allowed", 23),
            Self::BodyTooLong | Self::Extensions => answer!("413 Content Too Large", 22),
            Self::LineTooLong => answer!("414 URI Too Long", 17),
            Self::HeadTooLong | Self::TooManyFields => {
                answer!("431 Request Header Fields Too Large", 36)
            }
            Self::Expectation => answer!("417 Expectation Failed", 23),
            Self::Coding | Self::Method => answer!("501 Not Implemented", 20),
            Self::Version | Self::Http2 => answer!("505 HTTP Version Not Supported", 31),
            Self::Tls | Self::Truncated => b"",
        }
    }

    const fn counter(self) -> Counter {
        match self {
            Self::Syntax(_) | Self::NoLength => Counter::HttpBadRequest,
            Self::BodyTooLong | Self::Extensions => Counter::HttpBodyTooLong,
            Self::LineTooLong | Self::HeadTooLong | Self::TooManyFields => Counter::HttpHeadTooLong,
            Self::Coding | Self::Version | Self::Expectation | Self::Method | Self::NotAllowed => {
                Counter::HttpUnsupported
            }
            Self::Denied => Counter::HttpDenied,
            Self::TooMany => Counter::HttpPerIp,
            Self::Truncated => Counter::Truncated,
            Self::Http2 => Counter::SpokeHttp2,
            Self::Tls => Counter::SpokeTls,
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Syntax(what) => what,
            Self::NoLength => "a request with a body that does not say its length",
            Self::BodyTooLong => "a request body over http.body_max or its route's limit",
            Self::LineTooLong => "a request line over http.line_max",
            Self::HeadTooLong => "a request head over http.head_max",
            Self::TooManyFields => "a request with more fields than http.fields_max",
            Self::Coding => "a transfer coding other than chunked",
            Self::Expectation => "an expectation other than 100-continue",
            Self::Method => "a method that nobody here knows",
            Self::Denied => "a client, named by its proxy, that the listener's lists do not let in",
            Self::TooMany => "a client, named by its proxy, over limits.connections_per_ip",
            Self::NotAllowed => "TRACE or CONNECT, which are not allowed here",
            Self::Extensions => "chunk extensions over http.head_max",
            Self::Truncated => "an end-of-file in the middle of a request body",
            Self::Version => "a version of HTTP other than 1",
            Self::Http2 => "the preface of HTTP/2",
            Self::Tls => "a TLS client hello on a plain port",
        }
    }
}

/// What a peer is told whose request did not come in time.
pub(super) const LATE: &[u8] = answer!("408 Request Timeout", 20);

/// A method that nobody here knows, by its name: of tokens' characters alone, so
/// it can stand in a log, and no longer than a word.
pub(super) fn unknown_method(method: &str) -> Refusal {
    let name: String = method.chars().take(32).collect();
    Refusal {
        detail: format!("`{name}`, a method that nobody here knows"),
        ..Refusal::from(Bad::Method)
    }
}

/// A client whom a proxy named has as much as he may.
pub(super) fn too_many(client: Option<IpAddr>) -> Refusal {
    let refusal = Refusal::from(Bad::TooMany);
    let detail = match client {
        Some(client) => format!("{}: {client}", refusal.detail),
        None => refusal.detail,
    };
    Refusal { detail, ..refusal }
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        Self {
            counter: bad.counter(),
            detail: bad.detail().to_owned(),
            answer: bad.answer(),
            about: Vec::new(),
        }
    }
}

/// The status of an answer; `None`: nothing is said.
pub(super) fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_length_that_they_say() {
        for bad in [
            Bad::Syntax(""),
            Bad::NoLength,
            Bad::NotAllowed,
            Bad::Denied,
            Bad::TooMany,
            Bad::BodyTooLong,
            Bad::LineTooLong,
            Bad::HeadTooLong,
            Bad::Coding,
            Bad::Expectation,
            Bad::Version,
        ] {
            let text = std::str::from_utf8(bad.answer()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = format!("Content-Length: {}\r\n", body.len());
            assert!(head.contains(&length), "{text}");
            let said = status(bad.answer()).unwrap();
            let line = format!("HTTP/1.1 {said} {}", super::super::reason(said));
            assert_eq!(head.lines().next(), Some(&*line));
        }
    }
}
