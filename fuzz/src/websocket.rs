//! A stream of WebSocket frames through purlin's cutter and server in random pieces,
//! and through a reading of RFC 6455 byte by byte: both must find the same messages,
//! the same pongs and the same end.

use purlin::prelude::Bytes;
use purlin::protocol::http::Requests;
use purlin::protocol::websocket::{Limits, Origins, Sockets};
use purlin::protocol::{
    Answer, Budget, Dispatch, Event, Lane, Listening, Message, Out, Route, Step, Successors, Then,
    Turn, Units,
};

/// Bytes of a message.
const MOST: usize = 400;

/// What a stream means.
#[derive(Debug, Default, Eq, PartialEq)]
struct Meaning {
    messages: Vec<Message>,
    pongs: Vec<Vec<u8>>,
    /// The payload of the close frame that ends it.
    end: Option<Vec<u8>>,
}

/// Compares the two, with pieces chosen by `seed`.
pub fn compare_websocket(seed: u64, stream: &[u8]) {
    let expected = read(stream);
    let mut found = serve(seed, stream);
    // A ping behind a text that is wrong may be answered before that is served.
    if expected.end.as_deref() == Some(&1007_u16.to_be_bytes()) {
        found.pongs.truncate(expected.pongs.len());
    }
    assert_eq!(found, expected, "{}, seed {seed}", stream.escape_ascii());
}

/// Why the reading stops: for want of bytes, or with this close frame.
type Stop = Option<Vec<u8>>;

fn refused<T>(code: u16) -> Result<T, Stop> {
    Err(Some(code.to_be_bytes().to_vec()))
}

/// The message under way.
#[derive(Default)]
struct Under {
    text: Option<bool>,
    content: Vec<u8>,
    control: usize,
}

fn read(stream: &[u8]) -> Meaning {
    let mut meaning = Meaning::default();
    let (mut at, mut under) = (0, Under::default());
    loop {
        match frame(&stream[at..], &mut under, &mut meaning) {
            Ok(len) => at += len,
            Err(end) => {
                meaning.end = end;
                return meaning;
            }
        }
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Stop> {
    bytes.get(at).copied().ok_or(None)
}

fn number(bytes: &[u8], from: usize, len: usize) -> Result<u64, Stop> {
    let mut sum = 0;
    for at in from..from + len {
        sum = sum << 8 | u64::from(byte(bytes, at)?);
    }
    Ok(sum)
}

fn frame(bytes: &[u8], under: &mut Under, meaning: &mut Meaning) -> Result<usize, Stop> {
    let first = byte(bytes, 0)?;
    let (fin, opcode) = (first >= 128, first % 16);
    let control = opcode >= 8;
    if first / 16 % 8 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (control && !fin) {
        return refused(1002);
    }
    let second = byte(bytes, 1)?;
    if second < 128 || (control && second > 128 + 125) {
        return refused(1002);
    }
    let (len, behind) = match second - 128 {
        126 => (number(bytes, 2, 2)?, 4),
        127 => (number(bytes, 2, 8)?, 10),
        len => (u64::from(len), 2),
    };
    let least = [(4, 126), (10, 65_536)]
        .iter()
        .find(|(at, _)| *at == behind)
        .map_or(0, |one| one.1);
    if len < least || len >= 1 << 63 {
        return refused(1002);
    }
    let room = (MOST - under.content.len().min(MOST)).saturating_sub(under.control) as u64;
    if !control && len > room {
        return refused(1009);
    }
    let mut mask = [0; 4];
    for (n, mask) in mask.iter_mut().enumerate() {
        *mask = byte(bytes, behind + n)?;
    }
    if !control && (opcode == 0) != under.text.is_some() {
        return refused(1002);
    }
    if control && under.text.is_some() && len > room {
        return refused(1009);
    }
    let len = len as usize;
    let from = behind + 4;
    let there = &bytes[from..bytes.len().min(from + len)];
    let plain: Vec<u8> = there
        .iter()
        .enumerate()
        .map(|(n, byte)| byte ^ mask[n % 4])
        .collect();
    let whole = plain.len() == len;
    if control {
        if !whole {
            return Err(None);
        }
        under.control += if under.text.is_some() { len } else { 0 };
        match opcode {
            8 => return Err(Some(close(&plain)?)),
            9 => meaning.pongs.push(plain),
            _ => {}
        }
        return Ok(from + len);
    }
    let text = *under.text.get_or_insert(opcode == 1);
    let mut content = under.content.clone();
    content.extend(plain);
    let wrong = match std::str::from_utf8(&content) {
        Ok(_) => false,
        Err(error) => error.error_len().is_some() || (whole && fin),
    };
    if text && wrong {
        return refused(1007);
    }
    if !whole {
        return Err(None);
    }
    under.content = content;
    if fin {
        let content = std::mem::take(under).content;
        meaning.messages.push(if text {
            Message::Text(String::from_utf8(content).expect("it was looked at"))
        } else {
            Message::Binary(content.into())
        });
    }
    Ok(from + len)
}

/// The close frame that answers one with this payload.
fn close(payload: &[u8]) -> Result<Vec<u8>, Stop> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    if payload.len() == 1 {
        return refused(1002);
    }
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return refused(1002);
    }
    if std::str::from_utf8(&payload[2..]).is_err() {
        return refused(1007);
    }
    Ok(payload[..2].to_vec())
}

