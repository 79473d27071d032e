//! Serves whole frames: checksum, handler, reply. Used by whoever holds the
//! connection's turn.

use std::sync::Arc;

use super::format::{Format, Request};
use crate::protocol::{
    Answer, CloseMode, Error, Event, Lane, Out, Refusal, Route, Server, Step, Turn, Units,
    Unsendable,
};

/// The frames of one connection.
#[derive(Debug)]
pub(in crate::protocol) struct FrameServer<F: Format> {
    format: Arc<F>,
    /// The id of the frame that announces the worker's end.
    going_away: Option<u32>,
    /// Requests whose reply was put off.
    owed: Vec<Owed<F::Echo>>,
    /// What happens when nothing is owed any more.
    then: Option<Step>,
    /// Messages are not served any more: the peer broke a rule, or a handler
    /// closed the connection.
    deaf: bool,
    /// Whether a heartbeat that nobody asked for is answered.
    echoes: bool,
    /// Heartbeats of ours that the peer has not answered.
    asked: u32,
}

/// A request whose reply comes later.
#[derive(Clone, Copy, Debug)]
struct Owed<E> {
    token: u64,
    to: Request<E>,
}

impl<F: Format> FrameServer<F> {
    pub(in crate::protocol) const fn new(
        format: Arc<F>,
        going_away: Option<u32>,
        echoes: bool,
    ) -> Self {
        Self {
            format,
            going_away,
            owed: Vec::new(),
            then: None,
            deaf: false,
            echoes,
            asked: 0,
        }
    }

    /// Asks the peer for a sign of life.
    fn ping(&mut self, out: &mut Out<'_>) {
        let Some(id) = self.format.heartbeat() else {
            return;
        };
        let ping = self.format.encode(Request::push(id), &[], &mut out.bytes);
        if ping.is_ok() {
            self.asked = self.asked.saturating_add(1);
        }
    }

    /// A heartbeat came: whether it is the answer to one of ours. An answer must
    /// not be answered, or the two would never end.
    fn is_answer(&mut self) -> bool {
        let asked = self.asked > 0;
        self.asked = self.asked.saturating_sub(1);
        asked || !self.echoes
    }

    /// Writes the answer; tells how to go on if not with the next frame.
    fn answer(&mut self, to: Request<F::Echo>, answer: &Answer, out: &mut Out<'_>) -> Option<Step> {
        match answer {
            Answer::None => None,
            Answer::Reply { id, body, .. } => {
                let reply = Request {
                    id: id.or(to.id),
                    ..to
                };
                let written = self.format.reply(reply, body, out);
                written
                    .err()
                    .and_then(|error| self.cannot_say(to, error, out))
            }
            Answer::Content(_) => self.error(to, 500, "the reply goes over HTTP alone", out),
            Answer::Error(Error { code, text, .. }) => self.error(to, *code, text, out),
            &Answer::Later(token) => {
                self.owed.push(Owed { token, to });
                self.format.is_ordered().then_some(Step::AwaitReply)
            }
        }
    }

    #[cold]
    fn cannot_say(&self, to: Request<F::Echo>, why: Unsendable, out: &mut Out<'_>) -> Option<Step> {
        ::log::error!(
            "reply to message {}: {why}; answered with error 500",
            to.id.unwrap_or(0)
        );
        self.error(to, 500, &format!("the reply cannot be sent: {why}"), out)
    }

    /// Writes an error frame; where the layout has none, the connection ends.
    fn error(
        &self,
        to: Request<F::Echo>,
        code: u16,
        text: &str,
        out: &mut Out<'_>,
    ) -> Option<Step> {
        let written = self.format.encode_error(to, code, text, &mut out.bytes);
        (written != Ok(true)).then_some(Step::Close(CloseMode::Flush))
    }

    /// The connection ends as soon as no reply is owed.
    fn end(&mut self, how: Step) -> Step {
        self.deaf |= matches!(how, Step::Refuse(_));
        if self.owed.is_empty() {
            return how;
        }
        // The first reason stands: what comes behind it is its consequence.
        self.then.get_or_insert(how);
        self.wait()
    }

    /// Goes on, or waits for the reply that must come first.
    fn wait(&self) -> Step {
        let ordered = self.format.is_ordered() && !self.owed.is_empty();
        if ordered {
            Step::AwaitReply
        } else {
            Step::Next
        }
    }

    /// A handler closed the connection: at once, or behind the replies that are
    /// owed, its own among them.
    fn close(&mut self, mode: CloseMode, out: &mut Out<'_>) -> Step {
        if mode == CloseMode::Abort || self.owed.is_empty() {
            return Step::Close(mode);
        }
        out.close = None;
        self.deaf = true;
        self.end(Step::Close(mode))
    }

