//! What is wrong with what a peer sent, and the close frame that says so; the
//! codes of RFC 6455, 7.4. Plain data.

use super::frame::{self, Opcode};
use crate::protocol::Refusal;
use crate::scoreboard::Counter;

/// A close code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Code(pub(super) u16);

impl Code {
    /// The purpose of the connection is fulfilled.
    pub(super) const NORMAL: Self = Self(1000);
    pub(super) const OVERLOADED: Self = Self(1013);
    /// The worker ends.
    pub(super) const AWAY: Self = Self(1001);
    /// A handler failed where nothing else can say so.
    pub(super) const INTERNAL: Self = Self(1011);

    /// Whether a peer may send it (RFC 6455, 7.4.2, and the registry).
    const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The code that the payload of a peer's close frame says; `None`: it says none.
    ///
    /// # Errors
    ///
    /// A code that none may send, half of one, or a reason that is no text.
    pub(super) fn read(payload: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(None),
                _ => Err(Fault::Protocol("a close frame with half a code")),
            };
        };
        let code = Self(u16::from_be_bytes(*code));
        if !code.may_be_sent() {
            return Err(Fault::Protocol("a close code that nobody may send"));
        }
        if std::str::from_utf8(reason).is_err() {
            return Err(Fault::Text);
        }
        Ok(Some(code))
    }

    /// Appends a close frame, with a reason behind the code; `None`: one without a
    /// code, which has no reason either.
    pub(super) fn write(code: Option<Self>, reason: Option<&str>, out: &mut Vec<u8>) {
        let payload = code.map(|code| {
            let reason = reason.unwrap_or_default().as_bytes();
            [&code.0.to_be_bytes()[..], reason].concat()
        });
        frame::write(Opcode::Close, payload.as_deref().unwrap_or_default(), out);
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is against RFC 6455: what came.
    Protocol(&'static str),
    /// A text is no UTF-8.
    Text,
    /// A message is over a limit: which one.
    TooLong(&'static str),
    /// A message is not compressed as RFC 1951 says: what is wrong.
    Packed(&'static str),
    /// What a message says is none that is understood here: what came.
    Policy(&'static str),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let (counter, answer, detail): (_, &'static [u8], _) = match fault {
            Fault::Protocol(what) => (Counter::WsProtocol, b"\x88\x02\x03\xea", what),
            Fault::Text => (
                Counter::WsText,
                b"\x88\x02\x03\xef",
                "a text over WebSocket that is no UTF-8",
            ),
            Fault::Packed(what) => (Counter::WsPacked, b"\x88\x02\x03\xef", what),
            Fault::TooLong(what) => (Counter::WsTooLong, b"\x88\x02\x03\xf1", what),
            Fault::Policy(what) => (Counter::WsProtocol, b"\x88\x02\x03\xf0", what),
        };
        Self {
            counter,
            detail: detail.to_owned(),
            answer,
            about: Vec::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_a_peer_may_send() {
        for code in [
            1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999,
        ] {
            let payload = [&u16::to_be_bytes(code)[..], b"why"].concat();
            assert_eq!(Code::read(&payload), Ok(Some(Code(code))));
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ] {
            let read = Code::read(&u16::to_be_bytes(code));
            assert!(matches!(read, Err(Fault::Protocol(_))), "{code}");
        }
        assert_eq!(Code::read(b""), Ok(None));
        assert!(matches!(Code::read(b"\x03"), Err(Fault::Protocol(_))));
        assert_eq!(Code::read(b"\x03\xe8\xff"), Err(Fault::Text));
    }

    #[test]
    fn the_answer_to_a_fault_is_a_close_frame_with_its_code() {
        for (fault, code) in [
            (Fault::Protocol("x"), 1002),
            (Fault::Text, 1007),
            (Fault::Packed("x"), 1007),
            (Fault::Policy("x"), 1008),
            (Fault::TooLong("x"), 1009),
        ] {
            let mut expected = Vec::new();
            Code::write(Some(Code(code)), None, &mut expected);
            assert_eq!(Refusal::from(fault).answer, expected, "{code}");
        }
    }
}
