//! Server-sent events: a stream of text that browsers read with `EventSource`.
//!
//! ```text
//!   event: name LF  id: id LF  retry: ms LF  data: a line LF ... LF
//! ```
//!
//! The format is the one of the HTML standard, "Server-sent events".

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::channel::{StreamSender, Unsent};
use crate::body::Error;

/// One event.
///
/// ```
/// use purlin::web::Event;
///
/// let event = Event::new("two\nlines").named("news").id("7");
/// assert_eq!(event.to_string(), "event: news\nid: 7\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Event {
    /// The lines before the data.
    fields: String,
    /// The lines of the data, each with its end.
    data: String,
}

impl Event {
    /// Of this text, which may have several lines.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut data = String::new();
        // A line ends in CR LF, LF or CR; all arrive as LF.
        let text = text.as_ref().replace("\r\n", "\n");
        for line in text.split(['\n', '\r']) {
            data += "data: ";
            data += line;
            data.push('\n');
        }
        let fields = String::new();
        Self { fields, data }
    }

    /// Of a value as JSON.
    ///
    /// # Errors
    ///
    /// 500, when the value cannot be JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        Ok(Self::new(serde_json::to_string(value)?))
    }

    /// Names it: the browser gives it to the listeners of this name alone.
    ///
    /// # Panics
    ///
    /// When `name` has a line break, which would begin a field of its own.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.field("event", name)
    }

    /// Numbers it: a client that comes back says which it had last
    /// ([`Http::last_event_id`](super::Http::last_event_id)).
    ///
    /// # Panics
    ///
    /// When `id` has a line break or a zero byte.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        assert!(!id.contains('\0'), "the id of an event has a zero byte");
        self.field("id", id)
    }

    /// How long the client waits before it comes back, from now on.
    #[must_use]
    pub fn retry(self, after: Duration) -> Self {
        self.field("retry", &after.as_millis().to_string())
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        assert!(
            !value.contains(['\n', '\r']),
            "the {name} of an event has a line break"
        );
        self.fields += &format!("{name}: {value}\n");
        self
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.fields, self.data)
    }
}

impl From<&str> for Event {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Event {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Sends events to one client, from any thread. The stream ends when the last
/// of its senders is dropped; a browser comes back then, unless the page closed
/// its `EventSource`.
#[derive(Clone, Debug)]
pub struct EventSender(pub(super) StreamSender);

impl EventSender {
    /// Sends an event, or text as an event. Never waits.
    ///
    /// # Errors
    ///
    /// [`Unsent`]: the client reads too slowly, or is gone.
    pub fn send(&self, event: impl Into<Event>) -> Result<(), Unsent> {
        self.0.send(event.into().to_string())
    }

    /// Whether the client is gone. Signs of life find that out within two of
    /// them, if its end of the connection does not say so.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.is_gone()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_the_standard_has_them() {
        for (event, expected) in [
            (Event::from("x"), "data: x\n\n"),
            (Event::from(""), "data: \n\n"),
            (
                Event::new("a\r\nb\rc\n"),
                "data: a\ndata: b\ndata: c\ndata: \n\n",
            ),
            (
                Event::new("x").retry(Duration::from_secs(2)),
                "retry: 2000\ndata: x\n\n",
            ),
            (Event::json(&[1, 2]).unwrap(), "data: [1,2]\n\n"),
        ] {
            assert_eq!(event.to_string(), expected);
        }
    }

    #[test]
    fn names_cannot_begin_a_line_of_their_own() {
        for value in ["a\nb", "a\rb"] {
            assert!(std::panic::catch_unwind(|| Event::new("x").named(value)).is_err());
            assert!(std::panic::catch_unwind(|| Event::new("x").id(value)).is_err());
        }
        assert!(std::panic::catch_unwind(|| Event::new("x").id("a\0b")).is_err());
    }
}
