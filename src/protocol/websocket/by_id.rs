//! Messages with ids: binary ones are frames of the listener's format, text ones are
//! objects in JSON; both go to the functions that are registered by id.

use std::sync::Arc;

use bytes::Bytes;

use super::fault::{Code, Fault};
use super::framed::Framed;
use super::json::{self, Asked, Body};
use super::speaker::{Incoming, Served, Speaker};
use super::writer::Writer;
use crate::protocol::frame::{Format, FrameCutter, FrameServer};
use crate::protocol::{
    Answer, CloseMode, Cutter, Dispatch, Error, Event, Lane, Media, Out, Push, Refusal, Route,
    Sent, Server, Step, Then, Turn, Units,
};

/// A payload up to this is lent to its handler, a longer one shared.
const LENT: usize = 1024;

/// Serves messages with ids.
pub(super) struct ByIdSpeaker<F: Format> {
    frames: FrameServer<Framed<F>>,
    cutter: FrameCutter<Framed<F>>,
    format: Arc<Framed<F>>,
    /// What is left of a message of which some frames were served.
    rest: Bytes,
    /// How the worker's end is announced to a peer that is told so in JSON.
    going_away: Option<u32>,
    /// Requests in JSON whose reply was put off.
    owed: Vec<Owed>,
    /// What ends the connection when none is owed any more.
    then: Option<Event>,
}

/// A request whose reply comes later.
#[derive(Clone, Copy, Debug)]
struct Owed {
    token: u64,
    id: u32,
    seq: Option<u64>,
}

impl<F: Format> ByIdSpeaker<F> {
    /// `going_away`: the id of what announces the worker's end; `json`: in text.
    pub(super) fn new(format: &Arc<Framed<F>>, going_away: Option<u32>, json: bool) -> Self {
        let in_frames = going_away.filter(|_| !json);
        Self {
            frames: FrameServer::new(Arc::clone(format), in_frames, true),
            cutter: FrameCutter::new(Arc::clone(format)),
            format: Arc::clone(format),
            rest: Bytes::new(),
            going_away: going_away.filter(|_| json),
            owed: Vec::new(),
            then: None,
        }
    }

    fn writer(&self) -> &Writer {
        &self.format.writer
    }

