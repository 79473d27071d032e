//! Uploads of forms: the parts of a `multipart/form-data` body, one by one.
//!
//! ```text
//!   Spooled (memory or a file) --32 KiB--> parser --> Part: name, file name, bytes
//! ```
//!
//! The whole body is there before its handler runs, so nothing here waits for a
//! client. Memory is bounded by a piece of the body, whatever its parts are. On
//! business threads.

use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use multra::{Constraints, Field, SizeLimit};

use crate::body::{Error, Spooled};

/// Parts of a form.
const PARTS_MAX: usize = 1000;

/// Bytes of the fields above a part.
const HEADERS_MAX: u64 = 8 * 1024;

/// Bytes that are read at once.
const PIECE: usize = 32 * 1024;

/// The parts of a form that was uploaded, in the order in which they were sent:
/// at most 1,000, with at most 8 KiB of fields each.
///
/// ```
/// use purlin::{body::Spooled, prelude::*};
///
/// let web = Web::<()>::new()
///     .post("/upload", |c, body: Spooled| {
///         let mut form = c.multipart(body)?;
///         let mut said = String::new();
///         while let Some(mut part) = form.next_part()? {
///             let name = part.name().unwrap_or("?").to_owned();
///             let bytes = match part.file_name() {
///                 // Whatever it is called there, it is no path here.
///                 Some(_) => part.copy_to(&mut std::io::sink())?,
///                 None => part.text(1000)?.len() as u64,
///             };
///             said += &format!("{name}: {bytes}\n");
///         }
///         Ok::<_, Error>(said)
///     })
///     .body_max(1 << 30);
/// let mut test = App::<()>::new().web(web).test();
/// let fields = [("Content-Type", "multipart/form-data; boundary=x")];
/// let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n--x--\r\n";
/// assert_eq!(test.http_with("POST", "/upload", &fields, body).text(), "a: 5\n");
/// assert_eq!(test.http("POST", "/upload", body).status, 415);
/// ```
pub struct Multipart {
    parts: multra::Multipart<'static>,
    /// The part that is read: the next one is there when this is dropped.
    field: Option<Field<'static>>,
}

impl Multipart {
    /// The parts of `body`, by what the request says of it.
    pub(super) fn new(content_type: Option<&str>, body: Spooled) -> Result<Self, Error> {
        let content_type = content_type.unwrap_or_default();
        let boundary = multra::parse_boundary(content_type).map_err(|error| refuse(&error))?;
        let limits = SizeLimit::new().headers(HEADERS_MAX);
        let constraints = Constraints::new().size_limit(limits).max_fields(PARTS_MAX);
        let parts = multra::Multipart::try_with_constraints(Pieces(body), boundary, constraints);
        Ok(Self {
            parts: parts.map_err(|error| refuse(&error))?,
            field: None,
        })
    }

    /// The next part; what was not read of the one before is skipped.
    ///
    /// # Errors
    ///
    /// 400 when this is no form, or ends too early; 413 when it has too many
    /// parts or too many fields; 500 when the disk fails. Pass it on by `?`.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, Error> {
        self.field = None;
        let field = drive(|cx| self.parts.poll_next_field(cx));
        self.field = field.map_err(|error| refuse(&error))?;
        Ok(self.field.as_mut().map(Part))
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Multipart")
    }
}

/// A part of a form: an input, or a file.
pub struct Part<'a>(&'a mut Field<'static>);

impl Part<'_> {
    /// What the form calls it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// What the file is called on the client's disk, if it is a file. Anything:
    /// never open a path that is made of it.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.0.file_name()
    }

    /// The `Content-Type` of the part: what the client takes it for.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type().map(AsRef::as_ref)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Multipart::next_part`].
    pub fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = drive(|cx| Pin::new(&mut *self.0).poll_next(cx));
        piece.transpose().map_err(|error| refuse(&error))
    }

    /// Writes what is left of it to `to`, such as a file; tells how many bytes
    /// that were.
    ///
    /// # Errors
    ///
    /// As [`Multipart::next_part`], and 500 when `to` fails.
    pub fn copy_to(&mut self, to: &mut (impl Write + ?Sized)) -> Result<u64, Error> {
        let mut len = 0;
        while let Some(piece) = self.piece()? {
            to.write_all(&piece)?;
            len += piece.len() as u64;
        }
        Ok(len)
    }

    /// What is left of it, in memory.
    ///
    /// # Errors
    ///
    /// 413 when that is more than `max` bytes, and as [`Multipart::next_part`].
    pub fn bytes(&mut self, max: usize) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece()? {
            if bytes.len() + piece.len() > max {
                let name = self.name().unwrap_or_default();
                let text = format!("the part `{name}` has more than {max} bytes");
                return Err(Error::new(413, text));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }

    /// As [`Self::bytes`], as text in UTF-8, which is what browsers send.
    ///
    /// # Errors
    ///
    /// 400 when it is none, and as [`Self::bytes`].
    pub fn text(&mut self, max: usize) -> Result<String, Error> {
        let bytes = self.bytes(max)?;
        String::from_utf8(bytes.into()).map_err(|_| {
            let name = self.name().unwrap_or_default();
            Error::new(400, format!("the part `{name}` is no UTF-8"))
        })
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?})", self.name())
    }
}

