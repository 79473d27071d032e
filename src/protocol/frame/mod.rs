//! Frames: a header that says how long the message is, and a body.
//!
//! ```text
//!   Layout  where the fields are   --> Cutter   finds the last whole frame
//!     |                            --> Server   frame -> handler -> frame
//!     +--> presets, custom layouts --> codec    one frame to or from bytes
//! ```
//!
//! Server and client library share [`Layout`], [`encode`] and [`Frame`], so
//! there is one implementation of every format.

mod codec;
mod cutter;
mod layout;
mod server;

use std::sync::{Arc, Mutex};

pub use codec::{ErrorBody, Frame, encode};
pub use layout::{Counts, Endian, Field, Layout, LayoutError, Length};

use super::{Cutter, Protocol, Push, Server, Unsendable, Wire};

/// The protocol of a listener that speaks frames of one layout.
#[derive(Clone, Debug)]
pub struct Frames {
    layout: Arc<Layout>,
    wire: Wire,
    going_away: Option<u32>,
    /// Whether a heartbeat that nobody asked for is answered.
    echoes: bool,
}

impl Frames {
    /// Frames of `layout`.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let wire = wire(&layout);
        Self {
            layout: Arc::new(layout),
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
        self.push(Push { id, body: &[] }, &mut Vec::new())?;
        self.going_away = Some(id);
        Ok(self)
    }
}

/// The number of a layout: equal layouts have equal numbers, others never.
fn wire(layout: &Layout) -> Wire {
    static KNOWN: Mutex<Vec<Layout>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().expect("nothing under this lock panics");
    let at = known
        .iter()
        .position(|one| one == layout)
        .unwrap_or_else(|| {
            known.push(layout.clone());
            known.len() - 1
        });
    Wire(u32::try_from(at).expect("a process knows few layouts"))
}

impl Protocol for Frames {
    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(cutter::FrameCutter::new(Arc::clone(&self.layout)))
    }

    fn server(&self) -> Box<dyn Server> {
        let layout = Arc::clone(&self.layout);
        Box::new(server::FrameServer::new(
            layout,
            self.going_away,
            self.echoes,
        ))
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn push(&self, push: Push<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        encode(&self.layout, Some(push.id), 0, push.body, out)
    }

    fn warns(&self) -> bool {
        self.going_away.is_some()
    }

    /// Where the fields are. The limit is not among it: a connection may go on
    /// under another one.
    fn name(&self) -> Option<String> {
        let Layout {
            length,
            id,
            sequence,
            crc,
            header,
            ..
        } = &*self.layout;
        let fields = (length, id, sequence, crc, header);
        Some(format!("frames {fields:?}"))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
