//! A frame format of a program's own: [`Codec`], and what runs one.
//!
//! A codec is pure: it keeps nothing of a connection, so one value serves all of
//! them, on any thread. What a length may claim, panics and bytes that a failed
//! `write` left behind are not its business: [`Coded`] sees to them.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::custom::Custom;
use super::format::{Format, Request};
use super::layout::LayoutError;
use super::plain::ErrorBody;
use crate::protocol::{Refusal, Units, Unsendable};
use crate::scoreboard::Counter;

/// A frame format in code, for what no table of fields can say. Registered by
/// name: `app.codec("resp", Resp)`, then `frame = "resp"`.
///
/// ```
/// use std::borrow::Cow;
/// use purlin::codec::{Codec, Message, Refusal, Unsendable};
///
/// /// One byte of length, one of id, then the body.
/// struct Short;
///
/// impl Codec for Short {
///     fn cut(&self, bytes: &[u8], _: &mut usize) -> Result<Option<usize>, Refusal> {
///         Ok(bytes.first().map(|&length| 2 + usize::from(length)))
///     }
///
///     fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
///         let (id, body) = (Some(u32::from(frame[1])), Cow::Borrowed(&frame[2..]));
///         Ok(Message { id, body, ..Message::default() })
///     }
///
///     fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
///         let length = u8::try_from(message.body.len());
///         let length = length.map_err(|_| Unsendable::Body("is over 255 bytes"))?;
///         let id = message.id.and_then(|id| u8::try_from(id).ok());
///         out.extend([length, id.unwrap_or(0)]);
///         out.extend_from_slice(&message.body);
///         Ok(())
///     }
/// }
///
/// let app = purlin::App::<()>::new().codec("short", Short).on(1, |_, body: bytes::Bytes| body);
/// let server = purlin::Server::configured(app, &[("listener.0.frame", "short")])?;
/// # Ok::<(), purlin::SpawnError>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// Length of the first frame of `bytes`; `None` while that cannot be told,
    /// or not all of it is there. A length that goes beyond `bytes` is as good
    /// as `None`, and lets a frame that is too long be refused at once. Must
    /// find the same however a stream is cut, and must refuse nothing that more
    /// bytes could make right. Runs on the event loop.
    ///
    /// `looked` is 0 at the start of a frame, and after that what this function
    /// left there when it was given fewer of the same bytes: how far it has
    /// looked, so that a slow peer does not make it look twice. A codec that
    /// finds the end quickly leaves it alone.
    ///
    /// # Errors
    ///
    /// No frame begins like this: [`Refusal::malformed`].
    fn cut(&self, bytes: &[u8], looked: &mut usize) -> Result<Option<usize>, Refusal>;

    /// What a whole frame says.
    ///
    /// # Errors
    ///
    /// It says nothing: [`Refusal::malformed`]. The connection ends behind the
    /// messages before it.
    fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal>;

    /// Appends a frame that says this.
    ///
    /// # Errors
    ///
    /// [`Unsendable`] when none can. What was appended is taken away.
    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable>;

    /// Appends the answer to a request that failed; `Ok(false)` when the format
    /// has no words for it, so that the connection ends. Without a function of
    /// its own, a message with the id [`Self::error_id`] and an [`ErrorBody`].
    ///
    /// # Errors
    ///
    /// [`Unsendable`] when no frame can say this; the connection ends.
    fn write_error(
        &self,
        request: &Message<'_>,
        code: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable> {
        let Some(id) = self.error_id() else {
            return Ok(false);
        };
        let error = ErrorBody {
            request: request.id.unwrap_or(0),
            code,
            text,
        };
        let message = Message {
            id: Some(id),
            // A header takes less than the half.
            body: Cow::Owned(error.write(self.max() / 2)),
            ..*request
        };
        self.write(&message, out).map(|()| true)
    }

    /// Bytes of the largest frame; what is longer is refused.
    fn max(&self) -> usize {
        1 << 20
    }

    /// Id that is answered with the same message, and that the server sends to
    /// silent peers.
    fn heartbeat(&self) -> Option<u32> {
        None
    }

    /// Id of error frames; `None`: an error closes the connection.
    fn error_id(&self) -> Option<u32> {
        None
    }

    /// The largest [`Message::sequence`]: a client begins again behind it.
    fn sequence_max(&self) -> u32 {
        u32::MAX
    }

    /// Whether replies are told by their order: a request is served when the
    /// one before it is answered. `false`: by [`Message::sequence`].
    fn is_ordered(&self) -> bool {
        true
    }

    /// Whether a connection that begins like HTTP or TLS is told so and closed.
    /// A format of text may begin with `GET ` itself.
    fn refuses_foreign(&self) -> bool {
        true
    }
}

/// A message, as a codec reads and writes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message<'a> {
    /// Message id; `None` where the format has none: it goes to `otherwise`.
    pub id: Option<u32>,
    /// Number of the request, copied into its reply; 0 for pushes.
    pub sequence: u32,
    /// What a reply repeats of its request beside that; `None` in what answers
    /// no request.
    pub echo: Option<Echo>,
    /// The body.
    pub body: Cow<'a, [u8]>,
}