/// The body, in pieces that are always there.
struct Pieces(Spooled);

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut piece = vec![0; PIECE];
        Poll::Ready(loop {
            match self.0.read(&mut piece) {
                Ok(0) => break None,
                Ok(len) => {
                    piece.truncate(len);
                    break Some(Ok(piece.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(Err(error)),
            }
        })
    }
}

/// Asks until there is an answer. Each question reads a piece of the body, and
/// behind its end the answer is there.
fn drive<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = poll(&mut cx) {
            return answer;
        }
    }
}

/// What the client is told.
fn refuse(error: &multra::Error) -> Error {
    use multra::Error as Why;
    let code = match error {
        Why::NoMultipart | Why::DecodeContentType(_) => 415,
        Why::FieldCountExceeded { .. }
        | Why::HeadersSizeExceeded { .. }
        | Why::FieldSizeExceeded { .. }
        | Why::StreamSizeExceeded { .. }
        | Why::PreambleSizeExceeded { .. }
        | Why::BoundaryPaddingSizeExceeded { .. } => 413,
        Why::StreamReadFailed(_) | Why::LockFailure => 500,
        Why::UnknownField { .. }
        | Why::IncompleteFieldData { .. }
        | Why::IncompleteHeaders
        | Why::ReadHeaderFailed(_)
        | Why::DecodeHeaderName { .. }
        | Why::DecodeHeaderValue { .. }
        | Why::IncompleteStream
        | Why::NoBoundary
        | Why::InvalidBoundary { .. }
        | _ => 400,
    };
    if code == 500 {
        return Error::internal(error);
    }
    Error::new(code, error.to_string())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::body::{FromBody, Raw};

    const TYPE: &str = "multipart/form-data; boundary=\"xyz\"";

    fn open(content_type: &str, body: &str) -> Result<Multipart, Error> {
        let body = Spooled::from_body(Raw::borrowed(body.as_bytes()))?;
        Multipart::new(Some(content_type), body)
    }

    fn part(name: &str, more: &str, content: &str) -> String {
        format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{content}\r\n"
        )
    }

    /// Reads all parts; the code of the error that came instead.
    fn code(content_type: &str, body: &str) -> Option<u16> {
        let read = || {
            let mut form = open(content_type, body)?;
            while let Some(mut part) = form.next_part()? {
                part.text(100_000)?;
            }
            Ok::<_, Error>(())
        };
        read().err().map(|error| error.code)
    }

    #[test]
    fn parts_come_in_order_with_what_is_said_of_them() {
        let long = "l".repeat(100_000);
        let body = [
            part("a", "", "hello"),
            part("skipped", "; filename=\"s\"", &long),
            part("f", "; filename=\"../x\"\r\nContent-Type: image/png", &long),
            part("empty", "", ""),
            part("nearly", "", "\r\n--xy\r\n--xy z--xyz"),
            "--xyz--\r\n".to_owned(),
        ];
        let mut form = open(TYPE, &body.concat()).unwrap();
        let mut a = form.next_part().unwrap().unwrap();
        assert_eq!((a.name(), a.file_name()), (Some("a"), None));
        assert_eq!(a.text(5).unwrap(), "hello");
        assert!(form.next_part().unwrap().is_some());
        let mut file = form.next_part().unwrap().unwrap();
        assert_eq!(file.file_name(), Some("../x"));
        assert_eq!(file.content_type(), Some("image/png"));
        let mut copy = Vec::new();
        assert_eq!(file.copy_to(&mut copy).unwrap(), 100_000);
        assert_eq!(copy, long.as_bytes());
        let mut empty = form.next_part().unwrap().unwrap();
        assert_eq!(empty.bytes(0).unwrap(), "");
        let mut nearly = form.next_part().unwrap().unwrap();
        assert_eq!(nearly.text(100).unwrap(), "\r\n--xy\r\n--xy z--xyz");
        assert!(form.next_part().unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_has_its_status() {
        let end = "--xyz--\r\n";
        let ok = part("a", "", "b") + end;
        for (content_type, body, expected) in [
            (TYPE, ok.clone(), None),
            (TYPE, end.to_owned(), None),
            ("multipart/form-data", ok.clone(), Some(400)),
            ("text/plain", ok.clone(), Some(415)),
            ("", ok.clone(), Some(415)),
            ("multipart/form-data; boundary=other", ok, Some(400)),
            (TYPE, String::new(), Some(400)),
            (TYPE, part("a", "", "b"), Some(400)),
            (
                TYPE,
                "--xyz\r\nno field\r\n\r\nb\r\n--xyz--".into(),
                Some(400),
            ),
            (TYPE, part("a", "", "b").repeat(1001) + end, Some(413)),
            (TYPE, part(&"a".repeat(9000), "", "b") + end, Some(413)),
            (TYPE, part("a", "", &"b".repeat(100_001)) + end, Some(413)),
        ] {
            let begin = &body[..body.len().min(80)];
            assert_eq!(
                code(content_type, &body),
                expected,
                "{content_type} {begin}"
            );
        }
        let mut form = open(TYPE, &part("a", "", "b")).unwrap();
        assert_eq!(
            form.next_part()
                .unwrap()
                .unwrap()
                .bytes(9)
                .unwrap_err()
                .code,
            400
        );
    }

    #[test]
    fn text_is_utf_8_or_refused() {
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--xyz--";
        let body = Spooled::from_body(Raw::borrowed(body)).unwrap();
        let mut form = Multipart::new(Some(TYPE), body).unwrap();
        assert_eq!(
            form.next_part().unwrap().unwrap().text(9).unwrap_err().code,
            400
        );
    }
}
