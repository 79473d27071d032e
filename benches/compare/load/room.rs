//! A room: each of its members says something, and hears what all of them said.
//!
//! ```text
//! round: every member sends one message --> every member gets one of each
//! ```
//!
//! The next round begins when all of it came. Who speaks is heard in any order, but
//! each exactly once a round.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::ring::same;
use super::socket::{Says, Socket, bare, masked};
use super::{Asks, PROBE, READ_SIZE, Tally, Target, index, wait};
use crate::Failure;

/// Bytes of what is said.
const BODY: usize = 20;

/// Message ids of `bench-purlin`: joins the room, says to it, is heard in it.
const JOIN: u32 = 4;
const SAY: u32 = 5;
const HEARD: u32 = 6;

/// The members.
pub(crate) struct Room {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    members: Vec<Member>,
    asks: Asks,
    scratch: Box<[u8]>,
    round: u32,
}

struct Member {
    stream: TcpStream,
    /// The beginning of a message.
    partial: Vec<u8>,
    /// Of whom it has heard in this round.
    heard: Vec<bool>,
    /// How many those are.
    count: usize,
}

impl Room {
    /// All of them enter; nobody speaks.
    ///
    /// # Errors
    ///
    /// Any means that the server does not serve; nothing was measured.
    pub(crate) fn enter(target: &Target, members: usize) -> Result<Self, Failure> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut all = Vec::with_capacity(members);
        for n in 0..members {
            let stream = TcpStream::connect(target.address)?;
            stream.set_nodelay(true)?;
            enter(&target.asks, &stream)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, n as u64))?;
            all.push(Member {
                stream,
                partial: Vec::new(),
                heard: vec![false; members],
                count: 0,
            });
        }
        Ok(Self {
            epoll,
            events: vec![EpollEvent::empty(); members],
            members: all,
            asks: target.asks.clone(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            round: 0,
        })
    }

    /// Rounds for `time`; counts what was heard.
    ///
    /// # Errors
    ///
    /// Something was not heard, or twice, or is none of what was said.
    pub(crate) fn run_for(&mut self, time: Duration, tally: &mut Tally) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.round()?;
            tally.replies += (self.members.len() * self.members.len()) as u64;
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), Failure> {
        self.round += 1;
        let mut said = Vec::new();
        for (n, member) in self.members.iter_mut().enumerate() {
            member.count = 0;
            member.heard.fill(false);
            said.clear();
            say(&self.asks, &body(n, self.round), &mut said);
            let taken = member.stream.write(&said)?;
            if taken != said.len() {
                return Err(format!("the kernel took {taken} bytes of {}", said.len()).into());
            }
        }
        let mut waiting = self.members.len();
        while waiting > 0 {
            let ready = wait(&self.epoll, &mut self.events)?;
            for event in &self.events[..ready] {
                let n = index(event);
                let member = &mut self.members[n];
                let is_done = member
                    .listen(&self.asks, self.round, &mut self.scratch)
                    .map_err(|error| format!("member {n}: {error}"))?;
                waiting -= usize::from(is_done);
            }
        }
        Ok(())
    }
}

impl Member {
    /// Reads once; tells whether that was the last of the round.
    fn listen(&mut self, asks: &Asks, round: u32, scratch: &mut [u8]) -> Result<bool, Failure> {
        let count = match self.stream.read(scratch) {
            Ok(0) => return Err("closed by the server".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.partial.extend_from_slice(&scratch[..count]);
        let mut expected = Vec::new();
        hear(asks, &body(0, round), &mut expected);
        let len = expected.len();
        let whole = self.partial.len() / len * len;
        for message in self.partial[..whole].chunks_exact(len) {
            let place = expected.len() - BODY;
            let speaker = u32::from_be_bytes(message[place..place + 4].try_into()?) as usize;
            let is_new = self
                .heard
                .get_mut(speaker)
                .map(|heard| !std::mem::replace(heard, true));
            if is_new != Some(true) {
                return Err(format!("{speaker} was heard twice, or is nobody").into());
            }
            // All but the checksum, which the body decides.
            same(&message[place + 4..], &body(speaker, round)[4..])?;
            same(&message[..2], &expected[..2])?;
            self.count += 1;
        }
        self.partial.drain(..whole);
        Ok(whole > 0 && self.count == self.heard.len())
    }
}

/// What `speaker` says in this round.
fn body(speaker: usize, round: u32) -> [u8; BODY] {
    let speaker = u32::try_from(speaker).expect("a room is small");
    let mut body = [b'.'; BODY];
    body[..4].copy_from_slice(&speaker.to_be_bytes());
    body[4..8].copy_from_slice(&round.to_be_bytes());
    body
}

/// Appends what says `body` to the room.
fn say(asks: &Asks, body: &[u8], out: &mut Vec<u8>) {
    match asks {
        Asks::Frames { layout, .. } => layout.encode(SAY, 0, body, out),
        Asks::Socket(Socket {
            says: Says::Frame(layout, _),
            ..
        }) => {
            let mut frame = Vec::new();
            layout.encode(SAY, 0, body, &mut frame);
            masked(0x82, &frame, out);
        }
        Asks::Socket(_) => masked(0x82, body, out),
        Asks::Http(_) => {}
    }
}

/// Appends how that is heard.
fn hear(asks: &Asks, body: &[u8], out: &mut Vec<u8>) {
    match asks {
        Asks::Frames { layout, .. } => layout.encode(HEARD, 0, body, out),
        Asks::Socket(Socket {
            says: Says::Frame(layout, _),
            ..
        }) => {
            let mut frame = Vec::new();
            layout.encode(HEARD, 0, body, &mut frame);
            bare(0x82, &frame, out);
        }
        Asks::Socket(_) => bare(0x82, body, out),
        Asks::Http(_) => {}
    }
}

/// Enters, and waits until that is done.
fn enter(asks: &Asks, stream: &TcpStream) -> Result<(), Failure> {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    match asks {
        // Joining has no reply, so that of the echo behind it tells.
        Asks::Frames { layout, id } => {
            layout.encode(JOIN, 0, b"", &mut asked);
            layout.encode(*id, 0, b"in", &mut asked);
            layout.encode(*id, 0, b"in", &mut answered);
        }
        Asks::Socket(socket) => {
            socket.open(stream)?;
            if let Says::Frame(layout, id) = socket.says {
                let (mut frames, mut reply) = (Vec::new(), Vec::new());
                layout.encode(JOIN, 0, b"", &mut frames);
                layout.encode(id, 0, b"in", &mut frames);
                layout.encode(id, 0, b"in", &mut reply);
                masked(0x82, &frames, &mut asked);
                bare(0x82, &reply, &mut answered);
            } else {
                masked(0x82, b"join", &mut asked);
                bare(0x82, b"join", &mut answered);
            }
        }
        Asks::Http(_) => return Err("HTTP has no rooms".into()),
    }
    let mut stream = stream;
    stream.set_read_timeout(Some(PROBE))?;
    stream.write_all(&asked)?;
    let mut came = vec![0; answered.len()];
    stream.read_exact(&mut came)?;
    same(&came, &answered)
}
