//! What two workers tell each other about connections, as datagrams. Pure.
//!
//! ```text
//! the one that leaves                              the one that stays
//!   Offer: a record and a descriptor each ------------->
//!         <------------------- Verdicts: taken, under which name, or why not
//!   Rest: what came for one of them meanwhile ---------->
//!   Gone: up to where it had heard the others ---------->
//! ```
//!
//! The two may be different binaries. The first byte of a datagram is the form
//! of all that follows; whoever reads another one closes the line. So does one
//! of an older release that reads an offer with timers, or with what is unsent,
//! which are written only where there are some: these connections stay where they
//! are.

use std::borrow::Cow;

use super::clocks::{MovedClocks, WORDS};
use super::output::{FILES, Output};
use crate::bus::Read;
use crate::dispatch::handover::{MovedState, State};
use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::channel::DESCRIPTORS_MAX;
use crate::sys::socket::Peer;

/// The form of the datagrams.
const FORM: u8 = 1;

/// Connections in one offer; the kernel takes 253 descriptors a datagram.
pub(super) const CONNECTIONS: usize = 32;

/// Bytes of an offer before it is full; the largest record may go beyond it.
/// The kernel takes 200 kB a datagram.
pub(super) const OFFER: usize = 64 * 1024;

/// Bytes of the start of a message, or of a state, that go along at most.
pub(super) const PART: usize = 64 * 1024;

/// Bytes of a name beside its record.
const NAME: usize = 17;

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

/// What became of an offered connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It goes on there, under this name.
    Taken(ConnId),
    /// It does not.
    Refused(Reason),
}

/// Why not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// Its listener is gone, or speaks something else.
    Listener,
    /// Its address may not connect any more.
    Denied,
    /// There is no slot, no descriptor, or no word to count its address.
    Full,
    /// Its state cannot be read.
    State,
}

impl Reason {
    const ALL: [Self; 4] = [Self::Listener, Self::Denied, Self::Full, Self::State];

    pub(super) const fn counter(self) -> Counter {
        match self {
            Self::Listener => Counter::NotHandedListener,
            Self::Denied => Counter::NotHandedDenied,
            Self::Full => Counter::NotHandedFull,
            Self::State => Counter::NotHandedState,
        }
    }
}

/// A datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Message {
    /// These connections; their descriptors come along in this order, each
    /// followed by those of its files.
    Offer(Vec<Record>),
    /// What became of those of the last offer.
    Verdicts(Vec<Verdict>),
    /// For a connection that was taken.
    Rest {
        conn: ConnId,
        /// Pushes that came on the way; whole messages, encoded.
        pushes: Vec<u8>,
        /// Somebody wanted it closed on the way.
        close: Option<CloseMode>,
    },
    /// Those of the last offer that were taken are the other one's alone. What was
    /// said to them before these marks has been passed on.
    Gone(Vec<Read>),
}

/// An offer that is being written.
#[derive(Debug)]
pub(super) struct Offer {
    bytes: Vec<u8>,
    /// Names and times of the timers, for each record.
    timers: Vec<Vec<(String, u64)>>,
    /// What is unsent, for each record; empty: nothing.
    outputs: Vec<Vec<u8>>,
    /// The name of each record, and whether it is followed.
    names: Vec<(Option<ConnId>, bool, u64)>,
    /// Bytes that these two take.
    beside: usize,
    /// Descriptors that come along.
    descriptors: usize,
    pub(super) count: usize,
}

impl Default for Offer {
    fn default() -> Self {
        let bytes = vec![FORM, b'o'];
        Self {
            bytes,
            timers: Vec::new(),
            outputs: Vec::new(),
            names: Vec::new(),
            beside: 0,
            descriptors: 0,
            count: 0,
        }
    }
}

