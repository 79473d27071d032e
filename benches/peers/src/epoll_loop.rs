//! The limit: a server that does nothing but echo, as fast as one thread can.
//!
//! One thread, one level-triggered epoll, one `recv` for each readable event,
//! one `send` for all the replies to it. Like any frame server it checks the
//! checksum of what it reads and computes the one of what it writes; without a
//! layout it returns the bytes that it read, and shows what the kernel costs.
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

/// Serves frames of `layout`, or bytes, until a signal.
///
/// # Errors
///
/// When the port cannot be bound or epoll fails; there is nothing to measure.
pub(crate) fn run(layout: Option<Layout>) -> io::Result<()> {
    let mut server = Server::new(crate::listen()?, layout)?;
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
    /// `None`: bytes.
    layout: Option<Layout>,
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
    fn new(listener: TcpListener, layout: Option<Layout>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            epoll,
            listener,
            layout,
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
            connection.echo(self.layout, &mut self.scratch, &mut self.out)
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
    fn echo(
        &mut self,
        layout: Option<Layout>,
        scratch: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let kept = self.partial.len();
        scratch[..kept].copy_from_slice(&self.partial);
        let count = match (&self.stream).read(&mut scratch[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if again(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let came = &scratch[..kept + count];
        let Some(layout) = layout else {
            return self.reply(came);
        };
        out.clear();
        let mut rest = came;
        loop {
            match layout.decode(rest) {
                Decoded::Frame(frame) => {
                    layout.encode(frame.id, frame.sequence, frame.body, out);
                    rest = &rest[frame.total..];
                }
                Decoded::Partial => break,
                Decoded::Broken => return Err(ErrorKind::InvalidData.into()),
            }
        }
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

/// Whether nothing is wrong: the next event tries again.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