/// A few bytes that a reply repeats from its request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Echo {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Echo {
    /// So many bytes fit.
    pub const MAX: usize = 16;

    /// These bytes.
    ///
    /// # Panics
    ///
    /// When they are more than [`Self::MAX`]: the format needs another field.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut echo = Self::default();
        echo.bytes[..bytes.len()].copy_from_slice(bytes);
        echo.len = u8::try_from(bytes.len()).expect("the line above took at most 16");
        echo
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A codec under its name, as a listener speaks it.
#[derive(Clone)]
pub struct Coded {
    codec: Arc<dyn Codec>,
    name: String,
    /// Of no other codec of this process.
    key: String,
}

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coded({})", self.name)
    }
}

impl Coded {
    /// A codec of the program: `name` says so to another process that may go on
    /// with its connections.
    #[must_use]
    pub fn new(name: &str, codec: impl Codec) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self {
            codec: Arc::new(codec),
            name: format!("codec {name}"),
            // A number and nothing else: no order is needed.
            key: format!("codec {name} {}", NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// A layout of fields.
    ///
    /// # Errors
    ///
    /// [`LayoutError`]: no frame can look like this.
    pub fn custom(layout: Custom) -> Result<Self, LayoutError> {
        layout.check().map(|()| Self::of(layout))
    }

    /// A layout that was checked.
    pub(super) fn of(layout: Custom) -> Self {
        Self {
            name: layout.name(),
            key: format!("{layout:?}"),
            codec: Arc::new(layout),
        }
    }

    /// Length of the first frame of `bytes`, if all of it is there.
    fn length(&self, bytes: &[u8], looked: &mut usize) -> Result<Option<usize>, Refusal> {
        let max = self.codec.max();
        // What stands behind the longest frame must not decide about it, or a
        // refusal would depend on how much came at once.
        let seen = &bytes[..bytes.len().min(max)];
        match fenced(|| self.codec.cut(seen, looked))? {
            Some(0) => Err(Refusal::malformed("a frame of no bytes")),
            Some(total) if total > max => Err(too_long(total, max)),
            Some(total) if total <= bytes.len() => {
                *looked = 0;
                Ok(Some(total))
            }
            None if bytes.len() >= max => Err(too_long(bytes.len(), max)),
            Some(_) | None => Ok(None),
        }
    }

    /// The first frame of `bytes`, if all of it is there: its length, and what
    /// it says.
    ///
    /// # Errors
    ///
    /// What stands there can never be a frame: close the connection.
    pub(super) fn first<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<Option<(usize, Message<'a>)>, Refusal> {
        let Some(total) = self.length(bytes, &mut 0)? else {
            return Ok(None);
        };
        let message = fenced(|| self.codec.read(&bytes[..total]))?;
        Ok(Some((total, message)))
    }

    pub(super) fn error_id(&self) -> Option<u32> {
        self.codec.error_id()
    }

    pub(super) fn sequence_max(&self) -> u32 {
        self.codec.sequence_max()
    }

    /// Appends a frame; an error leaves `out` as it was.
    pub(super) fn append(
        &self,
        message: &Message<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        self.attempt(out, |out| self.codec.write(message, out))
    }

    fn attempt<T>(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<T, Unsendable>,
    ) -> Result<T, Unsendable> {
        let before = out.len();
        let panicked = Err(Unsendable::Body("made the codec panic"));
        let written = catch_unwind(AssertUnwindSafe(|| write(out))).unwrap_or(panicked);
        let written = written.and_then(|given| match out.len().saturating_sub(before) {
            len if len > self.codec.max() => {
                let max = self.codec.max();
                Err(Unsendable::TooLong { len, max })
            }
            _ => Ok(given),
        });
        if written.is_err() {
            out.truncate(before);
        }
        written
    }
}

/// Runs a codec's code. Its panic has been printed, and costs the connection
/// whose bytes it could not bear: the event loop serves others.
fn fenced<T>(code: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(code))
        .unwrap_or_else(|_| Err(Refusal::malformed("bytes that made the codec panic")))
}

#[cold]
fn too_long(total: usize, max: usize) -> Refusal {
    let detail = format!("frame of {total} bytes or more, the largest has {max}");
    Refusal {
        counter: Counter::TooLong,
        detail,
        answer: b"",
        about: Vec::new(),
    }
}

/// A whole frame of a codec.
#[derive(Debug)]
pub struct Whole<'a> {
    total: usize,
    id: Option<u32>,
    request: Request<Option<Echo>>,
    body: Body<'a>,
}

/// Where a body stands.
#[derive(Debug)]
enum Body<'a> {
    /// In its frame.
    Framed(&'a [u8]),
    /// The frame says it in other bytes.
    Decoded(Bytes),
}

impl Format for Coded {
    type Looked = usize;
    type Echo = Option<Echo>;
    type Frame<'a> = Whole<'a>;

