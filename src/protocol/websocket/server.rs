//! Serves whole messages: their frames put together, the speaker, the close. Used
//! by whoever holds the connection's turn.

use std::cell::Cell;

use super::deflate;
use super::end::End;
use super::fault::{Code, Fault};
use super::frame::{self, Header, Opcode};
use super::speaker::{Incoming, Served, Speaker};
use super::writer::Counts;
use crate::protocol::{CloseMode, Dispatch, Event, Refusal, Sent, Server, Step, Turn, Units};
use crate::scoreboard::Counter;

/// A ping of ours.
const PING: &[u8] = b"\x89\x00";

/// What a peer is told that breaks a rule of another layer.
const POLICY: &[u8] = b"\x88\x02\x03\xf0";

/// A message longer than this is not kept room for.
const ROOM_MAX: usize = 64 * 1024;

thread_local! {
    /// Where this thread puts messages together: an idle connection has no room.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The same for those that are compressed.
    static PACKED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How messages come that are compressed.
#[derive(Clone, Debug)]
pub(super) struct Unpacking {
    /// Bytes that one may have afterwards.
    pub(super) most: usize,
    pub(super) counts: Counts,
}

/// The messages of one connection.
pub(super) struct SocketServer {
    speaker: Box<dyn Speaker>,
    /// `None`: none are compressed.
    unpacking: Option<Unpacking>,
    /// The message that is served; empty between two turns.
    payload: Vec<u8>,
    /// Length of the next unit, if some of its message was served already.
    begun: Option<usize>,
    /// What the close frame will say; `None`: nothing was decided.
    last: Option<Last>,
    /// Why, behind the code; nearly always nothing.
    words: Option<Box<str>>,
    /// Messages are not served any more.
    deaf: bool,
    /// Its end is recorded.
    end: Option<End>,
}

/// The close frame that ends a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Last {
    /// With this code, or none.
    Say(Option<Code>),
    /// None at all: the peer is gone.
    Silent,
}

/// What a unit is.
enum Unit {
    /// A ping or a pong: the cutter has seen to it.
    Control,
    /// The peer's close frame, and its code.
    Close(Option<Code>),
    /// A message, which stands in `payload` now.
    Message { is_text: bool },
}

impl SocketServer {
    pub(super) fn new(speaker: Box<dyn Speaker>, unpacking: Option<Unpacking>) -> Self {
        Self {
            speaker,
            unpacking,
            payload: Vec::new(),
            begun: None,
            last: None,
            words: None,
            deaf: false,
            end: None,
        }
    }

