//! Serves requests: head, handler, response. Used by whoever holds the
//! connection's turn.

use std::mem::MaybeUninit;
use std::sync::Arc;

use bytes::Bytes;

use super::chunks::{ChunkLimits, ChunkScan, Piece, Scanned};
use super::head::{self, Head, Meaning};
use super::intake::{Incoming, Received, Wanted};
use super::refusal::{self, Bad};
use super::response::{Asked, Response};
use super::scan::Length;
use super::streaming::Owed;
use super::trailers::{self, Trailers};
use super::upload::{Refused, Upload};
use super::{Request, Served, Settings, Taken};
use crate::protocol::{
    Answer, CloseMode, Dispatch, Error, Event, Lane, Refusal, Server, Step, Turn, Units,
};

/// What a client that waits for our word is told.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct HttpServer {
    pub(super) settings: Arc<Settings>,
    /// A request whose body is not whole.
    upload: Option<Box<Upload>>,
    /// What the next request waits for.
    pub(super) owed: Option<Box<Owed>>,
    /// What happens when nothing is owed any more.
    pub(super) then: Option<Step>,
    /// The worker will end soon: the next response is the last one.
    pub(super) leaves: bool,
    /// Nothing is served any more.
    pub(super) deaf: bool,
}

/// Why the requests of a turn are not all served.
enum Stop {
    /// Not recorded yet.
    Refuse(Refusal),
    Step(Step),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Refuse(bad.into())
    }
}

/// Bytes that are served, and how to go on if not with the next ones.
type Done = Result<(usize, Option<Step>), Stop>;

