//! Messages that are compressed (RFC 7692): each a stream of its own (RFC 1951), so
//! that a connection needs no memory for it and a push has the same bytes for all.
//!
//! ```text
//! payload --deflate, flush--> bytes ... 00 00 ff ff
//!                             `-------' is what the frame carries
//! ```
//!
//! The compressor and the other one are their thread's: both cost far more than a
//! connection, and are used for one message at a time.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::fault::Fault;

/// Bits of the largest window, which is what a peer may always use.
pub(super) const WINDOW_MAX: u8 = 15;

/// Bits of the smallest window that the compressor has. It never looks back further
/// than that without the longest match, 262 bytes: less than 256, so that a peer with
/// a window of eight bits can read it as well.
pub(super) const WINDOW_MIN: u8 = 9;

/// What ends the bytes of a flush and is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What is read behind a message: its tail, and a last block without content, with
/// which it ends. One that does not has ended within a block.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// Of JSON, 4 KiB took 15 us and 64 KiB 130 us, into 19 and 17 %. Level 1 takes half
/// of that and a third to half more bytes; level 6 takes 20 us and 340 us, for a
/// tenth less at most.
const LEVEL: Compression = Compression::new(2);

/// Bytes by which room for what a message says grows at least and at most.
const STEP: (usize, usize) = (1024, 256 * 1024);

thread_local! {
    /// This thread's compressor for the largest window, and the one for another.
    static COMPRESS: RefCell<[Option<(u8, Compress)>; 2]> = const { RefCell::new([None, None]) };
    static DECOMPRESS: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// Appends `payload`, compressed for a window of `window` bits, 9 to 15.
pub(super) fn pack(window: u8, payload: &[u8], out: &mut Vec<u8>) {
    COMPRESS.with_borrow_mut(|kept| {
        let kept = &mut kept[usize::from(window < WINDOW_MAX)];
        kept.take_if(|(bits, _)| *bits != window);
        let new = || Compress::new_with_window_bits(LEVEL, false, window);
        let (_, compress) = kept.get_or_insert_with(|| (window, new()));
        compress.reset();
        let begin = out.len();
        // The longest that it gets, but for a flush in many pieces.
        out.reserve(payload.len() + payload.len() / 1000 + 64);
        loop {
            let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
            let status = compress.compress_vec(&payload[read..], out, FlushCompress::Sync);
            status.expect("what is given to a compressor has no errors");
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(STEP.0);
        }
        debug_assert!(out[begin..].ends_with(&TAIL), "it was flushed");
        out.truncate(out.len() - TAIL.len());
    });
}

/// Appends what `packed` was before it was compressed, at most `most` bytes.
///
/// # Errors
///
/// [`Fault::Packed`]: nobody compresses like this. [`Fault::TooLong`]: it is more;
/// `out` has grown by at most `most` bytes and one step.
pub(super) fn unpack(packed: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    DECOMPRESS.with_borrow_mut(|kept| {
        let decompress = kept.get_or_insert_with(|| Decompress::new(false));
        decompress.reset(false);
        let mut reading = Reading {
            decompress,
            begin: out.len(),
            most,
            before: 0,
        };
        if !packed.is_empty() {
            reading.feed(packed, out)?;
            if reading.feed(&END, out)? != Status::StreamEnd {
                return Err(Fault::Packed("a compressed message that is not whole"));
            }
        }
        Ok(())
    })
}

/// A message on its way out of its compression.
struct Reading<'a> {
    decompress: &'a mut Decompress,
    begin: usize,
    most: usize,
    /// Bytes that were read when the stream last began.
    before: u64,
}

