//! One connection of the load: requests that all differ, and a comparison of
//! every byte that comes back.
//!
//! A connection repeats a ring of frames with bodies of its own, one frame
//! longer than the depth, so a reply that is lost, doubled, late or for
//! another connection differs from the bytes expected at its place:
//!
//! ```text
//! ring: | 0 | 1 | ... | depth | 0 | 1 | ... |      the tail repeats the head,
//!             ^ received        ^ sent             so any send is one slice
//! ```
//!
//! Over HTTP all requests are the same, and so are the replies. Nothing is
//! allocated once the connection is open.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::reply::Replies;
use super::{Asks, PROBE, Target};
use crate::Failure;

/// A connection with its ring.
pub(crate) struct Connection {
    stream: TcpStream,
    ring: Box<[u8]>,
    /// Bytes of one request.
    request: usize,
    /// Bytes after which the ring repeats itself.
    period: usize,
    replies: Replies,
    /// Where in the ring the next request begins.
    sent: usize,
    /// Where in the replies the next byte to arrive is.
    received: usize,
    /// Bytes of replies that are owed.
    owed: usize,
}

impl Connection {
    /// Connects; nothing is in flight yet. `name` makes its bodies its own.
    ///
    /// # Errors
    ///
    /// Any means that the server does not serve; nothing was measured.
    pub(crate) fn open(target: &Target, name: usize, depth: usize) -> Result<Self, Failure> {
        let stream = TcpStream::connect(target.address)
            .map_err(|error| format!("connection {name} to {}: {error}", target.address))?;
        stream.set_nodelay(true)?;
        target.asks.begin(&stream)?;
        let different = depth + 1;
        let (mut ring, mut echoes) = (Vec::new(), Vec::new());
        for turn in 0..different + depth {
            target.asks.request(name, turn % different, &mut ring);
        }
        let request = ring.len() / (different + depth);
        let period = different * request;
        (0..different).for_each(|turn| target.asks.reply(name, turn, &mut echoes));
        let replies = match &target.asks {
            Asks::Frames { .. } | Asks::Socket(_) => {
                let len = echoes.len() / different;
                Replies::exact(echoes.into(), len)
            }
            Asks::Http(get) => Replies::learn(&stream, get)?,
        };
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            ring: ring.into_boxed_slice(),
            request,
            period,
            replies,
            sent: 0,
            received: 0,
            owed: 0,
        })
    }

    /// The socket, to wait for.
    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests that were not answered yet.
    pub(crate) const fn in_flight(&self) -> usize {
        self.owed.div_ceil(self.replies.len)
    }

    /// Sends `requests` frames at once; at most `depth` are in flight then.
    ///
    /// # Errors
    ///
    /// The connection is broken; what was measured is worth nothing.
    pub(crate) fn send(&mut self, requests: usize) -> Result<(), Failure> {
        let wanted = requests * self.request;
        // A connection has at most a few KiB in flight: a send buffer that has
        // no room for them is a fault of this bench's constants.
        let taken = (&self.stream).write(&self.ring[self.sent..self.sent + wanted])?;
        if taken != wanted {
            return Err(format!("the kernel took {taken} bytes of {wanted}").into());
        }
        self.sent = (self.sent + wanted) % self.period;
        self.owed += requests * self.replies.len;
        Ok(())
    }

    /// Reads once; returns how many replies became whole.
    ///
    /// # Errors
    ///
    /// A reply was wrong, or the server closed.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Result<usize, Failure> {
        let count = match (&self.stream).read(scratch) {
            Ok(0) => return Err("closed by the server".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        if count > self.owed {
            return Err(format!("{count} bytes came where {} were owed", self.owed).into());
        }
        let partial = self.received % self.replies.len;
        self.received = self.replies.check(&scratch[..count], self.received)?;
        self.owed -= count;
        Ok((partial + count) / self.replies.len)
    }
}

/// Where two byte strings differ.
fn difference(came: &[u8], expected: &[u8]) -> String {
    let at = came.iter().zip(expected).position(|(a, b)| a != b);
    let at = at.unwrap_or_default();
    let (came, expected) = (came[at], expected[at]);
    format!("byte {at} of what arrived is {came:#04x}, expected {expected:#04x}")
}

/// One exchange on a connection of its own: whether the server answers.
///
/// # Errors
///
/// It does not yet, or not rightly.
pub(crate) fn probe(target: &Target) -> Result<(), Failure> {
    exchange(target, 0).map(drop)
}

/// Connects and exchanges one message; gives the connection, now idle.
///
/// # Errors
///
/// The server does not answer, or not rightly.
pub(crate) fn exchange(target: &Target, name: usize) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(target.address)?;
    target.asks.begin(&stream)?;
    let (mut request, mut expected) = (Vec::new(), Vec::new());
    target.asks.request(name, 0, &mut request);
    target.asks.reply(name, 0, &mut expected);
    if let Asks::Http(get) = &target.asks {
        Replies::learn(&stream, get)?;
        return Ok(stream);
    }
    stream.set_read_timeout(Some(PROBE))?;
    stream.write_all(&request)?;
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply)?;
    same(&reply, &expected)?;
    Ok(stream)
}

/// The first request of a connection of this name, and its replies.
///
/// # Errors
///
/// The server does not answer, or not rightly.
pub(super) fn first(target: &Target, name: usize) -> Result<(Vec<u8>, Replies), Failure> {
    let mut request = Vec::new();
    target.asks.request(name, 0, &mut request);
    let replies = match &target.asks {
        Asks::Frames { .. } => Replies::exact(request.as_slice().into(), request.len()),
        Asks::Http(get) => Replies::learn(&TcpStream::connect(target.address)?, get)?,
        Asks::Socket(_) => return Err("a WebSocket does not come and go".into()),
    };
    Ok((request, replies))
}

/// # Errors
///
/// They differ; it says where.
pub(crate) fn same(came: &[u8], expected: &[u8]) -> Result<(), Failure> {
    if came == expected {
        Ok(())
    } else {
        Err(difference(came, expected).into())
    }
}
