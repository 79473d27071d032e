//! The client's half of a WebSocket: its request and the answer, the frames that it
//! writes, with masks, and those that it reads. Pure.
//!
//! What a binary message carries is a part of one stream of bytes: where a message
//! ends means nothing to who reads frames of a format from it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::fault::Code;
use super::frame::{self, Opcode};
use crate::protocol::http::accepted;

/// Bytes of the answer's head.
const HEAD_MAX: usize = 16 * 1024;

/// Fields of it.
const FIELDS_MAX: usize = 64;

/// `ws://HOST:PORT/PATH?QUERY`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketUrl {
    /// Host and port as they are written.
    authority: String,
    /// Path and query.
    target: String,
}

impl SocketUrl {
    /// Host and port, 80 where none is written.
    #[must_use]
    pub fn address(&self) -> String {
        let has_port = self.authority.rfind(':') > self.authority.rfind(']');
        if has_port {
            self.authority.clone()
        } else {
            format!("{}:80", self.authority)
        }
    }
}

impl FromStr for SocketUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").map(|(scheme, rest)| {
            let scheme = scheme.to_ascii_lowercase();
            (scheme, rest)
        });
        let rest = match scheme {
            Some((scheme, rest)) if scheme == "ws" => rest,
            Some((scheme, _)) if scheme == "wss" => {
                return Err(
                    "no TLS is spoken here: name the plain port behind what ends TLS, \
                            as ws://HOST:PORT/PATH"
                        .into(),
                );
            }
            Some(_) | None => return Err("expected ws://HOST:PORT/PATH".into()),
        };
        if let Some(bad) = rest.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("{bad:?} must be written as %XX in a URL"));
        }
        // What is behind `#` is for the client alone.
        let rest = rest.split('#').next().unwrap_or_default();
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(cut);
        if authority.is_empty() || authority.contains('@') {
            return Err("a URL needs a host, and has no user".into());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            authority: authority.to_owned(),
            target: format!("{slash}{target}"),
        })
    }
}

impl fmt::Display for SocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.target)
    }
}

/// A request to open one, and what the answer must say.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The bytes to send.
    pub request: Vec<u8>,
    accept: String,
}

impl Handshake {
    /// Asks for `url`.
    #[must_use]
    pub fn new(url: &SocketUrl) -> Self {
        let random = RandomState::new();
        let key = [random.hash_one(0_u8), random.hash_one(1_u8)].map(u64::to_ne_bytes);
        let key = BASE64_STANDARD.encode(key.concat());
        let SocketUrl { authority, target } = url;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        Self {
            request: request.into(),
            accept: accepted(key.as_bytes()),
        }
    }

    /// Length of the answer that `bytes` begin with; `None`: more are needed.
    ///
    /// # Errors
    ///
    /// It is another one; what came, in words.
    pub fn read(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let len = match head.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => return Ok(None),
            Ok(httparse::Status::Partial) => {
                return Err(format!("an answer with a head of over {HEAD_MAX} bytes"));
            }
            Err(error) => return Err(format!("an answer that is no HTTP: {error}")),
        };
        let status = head.code.unwrap_or_default();
        if status != 101 {
            let reason = head.reason.unwrap_or_default();
            let why = format!("no WebSocket is opened there: {status} {reason}");
            return Err(why.trim_end().to_owned());
        }
        let find = |name: &str| {
            let mut fields = head.headers.iter();
            fields.find(|field| field.name.eq_ignore_ascii_case(name))
        };
        let accept = find("sec-websocket-accept").map(|field| field.value);
        if accept != Some(self.accept.as_bytes()) {
            return Err("an answer to another key than was sent".into());
        }
        if find("sec-websocket-extensions").is_some() {
            return Err("an extension that nobody has asked for".into());
        }
        Ok(Some(len))
    }
}

/// Makes masks that nobody can foresee: what goes over a wire must not be for whoever
/// chooses a message to choose.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    random: RandomState,
    last: u64,
}

impl Masks {
    /// A mask.
    pub fn another(&mut self) -> [u8; 4] {
        self.last += 1;
        let [a, b, c, d, ..] = self.random.hash_one(self.last).to_ne_bytes();
        [a, b, c, d]
    }
}

/// Appends `payload` as a binary message.
pub fn write(payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    write_frame(Opcode::Binary, payload, mask, out);
}

