//! A message of the bus and its bytes, little endian:
//!
//! ```text
//! sequence 8 | kind 1 | flags 1 | name 2 | id 4 | except 8 | name .. | body ..
//! ```

use bytes::Bytes;

use super::Interest;
use crate::net::ConnId;

/// Bytes before the name.
pub(super) const FIXED: usize = 24;

/// Bytes of a message at most: more goes to nobody else.
pub(super) const MESSAGE: usize = 4 * 1024 * 1024 + 64 * 1024 + FIXED;

const HAS_EXCEPT: u8 = 0x80;

/// Names a message: of which worker it is, and which of those. The sequence rises
/// with each message of a worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// Row of the worker.
    pub row: u8,
    /// Which worker of that row.
    pub epoch: u16,
    /// Counted from 1.
    pub sequence: u64,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Do this to a target's connections.
    Do(Deed, Whom),
    /// Something for the program of each worker; the name is its topic.
    Tell,
    /// Messages before this one were lost.
    Gap,
    /// A question to the worker; its answer has the same id.
    Ask,
    /// What a worker was asked for.
    Answer,
    /// What follows was said by connections that came from another worker: it is
    /// read behind what they said there, up to the mark that the body is.
    Behind,
}

/// What is done to connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// Push id and body.
    Send,
    /// Close; the body says why, the id with which code over WebSocket.
    Close,
    /// Enter the room that the body names.
    Join,
    /// Leave that room.
    Leave,
    /// Become the user that the body names.
    Bind,
    /// Become nobody.
    Unbind,
    /// Push what the body says behind its ticket, and close, whoever bound himself
    /// with an older ticket.
    Supplant,
}

/// Whom a name is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whom {
    /// One connection, whose word is the name's eight bytes.
    Conn,
    /// A user's connections.
    User,
    /// A room's members.
    Room,
    /// Every session.
    All,
}

const DEEDS: [Deed; 7] = [
    Deed::Send,
    Deed::Close,
    Deed::Join,
    Deed::Leave,
    Deed::Bind,
    Deed::Unbind,
    Deed::Supplant,
];

const WHOM: [Whom; 4] = [Whom::Conn, Whom::User, Whom::Room, Whom::All];

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Gap => 0,
            Self::Tell => 1,
            Self::Behind => 3,
            Self::Ask => 4,
            Self::Answer => 5,
            Self::Do(deed, whom) => 0x10 * (deed as u8 + 1) + whom as u8,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Gap),
            1 => Some(Self::Tell),
            3 => Some(Self::Behind),
            4 => Some(Self::Ask),
            5 => Some(Self::Answer),
            _ => {
                let deed = DEEDS.get(usize::from(code >> 4).checked_sub(1)?)?;
                Some(Self::Do(*deed, *WHOM.get(usize::from(code & 0xF))?))
            }
        }
    }
}

/// What one worker says to others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its name.
    pub origin: Origin,
    /// What it is about.
    pub kind: Kind,
    /// Whom it is for, or about what.
    name: Bytes,
    /// Who is left out.
    pub except: Option<ConnId>,
    /// The id of a push; the kind's own otherwise.
    pub id: u32,
    /// What the body is, 0 to 127, in the words of the layer above.
    pub form: u8,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// Whom it is for, or about what. Empty: it is no text, or there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        str::from_utf8(&self.name).unwrap_or_default()
    }

    /// The connection that it is for.
    #[must_use]
    pub fn conn(&self) -> Option<ConnId> {
        let word = <[u8; 8]>::try_from(&self.name[..]).ok()?;
        Some(ConnId::from_word(u64::from_le_bytes(word)))
    }

    /// From its bytes, of a worker of that row and epoch. `None`: they are none.
    pub(super) fn parse(row: u8, epoch: u16, bytes: &Bytes) -> Option<Self> {
        let fixed = bytes.first_chunk::<FIXED>()?;
        let name_end = FIXED + usize::from(u16::from_le_bytes([fixed[10], fixed[11]]));
        if bytes.len() < name_end {
            return None;
        }
        let word = |at: usize| {
            let bytes = fixed[at..].first_chunk::<8>().copied();
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let origin = Origin {
            row,
            epoch,
            sequence: word(0),
        };
        let kind = Kind::of_code(fixed[8])?;
        let message = Self {
            origin,
            kind,
            name: bytes.slice(FIXED..name_end),
            except: (fixed[9] & HAS_EXCEPT != 0).then(|| ConnId::from_word(word(16))),
            id: u32::from_le_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]),
            form: fixed[9] & !HAS_EXCEPT,
            body: bytes.slice(name_end..),
        };
        let is_conn = matches!(kind, Kind::Do(_, Whom::Conn));
        let has_name = if is_conn {
            message.conn().is_some()
        } else {
            str::from_utf8(&message.name).is_ok()
        };
        has_name.then_some(message)
    }
}

