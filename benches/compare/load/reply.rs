//! What a reply has to be, byte for byte.
//!
//! An echo is its request. A reply over HTTP is the first one of its connection,
//! of which status and body were checked, and of which only the values of `Date`
//! and `X-Request-Id` may differ later: they have always the same length.

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
    /// Not compared, in their order; of a reply, when all are the same.
    varies: Vec<Range<usize>>,
}

impl Replies {
    /// Replies of `len` bytes each, which all differ.
    pub(crate) fn exact(bytes: Box<[u8]>, len: usize) -> Self {
        Self {
            bytes,
            len,
            varies: Vec::new(),
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
        let names = ["date", "x-request-id"];
        let mut varies: Vec<_> = names
            .iter()
            .filter_map(|name| value(&came[..head], name))
            .collect();
        varies.sort_by_key(|range| range.start);
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
            let ends = self
                .varies
                .iter()
                .flat_map(|range| [range.start, range.end]);
            let end = ends.chain([self.bytes.len()]).find(|&end| end > at);
            let end = end.unwrap_or(self.bytes.len());
            let (now, later) = came.split_at(came.len().min(end - at));
            if !self.varies.iter().any(|range| range.contains(&at)) {
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