impl Reading<'_> {
    /// Reads all of `bytes`; tells whether the stream ends with the last of them.
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<Status, Fault> {
        loop {
            self.make_room(bytes.len(), out)?;
            let flush = FlushDecompress::None;
            let status = self.decompress.decompress_vec(bytes, out, flush);
            let status =
                status.map_err(|_| Fault::Packed("a message that is compressed wrongly"))?;
            let read = self.decompress.total_in() - self.before;
            self.before += read;
            bytes = &bytes[usize::try_from(read).unwrap_or(bytes.len())..];
            if bytes.is_empty() && (status == Status::StreamEnd || out.len() < out.capacity()) {
                return self.bounded(out).map(|()| status);
            }
            if status == Status::StreamEnd {
                self.go_on(out)?;
            }
        }
    }

    /// A block said that it is the last one, and there are more (RFC 7692, 7.2.3.4):
    /// they may still repeat what stood before it.
    fn go_on(&mut self, out: &[u8]) -> Result<(), Fault> {
        self.decompress.reset(false);
        self.before = 0;
        let from = self.begin.max(out.len().saturating_sub(1 << WINDOW_MAX));
        if from < out.len() {
            let known = self.decompress.set_dictionary(&out[from..]);
            known.map_err(|_| Fault::Packed("a message that is compressed wrongly"))?;
        }
        Ok(())
    }

    /// Room for more, in steps: what is claimed costs nothing.
    fn make_room(&self, read: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.bounded(out)?;
        if out.len() == out.capacity() {
            let left = self.most - (out.len() - self.begin);
            let wanted = read.saturating_mul(4).max(out.len() - self.begin);
            out.reserve_exact(wanted.clamp(STEP.0, STEP.1).min(left + 1));
        }
        Ok(())
    }

    fn bounded(&self, out: &[u8]) -> Result<(), Fault> {
        if out.len() - self.begin > self.most {
            return Err(Fault::TooLong(
                "a message over websocket.message_max once it is not compressed",
            ));
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn packed(window: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        pack(window, payload, &mut out);
        out.split_off(6)
    }

    fn unpacked(packed: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        let mut out = b"before".to_vec();
        unpack(packed, most, &mut out)?;
        Ok(out.split_off(6))
    }

    /// Bytes that repeat after a while, and a few that do not.
    fn text(len: usize) -> Vec<u8> {
        let noise =
            |n: usize| u8::try_from(n.wrapping_mul(2_654_435_761) >> 13 & 0x3f).expect("six bits");
        (0..len).map(|n| noise(n % 700) ^ noise(n / 99)).collect()
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_was_before_it() {
        for len in [0, 1, 2, 100, 1023, 5000, 70_000, 1 << 20] {
            for window in [9, 15, 12] {
                let payload = text(len);
                let packed = packed(window, &payload);
                assert_eq!(unpacked(&packed, len).as_ref(), Ok(&payload), "{len}");
            }
        }
    }

    /// RFC 7692, 7.2.3.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (packed, text) in [
            (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], &b"Hello"[..]),
            (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
            (
                b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
                b"Hello",
            ),
            (b"\x00", b""),
            (b"\x02\x00", b""),
            (b"", b""),
        ] {
            assert_eq!(unpacked(packed, 5).as_deref(), Ok(text), "{packed:x?}");
        }
    }

    #[test]
    fn blocks_behind_a_last_one_may_repeat_what_stood_before_it() {
        let once = text(3000);
        let mut compress = Compress::new(LEVEL, false);
        let mut first = Vec::with_capacity(9000);
        let finish = FlushCompress::Finish;
        compress.compress_vec(&once, &mut first, finish).unwrap();
        let mut second = Compress::new(LEVEL, false);
        second.set_dictionary(&once).unwrap();
        let mut behind = Vec::with_capacity(9000);
        let sync = FlushCompress::Sync;
        second.compress_vec(&once, &mut behind, sync).unwrap();
        assert!(behind.len() < 100, "it repeats");
        behind.truncate(behind.len() - TAIL.len());
        let both = unpacked(&[first, behind].concat(), 6000);
        assert_eq!(both, Ok([&once[..], &once].concat()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let whole = packed(15, &text(500));
        for cut in 1..whole.len() {
            let read = unpacked(&whole[..cut], 5000);
            assert!(matches!(read, Err(Fault::Packed(_))), "{cut}: {read:?}");
        }
        for wrong in [&b"\x06"[..], b"\xff\xff", b"\x00\x05\x00\xfa\xfe\x48"] {
            assert!(matches!(unpacked(wrong, 500), Err(Fault::Packed(_))));
        }
    }

    /// Distances of all matches in the blocks with fixed or own codes: a reading of
    /// RFC 1951, bit by bit.
    fn distances(bytes: &[u8]) -> Vec<usize> {
        let mut bits = Bits { bytes, at: 0 };
        let mut found = Vec::new();
        while bits.at + 3 <= bytes.len() * 8 {
            let _last = bits.take(1);
            match bits.take(2) {
                0 if bits.at.div_ceil(8) + 4 > bytes.len() => break,
                0 => {
                    bits.at = bits.at.next_multiple_of(8);
                    let len = bits.take(16);
                    bits.at += 16 + len * 8;
                }
                1 => {
                    let mut literals = vec![8; 288];
                    literals[144..256].fill(9);
                    literals[256..280].fill(7);
                    bits.block(&literals, &[5; 30], &mut found);
                }
                2 => {
                    let (literals, far) = bits.codes();
                    bits.block(&literals, &far, &mut found);
                }
                _ => panic!("a kind of block that there is not"),
            }
        }
        found
    }

    struct Bits<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl Bits<'_> {
        fn take(&mut self, count: usize) -> usize {
            let mut value = 0;
            for n in 0..count {
                value |= usize::from(self.bytes[self.at / 8] >> (self.at % 8) & 1) << n;
                self.at += 1;
            }
            value
        }

        /// The symbol whose code, of these lengths, comes next.
        fn symbol(&mut self, lengths: &[usize]) -> usize {
            let (mut code, mut first) = (0, 0);
            for len in 1..16 {
                code |= self.take(1);
                let of_len = || (0..lengths.len()).filter(|n| lengths[*n] == len);
                if let Some(symbol) = of_len().nth(code - first) {
                    return symbol;
                }
                first = (first + of_len().count()) * 2;
                code *= 2;
            }
            panic!("a code that nothing has")
        }

        fn codes(&mut self) -> (Vec<usize>, Vec<usize>) {
            let order = [
                16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
            ];
            let (near, far, own) = (self.take(5) + 257, self.take(5) + 1, self.take(4) + 4);
            let mut of_lengths = [0; 19];
            for place in &order[..own] {
                of_lengths[*place] = self.take(3);
            }
            let mut lengths = Vec::new();
            while lengths.len() < near + far {
                match self.symbol(&of_lengths) {
                    16 => {
                        let last = lengths[lengths.len() - 1];
                        lengths.extend(vec![last; 3 + self.take(2)]);
                    }
                    17 => lengths.extend(vec![0; 3 + self.take(3)]),
                    18 => lengths.extend(vec![0; 11 + self.take(7)]),
                    len => lengths.push(len),
                }
            }
            let far = lengths.split_off(near);
            (lengths, far)
        }

        fn block(&mut self, literals: &[usize], far: &[usize], found: &mut Vec<usize>) {
            loop {
                match self.symbol(literals) {
                    256 => return,
                    0..256 => {}
                    symbol => {
                        let more = match symbol {
                            265..285 => (symbol - 261) / 4,
                            _ => 0,
                        };
                        self.take(more);
                        let symbol = self.symbol(far);
                        let more = (symbol / 2).saturating_sub(1);
                        let base = if symbol < 2 {
                            symbol
                        } else {
                            (2 + symbol % 2) << more
                        };
                        found.push(base + 1 + self.take(more));
                    }
                }
            }
        }
    }

    /// Who can look back 256 bytes may ask for a window of 8 bits, and gets one of 9.
    #[test]
    fn the_smallest_window_is_never_looked_back_over_256_bytes() {
        let mut far = 0;
        for len in [300, 5000, 70_000] {
            for period in [100, 249, 250, 255, 256, 257, 300, 500] {
                let payload: Vec<u8> = text(period).into_iter().cycle().take(len).collect();
                for payload in [payload, text(len)] {
                    let found = distances(&packed(WINDOW_MIN, &payload));
                    assert!(found.iter().all(|back| *back <= 256), "{len} {period}");
                    far = found.into_iter().max().unwrap_or(0).max(far);
                }
            }
        }
        assert!(far > 200, "{far}");
        // The largest looks as far as it may.
        let far = distances(&packed(WINDOW_MAX, &text(3000).repeat(20)));
        assert!(far.into_iter().max() > Some(2000));
    }

    #[test]
    fn a_bomb_is_read_up_to_its_limit_and_no_further() {
        let bomb = packed(15, &vec![b'0'; 64 << 20]);
        assert!(bomb.len() < 300_000);
        for most in [0, 100, 100_000, (64 << 20) - 1] {
            let mut out = Vec::new();
            let read = unpack(&bomb, most, &mut out);
            assert!(matches!(read, Err(Fault::TooLong(_))), "{most}");
            assert!(out.capacity() <= most + STEP.1, "{most}");
        }
        assert_eq!(unpacked(&bomb, 64 << 20).map(|all| all.len()), Ok(64 << 20));
    }
}