fn write_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let begin = out.len();
    frame::write(opcode, payload, out);
    let head = out.len() - payload.len();
    out[begin + 1] |= 0x80;
    frame::apply(&mut out[head..], mask, 0);
    out.splice(head..head, mask);
}

/// Why a server's messages are at an end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// It has closed, with this code or none.
    Closed(Option<u16>),
    /// It sent something that is none of a server's: what.
    Wrong(&'static str),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(None) => f.write_str("the server closed the WebSocket"),
            Self::Closed(Some(code)) => write!(f, "the server closed the WebSocket with {code}"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// What a client knows of the messages under way.
#[derive(Debug, Default)]
pub struct Reading {
    /// Bytes of the frame's payload that are still to come.
    left: usize,
    /// A message has begun and is not whole.
    begun: bool,
}

impl Reading {
    /// Reads what it can of `bytes`, which begin where the last call stopped: what
    /// binary messages carry goes to `out`, what has to be answered to `answers`.
    /// Tells how many bytes are done with.
    ///
    /// # Errors
    ///
    /// [`End`]; `out` has what came before it, `answers` the last words.
    pub fn read(
        &mut self,
        bytes: &[u8],
        masks: &mut Masks,
        out: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<usize, End> {
        let mut at = 0;
        loop {
            let taken = self.left.min(bytes.len() - at);
            out.extend_from_slice(&bytes[at..at + taken]);
            self.left -= taken;
            at += taken;
            let Some(head) = Head::read(&bytes[at..])? else {
                return Ok(at);
            };
            if !head.opcode.is_control() {
                self.begin(&head)?;
                at += head.size;
                continue;
            }
            let Some(payload) = bytes.get(at + head.size..at + head.size + head.len) else {
                return Ok(at);
            };
            at += head.size + head.len;
            match head.opcode {
                Opcode::Ping => write_frame(Opcode::Pong, payload, masks.another(), answers),
                Opcode::Close => {
                    write_frame(Opcode::Close, payload, masks.another(), answers);
                    let code = Code::read(payload).ok().flatten();
                    return Err(End::Closed(code.map(|code| code.0)));
                }
                Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
            }
        }
    }

    fn begin(&mut self, head: &Head) -> Result<(), End> {
        match (head.opcode, self.begun) {
            (Opcode::Text, _) => return Err(End::Wrong("a text where frames are spoken")),
            (Opcode::Continuation, false) => {
                return Err(End::Wrong("a continuation of no message"));
            }
            (Opcode::Binary, true) => return Err(End::Wrong("a message within another one")),
            _ => {}
        }
        self.begun = !head.fin;
        self.left = head.len;
        Ok(())
    }
}

/// What stands before the payload of a server's frame.
struct Head {
    fin: bool,
    opcode: Opcode,
    /// Bytes of the header.
    size: usize,
    /// Bytes of the payload.
    len: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Option<Self>, End> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let wrong = || End::Wrong("a frame that no server sends");
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(wrong());
        }
        let opcode = Opcode::of(first & 0x0f).map_err(|_| wrong())?;
        let length = frame::length(usize::from(second), rest).map_err(|_| wrong())?;
        let Some((len, more)) = length else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        if opcode.is_control() && (!fin || len > frame::CONTROL_MAX) {
            return Err(wrong());
        }
        let size = 2 + more;
        Ok(Some(Self {
            fin,
            opcode,
            size,
            len,
        }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (text, address, shown) in [
            ("ws://a:7000/ws?x=1#y", "a:7000", "ws://a:7000/ws?x=1"),
            ("WS://a", "a:80", "ws://a/"),
            ("ws://[::1]?q", "[::1]:80", "ws://[::1]/?q"),
            ("ws://[::1]:9/", "[::1]:9", "ws://[::1]:9/"),
        ] {
            let url: SocketUrl = text.parse().expect(text);
            assert_eq!((&*url.address(), &*url.to_string()), (address, shown));
        }
        for (text, why) in [
            ("wss://a/", "no TLS"),
            ("http://a/", "expected ws://"),
            ("a:7000", "expected ws://"),
            ("ws:///x", "needs a host"),
            ("ws://me@a/", "has no user"),
            ("ws://a/ b", "must be written as %XX"),
        ] {
            let error = text.parse::<SocketUrl>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_answer_is_read_when_it_is_whole_and_is_one() {
        let url = "ws://a/ws".parse().expect("a URL");
        let handshake = Handshake::new(&url);
        let asked = String::from_utf8(handshake.request.clone()).expect("text");
        assert!(asked.starts_with("GET /ws HTTP/1.1\r\nHost: a\r\n"));
        let accept = &handshake.accept;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        for cut in 0..answer.len() {
            assert_eq!(handshake.read(&answer.as_bytes()[..cut]), Ok(None));
        }
        let more = [answer.as_bytes(), b"\x82\x00"].concat();
        assert_eq!(handshake.read(&more), Ok(Some(answer.len())));
        for (other, why) in [
            (
                answer.replace("101 Switching Protocols", "404 Not Found"),
                "404 Not Found",
            ),
            (answer.replace(&**accept, "x"), "another key"),
            (
                answer.replace("Upgrade: w", "Sec-WebSocket-Extensions: w"),
                "an extension",
            ),
            ("SSH-2.0\r\n".into(), "no HTTP"),
            (
                format!("HTTP/1.1 101 x\r\nA: {}", "a".repeat(HEAD_MAX)),
                "a head of over",
            ),
        ] {
            let error = handshake.read(other.as_bytes()).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }

    /// Reads `stream` in pieces of `size` bytes.
    fn read(stream: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, Result<(), End>) {
        let (mut reading, mut masks) = (Reading::default(), Masks::default());
        let (mut out, mut answers, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            kept.extend_from_slice(piece);
            match reading.read(&kept, &mut masks, &mut out, &mut answers) {
                Ok(done) => _ = kept.drain(..done),
                Err(end) => return (out, answers, Err(end)),
            }
        }
        (out, answers, Ok(()))
    }

    /// The payload of a client's short frame.
    fn unmasked(frame: &[u8]) -> (u8, Vec<u8>) {
        let mut plain = frame[6..].to_vec();
        frame::apply(&mut plain, frame[2..6].try_into().expect("four"), 0);
        (frame[0], plain)
    }

    #[test]
    fn messages_are_one_stream_however_they_are_framed_and_cut() {
        let long = [&b"\x82\x7e\x01\x00"[..], &[7; 256]].concat();
        let stream = [
            b"\x82\x02ab\x02\x01c\x89\x03hey\x80\x01d\x8a\x00\x82\x00",
            &long[..],
        ]
        .concat();
        for size in 1..stream.len() {
            let (out, answers, end) = read(&stream, size);
            assert_eq!(out, [b"abcd", &[7; 256][..]].concat());
            assert_eq!(unmasked(&answers), (0x8a, b"hey".to_vec()));
            assert_eq!(end, Ok(()));
        }
    }

    #[test]
    fn what_ends_it_is_told_behind_what_came() {
        for (bytes, end) in [
            (&b"\x88\x02\x03\xe9"[..], End::Closed(Some(1001))),
            (b"\x88\x00", End::Closed(None)),
            (b"\x81\x01a", End::Wrong("a text where frames are spoken")),
            (b"\x80\x01a", End::Wrong("a continuation of no message")),
            (
                b"\x02\x00\x82\x00",
                End::Wrong("a message within another one"),
            ),
            (b"\xc2\x00", End::Wrong("a frame that no server sends")),
            (b"\x82\x80\x00", End::Wrong("a frame that no server sends")),
            (b"\x09\x00", End::Wrong("a frame that no server sends")),
            (b"\x83\x00", End::Wrong("a frame that no server sends")),
        ] {
            let stream = [b"\x82\x01x", bytes].concat();
            for size in 1..=stream.len() {
                let (out, answers, found) = read(&stream, size);
                assert_eq!((&out[..], found), (&b"x"[..], Err(end.clone())));
                if let End::Closed(_) = end {
                    assert_eq!(unmasked(&answers), (0x88, bytes[2..].to_vec()));
                }
            }
        }
    }

    #[test]
    fn a_message_is_written_with_a_mask_of_its_own() {
        let mut masks = Masks::default();
        assert_ne!(masks.another(), masks.another());
        for len in [0, 1, 125, 126, 70_000] {
            let payload = vec![b'x'; len];
            let mut out = vec![1];
            write(&payload, [1, 2, 3, 4], &mut out);
            let header = frame::Header::read(&out[1..], usize::MAX, false);
            let header = header.expect("a client's frame").expect("whole");
            assert_eq!((header.mask, header.len), ([1, 2, 3, 4], len));
            let mut plain = out[1 + header.head..].to_vec();
            frame::apply(&mut plain, header.mask, 0);
            assert_eq!(plain, payload);
        }
    }
}
