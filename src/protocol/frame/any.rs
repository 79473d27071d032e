//! A format of either kind, for who is told at run time which one it is and
//! reads one frame after the other: clients.

use super::codec::{Coded, Message};
use super::custom::Custom;
use super::format::Format;
use super::layout::Layout;
use super::plain::encode;
use crate::protocol::{Refusal, Unsendable};
use std::borrow::Cow;

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub enum AnyFormat {
    /// Frames whose fields stand in fixed places.
    Plain(Layout),
    /// Any others.
    Coded(Coded),
}

impl From<Layout> for AnyFormat {
    fn from(layout: Layout) -> Self {
        Self::Plain(layout)
    }
}

impl From<Coded> for AnyFormat {
    fn from(codec: Coded) -> Self {
        Self::Coded(codec)
    }
}

impl AnyFormat {
    /// The format of a preset, if there is one of this name.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let layout = Layout::preset(name).map(Self::Plain);
        layout.or_else(|| {
            let custom = Custom::preset(name)?;
            Some(Self::Coded(Coded::of(custom)))
        })
    }

    /// The first frame of `bytes`, if all of it is there: its length, and what
    /// it says. Its checksum is right.
    ///
    /// # Errors
    ///
    /// What stands there can never be a frame: close the connection.
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Message<'a>)>, Refusal> {
        let layout = match self {
            Self::Plain(layout) => layout,
            Self::Coded(codec) => return codec.first(bytes),
        };
        let Some(frame) = layout.frame(bytes)? else {
            return Ok(None);
        };
        frame.verify()?;
        let message = Message {
            id: frame.id,
            sequence: frame.sequence,
            echo: None,
            body: Cow::Borrowed(frame.body),
        };
        Ok(Some((frame.total, message)))
    }

    /// Appends a frame.
    ///
    /// # Errors
    ///
    /// [`Unsendable`]; `out` is unchanged.
    pub fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        match self {
            Self::Plain(layout) => encode(layout, message.id, message.sequence, &message.body, out),
            Self::Coded(codec) => codec.append(message, out),
        }
    }

    /// Id of the heartbeat.
    #[must_use]
    pub fn heartbeat(&self) -> Option<u32> {
        match self {
            Self::Plain(layout) => layout.heartbeat,
            Self::Coded(codec) => codec.heartbeat(),
        }
    }

    /// Id of error frames.
    #[must_use]
    pub fn error_id(&self) -> Option<u32> {
        match self {
            Self::Plain(layout) => layout.error_id,
            Self::Coded(codec) => codec.error_id(),
        }
    }

    /// The largest number of a request; behind it they begin again.
    #[must_use]
    pub fn sequence_max(&self) -> u32 {
        match self {
            Self::Plain(layout) => {
                let field = layout.sequence.map_or(u64::MAX, |field| field.max());
                u32::try_from(field).unwrap_or(u32::MAX)
            }
            Self::Coded(codec) => codec.sequence_max(),
        }
    }

    /// Whether it is one of text: a body cannot be any bytes.
    #[must_use]
    pub fn is_text(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Coded(codec) => !codec.refuses_foreign(),
        }
    }

    /// Whether replies are told by their order, and not by their sequence.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::Plain(layout) => layout.sequence.is_none(),
            Self::Coded(codec) => codec.is_ordered(),
        }
    }
}
