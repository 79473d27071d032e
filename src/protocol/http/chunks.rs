//! Finds the end of a chunked body, and what is in its chunks.
//!
//! ```text
//!   size in hex [;extension] CRLF data CRLF ... 0 CRLF [trailers] CRLF
//! ```
//!
//! Extensions and trailers are checked and dropped.

use memchr::memchr;

use super::Limits;
use super::refusal::Bad;
use super::scan::is_token;

/// Bytes of a line that says how long a chunk is.
const LINE_MAX: usize = 256;

/// Digits of a size; enough for any, and zeros in front.
const DIGITS_MAX: usize = 16;

/// How far a chunked body was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChunkScan {
    /// What begins here has not been seen whole.
    at: usize,
    next: Next,
    /// Bytes in the chunks so far.
    total: usize,
    /// Where the trailers begin.
    trailers: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Size,
    Data(usize),
    Trailer,
}

impl ChunkScan {
    /// Looks at `bytes`, which begin with the body, and gives each whole chunk
    /// to `piece`; returns where the body ends. `None`: more are needed.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<Option<usize>, Bad> {
        loop {
            match self.next {
                Next::Size => {
                    let Some(line) = self.line(bytes, LINE_MAX)? else {
                        return Ok(None);
                    };
                    let size = size(line)?;
                    self.total = self.total.saturating_add(size);
                    if self.total > limits.body {
                        return Err(Bad::BodyTooLong);
                    }
                    self.next = Next::Data(size);
                    if size == 0 {
                        self.next = Next::Trailer;
                        self.trailers = self.at;
                    }
                }
                Next::Data(size) => {
                    let Some(data) = bytes.get(self.at..self.at + size + 2) else {
                        return Ok(None);
                    };
                    if !data.ends_with(b"\r\n") {
                        return Err(Bad::Syntax("a chunk that is longer than it says"));
                    }
                    piece(&data[..size]);
                    self.at += size + 2;
                    self.next = Next::Size;
                }
                Next::Trailer => {
                    let room = limits.head.saturating_sub(self.at - self.trailers);
                    match self.line(bytes, room)? {
                        None => return Ok(None),
                        Some([]) => return Ok(Some(self.at)),
                        Some(line) => trailer(line)?,
                    }
                }
            }
        }
    }

    /// The next line, of at most `max` bytes, without its end.
    fn line<'a>(&mut self, bytes: &'a [u8], max: usize) -> Result<Option<&'a [u8]>, Bad> {
        let rest = &bytes[self.at..];
        let end = memchr(b'\n', rest);
        if end.map_or(rest.len(), |end| end + 1) > max {
            return Err(match self.next {
                Next::Trailer => Bad::HeadTooLong,
                Next::Size | Next::Data(_) => Bad::Syntax("a line of a chunk that is too long"),
            });
        }
        let Some(end) = end else { return Ok(None) };
        self.at += end + 1;
        match rest[..end].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(Bad::Syntax("a line of a chunk that ends in a bare LF")),
        }
    }
}

/// The size that a line says.
fn size(line: &[u8]) -> Result<usize, Bad> {
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
    Ok(usize::from_str_radix(digits, 16).unwrap_or(usize::MAX))
}

fn trailer(line: &[u8]) -> Result<(), Bad> {
    let name = line.iter().take_while(|&&byte| is_token(byte)).count();
    let value = &line[name..];
    let clean = value
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if name == 0 || value.first() != Some(&b':') || !clean {
        return Err(Bad::Syntax("a trailer that is no field"));
    }
    Ok(())
}