/// A message before it has a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Whom it is for. Where that has no name, the `topic` is it.
    pub to: Interest<'a>,
    /// About what, of a [`Kind::Tell`].
    pub topic: &'a str,
    /// Who is left out.
    pub except: Option<ConnId>,
    /// The id of a push; the kind's own otherwise.
    pub id: u32,
    /// What the body is, 0 to 127.
    pub form: u8,
    /// The body.
    pub body: &'a [u8],
}

impl Outgoing<'_> {
    /// Writes it behind `out`. False: it is too long, and nothing is written.
    pub(super) fn encode(&self, sequence: u64, out: &mut Vec<u8>) -> bool {
        let word;
        let name = match self.to {
            Interest::Conn(conn) => {
                word = conn.word().to_le_bytes();
                &word[..]
            }
            Interest::User(name) | Interest::Room(name) => name.as_bytes(),
            Interest::Everybody | Interest::Workers | Interest::Row(_) | Interest::Accepted(..) => {
                self.topic.as_bytes()
            }
        };
        let Ok(name_len) = u16::try_from(name.len()) else {
            return false;
        };
        if FIXED + name.len() + self.body.len() > MESSAGE {
            return false;
        }
        let except = self.except.map_or(0, ConnId::word);
        let has_except = if self.except.is_some() { HAS_EXCEPT } else { 0 };
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&[self.kind.code(), self.form | has_except]);
        out.extend_from_slice(&name_len.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&except.to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(self.body);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const OUT: Outgoing<'_> = Outgoing {
        kind: Kind::Do(Deed::Send, Whom::Room),
        to: Interest::Room("lobby"),
        topic: "",
        except: None,
        id: 7,
        form: 3,
        body: b"hello",
    };

    fn there_and_back(out: Outgoing<'_>) -> Message {
        let mut bytes = Vec::new();
        assert!(out.encode(9, &mut bytes));
        Message::parse(2, 3, &bytes.into()).expect("a message")
    }

    #[test]
    fn what_is_written_is_read() {
        let message = there_and_back(OUT);
        let origin = Origin {
            row: 2,
            epoch: 3,
            sequence: 9,
        };
        assert_eq!((message.origin, message.kind), (origin, OUT.kind));
        assert_eq!((message.name(), message.id, message.form), ("lobby", 7, 3));
        assert_eq!((message.except, &message.body[..]), (None, &b"hello"[..]));
        let conn = ConnId::first(1, 65_535, 3);
        for whom in WHOM {
            for kind in DEEDS.map(|deed| Kind::Do(deed, whom)) {
                let to = match whom {
                    Whom::Conn => Interest::Conn(conn),
                    Whom::User => Interest::User("ann"),
                    Whom::Room => Interest::Room("lobby"),
                    Whom::All => Interest::Everybody,
                };
                let except = Some(ConnId::first(0, 0, 0));
                let message = there_and_back(Outgoing {
                    kind,
                    to,
                    except,
                    ..OUT
                });
                assert_eq!(message.kind, kind);
                assert!(whom != Whom::Conn || message.conn() == Some(conn));
                assert_eq!(message.except, Some(ConnId::first(0, 0, 0)));
            }
        }
        for kind in [Kind::Tell, Kind::Gap, Kind::Behind, Kind::Ask, Kind::Answer] {
            let (to, topic) = (Interest::Workers, "topic");
            let message = there_and_back(Outgoing {
                kind,
                to,
                topic,
                ..OUT
            });
            assert_eq!((message.kind, message.name()), (kind, "topic"));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut bytes = Vec::new();
        assert!(OUT.encode(9, &mut bytes));
        for len in 0..FIXED + 5 {
            assert_eq!(
                Message::parse(0, 0, &Bytes::copy_from_slice(&bytes[..len])),
                None
            );
        }
        let changed = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            Message::parse(0, 0, &bytes.into())
        };
        assert!(
            changed(8, 0x14).is_none() && changed(8, 0xFF).is_none(),
            "no kind"
        );
        assert!(changed(8, 0x10).is_none(), "no connection is called lobby");
        assert!(changed(FIXED, 0xFF).is_none(), "no text");
    }

    #[test]
    fn too_long_is_not_written() {
        let (long, mut bytes) = (vec![0; MESSAGE], Vec::new());
        assert!(!Outgoing { body: &long, ..OUT }.encode(1, &mut bytes));
        let name = "a".repeat(70_000);
        assert!(
            !Outgoing {
                to: Interest::Room(&name),
                ..OUT
            }
            .encode(1, &mut bytes)
        );
        assert!(bytes.is_empty());
    }
}
