//! One connection to the server: plain sockets, with one deadline for all of an
//! exchange. The crate packs commands and reads replies.
//!
//! Its own connections have a timeout for each read, so that a server which says a byte
//! now and then is waited for without end.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, IntoConnectionInfo, Parser};

use super::command::packed;
use super::error::Error;
use super::options::Options;
use super::reply::{FromReply, Value};

/// Where a server is, and who we are to it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: Arc<str>,
    address: ConnectionAddr,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    database: i64,
    connect: Duration,
    timeout: Duration,
}

impl Server {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let refused =
            |why: &dyn std::fmt::Display| Error::Config(format!("redis.url {why}").into());
        let info = (options.url.as_str()).into_connection_info();
        let info = info.map_err(|error| refused(&format!("cannot be used: {error}")))?;
        let address = info.addr().clone();
        if !matches!(address, ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_)) {
            return Err(refused(
                &"asks for TLS, which is not spoken; put a tunnel before it",
            ));
        }
        let settings = info.redis_settings();
        Ok(Self {
            name: address.to_string().into(),
            address,
            user: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            password_file: options.password_file.clone(),
            database: settings.db(),
            connect: options.connect,
            timeout: options.timeout,
        })
    }

    /// Makes a connection that has been let in and answers.
    pub(super) fn link(self: &Arc<Self>) -> Result<Link, Error> {
        let until = Instant::now() + self.connect;
        let socket = self
            .socket(until)
            .map_err(|error| self.unavailable(&error))?;
        let mut link = Link {
            socket,
            parser: Parser::new(),
            server: Arc::clone(self),
        };
        let password = self.password().map_err(|error| self.unavailable(&error))?;
        let mut greeting = Vec::new();
        if let Some(password) = password {
            greeting.push(match &self.user {
                Some(user) => vec!["AUTH".to_owned(), user.clone(), password],
                None => vec!["AUTH".to_owned(), password],
            });
        }
        if self.database != 0 {
            greeting.push(vec!["SELECT".to_owned(), self.database.to_string()]);
        }
        greeting.push(vec!["PING".to_owned()]);
        let bytes: Vec<u8> = greeting.iter().flat_map(|one| packed(one)).collect();
        let replies = link.exchange(&bytes, greeting.len(), until);
        let replies = replies.map_err(|error| {
            if let Error::Broken { cause, .. } = &error {
                self.unavailable(cause)
            } else {
                let late = format!("no answer within {:?}", self.connect);
                self.unavailable(&late)
            }
        })?;
        for reply in replies {
            Value::from_reply(reply)?;
        }
        Ok(link)
    }

    fn unavailable(&self, cause: &dyn std::fmt::Display) -> Error {
        Error::Unavailable {
            server: Arc::clone(&self.name),
            cause: cause.to_string().into(),
        }
    }

    /// Read at each connect: it may be changed under a server that runs.
    fn password(&self) -> io::Result<Option<String>> {
        let Some(file) = &self.password_file else {
            return Ok(self.password.clone());
        };
        let text = fs::read_to_string(file).map_err(|error| {
            let text = format!("redis.password_file {}: {error}", file.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(text.lines().next().map(str::to_owned))
    }

    fn socket(&self, until: Instant) -> io::Result<Socket> {
        let late = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("not within {:?}", self.connect),
            )
        };
        if let ConnectionAddr::Unix(path) = &self.address {
            return UnixStream::connect(path).map(Socket::Unix);
        }
        let ConnectionAddr::Tcp(host, port) = &self.address else {
            let text = self.address.to_string();
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        let mut result = Err(late());
        for address in (host.as_str(), *port).to_socket_addrs()? {
            let Some(left) = left(until) else { break };
            result = TcpStream::connect_timeout(&address, left);
            if result.is_ok() {
                break;
            }
        }
        let stream = result.map_err(|error| {
            let kind = error.kind();
            // The system's words for it are about a socket that does not block.
            let is_late = matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            if is_late { late() } else { error }
        })?;
        stream.set_nodelay(true)?;
        Ok(Socket::Tcp(stream))
    }
}

fn left(until: Instant) -> Option<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_timeouts(&self, left: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
        }
    }
}

/// A connection that has been let in.
pub(super) struct Link {
    socket: Socket,
    parser: Parser,
    server: Arc<Server>,
}

impl Link {
    /// Sends `bytes` and takes so many replies, all until then. After an error the
    /// connection is worth nothing: the reply may still come, for the next command.
    pub(super) fn exchange(
        &mut self,
        bytes: &[u8],
        replies: usize,
        until: Instant,
    ) -> Result<Vec<Value>, Error> {
        let server = &self.server;
        let mut wire = Wire {
            socket: &mut self.socket,
            until,
            fault: None,
        };
        if let Err(error) = wire.write_all(bytes) {
            return Err(server.fault(Some(error)));
        }
        let mut values = Vec::with_capacity(replies.min(1024));
        for _ in 0..replies {
            match self.parser.parse_value(&mut wire) {
                Ok(value) => values.push(Value::new(value, &server.name)),
                Err(_) => return Err(server.fault(wire.fault.take())),
            }
        }
        Ok(values)
    }
}

impl Server {
    /// What a fault on the wire is to the caller; `None`: what came is no reply.
    fn fault(&self, error: Option<io::Error>) -> Error {
        let server = Arc::clone(&self.name);
        match error {
            Some(error) if error.kind() == io::ErrorKind::TimedOut => Error::Timeout {
                server,
                after: self.timeout,
            },
            Some(error) => Error::Broken {
                server,
                cause: error.to_string().into(),
            },
            None => Error::Broken {
                server,
                cause: "what came is no reply".into(),
            },
        }
    }
}

/// The socket, until a moment.
struct Wire<'a> {
    socket: &'a mut Socket,
    until: Instant,
    /// What went wrong, which the parser does not tell.
    fault: Option<io::Error>,
}

impl Wire<'_> {
    fn within(&mut self, run: impl FnOnce(&mut Socket) -> io::Result<usize>) -> io::Result<usize> {
        let Some(left) = left(self.until) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        self.socket.set_timeouts(left)?;
        match run(self.socket) {
            // How the system says that the time is up.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed by the server",
            )),
            other => other,
        }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.within(|socket| match socket {
            Socket::Tcp(stream) => stream.read(bytes),
            Socket::Unix(stream) => stream.read(bytes),
        });
        read.inspect_err(|error| {
            let text = error.to_string();
            self.fault = Some(io::Error::new(error.kind(), text));
        })
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.within(|socket| match socket {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
