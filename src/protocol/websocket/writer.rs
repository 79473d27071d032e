//! Writes the messages of a server, each in one frame, compressed where that was
//! agreed on and is worth it.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use super::deflate;
use super::frame::{self, Opcode};
use crate::scoreboard::{Counter, Row};

/// Where a worker counts, once there is one.
pub(super) type Counts = Arc<OnceLock<Row>>;

/// How messages go to peers who agreed on the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Option<Packing>);

/// How messages are compressed.
#[derive(Clone, Debug)]
pub(super) struct Packing {
    /// Bits of the window.
    pub(super) window: u8,
    /// Shorter messages are not.
    pub(super) min: usize,
    pub(super) counts: Counts,
}

/// Room for a compressed message longer than this is not kept.
const ROOM_MAX: usize = 64 * 1024;

thread_local! {
    /// Where this thread compresses.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Writer {
    /// Of a connection that agreed on `packing`.
    pub(super) const fn packing(packing: Packing) -> Self {
        Self(Some(packing))
    }

    /// Bits of the window for what it compresses, if it does.
    pub(super) fn window(&self) -> Option<u8> {
        self.0.as_ref().map(|packing| packing.window)
    }

    /// Whether it compresses.
    pub(super) const fn packs(&self) -> bool {
        self.0.is_some()
    }

    /// Where it counts what it compresses.
    pub(super) fn counts(&self) -> Option<&Counts> {
        self.0.as_ref().map(|packing| &packing.counts)
    }

    /// Appends a whole message.
    pub(super) fn write(&self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        match self.wanted(payload.len()) {
            Some(packing) if packing.write(opcode, payload, out) => {}
            Some(_) | None => frame::write(opcode, payload, out),
        }
    }

    /// Appends a whole message whose payload `f` appends. An error leaves `out` as
    /// it was.
    pub(super) fn write_with<T, E>(
        &self,
        opcode: Opcode,
        out: &mut Vec<u8>,
        f: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.0.is_none() {
            return frame::write_with(opcode, out, f);
        }
        let begin = out.len();
        let written = f(out);
        if written.is_err() {
            out.truncate(begin);
            return written;
        }
        let payload = out.split_off(begin);
        self.write(opcode, &payload, out);
        written
    }

    fn wanted(&self, len: usize) -> Option<&Packing> {
        self.0.as_ref().filter(|packing| len >= packing.min)
    }
}

impl Packing {
    /// Appends the message compressed; false: it would not be shorter.
    fn write(&self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let mut room = ROOM.take();
        room.clear();
        deflate::pack(self.window, payload, &mut room);
        // Who sets no minimum wants to see it on every message.
        let is_worth = room.len() < payload.len() || self.min == 0;
        if let Some(row) = self.counts.get() {
            row.count(Counter::WsDeflated);
            row.add(Counter::WsDeflatedFrom, payload.len() as u64);
            let sent = if is_worth { room.len() } else { payload.len() };
            row.add(Counter::WsDeflatedTo, sent as u64);
        }
        if is_worth {
            frame::write_packed(opcode, &room, out);
        }
        room.shrink_to(ROOM_MAX);
        ROOM.set(room);
        is_worth
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn writer(min: usize) -> (Writer, Counts) {
        let counts = Counts::default();
        let row = Row::alone().expect("memory");
        counts.set(row).expect("it is empty");
        let packing = Packing {
            window: 15,
            min,
            counts: Arc::clone(&counts),
        };
        (Writer::packing(packing), counts)
    }

    /// What a frame of less than 126 bytes, or of less than 64 KiB, carries.
    fn read(frame: &[u8]) -> (u8, Vec<u8>) {
        let payload = if frame[1] < 126 {
            &frame[2..]
        } else {
            &frame[4..]
        };
        if frame[0] & 0x40 == 0 {
            return (frame[0], payload.to_vec());
        }
        let mut out = Vec::new();
        deflate::unpack(payload, 1 << 20, &mut out).expect("it was packed");
        (frame[0], out)
    }

    #[test]
    fn only_what_is_long_enough_and_gets_shorter_is_compressed() {
        let noise: Vec<u8> = (0..600_u32)
            .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        for (min, payload, packed) in [
            (512, vec![b'a'; 511], false),
            (512, vec![b'a'; 512], true),
            (512, noise.clone(), false),
            (0, noise, true),
            (0, Vec::new(), true),
        ] {
            let (writer, counts) = writer(min);
            let (mut whole, mut with) = (Vec::new(), Vec::new());
            writer.write(Opcode::Binary, &payload, &mut whole);
            let written: Result<u8, ()> = writer.write_with(Opcode::Binary, &mut with, |out| {
                out.extend_from_slice(&payload);
                Ok(3)
            });
            assert_eq!(written, Ok(3));
            assert_eq!(whole, with);
            let first = if packed { 0xc2 } else { 0x82 };
            assert_eq!(read(&whole), (first, payload.clone()));
            let row = counts.get().unwrap();
            let tried = payload.len() >= min;
            assert_eq!(row.read(Counter::WsDeflated), if tried { 2 } else { 0 });
            let from = if tried { 2 * payload.len() as u64 } else { 0 };
            assert_eq!(row.read(Counter::WsDeflatedFrom), from);
        }
    }

    #[test]
    fn a_payload_that_cannot_be_written_leaves_nothing() {
        let (writer, _) = writer(0);
        let mut out = vec![1, 2];
        let refused: Result<(), u8> = writer.write_with(Opcode::Text, &mut out, |out| {
            out.push(3);
            Err(4)
        });
        assert_eq!((refused, out), (Err(4), vec![1, 2]));
    }
}