    /// Puts together the unit that `bytes` begin with; gives its length.
    fn unit(&mut self, bytes: &[u8]) -> Result<(usize, Unit), Fault> {
        let mut at = 0;
        let mut begun = None;
        let mut packed = false;
        self.payload.clear();
        loop {
            let header = Header::read(&bytes[at..], usize::MAX, self.unpacking.is_some())?;
            let header = header.expect("the cutter passes whole frames on");
            let payload = &bytes[at + header.head..at + header.total()];
            at += header.total();
            match header.opcode {
                Opcode::Close => {
                    let mut plain = Vec::new();
                    frame::unmask(payload, header.mask, 0, &mut plain);
                    return Ok((at, Unit::Close(Code::read(&plain)?)));
                }
                Opcode::Ping | Opcode::Pong if begun.is_none() => {
                    return Ok((at, Unit::Control));
                }
                Opcode::Ping | Opcode::Pong => {}
                Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                    let is_text = *begun.get_or_insert(header.opcode == Opcode::Text);
                    packed |= header.packed;
                    frame::unmask(payload, header.mask, 0, &mut self.payload);
                    if header.fin {
                        if packed {
                            self.unpack()?;
                        }
                        return Ok((at, Unit::Message { is_text }));
                    }
                }
            }
        }
    }

    /// Makes of the payload what it was before it was compressed.
    fn unpack(&mut self) -> Result<(), Fault> {
        let Some(Unpacking { most, counts }) = &self.unpacking else {
            return Ok(());
        };
        let packed = std::mem::replace(&mut self.payload, PACKED.take());
        self.payload.clear();
        let unpacked = deflate::unpack(&packed, *most, &mut self.payload);
        keep(&PACKED, packed);
        if let (Some(row), Ok(())) = (counts.get(), &unpacked) {
            row.count(Counter::WsInflated);
        }
        unpacked
    }

    /// Serves one unit; tells how many bytes of `bytes` are done, and why to stop
    /// if not for want of more.
    fn one(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(usize, Step), Fault> {
        if let Some(len) = self.begun {
            let before = turn.budget.messages();
            let (served, step) = self.speaker.go_on(turn)?;
            return Ok(self.served((len, before), served, step, turn));
        }
        let (len, unit) = self.unit(bytes)?;
        let is_text = match unit {
            Unit::Control => {
                turn.served_one();
                return Ok((len, Step::Next));
            }
            Unit::Close(code) => {
                turn.served_one();
                self.deaf = true;
                self.last = Some(Last::Say(code));
                let step = self.speaker.event(Event::GoAway, turn);
                return Ok((bytes.len(), step));
            }
            Unit::Message { is_text } => is_text,
        };
        let before = turn.budget.messages();
        let payload = &mut self.payload;
        let message = Incoming { is_text, payload };
        let (served, step) = self.speaker.message(message, turn)?;
        Ok(self.served((len, before), served, step, turn))
    }

    /// So much of a message, a unit of `len` bytes, was served, before which so many
    /// others were in this turn.
    fn served(
        &mut self,
        (len, before): (usize, usize),
        served: Served,
        step: Step,
        turn: &mut Turn<'_>,
    ) -> (usize, Step) {
        self.note_code(turn);
        let is_done = served == Served::Whole && !matches!(step, Step::Refuse(_));
        // However many messages were in it, the cutter counted one.
        turn.budget.recount(before + usize::from(is_done));
        if let Step::Close(_) = step {
            let wanted = turn.out.close.is_some();
            let code = if wanted {
                Code::NORMAL
            } else {
                self.speaker.failed()
            };
            self.last.get_or_insert(Last::Say(Some(code)));
        }
        self.begun = (served == Served::Part).then_some(len);
        (if is_done { len } else { 0 }, step)
    }

    /// As [`Server::serve`], with room for messages.
    fn serve_all(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step) {
        let bytes = units.bytes();
        let mut done = 0;
        while done < bytes.len() {
            if self.deaf {
                return (bytes.len(), self.speaker.event(Event::Wake, turn));
            }
            if !self.speaker.may_run(turn) {
                return (done, Step::NotInline);
            }
            match self.one(&bytes[done..], turn) {
                Ok((len, Step::Next)) => done += len,
                Ok((len, step)) => {
                    let step = self.finish(step, turn);
                    let ends = matches!(step, Step::Close(_) | Step::Refuse(_));
                    let done = if ends { bytes.len() } else { done + len };
                    return (done, step);
                }
                Err(fault) => {
                    self.deaf = true;
                    let step = self.speaker.event(Event::Refused(fault.into()), turn);
                    return (bytes.len(), self.finish(step, turn));
                }
            }
            if turn.is_over() {
                return (done, Step::Next);
            }
        }
        (done, Step::Next)
    }

    /// A handler may have said with which code the connection ends, now or later.
    fn note_code(&mut self, turn: &mut Turn<'_>) {
        let (code, words) = (turn.out.code.take(), turn.out.words.take());
        if let (Some(code), None) = (code, self.last) {
            self.last = Some(Last::Say(Some(Code(code))));
            self.words = words;
        }
    }

    /// Says good-bye where a step ends the connection.
    fn finish(&mut self, step: Step, turn: &mut Turn<'_>) -> Step {
        match step {
            Step::Close(CloseMode::Flush | CloseMode::Done) => {
                self.farewell(turn);
                step
            }
            Step::Refuse(refusal) => {
                let is_said = !refusal.answer.is_empty();
                let answer = if is_said { refusal.answer } else { POLICY };
                if let (Some(end), [_, _, code @ ..]) = (&mut self.end, answer) {
                    end.said(Code::read(code).ok().flatten());
                }
                Step::Refuse(Refusal { answer, ..refusal })
            }
            Step::Close(CloseMode::Abort)
            | Step::Next
            | Step::NotInline
            | Step::AwaitReply
            | Step::AwaitWritable
            | Step::AwaitEvent
            | Step::Become(_) => step,
        }
    }
}

