//! Messages without ids: one function of the program gets them all.

use std::sync::{Arc, OnceLock};

use super::fault::{Code, Fault};
use super::frame::Opcode;
use super::speaker::{Incoming, Served, Speaker};
use super::writer::Writer;
use crate::protocol::{
    Answer, CloseMode, Dispatch, Event, Lane, Listening, Media, Message, Out, Sent, Step, Turn,
};

/// Where the messages of a connection go.
#[derive(Debug)]
pub(super) struct Destination {
    /// The path that its request named.
    pub(super) path: Box<str>,
    /// The function there, once somebody has asked the program.
    found: OnceLock<Option<Listening>>,
}

impl Destination {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            found: OnceLock::new(),
        }
    }

    fn find(&self, app: &dyn Dispatch) -> Option<Listening> {
        *self.found.get_or_init(|| app.messages_at(&self.path))
    }
}

/// Gives messages to their function, and writes what it returns.
#[derive(Debug)]
pub(super) struct RawSpeaker {
    to: Arc<Destination>,
    writer: Writer,
    /// Messages whose reply was put off. They wait for each other: nothing but
    /// their order tells which reply is whose.
    owed: Option<u64>,
    then: Option<Step>,
}

impl RawSpeaker {
    pub(super) fn new(to: &Arc<Destination>, writer: &Writer) -> Self {
        Self {
            to: Arc::clone(to),
            writer: writer.clone(),
            owed: None,
            then: None,
        }
    }

    /// Writes an answer; tells how to go on if not with the next message.
    fn answer(&mut self, answer: Answer, out: &mut Out<'_>) -> Option<Step> {
        match answer {
            Answer::None => None,
            Answer::Reply { body, media, .. } => {
                write(&body, media, &self.writer, &mut out.bytes);
                None
            }
            Answer::Later(token) => {
                self.owed = Some(token);
                Some(Step::AwaitReply)
            }
            Answer::Error(error) => {
                ::log::warn!("a message over WebSocket: {error}; its connection is closed");
                Some(Step::Close(CloseMode::Flush))
            }
            Answer::Content(_) => {
                ::log::error!("a reply over WebSocket goes over HTTP alone; closed");
                Some(Step::Close(CloseMode::Flush))
            }
        }
    }

    /// The connection ends as soon as no reply is owed.
    fn end(&mut self, how: Step) -> Step {
        if self.owed.is_none() {
            return how;
        }
        self.then.get_or_insert(how);
        Step::AwaitReply
    }

    fn wait(&self) -> Step {
        match self.owed {
            Some(_) => Step::AwaitReply,
            None => Step::Next,
        }
    }

    /// The reply that was put off is there.
    fn reply(&mut self, answer: Answer, out: &mut Out<'_>) -> Step {
        self.owed = None;
        if let Some(step) = self.answer(answer, out) {
            return step;
        }
        self.then.take().unwrap_or(Step::Next)
    }

    fn close(&mut self, out: &mut Out<'_>) -> Option<Step> {
        let mode = out.close?;
        if mode == CloseMode::Abort || self.owed.is_none() {
            return Some(Step::Close(mode));
        }
        Some(self.end(Step::Close(mode)))
    }
}

/// Appends a message of the kind that `media` is.
pub(super) fn write(body: &[u8], media: Media, to: &Writer, out: &mut Vec<u8>) {
    let is_text = match media {
        Media::Bytes => false,
        Media::Text | Media::Html | Media::Json => std::str::from_utf8(body).is_ok(),
    };
    let opcode = if is_text {
        Opcode::Text
    } else {
        Opcode::Binary
    };
    to.write(opcode, body, out);
}

impl Speaker for RawSpeaker {
    fn may_run(&self, turn: &Turn<'_>) -> bool {
        let found = self.to.find(turn.app);
        turn.lane == Lane::Pool || found.is_none_or(|found| found.inline)
    }

    fn message(
        &mut self,
        message: Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(Served, Step), Fault> {
        let payload = std::mem::take(message.payload);
        let message = if message.is_text {
            Message::Text(String::from_utf8(payload).map_err(|_| Fault::Text)?)
        } else {
            Message::Binary(payload.into())
        };
        let Some(found) = self.to.find(turn.app) else {
            // The path had a function in the program that had the connection before.
            return Err(Fault::Policy("a message for which this program has nobody"));
        };
        let mut answer = Answer::None;
        (turn.app).message(found.number, message, &mut turn.out, &mut answer);
        turn.served_one();
        let step = self.answer(answer, &mut turn.out);
        let closed = self.close(&mut turn.out);
        Ok((Served::Whole, closed.or(step).unwrap_or(Step::Next)))
    }

    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match event {
            Event::Opened => turn.app.opened(&mut turn.out),
            Event::Timer(token) => turn.app.timer(token, &mut turn.out),
            Event::Run(task) => turn.app.run(task, &mut turn.out),
            Event::Reply(token, answer) if self.owed == Some(token) => {
                return self.reply(answer, &mut turn.out);
            }
            Event::GiveUp(error) if self.owed.is_some() => {
                return self.reply(Answer::Error(error), &mut turn.out);
            }
            Event::Refused(refusal) => return self.end(Step::Refuse(refusal)),
            Event::Eof | Event::GoAway => return self.end(Step::Close(CloseMode::Flush)),
            Event::Reply(..)
            | Event::GiveUp(_)
            | Event::Draining
            | Event::Ping
            | Event::Writable
            | Event::Wake => {}
        }
        self.close(&mut turn.out).unwrap_or_else(|| self.wait())
    }

    fn failed(&self) -> Code {
        Code::INTERNAL
    }

    fn owes(&self) -> usize {
        usize::from(self.owed.is_some())
    }

    fn is_idle(&self) -> bool {
        self.owed.is_none() && self.then.is_none()
    }

    fn snapshot(&self) -> Option<u32> {
        self.is_idle().then_some(0)
    }

    fn restore(&mut self, _: u32) {}

    fn over(&mut self, _: Sent, _: &mut dyn Dispatch) {}

    fn reset(&mut self) {
        self.owed = None;
        self.then = None;
    }
}
