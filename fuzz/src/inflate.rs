//! A slow reading of RFC 1951, bit by bit, as RFC 7692 uses it; and compressed
//! messages over WebSocket through purlin, which must be what it reads, and what
//! purlin compresses must read as what it was.

use std::collections::HashMap;

use purlin::prelude::Bytes;
use purlin::protocol::http::Requests;
use purlin::protocol::websocket::{Limits, Origins, Sockets};
use purlin::protocol::{
    Answer, Budget, Dispatch, Lane, Listening, Media, Message, Out, Push, Route, Step, Successors,
    Turn, Units,
};

/// Bytes of a message.
const MOST: usize = 5000;

/// What a message is that was compressed.
#[derive(Debug, Eq, PartialEq)]
enum Inflated {
    /// This.
    Whole(Vec<u8>),
    /// More than may be, and perhaps wrong behind that.
    TooLong,
    /// Nothing that anybody compresses like this.
    Wrong,
}

/// Sends a message whose compressed payload is `packed`.
pub fn compare_inflate(packed: &[u8]) {
    let expected = inflate(packed).0;
    let found = serve(packed);
    let agree = match (&expected, &found) {
        (Inflated::Whole(expected), Ok(found)) => expected == found,
        (Inflated::Wrong, Err(code)) => *code == 1007,
        (Inflated::TooLong, Err(code)) => *code == 1009 || *code == 1007,
        _ => false,
    };
    assert!(
        agree,
        "{}: {found:?}, but {expected:?}",
        packed.escape_ascii()
    );
}

/// Has `payload` sent to a client with a window of `window` bits.
pub fn compare_deflate(window: u8, payload: &[u8]) {
    let limits = Limits { message: MOST };
    let sockets = Sockets::new(limits, Origins::default()).compressed(0);
    let push = Push {
        id: 0,
        body: payload,
        media: Media::Bytes,
    };
    let mut out = Vec::new();
    let protocol = sockets.raw("/", Some(window));
    protocol.push(push, &mut out).expect("anything can be sent");
    assert_eq!(out[0], 0xc2);
    let packed = match out[1] {
        126 => &out[4..],
        127 => &out[10..],
        _ => &out[2..],
    };
    let (inflated, farthest) = inflate(packed);
    assert_eq!(inflated, Inflated::Whole(payload.to_vec()));
    // Who asked for eight bits has nine.
    let most = if window == 9 { 256 } else { 1 << window };
    assert!(farthest <= most, "{farthest} with {window} bits");
}

/// The message, and how far it looked back.
fn inflate(packed: &[u8]) -> (Inflated, usize) {
    let mut reading = Reading {
        bytes: [packed, b"\x00\x00\xff\xff\x01\x00\x00\xff\xff"].concat(),
        at: 0,
        out: Vec::new(),
        farthest: 0,
    };
    let inflated = match reading.message() {
        _ if packed.is_empty() => Inflated::Whole(Vec::new()),
        Ok(()) => Inflated::Whole(reading.out),
        Err(wrong) => wrong,
    };
    (inflated, reading.farthest)
}

struct Reading {
    bytes: Vec<u8>,
    /// In bits.
    at: usize,
    out: Vec<u8>,
    farthest: usize,
}

/// Codes of a kind: length and bits of each, and what it stands for.
type Codes = HashMap<(usize, usize), usize>;

impl Reading {
    /// All blocks, of which the last stands at the very end.
    fn message(&mut self) -> Result<(), Inflated> {
        loop {
            let last = self.bits(1)? == 1;
            match self.bits(2)? {
                0 => self.stored()?,
                1 => self.fixed()?,
                2 => self.own()?,
                _ => return Err(Inflated::Wrong),
            }
            if last {
                self.at = self.at.next_multiple_of(8);
                if self.at == self.bytes.len() * 8 {
                    return Ok(());
                }
            }
        }
    }