impl Offer {
    /// Appends `record`. False: it is too large to go anywhere.
    pub(super) fn push(&mut self, record: &Record) -> bool {
        let before = self.bytes.len();
        record.write(&mut self.bytes);
        let timers = &record.luggage.timers;
        let timed: usize = timers.iter().map(|(name, _)| name.len() + 12).sum();
        let mut output = Vec::new();
        if let Some(unsent) = &record.output {
            unsent.write(&mut output);
        }
        if self.bytes.len() - before + timed + output.len() > RECORD {
            self.bytes.truncate(before);
            return false;
        }
        self.beside += timed + output.len() + size_of::<u32>() + NAME;
        let ticket = record.luggage.ticket;
        self.names.push((record.name, record.is_followed, ticket));
        self.descriptors += record.descriptors();
        self.outputs.push(output);
        self.timers.push(timers.clone());
        self.count += 1;
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= CONNECTIONS
            || self.bytes.len() + self.beside >= OFFER
            || self.descriptors + 1 + FILES > DESCRIPTORS_MAX
    }

    pub(super) fn datagram(&self) -> Cow<'_, [u8]> {
        let bare = self.whole();
        if self.names.iter().all(|name| *name == (None, false, 0)) {
            return bare;
        }
        let mut to = vec![FORM, b'n'];
        text(&mut to, &bare[1..]);
        for (name, is_followed, ticket) in &self.names {
            let flags = [name.is_some(), *is_followed, *ticket > 0];
            let bits = (0..).zip(flags).map(|(at, flag)| u8::from(flag) << at);
            to.push(bits.sum());
            to.extend_from_slice(&name.map_or(0, ConnId::word).to_le_bytes());
            if *ticket > 0 {
                to.extend_from_slice(&ticket.to_le_bytes());
            }
        }
        Cow::Owned(to)
    }

    /// Without the names.
    fn whole(&self) -> Cow<'_, [u8]> {
        let bare = self.timed();
        if self.outputs.iter().all(Vec::is_empty) {
            return bare;
        }
        let mut to = vec![FORM, b'u'];
        text(&mut to, &bare[1..]);
        self.outputs.iter().for_each(|output| text(&mut to, output));
        Cow::Owned(to)
    }

    /// Without what is unsent.
    fn timed(&self) -> Cow<'_, [u8]> {
        if self.timers.iter().all(Vec::is_empty) {
            return Cow::Borrowed(&self.bytes);
        }
        let mut to = vec![FORM, b't'];
        text(&mut to, &self.bytes[2..]);
        for timers in &self.timers {
            number(&mut to, timers.len());
            for (name, at) in timers {
                text(&mut to, name.as_bytes());
                to.extend_from_slice(&at.to_le_bytes());
            }
        }
        Cow::Owned(to)
    }
}

impl Record {
    /// How many come along: the connection's, and those of its files.
    pub(super) fn descriptors(&self) -> usize {
        1 + self.output.as_ref().map_or(0, Output::files)
    }

    fn write(&self, to: &mut Vec<u8>) {
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

    fn read(from: &mut Reader<'_>) -> Option<Self> {
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
            luggage,
            partial,
            output: None,
            name: None,
            is_followed: false,
        })
    }
}

impl Message {
    /// The bytes; offers are written by [`Offer`].
    pub(super) fn datagram(&self) -> Vec<u8> {
        let mut to = vec![FORM];
        match self {
            Self::Offer(records) => {
                let mut offer = Offer::default();
                records.iter().for_each(|record| {
                    offer.push(record);
                });
                return offer.datagram().into_owned();
            }
            Self::Verdicts(verdicts) => {
                to.push(b'v');
                for verdict in verdicts {
                    let (code, word) = match verdict {
                        Verdict::Taken(conn) => (0, conn.word()),
                        Verdict::Refused(reason) => (1 + *reason as u8, 0),
                    };
                    to.push(code);
                    to.extend_from_slice(&word.to_le_bytes());
                }
            }
            Self::Rest {
                conn,
                pushes,
                close,
            } => {
                to.push(b'r');
                to.extend_from_slice(&conn.word().to_le_bytes());
                to.push(match close {
                    None => 0,
                    Some(CloseMode::Flush | CloseMode::Done) => 1,
                    Some(CloseMode::Abort) => 2,
                });
                text(&mut to, pushes);
            }
            Self::Gone(marks) => {
                to.push(b'g');
                for mark in marks {
                    to.push(mark.row);
                    to.extend_from_slice(&mark.epoch.to_le_bytes());
                    to.extend_from_slice(&mark.sequence.to_le_bytes());
                }
            }
        }
        to
    }