/// Room for the next one.
fn keep(place: &'static std::thread::LocalKey<Cell<Vec<u8>>>, mut room: Vec<u8>) {
    room.clear();
    room.shrink_to(ROOM_MAX);
    place.set(room);
}

impl Server for SocketServer {
    fn serve(&mut self, units: Units<'_>, turn: &mut Turn<'_>) -> (usize, Step) {
        self.payload = ROOM.take();
        let served = self.serve_all(units, turn);
        keep(&ROOM, std::mem::take(&mut self.payload));
        served
    }

    fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match &event {
            Event::Ping => {
                turn.out.bytes.extend_from_slice(PING);
                return self.speaker.event(Event::Wake, turn);
            }
            Event::Refused(_) => self.deaf = true,
            Event::GoAway => _ = self.last.get_or_insert(Last::Say(Some(Code::AWAY))),
            Event::Eof => _ = self.last.get_or_insert(Last::Silent),
            Event::Opened
            | Event::Reply(..)
            | Event::GiveUp(_)
            | Event::Draining
            | Event::Timer(_)
            | Event::Run(_)
            | Event::Writable
            | Event::Wake => {}
        }
        let step = self.speaker.event(event, turn);
        self.note_code(turn);
        self.finish(step, turn)
    }

    fn owes(&self) -> usize {
        self.speaker.owes()
    }

    fn is_idle(&self) -> bool {
        let is_between = self.begun.is_none() && self.last.is_none() && !self.deaf;
        is_between && self.end.is_none() && self.speaker.is_idle()
    }

    fn snapshot(&self) -> Option<u32> {
        let is_between = self.begun.is_none() && self.last.is_none() && !self.deaf;
        self.speaker.snapshot().filter(|_| is_between)
    }

    fn restore(&mut self, snapshot: u32) {
        self.speaker.restore(snapshot);
    }

    fn farewell(&mut self, turn: &mut Turn<'_>) {
        self.note_code(turn);
        let last = self.last.unwrap_or(Last::Say(Some(Code::NORMAL)));
        if let Last::Say(code) = last {
            Code::write(code, self.words.as_deref(), &mut turn.out.bytes);
            if let Some(end) = &mut self.end {
                end.said(code);
            }
        }
        // Said once, whoever ends the connection after this.
        self.last = Some(Last::Silent);
    }

    fn record_end(&mut self, answer: &[u8], sent: Sent) {
        self.end = End::new(answer, sent);
    }

    fn records_end(&self) -> bool {
        self.end.is_some()
    }

    fn kept(&self, sent: Sent) -> Vec<u8> {
        self.end
            .as_ref()
            .map_or_else(Vec::new, |end| end.pack(sent))
    }

    fn restore_kept(&mut self, kept: &[u8]) -> bool {
        self.end = End::unpack(kept);
        self.end.is_some() || kept.is_empty()
    }

    fn over(&mut self, sent: Sent, app: &mut dyn Dispatch) {
        self.speaker.over(sent, app);
        if let Some(mut end) = self.end.take() {
            if sent.overloaded {
                end.said(Some(Code::OVERLOADED));
            }
            end.record(sent, app);
        }
    }

    fn reset(&mut self) {
        self.speaker.reset();
        self.payload = Vec::new();
        self.begun = None;
        self.last = None;
        self.words = None;
        self.deaf = false;
        self.end = None;
    }
}