    fn measure(&self, bytes: &[u8], looked: &mut usize) -> Result<Option<usize>, Refusal> {
        self.length(bytes, looked)
    }

    fn is_at_start(looked: usize) -> bool {
        looked == 0
    }

    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<Whole<'a>>, Refusal> {
        let Some((total, message)) = self.first(bytes)? else {
            return Ok(None);
        };
        Ok(Some(Whole {
            total,
            id: message.id,
            request: Request {
                id: message.id,
                sequence: message.sequence,
                echo: message.echo,
            },
            body: match message.body {
                Cow::Borrowed(body) => Body::Framed(body),
                Cow::Owned(body) => Body::Decoded(body.into()),
            },
        }))
    }

    fn id(frame: &Whole<'_>) -> Option<u32> {
        frame.id
    }

    fn total(frame: &Whole<'_>) -> usize {
        frame.total
    }

    fn request(frame: &Whole<'_>) -> Request<Option<Echo>> {
        frame.request
    }

    /// Reading was checking.
    fn verify(_: &Whole<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn body<'b>(&self, frame: &'b Whole<'_>, units: Units<'b>, at: usize) -> Units<'b> {
        match &frame.body {
            Body::Framed(body) => units.slice(at..at + frame.total).part(body),
            Body::Decoded(body) => Units::shared(body),
        }
    }

    fn encode(
        &self,
        to: Request<Option<Echo>>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        self.append(&to.message(body), out)
    }

    fn encode_error(
        &self,
        to: Request<Option<Echo>>,
        code: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable> {
        let request = to.message(&[]);
        self.attempt(out, |out| self.codec.write_error(&request, code, text, out))
    }

    fn heartbeat(&self) -> Option<u32> {
        self.codec.heartbeat()
    }

    fn is_ordered(&self) -> bool {
        self.codec.is_ordered()
    }

    fn refuses_foreign(&self) -> bool {
        self.codec.refuses_foreign()
    }

    fn key(&self) -> String {
        self.key.clone()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Request<Option<Echo>> {
    fn message(self, body: &[u8]) -> Message<'_> {
        let Self { id, sequence, echo } = self;
        Message {
            id,
            sequence,
            echo,
            body: Cow::Borrowed(body),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Bytes up to a dot; `!` cannot be borne.
    struct Dotted;

    impl Codec for Dotted {
        fn cut(&self, bytes: &[u8], looked: &mut usize) -> Result<Option<usize>, Refusal> {
            let from = std::mem::replace(looked, bytes.len());
            let at = bytes[from..].iter().position(|byte| *byte == b'.');
            Ok(at.map(|at| from + at + 1))
        }

        fn read<'a>(&self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
            let body = Cow::Owned(frame[..frame.len() - 1].to_ascii_uppercase());
            Ok(Message {
                body,
                ..Message::default()
            })
        }

        fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
            out.extend_from_slice(&message.body);
            assert_ne!(*message.body, *b"!", "a codec with a fault");
            if message.body.contains(&b'.') {
                return Err(Unsendable::Body("has a dot in it"));
            }
            out.push(b'.');
            Ok(())
        }

        fn max(&self) -> usize {
            8
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let codec = Coded::new("dotted", Dotted);
        let mut out = b"before".to_vec();
        for (body, error) in [
            (&b"a.b"[..], Unsendable::Body("has a dot in it")),
            (b"!", Unsendable::Body("made the codec panic")),
            (b"12345678", Unsendable::TooLong { len: 9, max: 8 }),
        ] {
            let message = Message {
                body: Cow::Borrowed(body),
                ..Message::default()
            };
            assert_eq!(codec.append(&message, &mut out), Err(error));
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_however_it_comes() {
        let codec = Coded::new("dotted", Dotted);
        let whole = codec.first(b"1234567.rest").unwrap().unwrap();
        assert_eq!((whole.0, &*whole.1.body), (8, &b"1234567"[..]));
        for bytes in [&b"12345678"[..], b"12345678.", b"123456789."] {
            let refusal = codec.first(bytes).unwrap_err();
            assert_eq!(refusal.counter, Counter::TooLong, "{bytes:?}");
        }
        assert!(matches!(codec.first(b"1234567"), Ok(None)));
    }

    #[test]
    fn how_far_a_codec_has_looked_is_kept_until_its_frame_is_whole() {
        let codec = Coded::new("dotted", Dotted);
        let mut looked = 0;
        assert!(matches!(codec.measure(b"12", &mut looked), Ok(None)));
        assert_eq!(looked, 2);
        assert!(matches!(codec.measure(b"12.", &mut looked), Ok(Some(3))));
        assert_eq!(looked, 0);
    }

    #[test]
    fn two_codecs_are_two_wires_and_one_is_one() {
        let (one, other) = (Coded::new("dotted", Dotted), Coded::new("dotted", Dotted));
        assert_eq!(one.key(), one.clone().key());
        assert_ne!(one.key(), other.key());
        assert_eq!(Format::name(&one), Format::name(&other));
    }
}
