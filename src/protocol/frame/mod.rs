//! Frames: a header that says how long the message is, and a body.
//!
//! ```text
//!   Layout  where the fields are  -+-> Format --> Cutter  finds the last whole frame
//!   Codec   a format in code      -+          --> Server  frame -> handler -> frame
//! ```
//!
//! Server and client library share the formats, so there is one implementation
//! of each.

mod any;
mod codec;
mod codecs;
mod custom;
mod cutter;
mod format;
mod layout;
mod plain;
mod server;
mod trial;

use std::sync::{Arc, Mutex};

pub use any::AnyFormat;
pub use codec::{Codec, Coded, Echo, Message, Whole};
pub use codecs::{Codecs, is_name};
pub use custom::{Bits, Checksum, Constant, Covers, Custom, End, Repeated, Trailer};
pub(super) use cutter::FrameCutter;
pub use format::{Format, Request};
pub use layout::{Counts, Endian, Field, Layout, LayoutError, Length};
pub use plain::{ErrorBody, Frame, encode};
pub(super) use server::FrameServer;
pub use trial::{Heard, every_cut};

use super::{Cutter, Media, Protocol, Push, Server, Unsendable, Wire};

/// The formats that have a name of their own.
pub const PRESETS: &[&str] = &[
    "comm", "zinx", "zinx-ltv", "rpc", "frame32", "len16", "len32", "line", "varint",
];

/// The protocol of a listener that speaks frames of one format.
#[derive(Clone, Debug)]
pub struct Frames<F = Layout> {
    format: Arc<F>,
    wire: Wire,
    going_away: Option<u32>,
    /// Whether a heartbeat that nobody asked for is answered.
    echoes: bool,
}

impl<F: Format> Frames<F> {
    /// Frames of `format`.
    #[must_use]
    pub fn new(format: F) -> Self {
        let wire = wire(format.key());
        Self {
            format: Arc::new(format),
            wire,
            going_away: None,
            echoes: true,
        }
    }

    /// The same, but a heartbeat that arrives is always the answer to one that
    /// was sent: it is not answered and reaches no handler.
    #[must_use]
    pub fn without_echo(self) -> Self {
        Self {
            echoes: false,
            ..self
        }
    }

    /// Sends an empty frame of this id to every peer when the worker begins to
    /// drain.
    ///
    /// # Errors
    ///
    /// [`Unsendable`] when the layout cannot express the id.
    pub fn going_away(mut self, id: u32) -> Result<Self, Unsendable> {
        let empty = Push {
            id,
            body: &[],
            media: Media::Bytes,
        };
        self.push(empty, &mut Vec::new())?;
        self.going_away = Some(id);
        Ok(self)
    }
}

/// The number of a format: equal keys have equal numbers, others never.
pub(super) fn wire(key: String) -> Wire {
    static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().expect("nothing under this lock panics");
    let at = known.iter().position(|one| *one == key);
    let at = at.unwrap_or_else(|| {
        known.push(key);
        known.len() - 1
    });
    Wire(u32::try_from(at).expect("a process knows few formats"))
}

impl<F: Format> Protocol for Frames<F> {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(cutter::FrameCutter::new(Arc::clone(&self.format)))
    }

    fn server(&self) -> Box<dyn Server> {
        let format = Arc::clone(&self.format);
        Box::new(server::FrameServer::new(
            format,
            self.going_away,
            self.echoes,
        ))
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        self.format.encode(Request::push(push.id), push.body, out)
    }

    fn warns(&self) -> bool {
        self.going_away.is_some()
    }

    fn name(&self) -> Option<String> {
        Some(self.format.name())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
