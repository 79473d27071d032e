//! Finds the end of the last whole message, and answers pings. The reactor's.
//!
//! A unit is a whole message with all of its frames, and the control frames that
//! came between them; or a control frame that stands alone. What is kept of a
//! message that is not whole are the bytes as they came: so they are all that has
//! to be known to go on with it in another process.
//!
//! Pings are answered here and not in a turn: a pong must not wait for a handler.

use super::fault::{Code, Fault};
use super::frame::{self, Header, Opcode};
use super::limits::{FRAMES_MAX, Limits};
use super::utf8::Utf8;
use crate::protocol::{Cut, Cutter, Then};

/// Finds where messages end.
#[derive(Debug)]
pub(super) struct MessageCutter {
    limits: Limits,
    /// Messages may be compressed: what they say is the server's to look at then.
    packing: bool,
    message: Message,
    /// The peer has sent its close frame: nothing behind it means anything.
    over: bool,
}

/// What is known of the message that is not whole.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    /// Bytes of whole frames.
    at: usize,
    /// Bytes of the payload behind them that were looked at, of a text.
    looked: usize,
    /// Its first frame was there: whether it is a text.
    is_text: Option<bool>,
    /// That frame said that it is compressed.
    packed: bool,
    /// Bytes of its frames' payloads, those of control frames included.
    len: usize,
    frames: usize,
    text: Utf8,
}

impl MessageCutter {
    pub(super) fn new(limits: Limits, packing: bool) -> Self {
        Self {
            limits,
            packing,
            message: Message::default(),
            over: false,
        }
    }

    /// Length of the unit that `bytes` begin with, if there is one. Pongs that are
    /// due go to `pongs`.
    fn unit(&mut self, bytes: &[u8], pongs: &mut Vec<u8>) -> Result<Option<usize>, Fault> {
        loop {
            let rest = &bytes[self.message.at..];
            let most = self.limits.message.saturating_sub(self.message.len);
            let Some(header) = Header::read(rest, most, self.packing)? else {
                return Ok(None);
            };
            self.admit(&header)?;
            let Some(frame) = rest.get(..header.total()) else {
                if !header.opcode.is_control() {
                    self.look(&header, &rest[header.head..])?;
                }
                return Ok(None);
            };
            let ends = if header.opcode.is_control() {
                self.control(&header, &frame[header.head..], pongs)?
            } else {
                self.data(&header, &frame[header.head..])?
            };
            self.message.at += frame.len();
            self.message.len += header.len;
            self.message.frames += 1;
            self.message.looked = 0;
            if ends {
                return Ok(Some(std::mem::take(&mut self.message).at));
            }
        }
    }

    /// Whether a frame may stand here. Asked again when more of it is there.
    fn admit(&self, header: &Header) -> Result<(), Fault> {
        let message = &self.message;
        let (goes_on, is_alone) = (message.is_text.is_some(), message.is_text.is_none());
        match header.opcode {
            Opcode::Continuation if is_alone => {
                return Err(Fault::Protocol("a continuation of no message"));
            }
            Opcode::Text | Opcode::Binary if goes_on => {
                return Err(Fault::Protocol("a message within another one"));
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong if is_alone => return Ok(()),
            Opcode::Continuation
            | Opcode::Text
            | Opcode::Binary
            | Opcode::Close
            | Opcode::Ping
            | Opcode::Pong => {}
        }
        if header.len > self.limits.message.saturating_sub(message.len) {
            return Err(Fault::TooLong("a message over websocket.message_max"));
        }
        if message.frames >= FRAMES_MAX {
            return Err(Fault::TooLong("a message of over 131072 frames"));
        }
        Ok(())
    }

    /// Looks at what has come of a text, if it is one and not done: what is wrong
    /// fails at once.
    fn look(&mut self, header: &Header, payload: &[u8]) -> Result<(), Fault> {
        let message = &mut self.message;
        let is_binary = header.opcode == Opcode::Binary || message.is_text == Some(false);
        if is_binary || header.packed || message.packed {
            return Ok(());
        }
        let mut room = [0; 512];
        while message.looked < payload.len() {
            let new = &payload[message.looked..];
            let room = &mut room[..new.len().min(512)];
            room.copy_from_slice(&new[..room.len()]);
            frame::apply(room, header.mask, message.looked);
            if !message.text.feed(room) {
                return Err(Fault::Text);
            }
            message.looked += room.len();
        }
        Ok(())
    }

    /// A frame of a message is whole; tells whether the message is. The text of one
    /// that is, is the server's to look at, which unmasks it anyway.
    fn data(&mut self, header: &Header, payload: &[u8]) -> Result<bool, Fault> {
        if !header.fin {
            self.look(header, payload)?;
            let is_text = header.opcode == Opcode::Text;
            self.message.is_text.get_or_insert(is_text);
            self.message.packed |= header.packed;
        }
        Ok(header.fin)
    }

    /// A control frame is whole; tells whether a unit ends with it.
    fn control(
        &mut self,
        header: &Header,
        payload: &[u8],
        pongs: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        if header.opcode == Opcode::Pong {
            return Ok(self.message.is_text.is_none());
        }
        let mut plain = [0; frame::CONTROL_MAX];
        let plain = &mut plain[..payload.len()];
        plain.copy_from_slice(payload);
        frame::apply(plain, header.mask, 0);
        if header.opcode == Opcode::Ping {
            frame::write(Opcode::Pong, plain, pongs);
            return Ok(self.message.is_text.is_none());
        }
        Code::read(plain)?;
        self.over = true;
        Ok(true)
    }
}

impl Cutter for MessageCutter {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        let (mut units, mut messages) = (0, 0);
        let (mut then, mut pongs) = (Then::Read, Vec::new());
        while !self.over {
            match self.unit(&bytes[units..], &mut pongs) {
                Ok(None) => break,
                Ok(Some(len)) => {
                    units += len;
                    messages += 1;
                }
                Err(fault) => {
                    then = Then::Refuse(fault.into());
                    break;
                }
            }
        }
        if self.over {
            // Passed on, to be thrown away: it is never kept.
            units = bytes.len();
        }
        Cut {
            units,
            messages,
            then,
            reply: (!pongs.is_empty()).then_some(pongs),
        }
    }

    fn first(&self, units: &[u8], count: usize) -> usize {
        let mut len = 0;
        let mut other = Self::new(self.limits, self.packing);
        for _ in 0..count {
            let unit = other.unit(&units[len..], &mut Vec::new());
            len += unit.ok().flatten().unwrap_or(0);
        }
        len
    }

    fn heartbeats(&self, units: &[u8]) -> usize {
        let (mut at, mut found) = (0, 0);
        let mut other = Self::new(self.limits, self.packing);
        while let Ok(Some(header)) = Header::read(&units[at..], usize::MAX, self.packing)
            && let Ok(Some(len)) = other.unit(&units[at..], &mut Vec::new())
        {
            found += usize::from(header.opcode.is_control());
            at += len;
            if other.over {
                break;
            }
        }
        found
    }

    fn is_idle(&self) -> bool {
        self.message.at == 0 && self.message.looked == 0 && !self.over
    }

    fn reset(&mut self) {
        self.message = Message::default();
        self.over = false;
    }
}