/// What purlin makes of it.
fn serve(mut seed: u64, stream: &[u8]) -> Meaning {
    let sockets = Sockets::new(Limits { message: MOST }, Origins::default());
    let protocol = sockets.raw("/", None);
    let (mut cutter, mut server) = protocol.open();
    let mut app = Takes::default();
    let (mut pongs, mut out) = (Vec::new(), Vec::new());
    let (mut at, mut end, mut over) = (0, 0, false);
    while end < stream.len() && !over {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        end = stream.len().min(end + 1 + (seed >> 33) as usize % 40);
        let cut = cutter.cut(&stream[at..end]);
        pongs.extend(cut.reply.unwrap_or_default());
        let units = Bytes::copy_from_slice(&stream[at..at + cut.units]);
        at += cut.units;
        let mut turn = Turn {
            clients: &(),
            lane: Lane::Pool,
            out: Out::new(Vec::new(), &*protocol),
            app: &mut app,
            budget: &mut Budget::unlimited(),
            room: usize::MAX,
        };
        let (done, mut step) = server.serve(Units::shared(&units), &mut turn);
        assert_eq!(done, units.len());
        assert!(turn.budget.messages() <= cut.messages);
        if let (Then::Refuse(refusal), Step::Next) = (cut.then, &step) {
            step = server.event(Event::Refused(refusal), &mut turn);
        }
        out.extend_from_slice(&turn.out.bytes);
        if let Step::Refuse(refusal) = &step {
            out.extend_from_slice(refusal.answer);
        }
        over = step != Step::Next;
    }
    Meaning {
        messages: app.0,
        pongs: payloads(&pongs, 0x8a),
        end: payloads(&out, 0x88).pop().filter(|_| over),
    }
}

/// The payloads of short frames that all begin with `first`.
fn payloads(mut frames: &[u8], first: u8) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let [head, len, rest @ ..] = frames {
        assert_eq!(*head, first);
        let (payload, behind) = rest.split_at(usize::from(*len));
        found.push(payload.to_vec());
        frames = behind;
    }
    found
}

/// Takes messages and answers none.
#[derive(Default)]
struct Takes(Vec<Message>);

impl Dispatch for Takes {
    fn inline(&self, _: Route) -> bool {
        true
    }

    fn call(&mut self, _: Route, _: Units<'_>, _: &mut Out<'_>, _: &mut Answer) {}

    fn opened(&mut self, _: &mut Out<'_>) {}

    fn messages_at(&self, _: &str) -> Option<Listening> {
        Some(Listening {
            number: 0,
            inline: true,
        })
    }

    fn message(&mut self, _: u32, message: Message, _: &mut Out<'_>, _: &mut Answer) {
        self.0.push(message);
    }

    fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
}

impl Requests for Takes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_agree_on_frames_of_every_kind() {
        let frame = |first: u8, payload: &[u8]| {
            let mut frame = vec![first, 128 + payload.len() as u8, 0, 0, 0, 0];
            frame.extend_from_slice(payload);
            frame
        };
        let ends: [&[u8]; 5] = [b"", b"\x03\xe8", b"\x03", b"\x03\xe8\xff", b"\x03\xed"];
        for end in ends {
            let parts = [
                frame(0x81, "häß".as_bytes()),
                frame(0x01, b"\xc3"),
                frame(0x89, b"p"),
                frame(0x80, b"\xa4"),
                frame(0x82, b"\xff"),
                frame(0x88, end),
                frame(0x81, b"no"),
            ];
            for seed in 0..200 {
                compare_websocket(seed, &parts.concat());
            }
        }
    }
}
