//! The `comm` frame, written once more: the bench must not trust the code that
//! it measures.
//!
//! ```text
//! 0        2        4                 8
//! +--------+--------+-----------------+-------~~~-------+
//! | length |   id   |      crc32      |      body       |
//! +--------+--------+-----------------+-------~~~-------+
//! ```
//!
//! Big-endian. `length` counts the header too, `crc32` covers the body.

/// Bytes before the body.
pub(crate) const HEADER_LEN: usize = 8;

/// The largest legal frame, header included.
pub(crate) const MAX_LEN: usize = 29_000;

/// Appends a frame.
///
/// # Panics
///
/// When the frame would be over [`MAX_LEN`]: only the bench's own constants
/// and the bodies of legal frames come here.
pub(crate) fn encode(id: u16, body: &[u8], out: &mut Vec<u8>) {
    let length = HEADER_LEN + body.len();
    assert!(
        length <= MAX_LEN,
        "frame of {length} bytes is over the limit"
    );
    let length = u16::try_from(length).expect("MAX_LEN fits 16 bits");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    out.extend_from_slice(body);
}

/// What the first bytes of a stream are.
pub(crate) enum Decoded<'a> {
    /// A whole, intact frame.
    Frame {
        /// Message id.
        id: u16,
        /// Body.
        body: &'a [u8],
    },
    /// The beginning of a frame, or nothing.
    Partial,
    /// No frame: an illegal length or a wrong checksum.
    Broken,
}

/// Looks for a frame at the start of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Decoded<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Decoded::Partial;
    };
    let [l0, l1, i0, i1, c0, c1, c2, c3] = *header;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if !(HEADER_LEN..=MAX_LEN).contains(&length) {
        return Decoded::Broken;
    }
    let Some(body) = rest.get(..length - HEADER_LEN) else {
        return Decoded::Partial;
    };
    if crc32fast::hash(body) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Decoded::Broken;
    }
    Decoded::Frame {
        id: u16::from_be_bytes([i0, i1]),
        body,
    }
}
