//! One port for frames and HTTP: the first bytes of a connection tell.
//!
//! A connection that begins as an HTTP request speaks HTTP for as long as it lives;
//! any other speaks frames. So the first frame of a client must not look like the
//! beginning of one: a known method (see [`first_bytes`]), or any other word and a
//! target; an empty line may stand before it (RFC 9112, 2.2). Where the bytes could
//! still become a request but have a whole frame, they are frames.

use std::sync::Arc;

use super::first_bytes::{self, Guess};
use super::http;
use super::{
    CloseMode, Cut, Cutter, Event, Protocol, Push, Server, Step, Then, Turn, Units, Unsendable,
    Wire,
};
use crate::scoreboard::{Counter, Row};

/// The protocol of a listener until its clients have said a word.
#[derive(Clone)]
pub struct Auto {
    frames: Arc<dyn Protocol>,
    http: Arc<dyn Protocol>,
}

impl Auto {
    /// One of these two.
    #[must_use]
    pub const fn new(frames: Arc<dyn Protocol>, http: Arc<dyn Protocol>) -> Self {
        Self { frames, http }
    }
}

impl Protocol for Auto {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(self.clone())
    }

    fn server(&self) -> Box<dyn Server> {
        Box::new(Undecided)
    }

    fn wire(&self) -> Wire {
        self.http.wire()
    }

    fn push(&self, _: Push<'_>, _: &mut Vec<u8>) -> Result<(), Unsendable> {
        Err(Unsendable::AnswersOnly)
    }

    /// Nobody knows yet.
    fn is_session(&self) -> bool {
        false
    }

    /// Of a connection that has said nothing yet.
    fn name(&self) -> Option<String> {
        let (frames, http) = (self.frames.name()?, self.http.name()?);
        Some(format!("{frames} or {http}"))
    }

    fn count_in(&self, row: &Row) {
        self.frames.count_in(row);
        self.http.count_in(row);
    }

    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>> {
        let is_it = |one: &Arc<dyn Protocol>| one.name().as_deref() == Some(name);
        let both = [&self.frames, &self.http];
        both.into_iter().find_map(|one| {
            is_it(one)
                .then(|| Arc::clone(one))
                .or_else(|| one.named(name))
        })
    }
}

/// What `bytes` begin with, if it can be the request line of a method that is not
/// known: `Some(true)`: it is one, `Some(false)`: it may become one.
fn request_line(bytes: &[u8]) -> Option<bool> {
    let method = bytes
        .iter()
        .take_while(|byte| http::is_token(**byte))
        .count();
    if method > METHOD_MAX {
        return None;
    }
    let rest = match &bytes[method..] {
        [] => return Some(false),
        [b' ', rest @ ..] if method > 0 => rest,
        _ => return None,
    };
    let is_begun = |scheme: &&[u8]| {
        let common = scheme.len().min(rest.len());
        rest[..common].eq_ignore_ascii_case(&scheme[..common])
    };
    let targets: [&[u8]; 4] = [b"/", b"* HTTP/", b"http://", b"https://"];
    let target = targets.iter().find(|target| is_begun(target))?;
    Some(rest.len() >= target.len())
}

/// Bytes of a method that is not known: `UPDATEREDIRECTREF` has 17.
const METHOD_MAX: usize = 32;

/// Bytes of empty lines before a request.
const EMPTY_LINES_MAX: usize = 8;

impl Auto {
    fn guess(&self, bytes: &[u8]) -> Guess {
        let mut rest = bytes;
        while let Some(behind) = rest.strip_prefix(b"\r\n")
            && bytes.len() - behind.len() <= EMPTY_LINES_MAX
        {
            rest = behind;
        }
        let guess = match first_bytes::guess(rest) {
            Guess::Frames if rest == b"\r" => Guess::NotYet,
            Guess::Frames => match request_line(rest) {
                Some(true) => first_bytes::http_request(rest),
                Some(false) => Guess::NotYet,
                None => Guess::Frames,
            },
            guess @ (Guess::NotYet | Guess::Foreign(..)) => guess,
        };
        // What is a whole frame is not kept waiting for a request line.
        if guess == Guess::NotYet && self.frames.cutter().cut(bytes).units > 0 {
            return Guess::Frames;
        }
        guess
    }
}

impl Cutter for Auto {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        let then = match self.guess(bytes) {
            Guess::NotYet => Then::Read,
            Guess::Frames => Then::Become(Arc::clone(&self.frames)),
            Guess::Foreign(refusal, _) if refusal.counter == Counter::SpokeHttp => {
                Then::Become(Arc::clone(&self.http))
            }
            Guess::Foreign(refusal, _) => Then::Refuse(refusal),
        };
        Cut {
            units: 0,
            messages: 0,
            then,
            reply: None,
        }
    }

    fn reset(&mut self) {}
}

/// Serves nobody: whoever has said a word is served by another one.
struct Undecided;

