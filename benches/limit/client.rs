//! The load client: one thread keeps `depth` requests in flight on each of its
//! connections and compares every byte that comes back.
//!
//! Each connection repeats a ring of frames with bodies of its own, one frame
//! longer than the depth, so a reply that is lost, doubled, late or for
//! another connection differs from the bytes expected at its place:
//!
//! ```text
//! ring: | 0 | 1 | ... | depth | 0 | 1 | ... |      the tail repeats the head,
//!             ^ received        ^ sent             so any send is one slice
//! ```
//!
//! Nothing is allocated once the connections are open.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{Failure, frame};

/// Bytes of one read: more than any depth here has in flight.
const READ_SIZE: usize = 64 * 1024;

/// A server that says nothing for so long does not answer any more.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a server that was just started may take to answer.
const PROBE: Duration = Duration::from_secs(1);

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Connections.
    pub(crate) connections: usize,
    /// Requests in flight on each of them.
    pub(crate) depth: usize,
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Message id of the requests and of their replies.
    pub(crate) id: u16,
}

/// Open connections, with requests in flight between [`Load::resume`] and
/// [`Load::pause`].
pub(crate) struct Load {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    connections: Vec<Connection>,
    scratch: Box<[u8]>,
    depth: usize,
}

impl Load {
    /// Connects; nothing is in flight yet.
    ///
    /// # Errors
    ///
    /// Any means that the server does not serve; nothing was measured.
    pub(crate) fn open(address: SocketAddr, shape: Shape) -> Result<Self, Failure> {
        let mut load = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); shape.connections],
            connections: Vec::with_capacity(shape.connections),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            depth: shape.depth,
        };
        for index in 0..shape.connections {
            let connection = Connection::open(address, index, shape)
                .map_err(|error| format!("connection {index} to {address}: {error}"))?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            load.epoll.add(&connection.stream, event)?;
            load.connections.push(connection);
        }
        Ok(load)
    }

    /// Sends the first requests and returns when both sides are warm.
    ///
    /// # Errors
    ///
    /// As [`Self::run_for`].
    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        for connection in &mut self.connections {
            connection.send(self.depth)?;
        }
        let warm = 4 * self.connections.len() * self.depth;
        self.run_count(warm as u64)?;
        Ok(())
    }

    /// Keeps the connections busy for `time`; returns the replies that came.
    ///
    /// # Errors
    ///
    /// A reply was wrong or did not come; what was measured is worth nothing.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<u64, Failure> {
        let end = Instant::now() + time;
        self.run_until(|_| Instant::now() >= end)
    }

    /// As [`Self::run_for`], until at least `count` replies came.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn run_count(&mut self, count: u64) -> Result<u64, Failure> {
        self.run_until(|replies| replies >= count)
    }

    /// Waits for the replies that are owed; nothing is in flight then.
    ///
    /// # Errors
    ///
    /// As [`Self::run_for`].
    pub(crate) fn pause(&mut self) -> Result<(), Failure> {
        let mut owed = (self.depth * self.connections.len()) as u64;
        while owed > 0 {
            owed -= self.turn(false)?;
        }
        Ok(())
    }

    fn run_until(&mut self, mut over: impl FnMut(u64) -> bool) -> Result<u64, Failure> {
        let mut replies = 0;
        while !over(replies) {
            replies += self.turn(true)?;
        }
        Ok(replies)
    }

    /// Reads what arrived; with `refill`, asks as often as it was answered.
    fn turn(&mut self, refill: bool) -> Result<u64, Failure> {
        let timeout = EpollTimeout::try_from(SILENCE).expect("some seconds fit");
        let ready = match self.epoll.wait(&mut self.events, timeout) {
            Ok(0) => return Err(format!("no reply for {SILENCE:?}").into()),
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut replies = 0;
        for event in &self.events[..ready] {
            let index = usize::try_from(event.data()).expect("tokens are indices");
            let connection = &mut self.connections[index];
            let came = connection
                .receive(&mut self.scratch)
                .map_err(|error| format!("connection {index}: {error}"))?;
            if refill && came > 0 {
                connection.send(came)?;
            }
            replies += came as u64;
        }
        Ok(replies)
    }
}

struct Connection {
    stream: TcpStream,
    ring: Box<[u8]>,
    /// Bytes of one frame.
    frame: usize,
    /// Bytes after which the ring repeats itself.
    period: usize,
    /// Where in the ring the next request begins.
    sent: usize,
    /// Where in the ring the next byte to arrive is.
    received: usize,
    /// Bytes that are owed.
    owed: usize,
}

impl Connection {
    fn open(address: SocketAddr, index: usize, shape: Shape) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let different = shape.depth + 1;
        let mut ring = Vec::new();
        for turn in 0..different + shape.depth {
            frame::encode(shape.id, &body(index, turn % different, shape), &mut ring);
        }
        let frame = frame::HEADER_LEN + shape.body;
        Ok(Self {
            stream,
            ring: ring.into_boxed_slice(),
            frame,
            period: different * frame,
            sent: 0,
            received: 0,
            owed: 0,
        })
    }

    /// Sends `requests` frames at once.
    fn send(&mut self, requests: usize) -> Result<(), Failure> {
        let wanted = requests * self.frame;
        // A connection has at most a few KiB in flight: a send buffer that has
        // no room for them is a fault of this bench's constants.
        let taken = (&self.stream).write(&self.ring[self.sent..self.sent + wanted])?;
        if taken != wanted {
            return Err(format!("the kernel took {taken} bytes of {wanted}").into());
        }
        self.sent = (self.sent + wanted) % self.period;
        self.owed += wanted;
        Ok(())
    }

    /// Reads once; returns how many replies became whole.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<usize, Failure> {
        let count = match (&self.stream).read(scratch) {
            Ok(0) => return Err("closed by the server".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        if count > self.owed {
            return Err(format!("{count} bytes came where {} were owed", self.owed).into());
        }
        let expected = &self.ring[self.received..self.received + count];
        if scratch[..count] != *expected {
            return Err(difference(&scratch[..count], expected).into());
        }
        let partial = self.received % self.frame;
        self.received = (self.received + count) % self.period;
        self.owed -= count;
        Ok((partial + count) / self.frame)
    }
}

/// A body that no other connection and no other turn of the ring has.
fn body(connection: usize, turn: usize, shape: Shape) -> Vec<u8> {
    let name = format!("{connection}/{turn}.");
    name.bytes().cycle().take(shape.body).collect()
}

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
pub(crate) fn probe(address: SocketAddr, id: u16) -> Result<(), Failure> {
    let mut request = Vec::new();
    frame::encode(id, b"are you there?", &mut request);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PROBE))?;
    stream.write_all(&request)?;
    let mut reply = vec![0; request.len()];
    stream.read_exact(&mut reply)?;
    if reply != request {
        return Err(difference(&reply, &request).into());
    }
    Ok(())
}
