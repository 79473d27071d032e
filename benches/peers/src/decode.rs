//! Frames out of bytes, for the peers that have no codec of their own.

use crate::frame::Layout;

/// A whole, intact frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Message id.
    pub(crate) id: u32,
    /// Number of the request, 0 where the format has none.
    pub(crate) sequence: u32,
    /// Body.
    pub(crate) body: &'a [u8],
    /// Bytes of the frame, header included.
    pub(crate) total: usize,
}

/// What the first bytes of a stream are.
pub(crate) enum Decoded<'a> {
    /// A frame, its checksum verified.
    Frame(Frame<'a>),
    /// The beginning of a frame, or nothing.
    Partial,
    /// No frame: an illegal length or a wrong checksum.
    Broken,
}

impl Layout {
    /// The preset of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Comm, Self::Rpc]
            .into_iter()
            .find(|layout| layout.name() == name)
    }

    /// Looks for a frame at the start of `bytes`.
    pub(crate) fn decode(self, bytes: &[u8]) -> Decoded<'_> {
        let Some((header, rest)) = bytes.split_at_checked(self.header()) else {
            return Decoded::Partial;
        };
        let Some(total) = self.total(header) else {
            return Decoded::Broken;
        };
        let Some(body) = rest.get(..total - self.header()) else {
            return Decoded::Partial;
        };
        let (id, sequence) = match self {
            Self::Comm => (u32::from(u16_at(header, 2)), 0),
            Self::Rpc => (u32_at(header, 4), u32_at(header, 8)),
        };
        // The checksum is the last field of both.
        if crc32fast::hash(body) != u32_at(header, self.header() - 4) {
            return Decoded::Broken;
        }
        Decoded::Frame(Frame {
            id,
            sequence,
            body,
            total,
        })
    }

    /// Bytes of the frame that begins with `header`; `None`: there is none.
    pub(crate) fn total(self, header: &[u8]) -> Option<usize> {
        let total = match self {
            Self::Comm => usize::from(u16_at(header, 0)),
            Self::Rpc => usize::try_from(u32_at(header, 0)).ok()? + self.header(),
        };
        (self.header()..=self.max())
            .contains(&total)
            .then_some(total)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
