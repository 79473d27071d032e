//! Takes a chunked body apart, however it is cut.
//!
//! ```text
//!   size in hex [;extension] CRLF data CRLF ... 0 CRLF [trailers] CRLF
//! ```
//!
//! Lines are looked at when they are whole, data as it comes: what was looked at
//! is never needed again. Extensions are checked and dropped.

use memchr::memchr;

use super::Limits;
use super::refusal::Bad;
use super::trailers;

/// Bytes of a line that says how long a chunk is.
const LINE_MAX: usize = 256;

/// Digits of a size; enough for any, and zeros in front.
const DIGITS_MAX: usize = 16;

/// How far a chunked body was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChunkScan {
    /// What begins here has not been looked at.
    at: usize,
    next: Next,
    /// Bytes in the chunks so far, that of the present one included.
    total: usize,
    /// Bytes of trailers so far.
    trailers: usize,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Size,
    /// So many bytes of data, then the end of their chunk.
    Data(usize),
    /// Behind so many trailers.
    Trailer(usize),
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scanned {
    /// More bytes are needed.
    Part,
    /// The chunk that begins here makes the body longer than it may be, or what
    /// came of it.
    Over,
    /// The body ends here.
    End(usize),
}

/// What a body may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkLimits {
    /// Bytes in all its chunks.
    pub(super) data: usize,
    /// Bytes of all that was looked at and not consumed.
    raw: usize,
    /// Bytes of its trailers, and of its extensions.
    pub(super) trailers: usize,
    /// How many trailers it has.
    pub(super) fields: usize,
}

impl ChunkLimits {
    /// For a body of at most `data` bytes. Its trailers are fields as those of
    /// the head, and have as much room; so have what its chunks say beside their
    /// sizes.
    pub(super) const fn new(data: usize, limits: &Limits) -> Self {
        Self {
            data,
            raw: usize::MAX,
            trailers: limits.head,
            fields: limits.fields,
        }
    }

    /// For a body that is held until it is whole: what holds its data counts like
    /// the data, for a chunk of one byte can have a line of 256.
    pub(super) const fn held(limits: &Limits) -> Self {
        let data = limits.kept();
        Self {
            raw: data,
            ..Self::new(data, limits)
        }
    }
}

/// What is in a chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    Data(&'a [u8]),
    /// A line behind the data, which is a field, without its end.
    Trailer(&'a [u8]),
}

impl ChunkScan {
    /// Looks on in `bytes`, which begin where the last scan was
    /// [consumed](Self::consume), and gives all that is in it to `piece`.
    ///
    /// # Errors
    ///
    /// It is no chunked body. What came before is looked at and consumed, and
    /// the same bytes are the same error again.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        room: ChunkLimits,
        mut piece: impl FnMut(Piece<'_>),
    ) -> Result<Scanned, Bad> {
        loop {
            match self.next {
                Next::Size => {
                    let Some(line) = self.line(bytes, LINE_MAX)? else {
                        return Ok(Scanned::Part);
                    };
                    let (size, extension) = size(line)?;
                    if extension > room.trailers - self.extensions {
                        return Err(Bad::Extensions);
                    }
                    self.extensions += extension;
                    self.at += line.len() + 2;
                    self.total = self.total.saturating_add(size);
                    self.next = if size == 0 {
                        Next::Trailer(0)
                    } else {
                        Next::Data(size)
                    };
                    if self.total > room.data || self.at > room.raw {
                        return Ok(Scanned::Over);
                    }
                }
                Next::Data(0) => {
                    let Some(end) = bytes.get(self.at..self.at + 2) else {
                        return Ok(Scanned::Part);
                    };
                    if end != b"\r\n" {
                        return Err(Bad::Syntax("a chunk that is longer than it says"));
                    }
                    self.at += 2;
                    self.next = Next::Size;
                }
                Next::Data(left) => {
                    let data = &bytes[self.at..];
                    let data = &data[..data.len().min(left)];
                    if data.is_empty() {
                        return Ok(Scanned::Part);
                    }
                    piece(Piece::Data(data));
                    self.at += data.len();
                    self.next = Next::Data(left - data.len());
                }
                Next::Trailer(fields) => {
                    let left = room.trailers.saturating_sub(self.trailers);
                    let Some(line) = self.line(bytes, left)? else {
                        return Ok(Scanned::Part);
                    };
                    if !line.is_empty() {
                        if fields >= room.fields {
                            return Err(Bad::TooManyFields);
                        }
                        trailers::check(line)?;
                        piece(Piece::Trailer(line));
                        self.next = Next::Trailer(fields + 1);
                    }
                    self.at += line.len() + 2;
                    self.trailers += line.len() + 2;
                    if line.is_empty() {
                        return Ok(Scanned::End(self.at));
                    }
                }
            }
        }
    }

    /// Forgets the bytes that were looked at; tells how many these are.
    pub(super) const fn consume(&mut self) -> usize {
        std::mem::replace(&mut self.at, 0)
    }

    /// The next line, of at most `max` bytes, without its end.
    fn line<'a>(&self, bytes: &'a [u8], max: usize) -> Result<Option<&'a [u8]>, Bad> {
        let rest = &bytes[self.at..];
        let end = memchr(b'\n', rest);
        if end.map_or(rest.len(), |end| end + 1) > max {
            return Err(match self.next {
                Next::Trailer(_) => Bad::HeadTooLong,
                Next::Size | Next::Data(_) => Bad::Syntax("a line of a chunk that is too long"),
            });
        }
        let Some(end) = end else { return Ok(None) };
        match rest[..end].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(Bad::Syntax("a line of a chunk that ends in a bare LF")),
        }
    }
}

/// The size that a line says, and how many bytes it has beside that.
fn size(line: &[u8]) -> Result<(usize, usize), Bad> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let extension = &line[digits..];
    let clean = extension.iter().all(|&byte| byte == b'\t' || byte >= b' ');
    let ends = extension.is_empty() || extension[0] == b';';
    if digits == 0 || digits > DIGITS_MAX || !ends || !clean {
        return Err(Bad::Syntax("a chunk whose size is no number"));
    }
    let digits = std::str::from_utf8(&line[..digits]).expect("hex digits are ASCII");
    // Sixteen digits are a u64.
    let size = usize::from_str_radix(digits, 16).unwrap_or(usize::MAX);
    Ok((size, extension.len()))
}
