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
//! of an older release that reads an offer with timers, with what is unsent or with
//! what a server has kept, which are written only where there are some: these
//! connections stay where they are.

use super::offer::{self, Offer};
use super::record::{FORM, Reader, Record, text};
use crate::bus::Read;
use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;

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

/// Somebody wants a connection closed: how, and with which code.
pub(super) type Wish = (CloseMode, Option<u16>);

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
        close: Option<Wish>,
    },
    /// Those of the last offer that were taken are the other one's alone. What was
    /// said to them before these marks has been passed on.
    Gone(Vec<Read>),
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
                    Some((CloseMode::Flush | CloseMode::Done, _)) => 1,
                    Some((CloseMode::Abort, _)) => 2,
                });
                text(&mut to, pushes);
                // An older release looks no further.
                if let Some((_, Some(code))) = close {
                    to.extend_from_slice(&code.to_le_bytes());
                }
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
            b'n' | b'k' | b'u' | b't' | b'o' => Self::Offer(offer::parse(*kind, from)?),
            b'v' => Self::Verdicts(from.all(|from| {
                let ([code], word) = (from.array()?, from.array()?);
                Some(match usize::from(code).checked_sub(1) {
                    None => Verdict::Taken(ConnId::from_word(u64::from_le_bytes(word))),
                    Some(reason) => Verdict::Refused(*Reason::ALL.get(reason)?),
                })
            })?),
            b'r' => {
                let conn = ConnId::from_word(u64::from_le_bytes(from.array()?));
                let mode = match from.array()? {
                    [0] => None,
                    [1] => Some(CloseMode::Flush),
                    [2] => Some(CloseMode::Abort),
                    _ => return None,
                };
                let pushes = from.text()?.to_vec();
                let code = from.array().map(u16::from_le_bytes);
                Self::Rest {
                    conn,
                    pushes,
                    close: mode.map(|mode| (mode, code)),
                }
            }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::clocks::MovedClocks;
    use super::super::output::tests::output;
    use super::super::record::{CONNECTIONS, PART, RECORD};
    use super::*;
    use crate::dispatch::handover::{MovedState, State};
    use crate::sys::socket::Peer;

    fn record(partial: usize) -> Record {
        Record {
            listener: "127.0.0.1:7000".into(),
            protocol: "frames".into(),
            peer: Peer::Tcp("[::1]:9".parse().expect("an address")),
            clocks: MovedClocks::of(std::array::from_fn(|n| n as u64 + 1)),
            rest: 3,
            kept: Vec::new(),
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

    fn messages() -> [Message; 14] {
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
        let kept = Record {
            kept: b"kept".to_vec(),
            ..unsent.clone()
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
            Message::Offer(vec![bare.clone(), unsent]),
            Message::Offer(vec![bare.clone(), kept.clone()]),
            Message::Offer(vec![named(&kept, true), bare]),
            Message::Verdicts(verdicts),
            rest(None),
            rest(Some((CloseMode::Flush, None))),
            rest(Some((CloseMode::Flush, Some(4001)))),
            rest(Some((CloseMode::Abort, None))),
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
