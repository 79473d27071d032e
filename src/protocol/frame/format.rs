//! What cutter and server ask of a frame format. A [`Layout`] answers in line,
//! so that the presets cost no call; what a layout cannot say is a
//! [`Coded`](super::Coded), behind a pointer, chosen once for a listener.

use std::fmt;

use super::layout::Layout;
use super::plain::{ErrorBody, Frame, encode};
use crate::protocol::{Out, Refusal, Units, Unsendable};

/// A frame format. Implemented here; a program's own is a
/// [`Codec`](super::Codec).
pub trait Format: fmt::Debug + Send + Sync + 'static {
    /// What the cutter remembers of a frame that is not whole.
    type Looked: Copy + Default + fmt::Debug + Send;
    /// What a reply repeats of its request beside id and sequence.
    type Echo: Copy + Default + fmt::Debug + Send;
    /// A whole frame.
    type Frame<'a>;

    /// Length of the first frame of `bytes`, if all of it is there.
    ///
    /// # Errors
    ///
    /// What stands there can never be a frame: close the connection.
    fn measure(&self, bytes: &[u8], looked: &mut Self::Looked) -> Result<Option<usize>, Refusal>;

    /// Whether nothing is remembered.
    fn is_at_start(looked: Self::Looked) -> bool;

    /// The first frame of `bytes`, if all of it is there.
    ///
    /// # Errors
    ///
    /// As [`Self::measure`].
    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<Self::Frame<'a>>, Refusal>;

    /// Its message id.
    fn id(frame: &Self::Frame<'_>) -> Option<u32>;

    /// Its length.
    fn total(frame: &Self::Frame<'_>) -> usize;

    /// What its reply needs to know of it.
    fn request(frame: &Self::Frame<'_>) -> Request<Self::Echo>;

    /// Compares its checksum with its body.
    ///
    /// # Errors
    ///
    /// They differ: the stream cannot be trusted any more; close it.
    fn verify(frame: &Self::Frame<'_>) -> Result<(), Refusal>;

    /// The body of a frame that begins at `at` of `units`.
    fn body<'b>(&self, frame: &'b Self::Frame<'_>, units: Units<'b>, at: usize) -> Units<'b>;

    /// Appends one frame.
    ///
    /// # Errors
    ///
    /// [`Unsendable`]; `out` is unchanged.
    fn encode(
        &self,
        to: Request<Self::Echo>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable>;

    /// Appends a reply. Where messages hold several, it may join those before it.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    #[inline(always)]
    fn reply(
        &self,
        to: Request<Self::Echo>,
        body: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Unsendable> {
        self.encode(to, body, &mut out.bytes)
    }

    /// Appends the answer to a request that failed; `false` when the format has
    /// no words for it.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    fn encode_error(
        &self,
        to: Request<Self::Echo>,
        code: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable>;

    /// Id that is answered with the same frame.
    fn heartbeat(&self) -> Option<u32>;

    /// Whether replies are told by their order.
    fn is_ordered(&self) -> bool;

    /// Whether a connection that begins like HTTP or TLS is none of this.
    fn refuses_foreign(&self) -> bool;

    /// Equal for formats of which one push becomes the same bytes, and for no
    /// others of this process.
    fn key(&self) -> String;

    /// Equal, in any process, where the same bytes are the same messages.
    fn name(&self) -> String;
}

/// What a reply needs to know of its request. For a push, an id and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Request<E> {
    /// Message id.
    pub id: Option<u32>,
    /// Its number, where the format has one.
    pub sequence: u32,
    /// What else the reply repeats.
    pub echo: E,
}

impl<E: Default> Request<E> {
    /// What goes out as a message that answers none.
    pub(in crate::protocol) fn push(id: u32) -> Self {
        Self {
            id: Some(id),
            sequence: 0,
            echo: E::default(),
        }
    }
}

impl Format for Layout {
    type Looked = ();
    type Echo = ();
    type Frame<'a> = Frame<'a>;

    #[inline(always)]
    fn measure(&self, bytes: &[u8], (): &mut ()) -> Result<Option<usize>, Refusal> {
        self.measure(bytes)
    }

    #[inline(always)]
    fn is_at_start((): ()) -> bool {
        true
    }

    #[inline(always)]
    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<Frame<'a>>, Refusal> {
        self.frame(bytes)
    }

    #[inline(always)]
    fn id(frame: &Frame<'_>) -> Option<u32> {
        frame.id
    }

    #[inline(always)]
    fn total(frame: &Frame<'_>) -> usize {
        frame.total
    }

    #[inline(always)]
    fn request(frame: &Frame<'_>) -> Request<()> {
        Request {
            id: frame.id,
            sequence: frame.sequence,
            echo: (),
        }
    }

    #[inline(always)]
    fn verify(frame: &Frame<'_>) -> Result<(), Refusal> {
        frame.verify()
    }

    #[inline(always)]
    fn body<'b>(&self, frame: &'b Frame<'_>, units: Units<'b>, at: usize) -> Units<'b> {
        units.slice(at + self.header..at + frame.total)
    }

    #[inline(always)]
    fn encode(&self, to: Request<()>, body: &[u8], out: &mut Vec<u8>) -> Result<(), Unsendable> {
        encode(self, to.id, to.sequence, body, out)
    }

    fn encode_error(
        &self,
        to: Request<()>,
        code: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unsendable> {
        let Some(error_id) = self.error_id else {
            return Ok(false);
        };
        let error = ErrorBody {
            request: to.id.unwrap_or(0),
            code,
            text,
        };
        let body = error.write(self.max_body());
        encode(self, Some(error_id), to.sequence, &body, out).map(|()| true)
    }

    #[inline(always)]
    fn heartbeat(&self) -> Option<u32> {
        self.heartbeat
    }

    #[inline(always)]
    fn is_ordered(&self) -> bool {
        self.sequence.is_none()
    }

    #[inline(always)]
    fn refuses_foreign(&self) -> bool {
        true
    }

    fn key(&self) -> String {
        format!("{self:?}")
    }

    /// Where the fields are. The limit is not among it: a connection may go on
    /// under another one.
    fn name(&self) -> String {
        let Self {
            length,
            id,
            sequence,
            crc,
            header,
            ..
        } = self;
        let fields = (length, id, sequence, crc, header);
        format!("frames {fields:?}")
    }
}
