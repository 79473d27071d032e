//! The limit: a server that does nothing but echo, as fast as one thread can.
//!
//! One thread, one level-triggered epoll, one `recv` for each readable event,
//! one `send` for all the replies to it. Like any frame server it checks the
//! checksum of what it reads and computes the one of what it writes; for bytes
//! it returns what it read, and shows what the kernel costs; over HTTP it looks
//! for the ends of heads and nothing else, and says the same to each.
//! What it leaves out is what purlin adds: handlers, order across threads,
//! deadlines, limits, counters.
//!
//! A connection whose peer does not read is not read either, so memory stays
//! bounded.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::decode::Decoded;
use crate::frame::Layout;

/// The token of the listener; connections have their descriptor.
const LISTENER: u64 = u64::MAX;

/// Events of one wait.
const EVENTS: usize = 512;

/// Bytes of one read.
const READ_SIZE: usize = 256 * 1024;

/// What it takes for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speech {
    /// Whatever was read.
    Bytes,
    /// A frame.
    Frames(Layout),
    /// A head without a body.
    Http,
}

/// Serves until a signal.
///
/// # Errors
///
/// When the port cannot be bound or epoll fails; there is nothing to measure.
pub(crate) fn run(speech: Speech) -> io::Result<()> {
    let mut server = Server::new(crate::listen()?, speech)?;
    crate::announce(server.listener.local_addr()?);
    let mut events = vec![EpollEvent::empty(); EVENTS];
    loop {
        let count = match server.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            match event.data() {
                LISTENER => server.accept()?,
                token => server.serve(token),
            }
        }
    }
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    speech: Speech,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    scratch: Box<[u8]>,
    out: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a frame whose end has not arrived.
    partial: Vec<u8>,
    /// Replies that the kernel had no room for.
    unsent: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener, speech: Speech) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            epoll,
            listener,
            speech,
            connections: Vec::new(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            out: Vec::with_capacity(READ_SIZE),
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = usize::try_from(stream.as_raw_fd()).expect("an open descriptor is >= 0");
            let event = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
            self.epoll.add(&stream, event)?;
            if self.connections.len() <= slot {
                self.connections.resize_with(slot + 1, || None);
            }
            self.connections[slot] = Some(Connection {
                stream,
                partial: Vec::new(),
                unsent: Vec::new(),
            });
        }
    }

    fn serve(&mut self, token: u64) {
        let slot = usize::try_from(token).expect("tokens are descriptors");
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let was_blocked = !connection.unsent.is_empty();
        let served = if was_blocked {
            connection.flush()
        } else {
            connection.answer(self.speech, &mut self.scratch, &mut self.out)
        };
        let blocked = !connection.unsent.is_empty();
        let listened = served.and_then(|()| {
            if blocked == was_blocked {
                return Ok(());
            }
            let wanted = if blocked {
                EpollFlags::EPOLLOUT
            } else {
                EpollFlags::EPOLLIN
            };
            let mut event = EpollEvent::new(wanted, token);
            Ok(self.epoll.modify(&connection.stream, &mut event)?)
        });
        if listened.is_err() {
            // Closing the only descriptor removes it from epoll.
            self.connections[slot] = None;
        }
    }
}

impl Connection {
    /// Reads once and answers what came, with one send.
    ///
    /// An error, the peer's end-of-file included, means that the connection
    /// is over.
    fn answer(&mut self, speech: Speech, scratch: &mut [u8], out: &mut Vec<u8>) -> io::Result<()> {
        let kept = self.partial.len();
        scratch[..kept].copy_from_slice(&self.partial);
        let count = match (&self.stream).read(&mut scratch[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if again(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let came = &scratch[..kept + count];
        out.clear();
        let rest = match speech {
            Speech::Bytes => return self.reply(came),
            Speech::Frames(layout) => echo(layout, came, out)?,
            Speech::Http => greet(came, out),
        };
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        if out.is_empty() {
            return Ok(());
        }
        self.reply(out)
    }

    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.send(bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.send(&self.unsent)?;
        self.unsent.drain(..sent);
        Ok(())
    }

    /// Returns how many bytes the kernel took.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(error) if again(&error) => Ok(0),
            result => result,
        }
    }
}

/// Echoes the whole frames of `came`; returns what is behind them.
fn echo<'a>(layout: Layout, came: &'a [u8], out: &mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut rest = came;
    loop {
        match layout.decode(rest) {
            Decoded::Frame(frame) => {
                layout.encode(frame.id, frame.sequence, frame.body, out);
                rest = &rest[frame.total..];
            }
            Decoded::Partial => return Ok(rest),
            Decoded::Broken => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// Greets once for each whole head of `came`; returns what is behind them.
fn greet<'a>(came: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = came;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") {
        out.extend_from_slice(GREETING);
        rest = &rest[end + 4..];
    }
    rest
}

/// As long as the response of a server that knows the time.
const GREETING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
Content-Length: 13\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nHello, World!";

/// Whether nothing is wrong: the next event tries again.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
