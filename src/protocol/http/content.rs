//! The content of a response: bytes, parts of files, a stream. Plain data.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::source::Stream;
use crate::protocol::Media;

/// The content of a response.
#[derive(Debug, Default)]
pub enum Content {
    /// Nothing.
    #[default]
    None,
    /// These bytes.
    Bytes(Bytes, Media),
    /// This part of a file. It goes from the disk's cache to the socket and
    /// never into memory, however long it is. If the file turns out to be
    /// shorter, the connection is closed: its client has been told a length.
    File {
        /// The file.
        file: Arc<File>,
        /// First byte, and the one behind the last.
        range: Range<u64>,
    },
    /// These, in order: several ranges of a file, for example.
    Pieces(Vec<Piece>),
    /// What a source gives while it is sent.
    Stream(Stream),
}

/// A piece of a [`Content::Pieces`].
#[derive(Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// This part of a file, as [`Content::File`].
    File {
        /// The file.
        file: Arc<File>,
        /// First byte, and the one behind the last.
        range: Range<u64>,
    },
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }
}

/// Files and streams are never equal: nobody knows what is in them.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bytes(own, media), Self::Bytes(others, as_media)) => {
                own == others && media == as_media
            }
            (
                Self::None
                | Self::Bytes(..)
                | Self::File { .. }
                | Self::Pieces(_)
                | Self::Stream(_),
                _,
            ) => false,
        }
    }
}

impl Content {
    /// Bytes of it; `None` when only its end will tell.
    pub(super) fn len(&self) -> Option<u64> {
        Some(match self {
            Self::None => 0,
            Self::Bytes(bytes, _) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
            Self::Pieces(pieces) => pieces.iter().map(Piece::len).sum(),
            Self::Stream(_) => return None,
        })
    }

    /// What it is, if a field does not say it.
    pub(super) const fn media(&self) -> Option<Media> {
        match self {
            Self::None => None,
            Self::Bytes(_, media) => Some(*media),
            Self::File { .. } | Self::Pieces(_) => Some(Media::Bytes),
            Self::Stream(stream) => Some(stream.kind()),
        }
    }
}
