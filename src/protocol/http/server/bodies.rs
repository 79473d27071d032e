//! Bodies of requests: whole when their head is served, or taken as they come.

use bytes::Bytes;

use super::upload::{Refused, Upload};
use super::{Done, HttpServer, Stop, refuse};
use crate::protocol::http::access::Shown;
use crate::protocol::http::chunks::{ChunkLimits, ChunkScan, Piece, Scanned};
use crate::protocol::http::encode::Asked;
use crate::protocol::http::head::{self, Head, Meaning};
use crate::protocol::http::intake::{Received, Taken, Wanted};
use crate::protocol::http::refusal::{self, Bad};
use crate::protocol::http::request::Incoming;
use crate::protocol::http::response::Response;
use crate::protocol::http::scan::Length;
use crate::protocol::http::trailers::{self, Trailers};
use crate::protocol::{CloseMode, Error, Lane, Step, Turn, Units};

/// What a client that waits for our word is told.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body of which nothing is missing.
pub(super) struct Whole {
    /// Bytes of the stream.
    pub(super) len: usize,
    /// What was in its chunks.
    chunks: Option<Bytes>,
    /// The lines of the trailers.
    trailers: Vec<u8>,
}

impl Whole {
    /// The body, which `units` begin with.
    pub(super) fn read<'a>(&'a self, units: Units<'a>) -> Body<'a> {
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
pub(super) struct Body<'a> {
    pub(super) units: Units<'a>,
    pub(super) trailers: Trailers<'a>,
    pub(super) taken: Option<&'a Taken>,
}

impl HttpServer {
    /// The body that `units` begin with, if it is whole and has at most `max`
    /// bytes. What is wrong with another one is found when it is taken.
    pub(super) fn whole(&self, units: Units<'_>, length: Length, max: usize) -> Option<Whole> {
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
    pub(super) fn begin(
        &mut self,
        head: &Head<'_>,
        meaning: &Meaning,
        asked: Asked,
        bytes: &[u8],
        turn: &mut Turn<'_>,
    ) -> Done {
        // Whoever takes the body may wait for a disk.
        if turn.lane == Lane::Inline {
            return Err(Stop::Step(Step::NotInline));
        }
        let incoming = Incoming {
            head: *head,
            length: match meaning.length {
                Length::Fixed(length) => Some(length),
                Length::Chunked => None,
            },
            max: self.settings.limits.body,
            client: asked.client,
            root: self.settings.root.as_deref(),
        };
        let mut response = self.response(head, turn);
        let wanted = if refuse::is_for_server(head) {
            Wanted::Whole { max: incoming.max }
        } else {
            turn.app.receive(&incoming, &mut response)
        };
        let (max, intake) = match wanted {
            Wanted::Whole { max } => (max, None),
            Wanted::Pieces { max, intake } => (max, Some(intake)),
            Wanted::Refused => {
                return Ok((
                    bytes.len(),
                    Some(self.part(Some(head), asked, response, turn)),
                ));
            }
            Wanted::NoSuchMethod => {
                return Err(Stop::Refuse(refusal::unknown_method(head.method)));
            }
        };
        if incoming.length.is_some_and(|length| length > max) {
            return Err(Bad::BodyTooLong.into());
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
    pub(super) fn go_on(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> Done {
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
            Err(Refused::Bad(bad)) => return Err(Stop::from(bad).about(&upload.head)),
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
        let mut room = head::Room::new();
        let (head, _) = self.read(&upload.head, &mut room)?;
        let asked = Asked {
            keeps: upload.asked.keeps && !self.leaves,
            ..upload.asked
        };
        self.serve_one(&head, &upload.head, asked, body, turn)
            .map_err(|stop| stop.about(&upload.head))
    }

    /// Answers a request whose body is not read to its end, with an error.
    fn fail(&mut self, upload: &Upload, error: &Error, turn: &mut Turn<'_>) -> Step {
        let mut room = head::Room::new();
        let head = self.read(&upload.head, &mut room).ok();
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
        let _whole = self.answer(|| head.map(Shown::of), asked, response, turn);
        self.end(Step::Close(CloseMode::Flush), turn)
    }
}