    fn bits(&mut self, count: usize) -> Result<usize, Inflated> {
        let mut value = 0;
        for n in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(Inflated::Wrong)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << n;
            self.at += 1;
        }
        Ok(value)
    }

    fn put(&mut self, byte: u8) -> Result<(), Inflated> {
        if self.out.len() == MOST {
            return Err(Inflated::TooLong);
        }
        self.out.push(byte);
        Ok(())
    }

    fn stored(&mut self) -> Result<(), Inflated> {
        self.at = self.at.next_multiple_of(8);
        let (len, other) = (self.bits(16)?, self.bits(16)?);
        if len != !other & 0xffff {
            return Err(Inflated::Wrong);
        }
        for _ in 0..len {
            let byte = self.bits(8)?;
            self.put(byte as u8)?;
        }
        Ok(())
    }

    fn fixed(&mut self) -> Result<(), Inflated> {
        let len = |symbol: usize| match symbol {
            0..144 | 280..288 => 8,
            144..256 => 9,
            _ => 7,
        };
        let near: Vec<usize> = (0..288).map(len).collect();
        self.content(&codes(&near), &codes(&[5; 32]))
    }

    fn own(&mut self) -> Result<(), Inflated> {
        let (near, far, own) = (self.bits(5)? + 257, self.bits(5)? + 1, self.bits(4)? + 4);
        if near > 286 || far > 30 {
            return Err(Inflated::Wrong);
        }
        let order = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let mut of_lengths = [0; 19];
        for place in &order[..own] {
            of_lengths[*place] = self.bits(3)?;
        }
        if !is_code(&of_lengths, false) {
            return Err(Inflated::Wrong);
        }
        let of_lengths = codes(&of_lengths);
        let mut lengths = Vec::new();
        while lengths.len() < near + far {
            let (value, times) = match self.symbol(&of_lengths)? {
                16 => {
                    let last = *lengths.last().ok_or(Inflated::Wrong)?;
                    (last, 3 + self.bits(2)?)
                }
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                len => (len, 1),
            };
            lengths.extend(vec![value; times]);
        }
        if lengths.len() > near + far {
            return Err(Inflated::Wrong);
        }
        let (near, far) = lengths.split_at(near);
        if near[256] == 0 || !is_code(near, true) || !is_code(far, true) {
            return Err(Inflated::Wrong);
        }
        self.content(&codes(near), &codes(far))
    }

    fn symbol(&mut self, codes: &Codes) -> Result<usize, Inflated> {
        let mut code = 0;
        for len in 1..16 {
            code = code << 1 | self.bits(1)?;
            if let Some(symbol) = codes.get(&(len, code)) {
                return Ok(*symbol);
            }
        }
        Err(Inflated::Wrong)
    }

    fn content(&mut self, near: &Codes, far: &Codes) -> Result<(), Inflated> {
        loop {
            let symbol = self.symbol(near)?;
            let len = match symbol {
                0..256 => {
                    self.put(symbol as u8)?;
                    continue;
                }
                256 => return Ok(()),
                257..265 => symbol - 254,
                265..285 => {
                    let more = (symbol - 261) / 4;
                    (4 + (symbol - 261) % 4 << more) + 3 + self.bits(more)?
                }
                285 => 258,
                _ => return Err(Inflated::Wrong),
            };
            let symbol = self.symbol(far)?;
            let back = match symbol {
                0..4 => symbol + 1,
                4..30 => {
                    let more = symbol / 2 - 1;
                    (2 + symbol % 2 << more) + 1 + self.bits(more)?
                }
                _ => return Err(Inflated::Wrong),
            };
            if back > self.out.len() {
                return Err(Inflated::Wrong);
            }
            self.farthest = self.farthest.max(back);
            for _ in 0..len {
                let byte = self.out[self.out.len() - back];
                self.put(byte)?;
            }
        }
    }
}

/// Whether codes of these lengths leave nothing out and do not overlap. Some may be
/// left out where there is one code of one bit, or none: `few` allows both.
fn is_code(lengths: &[usize], few: bool) -> bool {
    let used = lengths.iter().filter(|len| **len > 0);
    let space: usize = used.clone().map(|len| 1 << (15 - len)).sum();
    let count = used.clone().count();
    space == 1 << 15 || count == 0 || (few && count == 1 && used.sum::<usize>() == 1)
}

/// The codes of RFC 1951, 3.2.2.
fn codes(lengths: &[usize]) -> Codes {
    let mut codes = Codes::new();
    let mut code = 0;
    for len in 1..16 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, one)| **one == len) {
            codes.insert((len, code), symbol);
            code += 1;
        }
        code <<= 1;
    }
    codes
}

/// What purlin makes of it: a message, or the code with which it closes.
fn serve(packed: &[u8]) -> Result<Vec<u8>, u16> {
    let limits = Limits { message: MOST };
    let sockets = Sockets::new(limits, Origins::default());
    let protocol = sockets.raw("/", Some(15));
    let (mut cutter, mut server) = protocol.open();
    let mut stream = vec![0xc2];
    match packed.len() {
        len @ 0..126 => stream.push(128 + len as u8),
        len => {
            stream.push(128 + 126);
            stream.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    stream.extend([0; 4]);
    stream.extend(packed);
    assert_eq!(cutter.cut(&stream).units, stream.len());
    let mut app = Takes::default();
    let mut turn = Turn {
        clients: &(),
        lane: Lane::Pool,
        out: Out::new(Vec::new(), &*protocol),
        app: &mut app,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    match server.serve(Units::shared(&Bytes::from(stream)), &mut turn) {
        (_, Step::Next) => Ok(app.0.expect("a message")),
        (_, Step::Refuse(refusal)) => {
            let code = refusal.answer[2..].try_into().expect("a close frame");
            Err(u16::from_be_bytes(code))
        }
        (_, step) => panic!("{step:?}"),
    }
}

/// Takes a message and answers nothing.
#[derive(Default)]
struct Takes(Option<Vec<u8>>);

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
        let Message::Binary(bytes) = message else {
            panic!("it was sent as bytes")
        };
        assert!(self.0.replace(bytes.to_vec()).is_none());
    }

    fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
}

impl Requests for Takes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_agree_on_the_examples_of_the_rfc() {
        for packed in [
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ] {
            assert_eq!(inflate(packed).0, Inflated::Whole(b"Hello".to_vec()));
            for len in 0..=packed.len() {
                compare_inflate(&packed[..len]);
            }
        }
    }

    #[test]
    fn what_is_compressed_reads_as_what_it_was() {
        for window in 9..16 {
            for len in [0, 1, 100, 3000] {
                let payload: Vec<u8> = (0..len).map(|n| (n % 97 * n % 13) as u8).collect();
                compare_deflate(window, &payload);
            }
        }
    }
}
