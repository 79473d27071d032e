//! The master's end: a listener and its clients, none of which can block it.
//!
//! After a fork the child drops its copies. So dropping only closes; what ends
//! a conversation for both sides is said explicitly.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::wire::{Exchange, Progress, Response};
use crate::master::cycle::socket_file::SocketFile;
use crate::sys::{local, socket};

/// How long a client may take to send its request, and to take the answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The listening end at its path.
#[derive(Debug)]
pub struct ControlSocket {
    listener: OwnedFd,
    /// `None`: nobody can connect.
    file: Option<SocketFile>,
}

impl ControlSocket {
    /// Listens at `path`, which is to be absolute; mode 0600 from the first
    /// moment. A path that a dead master left is replaced.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when another master listens there, `AlreadyExists` when the
    /// path is something else: do not start.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = local::listen_private(path)?;
        let file = Some(SocketFile::at(path)?);
        Ok(Self { listener, file })
    }

    /// None: it stands where one is wanted, and nobody ever comes.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub fn none() -> io::Result<Self> {
        let listener = UnixDatagram::unbound()?.into();
        Ok(Self {
            listener,
            file: None,
        })
    }

    /// The socket at `path` on which the program before this one listens.
    ///
    /// # Errors
    ///
    /// Nothing is at `path` any more.
    pub fn inherit(listener: OwnedFd, path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(SocketFile::at).transpose()?;
        Ok(Self { listener, file })
    }

    /// The next waiting client, if any. Other users than the master's own and
    /// root are turned away.
    ///
    /// # Errors
    ///
    /// `EMFILE` and the like: the client stays in the queue.
    pub fn accept(&self, now: Instant) -> io::Result<Option<Client>> {
        while let Some((socket, _)) = socket::accept(self.listener.as_fd())? {
            let user = local::peer_user(&socket)?;
            if user == 0 || user == local::own_user() {
                return Ok(Some(Client::new(socket, now)));
            }
            log::warn!("control socket: user {user} has no business here, turned away");
        }
        Ok(None)
    }

    /// Whether somebody may come.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether somebody removed its file: nobody can connect any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.file.as_ref().is_some_and(SocketFile::is_gone)
    }

    /// Another one at the same path.
    ///
    /// # Errors
    ///
    /// As [`Self::bind`].
    pub fn renewed(&self) -> io::Result<Self> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Self::bind(file.path())
    }

    /// Stops listening and unlinks the path, unless another master has it now.
    pub fn remove(self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// One client and where its request stands.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    exchange: Exchange,
    deadline: Option<Instant>,
}

impl Client {
    fn new(socket: OwnedFd, now: Instant) -> Self {
        Self {
            socket,
            exchange: Exchange::default(),
            deadline: Some(now + PATIENCE),
        }
    }

    /// When to drop it, however far it is. `None` while the master decides.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes in what has arrived. Call it when the connection is readable.
    pub fn read(&mut self) -> Progress {
        let mut bytes = [0; 512];
        let progress = match socket::receive(&self.socket, &mut bytes) {
            Ok(count) => self.exchange.receive(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Read,
            Err(_) => Progress::Done,
        };
        match progress {
            Progress::Asked(_) => self.deadline = None,
            // A refused request: most answers fit at once.
            Progress::Write => return self.write(),
            Progress::Read | Progress::Done => {}
        }
        self.finish_if(progress)
    }

    /// Answers, as far as the client takes it now.
    pub fn answer(&mut self, response: &Response, now: Instant) -> Progress {
        self.deadline = Some(now + PATIENCE);
        self.exchange.answer(response);
        self.write()
    }

    /// Sends on. Call it when the connection is writable.
    pub fn write(&mut self) -> Progress {
        let mut progress = Progress::Write;
        while progress == Progress::Write {
            progress = match socket::send(&self.socket, self.exchange.unsent()) {
                Ok(count) => self.exchange.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => Progress::Done,
            };
        }
        self.finish_if(progress)
    }

    /// Says goodbye on the connection itself: a worker that was forked
    /// meanwhile may hold a copy for a moment, so closing would not be seen.
    fn finish_if(&self, progress: Progress) -> Progress {
        if progress == Progress::Done {
            socket::finish(&self.socket);
        }
        progress
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
