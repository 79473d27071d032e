//! Serves requests: head, handler, response. Used by whoever holds the
//! connection's turn.

mod bodies;
mod recorder;
mod refuse;
mod streaming;
mod upload;

use std::net::IpAddr;
use std::sync::Arc;

use crate::protocol::http::encode::Asked;
use crate::protocol::http::head::{self, Head, Meaning};
use crate::protocol::http::refusal::{self, Bad};
use crate::protocol::http::request::Request;
use crate::protocol::http::response::Served;
use crate::protocol::http::settings::Settings;
use crate::protocol::{
    Answer, CloseMode, Dispatch, Error, Event, Lane, Refusal, Sent, Server, Step, Turn, Units,
};
use bodies::Body;
use streaming::Owed;
use upload::Upload;

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct HttpServer {
    settings: Arc<Settings>,
    /// A request whose body is not whole.
    upload: Option<Box<Upload>>,
    /// What the next request waits for.
    owed: Option<Box<Owed>>,
    /// What happens when nothing is owed any more.
    then: Option<Step>,
    /// The worker will end soon: the next response is the last one.
    leaves: bool,
    /// Nothing is served any more.
    deaf: bool,
}

/// Why the requests of a turn are not all served.
enum Stop {
    /// Not answered yet.
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
        let mut room = head::Room::new();
        let bytes = units.bytes();
        let (head, meaning) = self.read(bytes, &mut room)?;
        refuse::allowed(&head)?;
        let client = self.client(&head, turn)?;
        if self.settings.proxies.is_some() && !turn.clients.admit(client) {
            return Err(Stop::Refuse(refusal::too_many(client)));
        }
        let behind = units.slice(meaning.len..bytes.len());
        let max = self.settings.limits.body;
        let Some(body) = self.whole(behind, meaning.length, max) else {
            let asked = self.asked(&head, &meaning, client, turn);
            return self.begin(&head, &meaning, asked, bytes, turn);
        };
        let end = meaning.len + body.len;
        let asked = self.asked(&head, &meaning, client, turn);
        let written = &bytes[..meaning.len];
        let step = self.serve_one(&head, written, asked, body.read(behind), turn)?;
        Ok((end, step))
    }

    /// Reads the head that `bytes` begin with.
    fn read<'a>(
        &self,
        bytes: &'a [u8],
        room: &'a mut head::Room<'a>,
    ) -> Result<(Head<'a>, Meaning), Bad> {
        head::read(bytes, self.settings.merge_slashes, room)
    }

    fn asked(
        &self,
        head: &Head<'_>,
        meaning: &Meaning,
        client: Option<IpAddr>,
        turn: &Turn<'_>,
    ) -> Asked {
        let since = (self.settings.access).map_or(0, |_| turn.app.micros());
        Asked {
            client,
            since,
            head: head.method == "HEAD",
            minor: head.minor,
            keeps: meaning.keeps && !self.leaves,
            upgrades: meaning.upgrades,
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
            client: asked.client,
            root: self.settings.root.as_deref(),
            successors: self.settings.successors.as_deref(),
            upgrades: asked.upgrades,
        };
        let mut response = self.response(head, turn);
        if asked.upgrades && self.leaves {
            response.error(&Error::new(503, "the server is about to end"));
            turn.served_one();
            return Ok(self.respond(Some(head), asked, response, turn));
        }
        if refuse::is_for_server(head) {
            refuse::server_options(&mut response);
            turn.served_one();
            return Ok(self.respond(Some(head), asked, response, turn));
        }
        Ok(match turn.app.request(turn.lane, &request, &mut response) {
            Served::NotInline if turn.lane == Lane::Inline => {
                return Err(Stop::Step(Step::NotInline));
            }
            Served::NoSuchMethod => {
                return Err(Stop::Refuse(refusal::unknown_method(head.method)));
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

    /// Goes on, unless a timer has closed the connection: at once, or behind the
    /// answer that is owed.
    fn closed(&mut self, mode: Option<CloseMode>, turn: &mut Turn<'_>) -> Step {
        match mode {
            None => self.wait(),
            Some(CloseMode::Abort) => Step::Close(CloseMode::Abort),
            Some(mode) => self.end(Step::Close(mode), turn),
        }
    }
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
                Err(Stop::Refuse(mut refusal)) => {
                    if refusal.about.is_empty() {
                        let most = (len - done).min(self.settings.limits.head);
                        refusal.about = units.bytes()[done..done + most].to_vec();
                    }
                    return (len, self.end(Step::Refuse(refusal), turn));
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
            // Nobody's state is here for a task to run with.
            Event::Wake | Event::Run(_) => self.wait(),
            Event::Timer(token) => {
                turn.app.timer(token, &mut turn.out);
                let mode = turn.out.close.take();
                self.closed(mode, turn)
            }
            Event::Reply(token, answer) => self.reply(token, answer, turn),
            Event::GiveUp(error) => match self.owed.as_deref() {
                Some(&Owed::Answer { token, .. }) => self.reply(token, Answer::Error(error), turn),
                Some(Owed::Rest(_)) | None => self.wait(),
            },
            Event::Refused(mut refusal) => {
                if let Some(upload) = &self.upload {
                    refusal.about = upload.head.to_vec();
                }
                self.end(Step::Refuse(refusal), turn)
            }
            Event::Eof if self.upload.is_some() => {
                self.end(Step::Refuse(Bad::Truncated.into()), turn)
            }
            Event::Eof => self.eof(turn),
            Event::GoAway => self.end(Step::Close(CloseMode::Flush), turn),
        }
    }

    fn owes(&self) -> usize {
        usize::from(matches!(self.owed.as_deref(), Some(Owed::Answer { .. })))
    }

    fn is_between(&self) -> bool {
        self.upload.is_none() && self.owed.is_none()
    }

    fn is_idle(&self) -> bool {
        let remembers = self.upload.is_some() || self.owed.is_some() || self.then.is_some();
        !remembers && !self.leaves && !self.deaf
    }

    fn over(&mut self, sent: Sent, app: &mut dyn Dispatch) {
        self.cut(sent.left, app);
    }

    fn reset(&mut self) {
        self.upload = None;
        self.owed = None;
        self.then = None;
        self.leaves = false;
        self.deaf = false;
    }
}