impl Server for Undecided {
    fn serve(&mut self, units: Units<'_>, _: &mut Turn<'_>) -> (usize, Step) {
        (units.bytes().len(), Step::Close(CloseMode::Abort))
    }

    fn event(&mut self, event: Event, _: &mut Turn<'_>) -> Step {
        match event {
            Event::Opened
            | Event::Draining
            | Event::Ping
            | Event::Reply(..)
            | Event::GiveUp(_)
            | Event::Timer(_)
            | Event::Run(_)
            | Event::Writable
            | Event::Wake => Step::Next,
            Event::Refused(refusal) => Step::Refuse(refusal),
            Event::Eof | Event::GoAway => Step::Close(CloseMode::Flush),
        }
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn reset(&mut self) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::frame::{AnyFormat, Frames, Layout};
    use crate::protocol::http::{Http1, Limits};

    const LIMITS: Limits = Limits {
        line: 100,
        head: 300,
        fields: 5,
        body: 60,
        memory: 60,
    };

    #[test]
    fn what_one_of_the_two_may_become_is_found_by_its_name() {
        let frames =
            |name| -> Arc<dyn Protocol> { Arc::new(Frames::new(Layout::preset(name).unwrap())) };
        let (outer, inner) = (frames("comm"), frames("rpc"));
        let http: Arc<dyn Protocol> = Arc::new(Http1::new(LIMITS));
        let nested = Arc::new(Auto::new(Arc::clone(&inner), Arc::clone(&http)));
        let auto = Auto::new(Arc::clone(&outer), nested);
        for one in [outer, inner, http] {
            let found = auto.named(&one.name().unwrap()).unwrap();
            assert!(Arc::ptr_eq(&found, &one));
        }
        assert!(auto.named("gopher").is_none());
    }

    #[test]
    fn a_whole_frame_does_not_wait_for_a_request_line() {
        let frames: Arc<dyn Protocol> = match AnyFormat::preset("line").unwrap() {
            AnyFormat::Plain(layout) => Arc::new(Frames::new(layout)),
            AnyFormat::Coded(codec) => Arc::new(Frames::new(codec)),
        };
        let http: Arc<dyn Protocol> = Arc::new(Http1::new(LIMITS));
        let (mut cutter, _) = Auto::new(Arc::clone(&frames), Arc::clone(&http)).open();
        for (bytes, expected) in [
            (&b"ping\r\n"[..], Some(&frames)),
            (b"\r\n", Some(&frames)),
            (b"ping", None),
            (b"PURGE / HTTP/1.1\r\n", Some(&http)),
        ] {
            match (cutter.cut(bytes).then, expected) {
                (Then::Read, None) => {}
                (Then::Become(found), Some(expected)) => {
                    assert!(Arc::ptr_eq(&found, expected), "{bytes:?}");
                }
                (then, _) => panic!("{then:?} for {bytes:?}"),
            }
        }
    }

    #[test]
    fn the_first_bytes_tell_however_they_come() {
        let layout = Layout::preset("comm").unwrap();
        let frames: Arc<dyn Protocol> = Arc::new(Frames::new(layout));
        let http: Arc<dyn Protocol> = Arc::new(Http1::new(LIMITS));
        let (mut cutter, _) = Auto::new(Arc::clone(&frames), Arc::clone(&http)).open();
        for (bytes, known, expected) in [
            (&b"GET / HTTP/1.1"[..], 4, Some(&http)),
            (b"DELETE /x", 7, Some(&http)),
            (b"PRI * HTTP/2.0", 12, Some(&http)),
            (&[0, 8, 0, 1], 1, Some(&frames)),
            (b"GE\0", 3, Some(&frames)),
            (b"PROPFIND /a HTTP/1.1", 10, Some(&http)),
            (b"PURGE http://h/ HTTP/1.1", 13, Some(&http)),
            (b"get / HTTP/1.1", 5, Some(&http)),
            (b"M-SEARCH * HTTP/1.1", 16, Some(&http)),
            (b"\r\nGET / HTTP/1.1", 6, Some(&http)),
            (b"\r\n\r\nPURGE / HTTP/1.1", 11, Some(&http)),
            (b"PURGE of frames", 7, Some(&frames)),
            (b"\r\0", 2, Some(&frames)),
            (b"a word that is no method of any request", 3, Some(&frames)),
            (&[b'A'; 40], 33, Some(&frames)),
            (&[0x16, 3, 1, 2, 0, 1, 0], 7, None),
        ] {
            for len in 1..=bytes.len() {
                let Cut { units, then, .. } = cutter.cut(&bytes[..len]);
                assert_eq!(units, 0);
                match (len < known, then, expected) {
                    (true, Then::Read, _) | (false, Then::Refuse(_), None) => {}
                    (false, Then::Become(found), Some(expected)) => {
                        assert!(Arc::ptr_eq(&found, expected));
                    }
                    (_, then, _) => panic!("{then:?} at {len} of {bytes:?}"),
                }
            }
        }
    }
}
