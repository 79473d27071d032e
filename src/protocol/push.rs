//! Messages that answer no request, and why one cannot be written. Pure.

use std::fmt;

use super::Media;

/// Identifies an encoding, see [`Protocol::wire`](super::Protocol::wire).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Wire(pub u32);

/// A message that answers no request.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Message id; protocols without ids ignore it.
    pub id: u32,
    /// Body.
    pub body: &'a [u8],
    /// What it is, for protocols that say it.
    pub media: Media,
}

/// Why no legal message can say this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsendable {
    /// The body is longer than a message may be.
    TooLong {
        /// Bytes of the body.
        len: usize,
        /// Bytes that a body may have.
        max: usize,
    },
    /// The body is shorter than a message can be.
    TooShort {
        /// Bytes of the body.
        len: usize,
        /// Bytes that a body must have.
        min: usize,
    },
    /// The body is none that the format can carry: what it does, as in
    /// "contains the delimiter".
    Body(&'static str),
    /// The id does not fit into its field.
    NoSuchId {
        /// The id.
        id: u32,
        /// The largest that fits.
        max: u64,
    },
    /// The protocol has answers and nothing else.
    AnswersOnly,
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "body of {len} bytes is over the {max} that a message can carry"
                )
            }
            Self::TooShort { len, min } => {
                write!(
                    f,
                    "body of {len} bytes is below the {min} that a message must carry"
                )
            }
            Self::Body(why) => write!(f, "the body {why}"),
            Self::NoSuchId { id, max } => {
                write!(
                    f,
                    "message id {id} is over the {max} that the format can express"
                )
            }
            Self::AnswersOnly => f.write_str("the protocol has answers and no pushes"),
        }
    }
}

impl std::error::Error for Unsendable {}