    /// Serves frames of a binary message; what is left of them is kept, so that they
    /// are put together and decompressed once, however many turns they take.
    fn frames(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (Served, Step) {
        let (done, step) = self.binary(units, turn);
        let len = units.bytes().len();
        let served = match done {
            _ if done == len => Served::Whole,
            0 => Served::Nothing,
            _ => Served::Part,
        };
        if served == Served::Part {
            self.rest = units.slice(done..len).to_bytes();
        }
        (served, step)
    }

    /// As [`Server::serve`], to the end of a binary message.
    fn binary(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step) {
        let len = units.bytes().len();
        self.cutter.resume();
        let cut = self.cutter.cut(units.bytes());
        let (done, step) = self.frames.serve(units.slice(0..cut.units), turn);
        if done < cut.units || step != Step::Next {
            return (done, step);
        }
        let refusal = match cut.then {
            Then::Refuse(refusal) => refusal,
            Then::Read | Then::ReadOn | Then::Become(_) | Then::Hold if cut.units == len => {
                return (len, Step::Next);
            }
            Then::Read | Then::ReadOn | Then::Become(_) | Then::Hold => {
                Refusal::from(Fault::Policy("a binary message that ends within a frame"))
            }
        };
        (len, self.event(Event::Refused(refusal), turn))
    }

    /// Serves a text message; `None`: it must run on the business pool.
    fn text(&mut self, text: &[u8], turn: &mut Turn<'_>) -> Result<Option<Step>, Fault> {
        std::str::from_utf8(text).map_err(|_| Fault::Text)?;
        let asked = Asked::read(text);
        let asked = asked.ok_or(Fault::Policy("a text that is no object with an id"))?;
        let (id, seq) = (asked.id, asked.seq);
        let route = Route {
            id: Some(id),
            // That of the format is one in JSON as well.
            heartbeat: self.format.heartbeat() == Some(id),
        };
        if turn.lane == Lane::Inline && !turn.app.inline(route) {
            return Ok(None);
        }
        let mut answer = Answer::None;
        match asked.body() {
            Ok(Body::Value(value)) => {
                let body = Units::json(value);
                turn.app.call(route, body, &mut turn.out, &mut answer);
            }
            Ok(Body::Bytes(bytes)) => {
                let body = Units::borrowed(&bytes);
                turn.app.call(route, body, &mut turn.out, &mut answer);
            }
            Err(error) => answer = Answer::Error(error),
        }
        turn.served_one();
        self.answer((id, seq), answer, &mut turn.out);
        Ok(Some(match turn.out.close {
            Some(CloseMode::Abort) => Step::Close(CloseMode::Abort),
            Some(_) if self.owed.is_empty() => self.end(Event::Eof, turn),
            Some(_) => {
                turn.out.close = None;
                self.end(Event::Eof, turn)
            }
            None => self.wait(turn),
        }))
    }

    /// Writes the answer to a request in JSON.
    fn answer(&mut self, (id, seq): (u32, Option<u64>), answer: Answer, out: &mut Out<'_>) {
        match answer {
            Answer::None => {}
            Answer::Reply {
                id: other,
                body,
                media,
            } => {
                let to = (other.unwrap_or(id), seq);
                json::write(to, &body, media, self.writer(), &mut out.bytes);
            }
            Answer::Error(error) => {
                json::write_error((id, seq), &error, self.writer(), &mut out.bytes);
            }
            Answer::Content(_) => {
                let error = Error::new(500, "the reply goes over HTTP alone");
                json::write_error((id, seq), &error, self.writer(), &mut out.bytes);
            }
            Answer::Later(token) => self.owed.push(Owed { token, id, seq }),
        }
    }

    /// The connection ends by `event` as soon as nothing is owed.
    fn end(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        if self.owed.is_empty() {
            return self.frames.event(event, turn);
        }
        // The first reason stands: what comes behind it is its consequence.
        self.then.get_or_insert(event);
        self.wait(turn)
    }

    fn wait(&mut self, turn: &mut Turn<'_>) -> Step {
        self.frames.event(Event::Wake, turn)
    }

    /// Replies are there: goes on, or ends if that waited for them.
    fn replied(&mut self, turn: &mut Turn<'_>) -> Step {
        match self.then.take_if(|_| self.owed.is_empty()) {
            Some(then) => self.frames.event(then, turn),
            None => self.wait(turn),
        }
    }

    fn give_up(&mut self, error: Error, turn: &mut Turn<'_>) -> Step {
        for Owed { id, seq, .. } in std::mem::take(&mut self.owed) {
            json::write_error((id, seq), &error, self.writer(), &mut turn.out.bytes);
        }
        let step = self.frames.event(Event::GiveUp(error), turn);
        match self.then.take() {
            Some(then) if step == Step::Next => self.frames.event(then, turn),
            Some(_) | None => step,
        }
    }

    /// Announces the worker's end in JSON, in the program's words.
    fn warn(&self, turn: &mut Turn<'_>) {
        let Some(id) = self.going_away else {
            return;
        };
        let words = turn.app.going_away(&mut turn.out);
        let push = Push {
            id,
            body: &words,
            media: Media::Bytes,
        };
        if let Err(error) = turn.out.push(push) {
            ::log::error!("announce the worker's end: {error}");
        }
    }
}

impl<F: Format> Speaker for ByIdSpeaker<F> {
    fn message(
        &mut self,
        message: Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(Served, Step), Fault> {
        let Incoming { is_text, payload } = message;
        if self.then.is_some() {
            // Only replies that are owed still go out.
            return Ok((Served::Whole, self.wait(turn)));
        }
        if is_text {
            let step = self.text(payload, turn)?;
            return Ok(match step {
                Some(step) => (Served::Whole, step),
                None => (Served::Nothing, Step::NotInline),
            });
        }
        if payload.len() <= LENT {
            return Ok(self.frames(Units::borrowed(payload), turn));
        }
        let shared = Bytes::from(std::mem::take(payload));
        Ok(self.frames(Units::shared(&shared), turn))
    }

    fn go_on(&mut self, turn: &mut Turn<'_>) -> Result<(Served, Step), Fault> {
        let rest = std::mem::take(&mut self.rest);
        if self.then.is_some() {
            return Ok((Served::Whole, self.wait(turn)));
        }
        let (served, step) = self.frames(Units::shared(&rest), turn);
        if served == Served::Nothing {
            self.rest = rest;
            return Ok((Served::Part, step));
        }
        Ok((served, step))
    }

    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match event {
            Event::Reply(token, answer) => {
                let Some(at) = self.owed.iter().position(|owed| owed.token == token) else {
                    return self.frames.event(Event::Reply(token, answer), turn);
                };
                let owed = self.owed.swap_remove(at);
                self.answer((owed.id, owed.seq), answer, &mut turn.out);
                self.replied(turn)
            }
            Event::GiveUp(error) => self.give_up(error, turn),
            Event::Draining => {
                self.warn(turn);
                self.frames.event(Event::Draining, turn)
            }
            Event::Refused(_) | Event::Eof | Event::GoAway => self.end(event, turn),
            Event::Opened
            | Event::Ping
            | Event::Timer(_)
            | Event::Run(_)
            | Event::Writable
            | Event::Wake => self.frames.event(event, turn),
        }
    }

    fn failed(&self) -> Code {
        Code::INTERNAL
    }

    fn owes(&self) -> usize {
        self.owed.len() + self.frames.owes()
    }

    fn is_idle(&self) -> bool {
        self.owed.is_empty() && self.then.is_none() && self.frames.is_idle()
    }

    fn snapshot(&self) -> Option<u32> {
        self.frames.snapshot().filter(|_| self.owed.is_empty())
    }

    fn restore(&mut self, snapshot: u32) {
        self.frames.restore(snapshot);
    }

    fn over(&mut self, sent: Sent, app: &mut dyn Dispatch) {
        self.frames.over(sent, app);
    }

    fn reset(&mut self) {
        self.frames.reset();
        self.owed = Vec::new();
        self.then = None;
        self.rest = Bytes::new();
    }
}
