//! One connection of a client: what waits to be sent, and what is owed. What
//! that is, and what comes of it, `Asks` knows. Owned by its lane.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::asks::{Asks, Owed};
use super::fault::{Fault, Kind};
use super::load::Load;
use super::stats::Ledger;
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
    /// Its number in the header, where the format has one: up to `max`, and never
    /// 0, which marks what answers no request.
    pub(super) fn sequence(self, max: u32) -> u32 {
        u32::try_from(self.turn % u64::from(max) + 1).unwrap_or(1)
    }
}

/// What a connection waits for before it asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// The answer to its greeting.
    Greeting,
    /// The reply to what it sends before all requests.
    First,
    Ready,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    client: u32,
    /// When connecting began, until the first request is sent.
    opened: Option<Instant>,
    stage: Stage,
    /// Encoded, and not yet taken by the kernel.
    out: Vec<u8>,
    /// The beginning of a reply whose rest has not come.
    partial: Vec<u8>,
    owed: Owed,
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
    /// Requests that got an error frame, or a status that is none of the right
    /// ones.
    pub(super) errors: Vec<Fault>,
    /// The server wants nothing of what is sent first, in words: no load makes sense.
    pub(super) refused: Option<String>,
    /// What has to be sent for what came: answers to signs of life.
    pub(super) answer: Vec<u8>,
    /// The server said that nothing more will come.
    pub(super) closes: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, client: u32, opened: Instant, asks: &Asks) -> Self {
        let mut out = asks.greeting().to_vec();
        let stage = match out.is_empty() {
            true => begin(asks, client, &mut out),
            false => Stage::Greeting,
        };
        Self {
            socket,
            client,
            opened: Some(opened),
            stage,
            out,
            partial: Vec::new(),
            owed: Owed::default(),
            issued: 0,
            watches_room: false,
        }
    }

    /// Requests that are owed a reply.
    pub(super) fn owed(&self) -> usize {
        self.owed.requests.len()
    }

    pub(super) const fn issued(&self) -> u64 {
        self.issued
    }

    /// Whether requests may be sent.
    pub(super) fn is_greeted(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// What it waits for before it asks, in words.
    pub(super) const fn awaits(&self) -> Option<&'static str> {
        match self.stage {
            Stage::Greeting => Some("answer to the request for a WebSocket"),
            Stage::First => Some("reply to --first"),
            Stage::Ready => None,
        }
    }

    /// For what it has waited longer than `timeout`.
    pub(super) fn overdue(&self, now: Instant, timeout: Duration) -> Option<&'static str> {
        let waited = now.saturating_duration_since(self.opened?);
        self.awaits().filter(|_| waited > timeout)
    }

    /// When connecting began, once.
    pub(super) const fn take_opened(&mut self) -> Option<Instant> {
        self.opened.take()
    }

    /// Takes the oldest request off: its fate is known.
    pub(super) fn take_oldest(&mut self) -> Option<Request> {
        self.owed.requests.pop_front()
    }

    /// Takes the oldest request off if it has waited longer than `timeout`.
    pub(super) fn take_overdue(&mut self, now: Instant, timeout: Duration) -> Option<Request> {
        let oldest = self.owed.requests.front()?;
        let waited = now.saturating_duration_since(oldest.sent);
        (waited > timeout).then(|| self.take_oldest()).flatten()
    }

    /// Appends `request` to what [`Self::send`] will send. `spare` is memory.
    pub(super) fn issue(&mut self, request: Request, load: &Load, spare: &mut Vec<u8>) {
        self.issued += 1;
        let last = load.churn == Some(self.issued);
        let asks = &load.asks;
        asks.write(self.client, request, last, spare, &mut self.out);
        self.owed.requests.push_back(request);
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

    /// Reads once, and compares what came with what is owed; `ledger` is told of
    /// each reply.
    ///
    /// # Errors
    ///
    /// The connection has ended or is broken.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        load: &Load,
        ledger: &mut Ledger<'_>,
    ) -> io::Result<Read> {
        let (client, owed) = (self.client, &mut self.owed);
        let mut read = Read::default();
        read.bytes = match socket::receive(&self.socket, scratch) {
            Ok(0) => return load.asks.end(owed, &self.partial, ledger),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(read),
            Err(error) => return Err(error),
        };
        let mut fresh = &scratch[..read.bytes];
        if self.stage == Stage::Greeting {
            self.partial.extend_from_slice(fresh);
            match load.asks.greeted(&self.partial) {
                Ok(None) => return Ok(read),
                Ok(Some(len)) => _ = self.partial.drain(..len),
                Err(fault) => {
                    read.fatal = Some(fault);
                    return Ok(read);
                }
            }
            self.stage = begin(&load.asks, client, &mut self.out);
            fresh = &[];
        }
        if self.stage == Stage::First {
            self.partial.extend_from_slice(fresh);
            let looked = load.asks.first_reply(owed, &self.partial, &mut read);
            self.out.append(&mut read.answer);
            match looked {
                Ok((used, has_come)) => {
                    self.partial.drain(..used);
                    if !has_come {
                        return Ok(read);
                    }
                }
                Err(fault) if fault.kind == Kind::ErrorFrame => {
                    read.refused = Some(fault.detail);
                    return Ok(read);
                }
                Err(fault) => {
                    read.fatal = Some(fault);
                    return Ok(read);
                }
            }
            self.stage = Stage::Ready;
            fresh = &[];
        }
        if self.partial.is_empty() {
            let used = load.asks.compare(client, owed, fresh, &mut read, ledger);
            self.partial.extend_from_slice(&fresh[used..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(fresh);
            let used = load.asks.compare(client, owed, &partial, &mut read, ledger);
            partial.drain(..used);
            // An idle connection holds no buffer.
            if !partial.is_empty() {
                self.partial = partial;
            }
        }
        self.out.append(&mut read.answer);
        Ok(read)
    }
}

/// Puts what is sent before all requests into `out`; what is waited for then.
fn begin(asks: &Asks, client: u32, out: &mut Vec<u8>) -> Stage {
    asks.first(client, out);
    match out.is_empty() {
        true => Stage::Ready,
        false => Stage::First,
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