impl HttpServer {
    pub(super) const fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            upload: None,
            owed: None,
            then: None,
            leaves: false,
            deaf: false,
        }
    }

    /// Serves the request that `units` begin with, or goes on with the one
    /// before them.
    fn request(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> Done {
        if self.upload.is_some() {
            return self.go_on(units, turn);
        }
        let mut room: head::FieldSlots<'_> = [const { MaybeUninit::uninit() }; super::FIELDS_MAX];
        let bytes = units.bytes();
        let (head, meaning) = head::read(bytes, &mut room)?;
        let behind = units.slice(meaning.len..bytes.len());
        let max = self.settings.limits.body;
        let Some(body) = self.whole(behind, meaning.length, max) else {
            return self.begin(&head, &meaning, bytes, turn);
        };
        let end = meaning.len + body.len;
        let asked = self.asked(&head, &meaning, turn);
        let written = &bytes[..meaning.len];
        let step = self.serve_one(&head, written, asked, body.read(behind), turn)?;
        Ok((end, step))
    }

    /// The body that `units` begin with, if it is whole and has at most `max`
    /// bytes. What is wrong with another one is found when it is taken.
    fn whole(&self, units: Units<'_>, length: Length, max: usize) -> Option<Whole> {
        match length {
            Length::Fixed(len) => {
                let is_whole = len <= max && len <= units.bytes().len();
                is_whole.then_some(Whole {
                    len,
                    chunks: None,
                    trailers: Vec::new(),
                })
            }
            Length::Chunked => {
                let (mut whole, mut lines) = (Vec::new(), Vec::new());
                let room = ChunkLimits::new(max, &self.settings.limits);
                let scanned = ChunkScan::default().scan(units.bytes(), room, |piece| match piece {
                    Piece::Data(data) => whole.extend_from_slice(data),
                    Piece::Trailer(line) => trailers::keep(line, &mut lines),
                });
                let Ok(Scanned::End(len)) = scanned else {
                    return None;
                };
                let chunks = Some(whole.into());
                Some(Whole {
                    len,
                    chunks,
                    trailers: lines,
                })
            }
        }
    }

    /// A request whose body is not there, or longer than most may be: asks what
    /// to do with it.
    fn begin(
        &mut self,
        head: &Head<'_>,
        meaning: &Meaning,
        bytes: &[u8],
        turn: &mut Turn<'_>,
    ) -> Done {
        // Whoever takes the body may wait for a disk.
        if turn.lane == Lane::Inline {
            return Err(Stop::Step(Step::NotInline));
        }
        let asked = self.asked(head, meaning, turn);
        let incoming = Incoming {
            head: *head,
            length: match meaning.length {
                Length::Fixed(length) => Some(length),
                Length::Chunked => None,
            },
            max: self.settings.limits.body,
            root: self.settings.root.as_deref(),
        };
        let mut response = self.response(head, turn);
        let (max, intake) = match turn.app.receive(&incoming, &mut response) {
            Wanted::Whole { max } => (max, None),
            Wanted::Pieces { max, intake } => (max, Some(intake)),
            Wanted::Refused => {
                return Ok((
                    bytes.len(),
                    Some(self.part(Some(head), asked, response, turn)),
                ));
            }
            Wanted::NoSuchMethod => {
                return Err(self.refuse(head, refusal::unknown_method(head.method), turn));
            }
        };
        if incoming.length.is_some_and(|length| length > max) {
            return Err(self.refuse(head, Bad::BodyTooLong.into(), turn));
        }
        if meaning.expects && bytes.len() == meaning.len {
            turn.out.bytes.extend_from_slice(CONTINUE);
        }
        let head = &bytes[..meaning.len];
        let upload = Upload::new(head, asked, meaning.length, max, intake);
        self.upload = Some(Box::new(upload));
        turn.spend();
        Ok((meaning.len, None))
    }

    /// More of a body, or all of it.
    fn go_on(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> Done {
        let Some(mut upload) = self.upload.take_if(|_| turn.lane == Lane::Pool) else {
            return Err(Stop::Step(Step::NotInline));
        };
        if upload.intake.is_none() {
            if let Some(body) = self.whole(units, upload.length(), upload.max) {
                let len = body.len;
                let step = self.serve_taken(&upload, body.read(units), turn)?;
                return Ok((len, step));
            }
            match turn.app.spool(&self.settings.spooling) {
                Ok(spool) => upload.intake = Some(spool),
                Err(error) => {
                    return Ok((units.bytes().len(), Some(self.fail(&upload, &error, turn))));
                }
            }
        }
        let mut intake = upload.intake.take().expect("made above if it was missing");
        let taken = upload.take(units.bytes(), &self.settings.limits, |piece| {
            turn.app.piece(&mut *intake, piece)
        });
        let (len, is_whole) = match taken {
            Ok(taken) => taken,
            Err(Refused::Bad(bad)) => return Err(bad.into()),
            Err(Refused::ByIntake(error)) => {
                return Ok((units.bytes().len(), Some(self.fail(&upload, &error, turn))));
            }
        };
        if !is_whole {
            upload.intake = Some(intake);
            self.upload = Some(upload);
            turn.spend();
            return Ok((len, None));
        }
        let step = match intake.finish() {
            Received::File(file) => {
                let body = Body {
                    units: Units::filed(&file),
                    taken: None,
                    trailers: Trailers(&upload.trailers),
                };
                self.serve_taken(&upload, body, turn)?
            }
            Received::Made(made) => {
                let body = Body {
                    units: Units::borrowed(b""),
                    taken: Some(&Taken::new(made)),
                    trailers: Trailers(&upload.trailers),
                };
                self.serve_taken(&upload, body, turn)?
            }
        };
        Ok((len, step))
    }

    /// As [`Self::serve_one`], for a request whose body came behind its head.
    fn serve_taken(
        &mut self,
        upload: &Upload,
        body: Body<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Step>, Stop> {
        let mut room: head::FieldSlots<'_> = [const { MaybeUninit::uninit() }; super::FIELDS_MAX];
        let (head, _) = head::read(&upload.head, &mut room)?;
        let asked = Asked {
            keeps: upload.asked.keeps && !self.leaves,
            ..upload.asked
        };
        self.serve_one(&head, &upload.head, asked, body, turn)
    }

    fn asked(&self, head: &Head<'_>, meaning: &Meaning, turn: &Turn<'_>) -> Asked {
        let since = (self.settings.access).map_or(0, |_| turn.app.micros());
        Asked {
            since,
            head: head.method == "HEAD",
            minor: head.minor,
            keeps: meaning.keeps && !self.leaves,
        }
    }

    /// Runs the handler and writes what it answered; tells how to go on if not
    /// with the next request.
    fn serve_one(
        &mut self,
        head: &Head<'_>,
        written: &[u8],
        asked: Asked,
        body: Body<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Step>, Stop> {
        let request = Request {
            head: *head,
            body: body.units,
            trailers: body.trailers,
            taken: body.taken,
            root: self.settings.root.as_deref(),
        };
        let mut response = self.response(head, turn);
        Ok(match turn.app.request(turn.lane, &request, &mut response) {
            Served::NotInline if turn.lane == Lane::Inline => {
                return Err(Stop::Step(Step::NotInline));
            }
            Served::NoSuchMethod => {
                return Err(self.refuse(head, refusal::unknown_method(head.method), turn));
            }
            Served::Done | Served::NotInline => {
                turn.served_one();
                self.respond(Some(head), asked, response, turn)
            }
            Served::Later(token) => {
                turn.served_one();
                let owed = Owed::Answer {
                    token,
                    asked,
                    head: (self.settings.access).map(|_| written.into()),
                    response,
                };
                self.owed = Some(Box::new(owed));
                Some(Step::AwaitReply)
            }
        })
    }

    /// Answers a request whose body is not read to its end, with an error.
    fn fail(&mut self, upload: &Upload, error: &Error, turn: &mut Turn<'_>) -> Step {
        let mut room: head::FieldSlots<'_> = [const { MaybeUninit::uninit() }; super::FIELDS_MAX];
        let head = head::read(&upload.head, &mut room).ok();
        let head = head.as_ref().map(|(head, _)| head);
        let mut response = head.map_or_else(Response::default, |head| self.response(head, turn));
        response.error(error);
        self.part(head, upload.asked, response, turn)
    }

    /// Answers a request whose body is not read to its end. What is left of it
    /// cannot be told from a next request, so the connection closes; lingering
    /// sees to it that a client that still sends reads this first.
    fn part(
        &mut self,
        head: Option<&Head<'_>>,
        asked: Asked,
        response: Response,
        turn: &mut Turn<'_>,
    ) -> Step {
        let asked = Asked {
            keeps: false,
            ..asked
        };
        turn.served_one();
        let _whole = self.answer(head, asked, response, turn);
        self.end(Step::Close(CloseMode::Flush))
    }

    /// Refuses a request whose head is known.
    fn refuse(&self, head: &Head<'_>, refusal: Refusal, turn: &mut Turn<'_>) -> Stop {
        self.record(Some(head), &refusal, turn);
        Stop::Step(Step::Refuse(refusal))
    }

    /// The connection ends as soon as nothing is owed.
    pub(super) fn end(&mut self, how: Step) -> Step {
        self.deaf = true;
        self.upload = None;
        if self.owed.is_none() {
            return how;
        }
        self.then.get_or_insert(how);
        self.wait()
    }

    fn reply(&mut self, token: u64, answer: Answer, turn: &mut Turn<'_>) -> Step {
        let is_for = |owed: &mut Box<Owed>| matches!(**owed, Owed::Answer { token: own, .. } if own == token);
        let Some(Owed::Answer {
            asked,
            head,
            mut response,
            ..
        }) = self.owed.take_if(is_for).map(|owed| *owed)
        else {
            return self.wait();
        };
        // An answer cannot be put off twice: that is an empty one.
        let _done = response.take(answer);
        let mut room: head::FieldSlots<'_> = [const { MaybeUninit::uninit() }; super::FIELDS_MAX];
        let head = head
            .as_deref()
            .and_then(|head| head::read(head, &mut room).ok());
        let head = head.as_ref().map(|(head, _)| head);
        self.respond(head, asked, response, turn)
            .unwrap_or(Step::Next)
    }

    /// Goes on, unless a timer has closed the connection: at once, or behind the
    /// answer that is owed.
    fn closed(&mut self, mode: Option<CloseMode>) -> Step {
        match mode {
            None => self.wait(),
            Some(CloseMode::Abort) => Step::Close(CloseMode::Abort),
            Some(mode) => self.end(Step::Close(mode)),
        }
    }

    pub(super) fn wait(&self) -> Step {
        match self.owed.as_deref() {
            None => Step::Next,
            Some(Owed::Answer { .. }) => Step::AwaitReply,
            Some(Owed::Rest(rest)) if rest.waits => Step::AwaitEvent,
            Some(Owed::Rest(_)) => Step::AwaitWritable,
        }
    }
}

/// A body of which nothing is missing.
struct Whole {
    /// Bytes of the stream.
    len: usize,
    /// What was in its chunks.
    chunks: Option<Bytes>,
    /// The lines of the trailers.
    trailers: Vec<u8>,
}

impl Whole {
    /// The body, which `units` begin with.
    fn read<'a>(&'a self, units: Units<'a>) -> Body<'a> {
        Body {
            units: match &self.chunks {
                Some(chunks) => Units::shared(chunks),
                None => units.slice(0..self.len),
            },
            trailers: Trailers(&self.trailers),
            taken: None,
        }
    }
}

/// What comes behind a head, as handlers get it.
#[derive(Clone, Copy)]
struct Body<'a> {
    units: Units<'a>,
    trailers: Trailers<'a>,
    taken: Option<&'a Taken>,
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
                Err(Stop::Step(step @ Step::Refuse(_))) => return (len, self.end(step)),
                Err(Stop::Step(step)) => return (done, step),
                Err(Stop::Refuse(refusal)) => {
                    self.record(None, &refusal, turn);
                    return (len, self.end(Step::Refuse(refusal)));
                }
            };
            match step {
                Some(step @ (Step::Close(_) | Step::Refuse(_))) => return (len, step),
                Some(step) => return (done, step),
                None if turn.is_over() => return (done, Step::Next),
                None => {}
            }
        }
        (done, Step::Next)
    }

    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match event {
            Event::Opened | Event::Ping => self.wait(),
            Event::Draining => self.leave(turn),
            Event::Writable => self.stream(turn).unwrap_or(Step::Next),
            Event::Wake if self.is_waiting() => self.stream(turn).unwrap_or(Step::Next),
            Event::Wake => self.wait(),
            Event::Timer(token) => {
                turn.app.timer(token, &mut turn.out);
                self.closed(turn.out.close.take())
            }
            Event::Reply(token, answer) => self.reply(token, answer, turn),
            Event::Refused(refusal) => {
                self.record(None, &refusal, turn);
                self.end(Step::Refuse(refusal))
            }
            Event::Eof if self.upload.is_some() => self.end(Step::Refuse(Bad::Truncated.into())),
            Event::Eof => self.eof(turn),
            Event::GoAway => self.end(Step::Close(CloseMode::Flush)),
        }
    }

    fn is_idle(&self) -> bool {
        let remembers = self.upload.is_some() || self.owed.is_some() || self.then.is_some();
        !remembers && !self.leaves && !self.deaf
    }

    fn over(&mut self, unsent: u64, app: &mut dyn Dispatch) {
        self.cut(unsent, app);
    }

    fn reset(&mut self) {
        self.upload = None;
        self.owed = None;
        self.then = None;
        self.leaves = false;
        self.deaf = false;
    }
}
