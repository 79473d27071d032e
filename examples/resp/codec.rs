//! Redis' protocol (RESP2) as a codec: what it says is at
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! A frame is one value: an array of bulk strings from a client, anything from
//! the server. A line that begins with a letter is a command, too, for people
//! with telnet. The id is the command's place in [`COMMANDS`]; the body is the
//! frame itself.

use std::borrow::Cow;

use purlin::codec::{Codec, Message, Refusal, Unsendable};

/// The commands that have a handler, by their ids from 1 up.
pub(crate) const COMMANDS: [&str; 4] = ["PING", "ECHO", "GET", "SET"];

/// The format.
pub(crate) struct Resp;

impl Codec for Resp {
    fn cut(&self, bytes: &[u8], _: &mut usize) -> Result<Option<usize>, Refusal> {
        let mut at = 0;
        // Values that are still to come; an array brings more of them.
        let mut left = 1_u64;
        while left > 0 {
            let Some(line) = line(&bytes[at..])? else {
                return Ok(None);
            };
            at += line.len() + 2;
            left -= 1;
            match line.split_first() {
                Some((b'*', count)) => left += u64::from(number(count)?.unwrap_or(0)),
                Some((b'$', length)) => {
                    if let Some(length) = number(length)? {
                        let end = at + length as usize;
                        let ends = bytes.get(end..).unwrap_or_default();
                        if !b"\r\n".starts_with(&ends[..ends.len().min(2)]) {
                            return Err(Refusal::malformed("a bulk string without its end"));
                        }
                        at = end + 2;
                        if bytes.len() < at {
                            // The last value is as long as it says: a frame
                            // that is too long need not arrive.
                            return Ok((left == 0).then_some(at));
                        }
                    }
                }
                Some((b'+' | b'-' | b':', _)) => {}
                Some((first, _)) if first.is_ascii_alphabetic() && left == 0 => {}
                _ => return Err(Refusal::malformed("no value of RESP")),
            }
        }
        Ok(Some(at))
    }

    fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
        let name = arguments(frame).first().map(|name| id(name));
        Ok(Message {
            id: Some(name.unwrap_or(0)),
            body: Cow::Borrowed(frame),
            ..Message::default()
        })
    }

    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let whole = self.cut(&message.body, &mut 0);
        if !matches!(whole, Ok(Some(end)) if end == message.body.len()) {
            return Err(Unsendable::Body("is no value of RESP"));
        }
        out.extend_from_slice(&message.body);
        Ok(())
    }

    fn write_error(
        &self,
        _: &Message<'_>,
        _: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable> {
        let text = text.replace(['\r', '\n'], " ");
        out.extend(format!("-ERR {text}\r\n").bytes());
        Ok(true)
    }

    fn max(&self) -> usize {
        64 << 10
    }

    /// `GET key` is a command of ours.
    fn refuses_foreign(&self) -> bool {
        false
    }
}

/// The id of a command; 0 is none: what a reply has, and what nobody handles.
pub(crate) fn id(name: &[u8]) -> u32 {
    let mut known = (1..).zip(COMMANDS);
    let is_it = |(_, command): &(u32, &str)| name.eq_ignore_ascii_case(command.as_bytes());
    known.find(is_it).map_or(0, |(id, _)| id)
}

/// The first line, without its end.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\r') else {
        return Ok(None);
    };
    match bytes.get(end + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some(&bytes[..end])),
        Some(_) => Err(Refusal::malformed("a carriage return within a line")),
    }
}

/// A length; `None` is the -1 of what is not there.
fn number(digits: &[u8]) -> Result<Option<u32>, Refusal> {
    if digits == b"-1" {
        return Ok(None);
    }
    let is_short = (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_short);
    let number = text.and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Refusal::malformed("a length that is none, or over six digits"))
}

/// The words of a command.
pub(crate) fn arguments(frame: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let Some(Some(head)) = line(frame).ok() else {
        return parts;
    };
    let Some((b'*', _)) = head.split_first() else {
        parts.extend(
            head.split(|&byte| byte == b' ')
                .filter(|word| !word.is_empty()),
        );
        return parts;
    };
    let mut rest = &frame[head.len() + 2..];
    while let Ok(Some(head)) = line(rest) {
        rest = &rest[head.len() + 2..];
        if let Some((b'$', length)) = head.split_first()
            && let Ok(Some(length)) = number(length)
        {
            parts.push(&rest[..length as usize]);
            rest = &rest[length as usize + 2..];
        }
    }
    parts
}

/// Bytes as a bulk string; `None` as the null of RESP2.
pub(crate) fn bulk(bytes: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = bytes else {
        return b"$-1\r\n".to_vec();
    };
    let mut value = format!("${}\r\n", bytes.len()).into_bytes();
    value.extend_from_slice(bytes);
    value.extend(b"\r\n");
    value
}
