//! One connection, as the record in which it goes to another worker. Pure.

use super::clocks::{MovedClocks, WORDS};
use super::output::Output;
use crate::dispatch::handover::{MovedState, State};
use crate::net::ConnId;
use crate::sys::socket::Peer;

/// The form of the datagrams.
pub(super) const FORM: u8 = 1;

/// Connections in one offer; the kernel takes 253 descriptors a datagram.
pub(super) const CONNECTIONS: usize = 32;

/// Bytes of an offer before it is full; the largest record may go beyond it.
/// The kernel takes 200 kB a datagram.
pub(super) const OFFER: usize = 64 * 1024;

/// Bytes of the start of a message, or of a state, that go along at most.
pub(super) const PART: usize = 64 * 1024;

/// Bytes of the largest record.
pub(super) const RECORD: usize = OFFER + PART;

/// One connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    /// The address of its listener, as it is really bound.
    pub(super) listener: String,
    /// What it speaks.
    pub(super) protocol: String,
    pub(super) peer: Peer,
    pub(super) clocks: MovedClocks,
    /// Of the protocol's server.
    pub(super) rest: u32,
    /// The same, where that is no number; nearly always empty.
    pub(super) kept: Vec<u8>,
    pub(super) luggage: MovedState,
    /// The start of an unfinished message.
    pub(super) partial: Vec<u8>,
    /// What waits to be sent, if anything does.
    pub(super) output: Option<Output>,
    /// What everybody calls it; `None`, of an older release: as it is called here.
    pub(super) name: Option<ConnId>,
    /// Whether the one that leaves says when it has let go: [`Message::Gone`].
    pub(super) is_followed: bool,
}

impl Record {
    /// How many come along: the connection's, and those of its files.
    pub(super) fn descriptors(&self) -> usize {
        1 + self.output.as_ref().map_or(0, Output::files)
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        text(to, self.listener.as_bytes());
        text(to, self.protocol.as_bytes());
        let peer = match self.peer {
            Peer::Tcp(address) => address.to_string(),
            Peer::Unix => String::new(),
        };
        text(to, peer.as_bytes());
        for clock in self.clocks.words() {
            to.extend_from_slice(&clock.to_le_bytes());
        }
        to.extend_from_slice(&self.rest.to_le_bytes());
        match &self.luggage.state {
            State::Empty => to.push(0),
            State::Bytes { version, bytes } => {
                to.push(1);
                to.extend_from_slice(&version.to_le_bytes());
                text(to, bytes);
            }
        }
        // The first one is the user, whose name may be empty.
        let user = self.luggage.user.as_ref();
        to.push(u8::from(user.is_some()));
        let names = user.into_iter().chain(&self.luggage.rooms);
        number(to, self.luggage.rooms.len());
        names.for_each(|name| text(to, name.as_bytes()));
        text(to, &self.partial);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (listener, protocol) = (from.string()?, from.string()?);
        let peer = match from.string()?.as_str() {
            "" => Peer::Unix,
            address => Peer::Tcp(address.parse().ok()?),
        };
        let mut clocks = [0; WORDS];
        for clock in &mut clocks {
            *clock = u64::from_le_bytes(from.array()?);
        }
        let rest = u32::from_le_bytes(from.array()?);
        let state = match from.array()? {
            [0] => State::Empty,
            [1] => State::Bytes {
                version: u32::from_le_bytes(from.array()?),
                bytes: from.text()?.to_vec(),
            },
            _ => return None,
        };
        let has_user = from.array()? == [1];
        let rooms = from.number()?;
        let user = if has_user { Some(from.string()?) } else { None };
        let rooms = (0..rooms).map(|_| from.string()).collect::<Option<_>>()?;
        let luggage = MovedState {
            state,
            user,
            ticket: 0,
            rooms,
            timers: Vec::new(),
        };
        let partial = from.text()?.to_vec();
        Some(Self {
            listener,
            protocol,
            peer,
            clocks: MovedClocks::of(clocks),
            rest,
            kept: Vec::new(),
            luggage,
            partial,
            output: None,
            name: None,
            is_followed: false,
        })
    }
}

pub(super) fn number(to: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    to.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn text(to: &mut Vec<u8>, bytes: &[u8]) {
    number(to, bytes.len());
    to.extend_from_slice(bytes);
}

/// What is left to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.text()?.to_vec()).ok()
    }

    pub(super) fn timers(&mut self) -> Option<Vec<(String, u64)>> {
        let count = self.number()?;
        let timer = |_| Some((self.string()?, u64::from_le_bytes(self.array()?)));
        (0..count).map(timer).collect()
    }

    pub(super) fn all<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            all.push(read(self)?);
        }
        Some(all)
    }
}
