//! One connection of a client: what waits to be sent, what is owed, and the
//! comparison of the one with the other. Owned by its lane.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::bodies::Bodies;
use super::fault::{Fault, Kind, difference};
use super::load::Load;
use crate::protocol::frame::{ErrorBody, Frame, encode};
use crate::sys::socket;

/// A request whose reply is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Which one of its client, from 0.
    pub(super) turn: u64,
    /// Its latency counts from here: in an open loop, when it was due.
    pub(super) since: Instant,
    /// Its timeout counts from here: when it was sent.
    pub(super) sent: Instant,
}

impl Request {
    /// Its number in the header, where the layout has one. Never 0, which marks
    /// what answers no request.
    fn sequence(&self) -> u32 {
        u32::try_from(self.turn % u64::from(u32::MAX) + 1).unwrap_or(1)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    client: u32,
    /// When connecting began, until the first request is sent.
    opened: Option<Instant>,
    /// Encoded, and not yet taken by the kernel.
    out: Vec<u8>,
    /// The beginning of a reply whose rest has not come.
    partial: Vec<u8>,
    owed: VecDeque<Request>,
    /// Requests of this connection, not of its client.
    issued: u64,
    /// The lane is told of room to write.
    pub(super) watches_room: bool,
}

/// What came of reading once.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) bytes: usize,
    /// Requests whose right reply came.
    pub(super) answered: usize,
    /// After a fault that is `fatal` nothing that follows can be trusted.
    pub(super) fatal: Option<Fault>,
    /// Requests that got an error frame.
    pub(super) errors: Vec<Fault>,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, client: u32, opened: Instant) -> Self {
        Self {
            socket,
            client,
            opened: Some(opened),
            out: Vec::new(),
            partial: Vec::new(),
            owed: VecDeque::new(),
            issued: 0,
            watches_room: false,
        }
    }

    /// Requests that are owed a reply.
    pub(super) fn owed(&self) -> usize {
        self.owed.len()
    }

    pub(super) const fn issued(&self) -> u64 {
        self.issued
    }

    /// When connecting began, once.
    pub(super) const fn take_opened(&mut self) -> Option<Instant> {
        self.opened.take()
    }

    /// Takes the oldest request off: its fate is known.
    pub(super) fn take_oldest(&mut self) -> Option<Request> {
        self.owed.pop_front()
    }

    /// Takes the oldest request off if it has waited longer than `timeout`.
    pub(super) fn take_overdue(&mut self, now: Instant, timeout: Duration) -> Option<Request> {
        let oldest = self.owed.front()?;
        let waited = now.saturating_duration_since(oldest.sent);
        (waited > timeout).then(|| self.take_oldest()).flatten()
    }

    /// Appends `request` to what [`Self::send`] will send. `spare` is memory.
    pub(super) fn issue(
        &mut self,
        request: Request,
        load: &Load,
        bodies: &Bodies,
        spare: &mut Vec<u8>,
    ) {
        bodies.write(self.client, request.turn, spare);
        encode(
            &load.layout,
            load.id,
            request.sequence(),
            spare,
            &mut self.out,
        )
        .expect("`Load::check` encoded one like it");
        self.owed.push_back(request);
        self.issued += 1;
    }

    /// Lends memory to an empty queue, so that it need not grow its own.
    pub(super) fn lend(&mut self, memory: &mut Vec<u8>) {
        if self.out.capacity() == 0 {
            self.out = std::mem::take(memory);
        }
    }

    /// Sends as much as the kernel takes; returns how much, and gives the memory
    /// back when that is all.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) fn send(&mut self, memory: &mut Vec<u8>) -> io::Result<usize> {
        let mut taken = 0;
        while taken < self.out.len() {
            match socket::send(&self.socket, &self.out[taken..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if taken == self.out.len() {
            self.out.clear();
            *memory = std::mem::take(&mut self.out);
        } else {
            self.out.drain(..taken);
        }
        Ok(taken)
    }

    /// Whether something waits for room in the kernel.
    pub(super) const fn waits_for_room(&self) -> bool {
        !self.out.is_empty()
    }

    /// Reads once, and compares what came with what is owed; `answered` is told
    /// each request that got its right reply.
    ///
    /// # Errors
    ///
    /// The connection has ended or is broken.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        load: &Load,
        bodies: &Bodies,
        answered: &mut dyn FnMut(Request),
    ) -> io::Result<Read> {
        let mut read = Read::default();
        read.bytes = match socket::receive(&self.socket, scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(read),
            Err(error) => return Err(error),
        };
        let fresh = &scratch[..read.bytes];
        if self.partial.is_empty() {
            let used = self.compare(fresh, load, bodies, &mut read, answered);
            self.partial.extend_from_slice(&fresh[used..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(fresh);
            let used = self.compare(&partial, load, bodies, &mut read, answered);
            partial.drain(..used);
            // An idle connection holds no buffer.
            if !partial.is_empty() {
                self.partial = partial;
            }
        }
        Ok(read)
    }

    /// Compares the whole frames of `bytes`; returns how many bytes these are.
    fn compare(
        &mut self,
        bytes: &[u8],
        load: &Load,
        bodies: &Bodies,
        read: &mut Read,
        answered: &mut dyn FnMut(Request),
    ) -> usize {
        let mut used = 0;
        loop {
            let frame = match load.layout.frame(&bytes[used..]) {
                Ok(None) => return used,
                Ok(Some(frame)) => frame,
                Err(refusal) => {
                    read.fatal = Some(self.unreadable(&refusal.detail));
                    return used;
                }
            };
            used += frame.total;
            match self.check(&frame, load, bodies) {
                Ok(request) => {
                    read.answered += 1;
                    answered(request);
                }
                Err(fault) if fault.kind == Kind::ErrorFrame => read.errors.push(fault),
                Err(fault) => {
                    read.fatal = Some(fault);
                    return used;
                }
            }
        }
    }

    /// The request that `frame` answers, rightly.
    fn check(&mut self, frame: &Frame<'_>, load: &Load, bodies: &Bodies) -> Result<Request, Fault> {
        if let Err(refusal) = frame.verify() {
            return Err(self.unreadable(&refusal.detail));
        }
        let wrong = |detail| Fault {
            kind: Kind::Wrong,
            detail,
        };
        // Replies may overtake each other where they say what they answer.
        let at = match load.layout.sequence {
            None => Some(0),
            Some(_) => self
                .owed
                .iter()
                .position(|request| request.sequence() == frame.sequence),
        };
        let Some(request) = at.and_then(|at| self.owed.remove(at)) else {
            let sequence = load
                .layout
                .sequence
                .map(|_| format!(", sequence {}", frame.sequence));
            return Err(wrong(format!(
                "a reply to nothing that was asked: {} bytes{}",
                frame.body.len(),
                sequence.unwrap_or_default()
            )));
        };
        let turn = request.turn;
        if frame.id.is_some() && frame.id == load.layout.error_id {
            return Err(Fault {
                kind: Kind::ErrorFrame,
                detail: format!("request {turn}: {}", error_text(frame.body)),
            });
        }
        if frame.id != load.id {
            let (found, wanted) = (frame.id.unwrap_or(0), load.id.unwrap_or(0));
            return Err(wrong(format!(
                "request {turn}: reply has id {found}, not {wanted}"
            )));
        }
        if !bodies.is(self.client, turn, frame.body) {
            let mut expected = Vec::new();
            bodies.write(self.client, turn, &mut expected);
            let difference = difference(&expected, frame.body);
            return Err(wrong(format!("request {turn}: body of {difference}")));
        }
        Ok(request)
    }

    /// What stands where the reply to the oldest request should.
    fn unreadable(&mut self, detail: &str) -> Fault {
        let turn = self.take_oldest().map(|request| request.turn);
        let request = turn.map_or("between requests".into(), |turn| format!("request {turn}"));
        Fault {
            kind: Kind::Unreadable,
            detail: format!("{request}: {detail}"),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn error_text(body: &[u8]) -> String {
    match ErrorBody::read(body) {
        Some(error) => format!("the server answered error {}: {}", error.code, error.text),
        None => format!("an error frame whose {} bytes say nothing", body.len()),
    }
}