    /// Announces the worker's end, in the program's words. That the frame can be
    /// written without any was checked.
    fn warn(&self, turn: &mut Turn<'_>) {
        let Some(id) = self.going_away.filter(|_| !self.deaf) else {
            return;
        };
        let words = turn.app.going_away(&mut turn.out);
        let mut say =
            |words: &[u8]| (self.format).encode(Request::push(id), words, &mut turn.out.bytes);
        if let Err(error) = say(&words) {
            ::log::error!("announce the worker's end: {error}; said without a body");
            let _was_tried = say(&[]);
        }
    }

    fn reply(&mut self, token: u64, answer: Answer, out: &mut Out<'_>) -> Step {
        let Some(at) = self.owed.iter().position(|owed| owed.token == token) else {
            return self.wait();
        };
        let owed = self.owed.swap_remove(at);
        if let Some(step) = self.answer(owed.to, &answer, out) {
            return step;
        }
        if self.owed.is_empty() {
            self.then.take().unwrap_or(Step::Next)
        } else {
            Step::Next
        }
    }

    /// Answers everything that is owed with `error`.
    fn give_up(&mut self, error: &Error, out: &mut Out<'_>) -> Step {
        for owed in std::mem::take(&mut self.owed) {
            if let Some(step) = self.error(owed.to, error.code, &error.text, out) {
                return step;
            }
        }
        self.then.take().unwrap_or(Step::Next)
    }

    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<F::Frame<'a>, Refusal> {
        let frame = self.format.frame(bytes)?;
        Ok(frame.expect("the cutter passes whole frames on"))
    }
}

impl<F: Format> Server for FrameServer<F> {
    fn serve(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step) {
        let bytes = units.bytes();
        if self.deaf {
            // Only replies that are owed still go out.
            return (bytes.len(), self.wait());
        }
        let mut done = 0;
        // The id of which is known that it may run here: most batches are of
        // one kind, and to ask costs as much as to look up its handler.
        let mut inline = None;
        while done < bytes.len() {
            let frame = match self.frame(&bytes[done..]) {
                Ok(frame) => frame,
                Err(refusal) => return (bytes.len(), self.end(Step::Refuse(refusal))),
            };
            let id = F::id(&frame);
            let route = Route {
                id,
                heartbeat: id.is_some() && id == self.format.heartbeat(),
            };
            if turn.lane == Lane::Inline && inline != Some(route) {
                if !turn.app.inline(route) {
                    return (done, Step::NotInline);
                }
                inline = Some(route);
            }
            if let Err(refusal) = F::verify(&frame) {
                return (bytes.len(), self.end(Step::Refuse(refusal)));
            }
            if route.heartbeat && self.is_answer() {
                done += F::total(&frame);
                turn.served_one();
                if turn.is_over() {
                    return (done, Step::Next);
                }
                continue;
            }
            let body = self.format.body(&frame, units, done);
            let mut answer = Answer::None;
            turn.app.call(route, body, &mut turn.out, &mut answer);
            done += F::total(&frame);
            let step = self.answer(F::request(&frame), &answer, &mut turn.out);
            turn.served_one();
            match (step, turn.out.close) {
                (_, Some(mode)) => return (done, self.close(mode, &mut turn.out)),
                (Some(step), None) => return (done, step),
                (None, None) if turn.is_over() => return (done, Step::Next),
                (None, None) => {}
            }
        }
        (done, Step::Next)
    }

    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match event {
            Event::Opened => turn.app.opened(&mut turn.out),
            Event::Timer(token) => turn.app.timer(token, &mut turn.out),
            Event::Run(task) => turn.app.run(task, &mut turn.out),
            Event::Ping => self.ping(&mut turn.out),
            Event::Reply(token, answer) => return self.reply(token, answer, &mut turn.out),
            Event::GiveUp(error) => return self.give_up(&error, &mut turn.out),
            Event::Draining => self.warn(turn),
            Event::Refused(refusal) => return self.end(Step::Refuse(refusal)),
            Event::Eof | Event::GoAway => return self.end(Step::Close(CloseMode::Flush)),
            // Frames wait for neither.
            Event::Writable | Event::Wake => {}
        }
        match turn.out.close {
            Some(mode) => self.close(mode, &mut turn.out),
            None => self.wait(),
        }
    }

    fn owes(&self) -> usize {
        self.owed.len()
    }

    fn is_idle(&self) -> bool {
        self.owed.is_empty() && self.then.is_none() && !self.deaf && self.asked == 0
    }

    /// The heartbeats of ours that the peer has not answered.
    fn snapshot(&self) -> Option<u32> {
        let is_idle = self.owed.is_empty() && self.then.is_none() && !self.deaf;
        is_idle.then_some(self.asked)
    }

    fn restore(&mut self, snapshot: u32) {
        self.asked = snapshot;
    }

    fn reset(&mut self) {
        self.owed = Vec::new();
        self.then = None;
        self.deaf = false;
        self.asked = 0;
    }
}