    /// `None` for what no worker of this form sends.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        Self::parse_kind(datagram.strip_prefix(&[FORM])?)
    }

    /// Without the form.
    fn parse_kind(datagram: &[u8]) -> Option<Self> {
        let (kind, rest) = datagram.split_first()?;
        let mut from = Reader(rest);
        Some(match kind {
            b'n' => {
                let bare = from.text().filter(|bare| bare.first() != Some(&b'n'))?;
                let Self::Offer(mut records) = Self::parse_kind(bare)? else {
                    return None;
                };
                for record in &mut records {
                    let ([flags], word) = (from.array()?, from.array()?);
                    let name = ConnId::from_word(u64::from_le_bytes(word));
                    record.name = (flags & 1 != 0).then_some(name);
                    record.is_followed = flags & 2 != 0;
                    if flags & 4 != 0 {
                        record.luggage.ticket = u64::from_le_bytes(from.array()?);
                    }
                }
                from.0.is_empty().then_some(Self::Offer(records))?
            }
            b'u' => {
                let is_bare = |bare: &&[u8]| !matches!(bare.first(), Some(b'u' | b'n'));
                let bare = from.text().filter(is_bare)?;
                let Self::Offer(mut records) = Self::parse_kind(bare)? else {
                    return None;
                };
                for record in &mut records {
                    let mut output = Reader(from.text()?);
                    if !output.0.is_empty() {
                        record.output = Some(Output::read(&mut output)?);
                        output.0.is_empty().then_some(())?;
                    }
                }
                from.0.is_empty().then_some(Self::Offer(records))?
            }
            b'o' => Self::Offer(from.all(Record::read)?),
            b't' => {
                let mut records = Reader(from.text()?).all(Record::read)?;
                for record in &mut records {
                    record.luggage.timers = from.timers()?;
                }
                from.0.is_empty().then_some(Self::Offer(records))?
            }
            b'v' => Self::Verdicts(from.all(|from| {
                let ([code], word) = (from.array()?, from.array()?);
                Some(match usize::from(code).checked_sub(1) {
                    None => Verdict::Taken(ConnId::from_word(u64::from_le_bytes(word))),
                    Some(reason) => Verdict::Refused(*Reason::ALL.get(reason)?),
                })
            })?),
            b'r' => Self::Rest {
                conn: ConnId::from_word(u64::from_le_bytes(from.array()?)),
                close: match from.array()? {
                    [0] => None,
                    [1] => Some(CloseMode::Flush),
                    [2] => Some(CloseMode::Abort),
                    _ => return None,
                },
                pushes: from.text()?.to_vec(),
            },
            b'g' => Self::Gone(from.all(|from| {
                let [row] = from.array()?;
                Some(Read {
                    row,
                    epoch: u16::from_le_bytes(from.array()?),
                    sequence: u64::from_le_bytes(from.array()?),
                })
            })?),
            _ => return None,
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

    fn timers(&mut self) -> Option<Vec<(String, u64)>> {
        let count = self.number()?;
        let timer = |_| Some((self.string()?, u64::from_le_bytes(self.array()?)));
        (0..count).map(timer).collect()
    }

    fn all<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            all.push(read(self)?);
        }
        Some(all)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::output::tests::output;
    use super::*;

    fn record(partial: usize) -> Record {
        Record {
            listener: "127.0.0.1:7000".into(),
            protocol: "frames".into(),
            peer: Peer::Tcp("[::1]:9".parse().expect("an address")),
            clocks: MovedClocks::of(std::array::from_fn(|n| n as u64 + 1)),
            rest: 3,
            luggage: MovedState {
                state: State::Bytes {
                    version: 7,
                    bytes: b"state".to_vec(),
                },
                user: Some(String::new()),
                ticket: 0,
                rooms: vec!["lobby".into(), "".into()],
                timers: Vec::new(),
            },
            partial: vec![1; partial],
            output: None,
            name: None,
            is_followed: false,
        }
    }

    fn messages() -> [Message; 11] {
        let conn = ConnId::first(3, 2, 1);
        let bare = Record {
            peer: Peer::Unix,
            luggage: MovedState {
                state: State::Empty,
                user: None,
                ticket: 0,
                rooms: Vec::new(),
                timers: Vec::new(),
            },
            ..record(0)
        };
        let mut timed = record(3);
        timed.luggage.timers = vec![("expire".into(), 5), (String::new(), u64::MAX)];
        let unsent = Record {
            output: Some(output()),
            ..timed.clone()
        };
        let mut verdicts = vec![Verdict::Taken(conn)];
        verdicts.extend(Reason::ALL.map(Verdict::Refused));
        let rest = |close| Message::Rest {
            conn,
            pushes: b"push".to_vec(),
            close,
        };
        let named = |one: &Record, is_followed| Record {
            name: Some(conn),
            is_followed,
            ..one.clone()
        };
        let mut bound = record(1);
        bound.luggage.ticket = u64::MAX - 1;
        let mark = |row| Read {
            row,
            epoch: 65_535,
            sequence: u64::MAX - 1,
        };
        [
            Message::Offer(vec![named(&bare, true), bare.clone()]),
            Message::Offer(vec![named(&unsent, false), named(&timed, true)]),
            Message::Offer(vec![bound, bare.clone()]),
            Message::Gone(vec![mark(0), mark(254)]),
            Message::Offer(vec![record(5), bare.clone()]),
            Message::Offer(vec![bare.clone(), timed]),
            Message::Offer(vec![bare, unsent]),
            Message::Verdicts(verdicts),
            rest(None),
            rest(Some(CloseMode::Flush)),
            rest(Some(CloseMode::Abort)),
        ]
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        for message in messages() {
            assert_eq!(Message::parse(&message.datagram()), Some(message));
        }
        let mut offer = Offer::default();
        assert!(offer.push(&record(9)));
        let sent = Message::Offer(vec![record(9)]);
        assert_eq!(Message::parse(&offer.datagram()), Some(sent));
    }

    /// The worker at the other end may be of another release.
    #[test]
    fn the_bytes_of_an_offer_are_those_of_every_release() {
        let head: &[u8] = b"\x01o\
            \x0e\0\0\x00127.0.0.1:7000\
            \x06\0\0\0frames\
            \x07\0\0\0[::1]:9\
            \x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\
            \x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\
            \x09\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0";
        let rest: &[u8] = b"\x03\0\0\0\
            \x01\x07\0\0\0\x05\0\0\0state\
            \x01\x02\0\0\0\0\0\0\0\x05\0\0\0lobby\0\0\0\0\
            \x02\0\0\0\x01\x01";
        let sent = Message::Offer(vec![record(2)]);
        assert_eq!(sent.datagram(), [head, rest].concat());
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_nothing() {
        for message in messages() {
            let mut datagram = message.datagram();
            for len in 0..datagram.len() {
                let cut = Message::parse(&datagram[..len]);
                assert_ne!(cut.as_ref(), Some(&message), "cut at {len}");
            }
            datagram[0] += 1;
            assert_eq!(Message::parse(&datagram), None);
        }
        for nonsense in [&b""[..], b"\x01", b"\x01x", b"\x01v\x09\0\0\0\0\0\0\0\0"] {
            assert_eq!(Message::parse(nonsense), None);
        }
    }

    #[test]
    fn an_offer_ends_before_the_kernel_refuses_it() {
        let mut offer = Offer::default();
        while !offer.is_full() {
            assert!(offer.push(&record(PART - 200)));
        }
        assert!(offer.datagram().len() < 200_000);
        assert!(!offer.push(&record(RECORD)), "larger than any may be");
        let mut small = Offer::default();
        while !small.is_full() {
            assert!(small.push(&record(0)));
        }
        assert_eq!(small.count, CONNECTIONS);
    }
}
