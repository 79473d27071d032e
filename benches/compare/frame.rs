//! The frames that clients and peers speak, written once more: a bench must
//! not trust the code that it measures.
//!
//! ```text
//! comm: | u16 length | u16 id | u32 crc32 | body       length counts everything
//! rpc:  | u32 length | u32 id | u32 sequence | u32 crc32 | body    only the body
//! ```
//!
//! Big-endian. The checksum covers the body. This file is also part of
//! `benches/peers`, which reads frames as well.

/// One of the two formats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Layout {
    /// 8 bytes of header, no sequence.
    Comm,
    /// 16 bytes of header; a reply copies the sequence.
    Rpc,
}

impl Layout {
    /// The name of the preset.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::Rpc => "rpc",
        }
    }

    /// Bytes before the body.
    pub(crate) const fn header(self) -> usize {
        match self {
            Self::Comm => 8,
            Self::Rpc => 16,
        }
    }

    /// Bytes of the largest legal frame, header included: purlin's defaults.
    pub(crate) const fn max(self) -> usize {
        match self {
            Self::Comm => 29_000,
            Self::Rpc => 16 * 1024 * 1024,
        }
    }

    /// Appends a frame.
    ///
    /// # Panics
    ///
    /// When it would be over [`Self::max`] or its id does not fit: only the
    /// bench's own constants and what was decoded come here.
    pub(crate) fn encode(self, id: u32, sequence: u32, body: &[u8], out: &mut Vec<u8>) {
        let total = self.header() + body.len();
        assert!(total <= self.max(), "{total} bytes are over the limit");
        match self {
            Self::Comm => {
                let length = u16::try_from(total).expect("the maximum fits 16 bits");
                let id = u16::try_from(id).expect("ids of this bench are small");
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&id.to_be_bytes());
            }
            Self::Rpc => {
                let length = u32::try_from(body.len()).expect("the maximum fits 32 bits");
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&sequence.to_be_bytes());
            }
        }
        out.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
        out.extend_from_slice(body);
    }
}
