//! What a connection that should speak frames really speaks. Pure.
//!
//! `GE` is 18,245 and `16 03` is 5,635, both legal lengths of a `comm` frame, so
//! a browser on a frame port would wait for ever. The first bytes of every
//! connection are therefore compared with the beginnings of other protocols
//! before any preset sees them.
//!
//! The rule: a full token (`GET `, a TLS client hello) is foreign, unless a whole
//! frame ends within it; bytes that are the beginning of one wait for more,
//! unless they contain a whole frame.
//! So the first frame of a connection must not begin like these tokens; later
//! ones may.

use super::Refusal;
use crate::scoreboard::Counter;

/// What the first bytes look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Guess {
    /// Nothing that is known from elsewhere.
    Frames,
    /// The beginning of a foreign token: more bytes will tell.
    NotYet,
    /// Another protocol, known by a token of so many bytes.
    Foreign(Refusal, usize),
}

/// Beginnings of HTTP requests; the last one is that of HTTP/2.
const HTTP: [&str; 10] = [
    "GET ",
    "POST ",
    "PUT ",
    "HEAD ",
    "DELETE ",
    "OPTIONS ",
    "PATCH ",
    "TRACE ",
    "CONNECT ",
    "PRI * HTTP/2",
];

/// What an HTTP client is told.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
Content-Length: 53\r\nConnection: close\r\n\r\nThis port speaks binary frames, it is no web server.\n";

/// Looks at the first bytes of a connection.
#[must_use]
pub fn guess(bytes: &[u8]) -> Guess {
    match HTTP
        .iter()
        .find(|token| begin_alike(token.as_bytes(), bytes))
    {
        Some(token) if bytes.len() >= token.len() => foreign(token.as_bytes()),
        Some(_) => Guess::NotYet,
        None => guess_tls(bytes),
    }
}

/// What is said of bytes that begin a request of HTTP, of a method that may be in
/// no list.
pub(super) fn http_request(bytes: &[u8]) -> Guess {
    let token = memchr::memchr(b' ', bytes).map_or(bytes, |end| &bytes[..=end]);
    foreign(token)
}

fn foreign(token: &[u8]) -> Guess {
    let word = token.trim_ascii().escape_ascii();
    let refusal = Refusal {
        counter: Counter::SpokeHttp,
        detail: format!("HTTP on a frame port, beginning with `{word}`"),
        answer: ANSWER,
        about: Vec::new(),
    };
    Guess::Foreign(refusal, token.len())
}

fn begin_alike(token: &[u8], bytes: &[u8]) -> bool {
    let common = token.len().min(bytes.len());
    token[..common] == bytes[..common]
}

/// Bytes that tell a TLS client hello.
const TLS: usize = 7;

/// A TLS record: handshake, version 3.0 to 3.4, a length of at most 16 KiB,
/// client hello, a length below 64 KiB.
fn guess_tls(bytes: &[u8]) -> Guess {
    let fits = |(at, &byte): (usize, &u8)| match at {
        0 => byte == 0x16,
        1 => byte == 3,
        2 => byte <= 4,
        3 => byte <= 0x40,
        5 => byte == 1,
        6 => byte == 0,
        _ => true,
    };
    if !bytes.iter().take(TLS).enumerate().all(fits) {
        return Guess::Frames;
    }
    if bytes.len() < TLS {
        return Guess::NotYet;
    }
    let detail = format!("TLS 3.{} client hello on a plain port", bytes[2]);
    Guess::Foreign(
        Refusal {
            counter: Counter::SpokeTls,
            detail,
            answer: b"",
            about: Vec::new(),
        },
        TLS,
    )
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_length_that_it_says() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }

    #[test]
    fn tokens_are_known_when_they_are_whole() {
        let tls = [0x16, 3, 1, 2, 0, 1, 0].as_slice();
        let whole = HTTP
            .iter()
            .map(|token| (token.as_bytes(), Counter::SpokeHttp));
        for (token, counter) in whole.chain([(tls, Counter::SpokeTls)]) {
            for len in 0..token.len() {
                assert_eq!(guess(&token[..len]), Guess::NotYet, "{:?}", &token[..len]);
            }
            let Guess::Foreign(refusal, _) = guess(token) else {
                panic!("{token:?}")
            };
            assert_eq!(refusal.counter, counter);
            let mut almost = token.to_vec();
            *almost.last_mut().unwrap() ^= 0x20;
            assert_eq!(guess(&almost), Guess::Frames, "{almost:?}");
        }
    }

    #[test]
    fn frames_are_frames() {
        for bytes in [
            &[0, 10, 0, 1][..],
            b"GEx",
            &[0x16, 2],
            &[0x16, 3, 5],
            b"get ",
        ] {
            assert_eq!(guess(bytes), Guess::Frames, "{bytes:?}");
        }
    }
}
