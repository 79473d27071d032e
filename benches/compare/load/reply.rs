//! What a reply has to be, byte for byte.
//!
//! An echo is its request. A reply over HTTP is the first one of its connection,
//! of which status and body were checked, and of which only the value of `Date`
//! may differ later: it has always the same length.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;

use super::PROBE;
use super::asks::Get;
use super::ring::same;
use crate::Failure;

/// The replies of one connection, which repeat themselves.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    bytes: Box<[u8]>,
    /// Bytes of one reply.
    pub(crate) len: usize,
    /// Not compared; of a reply, when all are the same.
    varies: Range<usize>,
}

impl Replies {
    /// Replies of `len` bytes each, which all differ.
    pub(crate) fn exact(bytes: Box<[u8]>, len: usize) -> Self {
        Self {
            bytes,
            len,
            varies: 0..0,
        }
    }

    /// Asks once and learns what each reply will be.
    ///
    /// # Errors
    ///
    /// The server does not answer, or not what was asked for.
    pub(crate) fn learn(stream: &TcpStream, get: &Get) -> Result<Self, Failure> {
        stream.set_read_timeout(Some(PROBE))?;
        let mut stream = stream;
        stream.write_all(get.request.as_bytes())?;
        let mut came = Vec::new();
        let mut part = vec![0; 64 * 1024];
        let whole = loop {
            if let Some(whole) = whole(&came)?
                && came.len() >= whole
            {
                break whole;
            }
            match stream.read(&mut part)? {
                0 => return Err("closed by the server".into()),
                count => came.extend_from_slice(&part[..count]),
            }
        };
        if came.len() != whole {
            return Err(format!("{} bytes came where {whole} were owed", came.len()).into());
        }
        let head = came.len() - get.body.len().min(came.len());
        if !came.starts_with(format!("HTTP/1.1 {}", get.status).as_bytes()) {
            let line = came.split(|&byte| byte == b'\r').next().unwrap_or_default();
            return Err(format!("{} was answered {}", get.path, line.escape_ascii()).into());
        }
        same(&came[head..], &get.body)?;
        let varies = date(&came[..head]);
        Ok(Self {
            len: came.len(),
            bytes: came.into(),
            varies,
        })
    }

    /// Compares what came with what is due behind `at` bytes; returns where the
    /// next byte is.
    ///
    /// # Errors
    ///
    /// They differ; it says where.
    pub(crate) fn check(&self, mut came: &[u8], mut at: usize) -> Result<usize, Failure> {
        while !came.is_empty() {
            // Up to the bytes that vary, through them, behind them.
            let end = [self.varies.start, self.varies.end, self.bytes.len()]
                .into_iter()
                .find(|&end| end > at)
                .unwrap_or(self.bytes.len());
            let (now, later) = came.split_at(came.len().min(end - at));
            if !self.varies.contains(&at) {
                same(now, &self.bytes[at..at + now.len()])?;
            }
            at = (at + now.len()) % self.bytes.len();
            came = later;
        }
        Ok(at)
    }
}

/// Length of the response that `came` begins with, once its head is there.
fn whole(came: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(head) = came.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let length = value(&came[..head + 2], "content-length").ok_or("a reply without a length")?;
    let length: usize = std::str::from_utf8(&came[length])?.trim().parse()?;
    Ok(Some(head + 4 + length))
}

/// Where the value of `Date` is, if there is one.
fn date(head: &[u8]) -> Range<usize> {
    value(head, "date").unwrap_or(0..0)
}

/// Where the value of a field is.
fn value(head: &[u8], name: &str) -> Option<Range<usize>> {
    let mut at = 0;
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let is_it = line.len() > name.len()
            && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
            && line[name.len()] == b':';
        if is_it {
            return Some(at + name.len() + 1..at + line.len() - 2);
        }
        at += line.len();
    }
    None
}
