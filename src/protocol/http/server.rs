//! Serves whole requests: head, handler, response. Used by whoever holds the
//! connection's turn.

use std::mem::MaybeUninit;

use bytes::Bytes;

use super::chunks::ChunkScan;
use super::head::{self, Head, Meaning, Room};
use super::refusal::Bad;
use super::response::{Asked, Response};
use super::scan::Length;
use super::{Limits, Request, Served};
use crate::protocol::{Answer, CloseMode, Event, Lane, Refusal, Server, Step, Turn, Units};

/// What a client that waits for our word is told.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct HttpServer {
    limits: Limits,
    /// A head whose body was asked for and comes next.
    head: Option<Box<[u8]>>,
    /// The request whose answer was put off.
    owed: Option<Box<Owed>>,
    /// What happens when nothing is owed any more.
    then: Option<Step>,
    /// The worker will end soon: the next response is the last one.
    leaves: bool,
    /// Nothing is served any more.
    deaf: bool,
}

/// A request whose answer comes later.
#[derive(Debug)]
struct Owed {
    token: u64,
    asked: Asked,
    response: Response,
}

/// Why the requests of a turn are not all served.
enum Stop {
    Refuse(Bad),
    Step(Step),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Refuse(bad)
    }
}

impl HttpServer {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            head: None,
            owed: None,
            then: None,
            leaves: false,
            deaf: false,
        }
    }

    /// Serves the request that `units` begin with; gives its length, and how to
    /// go on if not with the next one.
    fn request(
        &mut self,
        units: Units<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(usize, Option<Step>), Stop> {
        let saved = self.head.take();
        let mut room: Room<'_> = [const { MaybeUninit::uninit() }; super::FIELDS_MAX];
        let bytes = units.bytes();
        let (head, meaning) = head::read(saved.as_deref().unwrap_or(bytes), &mut room)?;
        let from = if saved.is_some() { 0 } else { meaning.len };
        if saved.is_none() && waits(&meaning, bytes) {
            self.head = Some(bytes[..meaning.len].into());
            turn.out.bytes.extend_from_slice(CONTINUE);
            return Ok((meaning.len, None));
        }
        let whole;
        let (body, end) = match meaning.length {
            Length::Fixed(length) => {
                let end = from.saturating_add(length);
                if end > bytes.len() {
                    // The cutter passes whole requests on; were it wrong, this
                    // ends one connection and not the worker.
                    return Err(Bad::Syntax("a body that is not whole").into());
                }
                (units.slice(from..end), end)
            }
            Length::Chunked => {
                let len;
                (whole, len) = self.put_together(&bytes[from..])?;
                (Units::shared(&whole), from + len)
            }
        };
        let step = self.serve_one(&head, &meaning, body, turn);
        if matches!(step, Some(Step::NotInline)) {
            self.head = saved;
            return Err(Stop::Step(Step::NotInline));
        }
        Ok((end, step))
    }

    fn put_together(&self, bytes: &[u8]) -> Result<(Bytes, usize), Bad> {
        let mut whole = Vec::new();
        let mut scan = ChunkScan::default();
        let end = scan.scan(bytes, &self.limits, |piece| {
            whole.extend_from_slice(piece);
        })?;
        let end = end.ok_or(Bad::Syntax("a chunked body without an end"))?;
        Ok((whole.into(), end))
    }

    /// Runs the handler and writes what it answered; tells how to go on if not
    /// with the next request.
    fn serve_one(
        &mut self,
        head: &Head<'_>,
        meaning: &Meaning,
        body: Units<'_>,
        turn: &mut Turn<'_>,
    ) -> Option<Step> {
        let request = Request { head: *head, body };
        let asked = Asked {
            head: head.method == "HEAD",
            minor: head.minor,
            keeps: meaning.keeps && !self.leaves,
        };
        let mut response = Response::default();
        match turn.app.request(turn.lane, &request, &mut response) {
            Served::NotInline if turn.lane == Lane::Inline => Some(Step::NotInline),
            Served::Done | Served::NotInline => {
                let keeps = response.write(asked, turn.app.seconds(), &mut turn.out);
                (!keeps).then(|| self.end(Step::Close(CloseMode::Flush)))
            }
            Served::Later(token) => {
                let owed = Owed {
                    token,
                    asked,
                    response,
                };
                self.owed = Some(Box::new(owed));
                Some(Step::AwaitReply)
            }
        }
    }

    /// The connection ends as soon as nothing is owed.
    fn end(&mut self, how: Step) -> Step {
        self.deaf = true;
        if self.owed.is_none() {
            return how;
        }
        self.then.get_or_insert(how);
        Step::AwaitReply
    }

    fn reply(&mut self, token: u64, answer: Answer, turn: &mut Turn<'_>) -> Step {
        let Some(owed) = self.owed.take_if(|owed| owed.token == token) else {
            return self.wait();
        };
        let Owed {
            asked,
            mut response,
            ..
        } = *owed;
        // An answer cannot be put off twice: that is an empty one.
        let _done = response.take(answer);
        let keeps = response.write(asked, turn.app.seconds(), &mut turn.out);
        match self.then.take() {
            Some(then) => then,
            None if keeps => Step::Next,
            None => self.end(Step::Close(CloseMode::Flush)),
        }
    }

    const fn wait(&self) -> Step {
        if self.owed.is_some() {
            Step::AwaitReply
        } else {
            Step::Next
        }
    }
}

/// Whether the client waits to be told to send its body, which has not come.
fn waits(meaning: &Meaning, bytes: &[u8]) -> bool {
    let missing = match meaning.length {
        Length::Fixed(length) => bytes.len() - meaning.len < length,
        Length::Chunked => bytes.len() == meaning.len,
    };
    meaning.expects && missing
}

impl Server for HttpServer {
    fn serve(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step) {
        let len = units.bytes().len();
        if self.deaf {
            return (len, self.wait());
        }
        let mut done = 0;
        while done < len {
            let step = match self.request(units.slice(done..len), turn) {
                Ok((served, step)) => {
                    done += served;
                    step
                }
                Err(Stop::Step(step)) => return (done, step),
                Err(Stop::Refuse(bad)) => {
                    return (len, self.end(Step::Refuse(Refusal::from(bad))));
                }
            };
            let over = turn.over();
            match step {
                Some(step @ (Step::Close(_) | Step::Refuse(_))) => return (len, step),
                Some(step) => return (done, step),
                None if over => return (done, Step::Next),
                None => {}
            }
        }
        (done, Step::Next)
    }

    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match event {
            Event::Opened | Event::Ping => self.wait(),
            Event::Draining => {
                self.leaves = true;
                self.wait()
            }
            Event::Timer(token) => {
                turn.app.timer(token, &mut turn.out);
                self.wait()
            }
            Event::Reply(token, answer) => self.reply(token, answer, turn),
            Event::Refused(refusal) => self.end(Step::Refuse(refusal)),
            Event::Eof | Event::GoAway => self.end(Step::Close(CloseMode::Flush)),
        }
    }

    fn rests(&self) -> bool {
        let remembers = self.head.is_some() || self.owed.is_some() || self.then.is_some();
        !remembers && !self.leaves && !self.deaf
    }

    fn reset(&mut self) {
        self.head = None;
        self.owed = None;
        self.then = None;
        self.leaves = false;
        self.deaf = false;
    }
}
